"""From a finished pass to what is browsed: directions, examples, files, and one row per latent.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mistudio.features.feature_pass import FeaturePass
from mistudio.features.labels_current import search_text
from mistudio.features.logit_lens import extreme_logits, neighbours
from mistudio.features.schemas import Conventions, ExtractionSettings
from mistudio.features.tables import SEPARATOR
from mistudio.features.windows import choose, cut_windows
from mistudio.store import Examples, TokenStore, write_examples

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel
    from mistudio.models.tokenizer import ModelTokenizer

RARE, DENSE = 1e-4, 0.1
_TOP_TOKENS = 8

Report = Callable[[str, int, int], None]
"""Told (stage, done, total) while it works."""


def write_dashboards(
    folder: Path,
    run: FeaturePass,
    model: LanguageModel,
    tokens: TokenStore,
    settings: ExtractionSettings,
    conventions: Conventions,
    report: Report = lambda _stage, _done, _total: None,
) -> tuple[dict[str, Any], Examples]:
    """Write the example store of a pass to `folder`, whole or not at all; returns its columns and its examples.

    `settings` are those of the pass. Raises `TornFile` for damaged tokens, `DiskFull`.
    """
    columns, excerpts = run.result()
    columns |= extreme_logits(model, run.sae.W_dec, progress=_stage(report, "Logits"))
    columns |= neighbours(run.sae.W_dec, progress=_stage(report, "Neighbours"))
    columns["decoder_norm"] = run.sae.decoder_norms().cpu().numpy()
    chosen = choose(excerpts, settings.quantile_examples)
    columns["quantiles"] = chosen.borders
    examples = cut_windows(excerpts, chosen, tokens, settings.window, _stage(report, "Cut examples"))
    report("Write files", 0, 1)
    meta = {"conventions": conventions.model_dump(), "n_tokens": run.statistics.n_tokens}
    write_examples(folder, examples, columns, meta)
    return columns, examples


def _stage(report: Report, name: str) -> Callable[[int, int], None]:
    return lambda done, total: report(name, done, total)


def feature_rows(
    extraction_id: str, columns: dict[str, Any], examples: Examples, tokenizer: ModelTokenizer
) -> Iterator[dict[str, Any]]:
    """The rows of the table `features`, one per latent."""
    values = zip(
        *(columns[name].tolist() for name in ("frequency", "maximum", "mean")),
        top_tokens_texts(examples, tokenizer),
        strict=True,
    )
    for index, (frequency, maximum, mean, text) in enumerate(values):
        yield {
            "extraction_id": extraction_id,
            "index": index,
            "frequency": frequency,
            "max_activation": maximum,
            "mean_activation": mean,
            "density": density(frequency),
            "top_tokens_text": text,
            "starred": False,
            "notes": "",
            "search_text": search_text(None, None, text),
        }


def density(frequency: float) -> str:
    """dead, rare (under 1 in 10,000 tokens), dense (over 1 in 10) or normal."""
    if frequency == 0:
        return "dead"
    return "rare" if frequency < RARE else "dense" if frequency > DENSE else "normal"


def top_tokens_texts(examples: Examples, tokenizer: ModelTokenizer) -> list[str]:
    """For each latent the strongest tokens of its top examples, each once, strongest first, joined by SEPARATOR."""
    places = examples.window_offsets[:-1] + (examples.position - examples.window_start.astype(np.int64))
    ids = examples.tokens[places].tolist() if len(places) else []
    top = (examples.group == 0).tolist()
    known: dict[int, str] = {}
    texts: list[str] = []
    for first, end in pairwise(examples.offsets.tolist()):
        found = list(dict.fromkeys(ids[i] for i in range(first, end) if top[i]))[:_TOP_TOKENS]
        for id in found:
            if id not in known:
                # NUL is what PostgreSQL cannot store, and the separator must stay one.
                known[id] = tokenizer.text_of(id).replace("\0", "␀").replace(SEPARATOR, "␟")
        texts.append(SEPARATOR.join(known[id] for id in found))
    return texts
