"""Where an SAE belongs: its model, its hook points, the tokens that it is used on. Imports no PyTorch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenizations import ready_tokenization
from mistudio.db import Base
from mistudio.errors import StudioError
from mistudio.models.library import ready_model
from mistudio.saes.library import check_hook
from mistudio.saes.tables import Sae


def check_place(session: Session, sae: Sae) -> None:
    """Refuse an SAE of which it is not known, or not true, that it belongs to a model here.

    Raises NotFound; StudioError `sae_without_place`, `hook_not_found`, `sae_does_not_fit`.
    """
    hooks = hooks_of(sae)
    if sae.model_id is None or not hooks:
        crosscoder = sae.config.get("n_sites", 1) > 1
        missing = "model" if sae.model_id is None else "hook points" if crosscoder else "hook point"
        raise StudioError(
            "sae_without_place",
            f"It is not known which {missing} the SAE “{sae.name}” belongs to.",
            hint="Import it again with a configuration that names them (hook_names)."
            if missing == "hook points"
            else "Say so on its page first.",
            fields={"sae_id": f"has no {missing}"},
        )
    model = ready_model(session, sae.model_id)
    for hook in hooks:
        check_hook(model, hook, None if sae.d_in is None else sae.d_in // len(hooks))


def hooks_of(sae: Sae) -> tuple[str, ...]:
    """The hook points that it reads: one, or those of a crosscoder's layers; empty where they are not known."""
    if sae.hook is not None:
        return (sae.hook,)
    named = sae.config.get("metadata", {}).get("hook_names") or ()
    return tuple(map(str, named)) if len(named) == sae.config.get("n_sites", 1) > 1 else ()


def tokenization_for(session: Session, sae: Sae, wanted: str | None) -> Tokenization:
    """The tokens to use an SAE on: those `wanted`, else those of its training, else the newest of its model.

    Raises NotFound; Conflict `tokenization_not_ready`; StudioError `tokenization_of_another_model`, `no_tokenization`.
    """
    wanted = wanted or training_of(session, sae).get("tokenization_id")
    if wanted is not None:
        found = ready_tokenization(session, wanted)
        if found.model_id != sae.model_id:
            raise StudioError(
                "tokenization_of_another_model",
                f"The tokenization “{found.name}” was made for another model than the one of “{sae.name}”.",
                hint="Tokenize the data set for the SAE's model.",
                fields={"tokenization_id": "made for another model"},
            )
        return found
    newest = (
        select(Tokenization)
        .where(Tokenization.model_id == sae.model_id, Tokenization.n_tokens > 0)
        .order_by(Tokenization.created_at.desc())
        .limit(1)
    )
    newest_found = session.scalars(newest).one_or_none()
    if newest_found is None:
        raise StudioError(
            "no_tokenization",
            f"There is no tokenized data set for the model of “{sae.name}”.",
            hint="Tokenize a data set for that model first.",
            fields={"tokenization_id": "none is there"},
        )
    return newest_found


def training_of(session: Session, sae: Sae) -> dict[str, Any]:
    """What its training says of tokens: `tokenization_id`, `harvest`, `held_out_tokens`; empty without one.

    Of a mixture the tokenization is the weightiest, and `held_out_tokens` is None: what was held out of it is no end
    of that tokenization's own order. Trainings come later in the pipeline and know SAEs, not the other way round: the
    tables are looked up by name.
    """
    tables = Base.metadata.tables
    if "trainings" not in tables or sae.training_id is None:
        return {}
    trainings, sweeps, sources = tables["trainings"], tables["sweeps"], tables["sweep_sources"]
    rows = (
        session.execute(
            select(sources.c.tokenization_id, sweeps.c.harvest, sweeps.c.held_out_tokens)
            .select_from(trainings)
            .join(sweeps, sweeps.c.id == trainings.c.sweep_id)
            .join(sources, sources.c.sweep_id == sweeps.c.id)
            .where(trainings.c.id == sae.training_id)
            .order_by(sources.c.weight.desc(), sources.c.position)
        )
        .mappings()
        .all()
    )
    if not rows:
        return {}
    found = {str(name): value for name, value in rows[0].items()}
    return found if len(rows) == 1 else found | {"held_out_tokens": None}
