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


class Prefix:
    """The keys and values of a text `prefix` `[P]`, to be followed by single tokens. Raises TokensRefused."""

    def __init__(self, model: LanguageModel, prefix: Sequence[int], hooks: Sequence[str]) -> None:
        self._model, self._ids, self._hooks = model, list(prefix), list(hooks)
        model.check_tokens(torch.tensor([self._ids]))
        self._cache: Any = None

    def followed_by(self, tokens: Tensor) -> dict[str, Tensor]:
        """Activations `[n, d]` by hook at each of `tokens` `[n]`, as if each alone followed the text.

        The same as whole passes give, to rounding; models whose cache cannot be repeated are run in whole passes.
        """
        parts = [self._part(some) for some in tokens.split(_BATCH)]
        return {hook: torch.cat([part[hook] for part in parts]) for hook in self._hooks}

    def _part(self, tokens: Tensor) -> dict[str, Tensor]:
        if self._cache is None:
            self._cache = self._fill(tokens[:1])
        if self._cache is False:
            return self._whole(tokens)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(tokens))
        return self._run(tokens[:, None], cache)

    def _whole(self, tokens: Tensor) -> dict[str, Tensor]:
        text = torch.tensor(self._ids).expand(len(tokens), -1)
        found = self._model.activations(torch.cat([text, tokens[:, None]], 1), self._hooks)
        return {hook: activations[:, -1] for hook, activations in found.items()}

    def _fill(self, one: Tensor) -> Any:
        """The cache of the text; False where following it does not give what a whole pass gives."""
        from transformers import DynamicCache

        try:
            cache = DynamicCache(config=self._model.config)
            self._run(torch.tensor([self._ids]), cache)
            trial = copy.deepcopy(cache)
            trial.batch_repeat_interleave(1)
            found = self._run(one[:, None], trial)
        except (TypeError, AttributeError, NotImplementedError, ValueError, RuntimeError):
            return False
        whole = self._whole(one)
        near = all(
            float((found[hook].float() - whole[hook].float()).abs().max())
            <= _CLOSE * float(whole[hook].float().std())
            for hook in self._hooks
        )
        return cache if near else False

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
