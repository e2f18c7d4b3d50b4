"""Activations at one token behind a text that many share: the text is run once, each token costs one position."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mistudio.lm.anatomy import ForwardStopped
from mistudio.lm.model import LanguageModel

_CLOSE = 1e-3  # of the activations' standard deviation
_BATCH = 128


class SharedTexts:
    """Reads activations at `hooks` at single tokens that follow texts, each text run once for all of its tokens.

    Whether the model's cache can be repeated is tried on the first text against a whole pass; where it cannot, every
    token is run with its text in a whole pass.
    """

    def __init__(self, model: LanguageModel, hooks: Sequence[str]) -> None:
        self._model, self._hooks = model, list(hooks)
        self._repeats: bool | None = None

    def followed_by(self, text: Sequence[int], tokens: Tensor) -> dict[str, Tensor]:
        """Activations `[n, d]` by hook at each of `tokens` `[n]`, as if each alone followed the text `[P]`.

        The same as whole passes give, to rounding. Raises TokensRefused, HookNotFound.
        """
        ids = torch.tensor([list(text)])
        self._model.check_tokens(torch.cat([ids, tokens[:1, None]], 1))
        if self._repeats is None:
            self._repeats = self._try(ids, tokens[:1])
        parts: list[dict[str, Tensor]] = []
        cache = self._cache_of(ids) if self._repeats else None
        for some in tokens.split(_BATCH):
            parts.append(self._whole(ids, some) if cache is None else self._behind(cache, some))
        return {hook: torch.cat([part[hook] for part in parts]) for hook in self._hooks}

    def _try(self, ids: Tensor, one: Tensor) -> bool:
        try:
            found = self._behind(self._cache_of(ids), one)
        except (TypeError, AttributeError, NotImplementedError, ValueError, RuntimeError):
            return False
        whole = self._whole(ids, one)
        return all(
            float((found[hook].float() - whole[hook].float()).abs().max())
            <= _CLOSE * float(whole[hook].float().std())
            for hook in self._hooks
        )

    def _cache_of(self, ids: Tensor) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        self._run(ids, cache)
        return cache

    def _behind(self, cache: Any, tokens: Tensor) -> dict[str, Tensor]:
        repeated = copy.deepcopy(cache)
        repeated.batch_repeat_interleave(len(tokens))
        return self._run(tokens[:, None], repeated)

    def _whole(self, ids: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        rows = torch.cat([ids.expand(len(tokens), -1), tokens[:, None]], 1)
        found = self._model.activations(rows, self._hooks)
        return {hook: activations[:, -1] for hook, activations in found.items()}

    def _run(self, tokens: Tensor, cache: Any) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def keep(name: str, activations: Tensor) -> Tensor:
            seen[name] = activations[:, -1]
            if len(seen) == len(self._hooks):
                raise ForwardStopped
            return activations

        changes = {hook: partial(keep, hook) for hook in self._hooks}
        with self._model.changing(changes), torch.no_grad(), suppress(ForwardStopped):
            self._model.decoder(
                input_ids=tokens.to(self._model.device), past_key_values=cache, use_cache=True
            )
        return seen
