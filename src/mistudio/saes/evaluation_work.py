"""What the job `saes.evaluate` does: open the SAEs, their model and tokens, measure, keep what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mistudio.datasets.tokenize import open_tokens
from mistudio.db import utc_now
from mistudio.jobs import JobContext
from mistudio.models.library import open_model
from mistudio.saes.evaluation import write_evaluation
from mistudio.saes.library import get_sae, open_sae
from mistudio.saes.placement import training_of
from mistudio.saes.schemas import EvaluateParams, EvaluationRecord
from mistudio.saes.tables import Sae

if TYPE_CHECKING:
    from mistudio.engine.sequences import TokenArray
    from mistudio.store.tokens import TokenStore


def evaluate_saes(context: JobContext, params: EvaluateParams) -> dict[str, Any]:
    """Evaluate, and keep every report and its numbers. Raises what `engine.evaluate` raises."""
    from mistudio.engine import evaluate
    from mistudio.engine.progress import Progress

    with context.database.reading() as session:
        rows = [get_sae(session, sae_id) for sae_id in params.sae_ids]
        trainings = [training_of(session, row) for row in rows]
    context.progress(0, None, "tokens", "Load model and SAEs")
    saes: dict[str, Any] = {}
    for row in rows:
        sae = open_sae(context.settings, row, device=context.device)
        if row.hook is not None:
            sae.metadata["hook_name"] = row.hook
        saes[row.id] = sae
    model = open_model(context.settings, str(rows[0].model_id), device=context.device)
    tokens = open_tokens(context.settings, params.tokenization_id)
    most = max(params.settings.tokens, params.settings.spliced_tokens)

    def report(progress: Progress) -> None:
        context.progress(progress.done, progress.total, progress.unit, progress.stage)

    found = evaluate(
        saes,
        model,
        unseen_first(tokens, trainings, params.tokenization_id, most),
        settings=params.settings,
        progress=report,
    )
    for row, training in zip(rows, trainings, strict=True):
        result = found[row.id].model_copy(update={"name": row.name})
        for note in result.notes:
            context.log(f"{row.name}: {note}", "warning")
        held_out = training.get("held_out_tokens")
        known = training.get("tokenization_id") == params.tokenization_id
        record = EvaluationRecord(
            report=result,
            tokenization_id=params.tokenization_id,
            held_out_tokens=held_out if known else None,
            at=utc_now(),
        )
        with context.database.session() as session:
            fresh = session.get(Sae, row.id)
            if fresh is None:  # deleted while this ran
                continue
            write_evaluation(context.settings, row.id, record)
            fresh.metrics = {**fresh.metrics, **result.scalars()}
        for channel in ("saes", f"saes/{row.id}"):
            context.publish(channel, "changed", {"id": row.id})
    first = found[rows[0].id]
    return {"tokens": first.tokens, "saes": len(rows), **first.scalars()}


def unseen_first(
    tokens: TokenStore, trainings: Sequence[dict[str, Any]], tokenization_id: str, most: int
) -> TokenArray:
    """At least `most` tokens (or all there are) from the end of the order in which trainings read their sequences.

    What a training holds out is at that end, so an SAE is first measured on what it has not seen. The order is that of
    the first training on these tokens; without one it is that of the usual settings.
    """
    import numpy as np

    from mistudio.engine.harvest_settings import HarvestSettings
    from mistudio.engine.sequences import TokenArray, sequence_order

    own = next((t["harvest"] for t in trainings if t.get("tokenization_id") == tokenization_id), {})
    order = sequence_order(tokens, HarvestSettings.model_validate({**own, "n_tokens": None}))[::-1]
    parts: list[Any] = []
    left = most
    while left > 0 and len(order):
        ids, lengths = tokens.take(order[:256])
        order = order[256:]
        parts.append((ids, lengths))
        left -= int(lengths.sum())
    return TokenArray(
        np.concatenate([ids for ids, _ in parts]),
        np.concatenate([lengths for _, lengths in parts]),
        bos_id=tokens.bos_id,
    )
