"""What the activations of a finished cache look like at a hook, from the sums that its harvest kept. No PyTorch."""

from __future__ import annotations

from dataclasses import asdict

from mistudio.activations.schemas import HookReport, HookStatistics, LargeValueOut
from mistudio.activations.tables import ActivationCache as CacheRow
from mistudio.datasets.tokenize import open_tokens
from mistudio.engine.activation_figures import HookSummary, LargeValue
from mistudio.errors import StudioError
from mistudio.models.library import open_tokenizer
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.settings import Settings
from mistudio.store import ActivationCache, TokenStore, owner_folder

_BEFORE = 10
"""Tokens of context that are shown in front of one."""


def report_of(settings: Settings, row: CacheRow, hook: str) -> HookReport:
    """Figures and plots of one hook of a ready cache.

    Raises StudioError `hook_not_found`; `statistics_missing` for a cache that was harvested without them.
    """
    if hook not in row.hooks:
        raise StudioError(
            "hook_not_found",
            f"The activation cache “{row.name}” does not hold the hook point “{hook}”.",
            hint=f"It holds {', '.join(row.hooks)}.",
            status=404,
        )
    cache = ActivationCache(owner_folder(settings.data_dir, "activations", row.id))
    sums = ((cache.state or {}).get("sums") or {}).get("hooks", {}).get(hook)
    if not isinstance(sums, dict):
        raise StudioError(
            "statistics_missing",
            f"The activation cache “{row.name}” was harvested by a version that kept no statistics.",
            hint="Harvest it again.",
            status=404,
        )
    summary = HookSummary(sums)
    plots = summary.plots()
    tokenizer, tokens = open_tokenizer(settings, row.model_id), open_tokens(settings, row.tokenization_id)
    shown = {name: value for name, value in vars(plots).items() if name not in ("largest", "n", "d")}
    return HookReport(
        hook=hook,
        n=summary.n,
        d=summary.d,
        figures=HookStatistics.model_validate(summary.figures(cache.error[hook])),
        largest=[_in_text(one, tokenizer, tokens) for one in plots.largest],
        **shown,
    )


def _in_text(one: LargeValue, tokenizer: ModelTokenizer, tokens: TokenStore) -> LargeValueOut:
    start = max(0, one.position - _BEFORE)
    before = tokens[one.sequence][start : one.position].tolist()
    return LargeValueOut(
        **asdict(one), text=tokenizer.text_of(one.token), before=tokenizer.decode(before) if before else ""
    )
