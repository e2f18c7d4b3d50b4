"""Running a model again from a hook point with other activations there, without what comes before it.

Replacing activations of block L changes nothing in blocks 0 to L-1. So a batch is run once in full, the
residual stream that enters block L is kept, and every further run lets the blocks before L hand that on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mistudio.lm.anatomy import first_tensor
from mistudio.lm.hooks import HookName, format_hook, parse_hook
from mistudio.lm.interventions import Intervention
from mistudio.lm.model import LanguageModel

_PROBE = 8  # tokens on which a shortcut is compared with the whole pass
_CLOSE = 1e-3  # of the logits' standard deviation


class Splicer:
    """Runs batches of a model with the activations at some hook points replaced.

    `hooks` are the places that will be read and replaced. Raises HookNotFound.
    """

    def __init__(self, model: LanguageModel, hooks: Sequence[str]) -> None:
        self.model = model
        self.hooks = list(dict.fromkeys(hooks))
        for name in self.hooks:
            model.hook_point(name)
        self._shortcuts: dict[int, bool] = {}

    def run(self, tokens: Tensor, attention_mask: Tensor | None = None) -> SplicedPass:
        """Run `tokens [B,S]` unchanged; what is returned can be run again. Raises TokensRefused."""
        return SplicedPass(self, tokens, attention_mask)

    def resumes_at(self, layer: int) -> bool:
        """Whether passes may begin at block `layer`: tried once, on a few tokens, against the whole pass.

        A model whose blocks share more than the residual stream would fail, and is then always run whole.
        """
        if layer not in self._shortcuts:
            ids = torch.arange(min(_PROBE, self.model.vocab_size)).unsqueeze(0)
            name = format_hook(layer - 1, "resid_post")
            self._shortcuts[layer] = True  # taken for granted by the run that tries it
            run = SplicedPass(self, ids, None, also=[name])
            resumed = run.logits_with({name: run.activations[name]})
            gap = (resumed.float() - run.logits.float()).abs().max()
            self._shortcuts[layer] = bool(gap <= _CLOSE * run.logits.float().std())
        return self._shortcuts[layer]


class SplicedPass:
    """One batch: its `activations` by hook `[B,S,d]`, its `logits [B,S,vocab]`, and further runs of it."""

    def __init__(
        self, splicer: Splicer, tokens: Tensor, attention_mask: Tensor | None, also: Sequence[str] = ()
    ) -> None:
        self._splicer, self._model = splicer, splicer.model
        self._tokens, self._mask = tokens, attention_mask
        self._tuples: dict[int, bool] = {}
        hooks = [*splicer.hooks, *also]
        layers = {hook.layer for hook in map(parse_hook, hooks) if hook.layer is not None}
        entries = [format_hook(layer, "resid_pre") for layer in layers]
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Intervention:
            def see(activations: Tensor, _: object) -> Tensor:
                seen[name] = activations
                return activations

            return see

        handles = [self._learn_output(index) for index in range(max(layers, default=-1) + 1)]
        try:
            self.logits = self._run({name: keep(name) for name in dict.fromkeys([*hooks, *entries])})
        finally:
            for handle in handles:
                handle.remove()
        self.activations = {name: seen[name] for name in hooks}
        self._entries = {layer: seen[format_hook(layer, "resid_pre")] for layer in layers}

    def logits_with(self, replacements: Mapping[str, Tensor]) -> Tensor:
        """Logits `[B,S,vocab]` with the activations `[B,S,d]` at these hooks put in the place of the model's own.

        Only what lies behind the earliest of them is computed, where the model allows it.
        """
        hooks = {name: parse_hook(name) for name in replacements}
        first = self._first_block(list(hooks.values()))
        changes: dict[str, Intervention] = {
            name: (lambda _, __, new=new: new) for name, new in replacements.items()
        }
        if not first or not self._splicer.resumes_at(first):
            return self._run(changes)
        # The residual stream after block `first` - 1: replaced itself, or the one that was kept.
        at_end = [n for n, h in hooks.items() if h.layer == first - 1]
        entry = replacements[at_end[0]] if at_end else self._entries[first]
        with self._handing_on(first, entry):
            return self._run(changes)

    def _first_block(self, hooks: list[HookName]) -> int:
        """The first block that has to run; 0 also stands for the whole model."""
        layers = [hook.layer for hook in hooks]
        if not layers or None in layers:
            return 0
        first = min(layer for layer in layers if layer is not None)
        only_end = all(hook.kind == "resid_post" for hook in hooks if hook.layer == first)
        return first + 1 if only_end else first

    def _run(self, changes: Mapping[str, Intervention]) -> Tensor:
        return self._model.logits(self._tokens, attention_mask=self._mask, interventions=changes)

    def _learn_output(self, index: int) -> Any:
        def see(_: nn.Module, __: Any, output: Any) -> None:
            self._tuples[index] = not isinstance(output, Tensor) and first_tensor(output) is not None

        return self._model.blocks[index].register_forward_hook(see)

    @contextmanager
    def _handing_on(self, first: int, entry: Tensor) -> Generator[None]:
        """While open, the blocks before `first` do nothing but return `entry`."""
        with self._model.changing({}):  # no other thread may run the model meanwhile
            blocks: list[Any] = list(self._model.blocks[:first])
            entry = entry.to(self._model.device, self._model.dtype)
            try:
                for index, block in enumerate(blocks):
                    block.forward = _returning((entry,) if self._tuples[index] else entry)
                yield
            finally:
                for block in blocks:
                    block.__dict__.pop("forward", None)


def _returning(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value
