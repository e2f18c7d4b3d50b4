"""One loaded language model: its hook points, its activations, its unembedding."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mistudio.lm.anatomy import (
    BlockAnatomy,
    ForwardStopped,
    find_anatomies,
    find_blocks,
    find_final_norm,
    norm_gain,
)
from mistudio.lm.errors import HookNotFound, ModelLoadError, TokensRefused
from mistudio.lm.fingerprint import fingerprint_of
from mistudio.lm.hooks import (
    BLOCK_KINDS,
    HookName,
    HookPoint,
    depth_of,
    format_hook,
    head_not_found,
    hook_not_found,
    parse_hook,
)
from mistudio.lm.interventions import Intervention, Positions
from mistudio.lm.packed import PackedLayers
from mistudio.lm.sites import Change, only_in, replace_at, replace_between, watch
from mistudio.lm.tokens import check_tokens, is_causal


class LanguageModel:
    """A Transformers causal language model with named hook points.

    `hf` is the Transformers model, in evaluation mode and on its device; `source` says where it came from.
    Forward passes of one model take turns (a lock), so it may be shared between threads.
    """

    def __init__(self, hf: Any, tokenizer: Any | None = None, *, source: str = "") -> None:
        self.hf = hf.eval()
        self.source = source
        self._tokenizer = tokenizer
        self._turn = threading.RLock()
        self._packed = PackedLayers()
        self.config: Any = hf.config.get_text_config(decoder=True)
        self.decoder: nn.Module = hf.get_decoder()
        self.blocks = find_blocks(self.decoder, int(self.config.num_hidden_layers), type(hf).__name__)

    def __repr__(self) -> str:
        size = f"{self.n_layers} layers of {self.d_model:,}"
        precision = str(self.dtype).removeprefix("torch.")
        return f"<LanguageModel {self.source or 'in memory'}, {size}, {precision} on {self.device}>"

    @property
    def tokenizer(self) -> Any:
        """The tokenizer. Raises ModelLoadError (`no_tokenizer`) for a model that came without one."""
        if self._tokenizer is None:
            raise ModelLoadError(
                "no_tokenizer",
                f"The model {self.source or 'in memory'} has no tokenizer.",
                "Put the tokenizer's files (tokenizer.json, tokenizer_config.json) next to its weights.",
            )
        return self._tokenizer

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        return int(self.config.hidden_size)

    @property
    def vocab_size(self) -> int:
        return int(self.config.vocab_size)

    @property
    def device(self) -> torch.device:
        return next(self.hf.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.hf.parameters()).dtype

    @property
    def context_limit(self) -> int | None:
        """The most positions the model was built for; None where its configuration does not say."""
        limit = getattr(self.config, "max_position_embeddings", None)
        return int(limit) if limit else None

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens: the tokenizer's named and added ones, and the configuration's."""
        ids: set[int] = set()
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(self.config, name, None)
            ids.update(value if isinstance(value, list) else [] if value is None else [value])
        if self._tokenizer is not None:
            ids.update(self._tokenizer.all_special_ids)
            added = self._tokenizer.added_tokens_decoder
            ids.update(index for index, token in added.items() if token.special)
        return frozenset(ids)

    # Hook points

    @cached_property
    def _anatomies(self) -> list[BlockAnatomy]:
        with self._turn:
            return find_anatomies(self.decoder, self.blocks, self.device, self.n_heads)

    @property
    def n_heads(self) -> int:
        """Attention heads of a block (query heads, where keys and values are shared between them)."""
        return int(self.config.num_attention_heads)

    @property
    def fingerprint(self) -> str:
        """A digest of what this model computes: its architecture, precision and weights, not its name or place.

        See `mistudio.lm.fingerprint`: revisions and fine-tunings of one model differ, copies of it do not.
        """
        with self._turn:
            return fingerprint_of(self.hf, self.config)

    def hook_points(self) -> list[HookPoint]:
        """Every named hook point that the model really computes, in the order in which it computes them."""
        return [
            self._block_point(HookName(kind=kind, layer=layer))
            for layer, anatomy in enumerate(self._anatomies)
            for kind in anatomy.kinds
        ]

    def _block_point(self, hook: HookName) -> HookPoint:
        if hook.kind != "attn_z":
            return HookPoint(str(hook), hook.layer, hook.kind, self.d_model)
        width = self._anatomies[hook.layer or 0].mixer_width
        if hook.head is None:
            return HookPoint(str(hook), hook.layer, hook.kind, width, self.n_heads)
        return HookPoint(str(hook), hook.layer, hook.kind, width // self.n_heads, 1)

    def hook_point(self, name: str) -> HookPoint:
        """The hook point of that name. Raises HookNotFound, listing what there is."""
        hook = parse_hook(name)
        if hook.layer is not None:
            self._site(hook)
            return self._block_point(hook)
        probe = self.activations(torch.arange(4).unsqueeze(0), [name])[name]
        return HookPoint(str(hook), None, "module", int(probe.shape[-1]))

    def place_of(self, name: str) -> tuple[str, str]:
        """The path of the module at which a hook is read, and whether at its input ("in") or output ("out").

        Raises HookNotFound.
        """
        module, side = self._site(parse_hook(name))
        return self._paths[module], side

    @cached_property
    def _paths(self) -> dict[nn.Module, str]:
        return {module: path for path, module in self.hf.named_modules()}

    def _site(self, hook: HookName) -> tuple[nn.Module, str]:
        """The module at which a hook is read, and whether at its input or its output."""
        if hook.layer is None:
            path = str(hook.module)
            try:
                return self.hf.get_submodule(path), hook.side
            except AttributeError:
                close = get_close_matches(path, [n for n, _ in self.hf.named_modules() if n], n=3)
                raise HookNotFound(
                    f"This model has no module '{path}'.",
                    f"Close to it are {', '.join(close)}."
                    if close
                    else "Hook points of blocks are named like "
                    f"'{format_hook(0, 'resid_post')}' (blocks 0 to {self.n_layers - 1}).",
                ) from None
        if hook.layer >= self.n_layers:
            every = [kind for kind in BLOCK_KINDS if any(kind in a.kinds for a in self._anatomies)]
            raise hook_not_found(
                str(hook), self.n_layers, every, f"it has {self.n_layers} layers, counted from 0"
            )
        block, anatomy = self.blocks[hook.layer], self._anatomies[hook.layer]
        if hook.kind not in anatomy.kinds:
            why = (
                "attention and MLP read the same residual stream in parallel, so nothing lies between"
                if hook.kind == "resid_mid" and anatomy.parallel
                else f"no module of a {type(block).__name__} was seen to compute it"
            )
            raise hook_not_found(str(hook), self.n_layers, anatomy.kinds, why)
        if hook.head is not None and hook.head >= self.n_heads:
            raise head_not_found(hook, self.n_heads)
        sites: dict[str, tuple[str | None, str]] = {
            "resid_pre": ("", "in"),
            "attn_z": (anatomy.mixer, "in"),
            "attn_out": (anatomy.attn_write, "out"),
            "resid_mid": (anatomy.mid_reader, "in"),
            "mlp_in": (anatomy.mlp, "in"),
            "mlp_out": (anatomy.mlp_write, "out"),
            "resid_post": ("", "out"),
        }
        child, side = sites[hook.kind]
        return block.get_submodule(str(child)), side

    def _part(self, hook: HookName) -> slice | None:
        """Which of the numbers at its site are the hook's: one head's, or all (None)."""
        if hook.head is None:
            return None
        d = self._anatomies[hook.layer or 0].mixer_width // self.n_heads
        return slice(hook.head * d, (hook.head + 1) * d)

    # Reading

    def activations(
        self, tokens: Tensor, hooks: Sequence[str], attention_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Activations at each hook for `tokens [B,S]`: `{hook: [B,S,d]}` in the model's dtype, on its device.

        One pass serves all hooks and stops as soon as the deepest of them has been seen; the LM head never
        runs. `attention_mask [B,S]` is true at real tokens. Padding on the right is not masked in the pass:
        no real token of a causal model can see it, and without a mask the faster attention kernel is used.
        What is returned at padding is meaningless.
        Raises HookNotFound and TokensRefused.
        """
        parsed = {name: parse_hook(name) for name in hooks}
        sites = {name: self._site(hook) for name, hook in parsed.items()}
        parts = {name: self._part(hook) for name, hook in parsed.items()}
        tokens, mask, position_ids = self._inputs(tokens, attention_mask)
        seen: dict[str, Tensor] = {}

        def keep(name: str, tensor: Tensor | None) -> None:
            if tensor is not None and tensor.ndim == 3:
                part = parts[name]
                seen[name] = tensor if part is None else tensor[..., part]
            if len(seen) == len(sites):
                raise ForwardStopped

        handles = [
            watch(module, side, lambda t, name=name: keep(name, t)) for name, (module, side) in sites.items()
        ]
        try:
            # no_grad, not inference_mode: an inference tensor cannot be saved for a backward pass, and a
            # trainer's first product with these does just that.
            with self._turn, torch.no_grad(), self._packed.over(self._blocks_up_to(parsed), tokens.numel()):
                self.decoder(
                    input_ids=tokens, attention_mask=mask, position_ids=position_ids, use_cache=False
                )
        except ForwardStopped:
            pass
        finally:
            for handle in handles:
                handle.remove()
        for name in sites:
            if name not in seen:
                raise HookNotFound(
                    f"'{name}' yields no activations of shape [batch, position, width] in this model.",
                    f"Choose a hook point like '{format_hook(0, 'resid_post')}'.",
                )
        return {name: seen[name] for name in sites}

    def _blocks_up_to(self, hooks: Mapping[str, HookName]) -> nn.ModuleList:
        """The blocks that a pass to these hooks runs through (all where a hook is not a block's)."""
        layers = [hook.layer for hook in hooks.values()]
        deepest = max((layer for layer in layers if layer is not None), default=None)
        return self.blocks if deepest is None or None in layers else self.blocks[: deepest + 1]

    def _inputs(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Tokens on the device, and the mask and positions that the pass needs (None where it needs none)."""
        self.check_tokens(tokens)
        tokens = tokens.to(self.device, torch.long)
        if mask is None:
            return tokens, None, None
        real = mask.to(self.device, torch.bool)
        if real.shape != tokens.shape or not bool(real.any(1).all()):
            raise TokensRefused(
                "The attention mask must have the tokens' shape and a real token in every row."
            )
        if bool(real.all()):
            return tokens, None, None
        padded_right = not bool((real[:, 1:] & ~real[:, :-1]).any())
        if padded_right and is_causal(self.config):
            return torch.where(real, tokens, tokens[:, :1]), None, None
        return tokens, real.long(), (real.long().cumsum(1) - 1).clamp(min=0)

    def check_tokens(self, tokens: Tensor) -> None:
        """Raises TokensRefused unless `tokens` is a non-empty `[B,S]` of ids that this model can take."""
        check_tokens(tokens, self.vocab_size, self.context_limit)

    # Changing

    @contextmanager
    def changing(self, changes: Mapping[str, Change]) -> Generator[None]:
        """While open, each hook's activations `[B,S,d]` are replaced by what its function returns.

        A change at `resid_mid` is written into attention's contribution, so that it reaches both the MLP
        and the rest of the residual stream. Other threads wait until it closes.
        """
        with self._turn:
            handles: list[Any] = []
            try:
                # Registered in the order of computation, so that a later place sees the earlier change.
                for name in sorted(changes, key=depth_of):
                    hook, change = parse_hook(name), changes[name]
                    module, side = self._site(hook)
                    if hook.kind == "resid_mid":
                        block = self.blocks[hook.layer or 0]
                        write = block.get_submodule(str(self._anatomies[hook.layer or 0].attn_write))
                        handles += replace_between(block, write, change, name)
                    elif (part := self._part(hook)) is not None:
                        handles.append(replace_at(module, side, only_in(part, change, name), name))
                    else:
                        handles.append(replace_at(module, side, change, name))
                yield
            finally:
                for handle in handles:
                    handle.remove()

    def logits(
        self,
        tokens: Tensor,
        *,
        attention_mask: Tensor | None = None,
        interventions: Mapping[str, Intervention] | None = None,
    ) -> Tensor:
        """Next-token logits `[B,S,vocab]` for `tokens [B,S]`; every position counts as prompt."""
        tokens, mask, position_ids = self._inputs(tokens, attention_mask)
        positions = Positions(start=0, length=tokens.shape[1], prompt_length=tokens.shape[1])
        changes: dict[str, Change] = {
            name: lambda t, act=act: act(t, positions) for name, act in (interventions or {}).items()
        }
        with self.changing(changes), torch.no_grad():
            output = self.hf(
                input_ids=tokens, attention_mask=mask, position_ids=position_ids, use_cache=False
            )
        return output.logits

    # Unembedding

    @property
    def unembedding(self) -> Tensor:
        """The unembedding matrix `[vocab, d_model]` (W_U transposed, as Transformers stores it)."""
        return self.hf.get_output_embeddings().weight

    @cached_property
    def final_norm(self) -> nn.Module:
        """The norm between the last block and the unembedding."""
        return find_final_norm(self.decoder, self.d_model)

    @torch.no_grad()
    def logits_of_directions(self, directions: Tensor, *, fold_final_norm: bool = False) -> Tensor:
        """What `directions [n, d_model]` write to the logits: `directions @ W_U`, `[n, vocab]`.

        This is the field's convention for a feature's top and bottom logits (`W_dec @ W_U`; SAELens and
        SAEDashboard load the model unprocessed): no final norm, no bias, no soft cap, so values rank
        tokens and are not log-probabilities. `fold_final_norm=True` multiplies by the final norm's gain
        first, as TransformerLens' folded weights do. The result needs n × vocab × 4 bytes: ask in parts.
        """
        weight = self.unembedding
        rows = directions.to(weight)
        if fold_final_norm:
            rows = rows * norm_gain(self.final_norm, self.d_model).to(rows)
        return rows @ weight.T

    @torch.no_grad()
    def logit_lens(self, residual: Tensor) -> Tensor:
        """Logits `[..., vocab]` if the residual stream `[..., d_model]` were the last.

        Final norm, unembedding and, where the model has one, its soft cap: at the last block's output these
        are the model's own logits.
        """
        logits = self.hf.get_output_embeddings()(self.final_norm(residual.to(self.device, self.dtype)))
        cap = getattr(self.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits
