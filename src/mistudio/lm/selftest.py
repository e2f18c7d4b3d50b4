"""Proving that a model's hook points are what they are said to be, on the model itself.

Each kind is compared with something that was computed without our hooks (Transformers' `output_hidden_states`, a module
called again on what it was seen to read) or with the other kinds, whose sums must give the residual stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mistudio.lm.anatomy import first_tensor
from mistudio.lm.hooks import BLOCK_KINDS, BlockKind, format_hook, parse_hook
from mistudio.lm.model import LanguageModel
from mistudio.lm.packed import MIN_ROWS, lays_out

Verdict = Literal["exact", "close", "wrong", "absent"]
ROWS, LENGTH = 2, 16
BATCH_LENGTH = 64
# As a `gap` below: beyond rounding in this dtype.
_CLOSE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}

# Kinds that are what a module reads: it is called again on them.
_RERUN = ("attn_z", "mlp_in")

CHECKS: dict[BlockKind, str] = {
    "resid_pre": "equals Transformers' hidden_states[layer]",
    "attn_z": "through W_O equals W_O's own output",
    "attn_out": "with resid_pre and mlp_out sums to resid_post",
    "resid_mid": "equals resid_pre + attn_out",
    "mlp_in": "through the MLP equals the MLP's own output",
    "mlp_out": "with resid_pre and attn_out sums to resid_post",
    "resid_post": "equals hidden_states[layer + 1] (the last one after the final norm)",
}


@dataclass(frozen=True)
class KindVerdict:
    """What was found of one kind of hook point.

    layers: in how many of the model's layers it is. shape: whether all activations had the announced `[.., d]`.
    gap: how far it is from what it must equal at the worst token, ‖a − b‖ / ‖b‖; 0 is bit for bit. Not by the largest
        element: where a model has massive ones, rounding alone moves those far.
    writes: whether handing back what was read leaves the logits as they are, bit for bit, and zeros change them.
    batch_gap: as `gap`, of a batch as large as a harvest's to the same tokens in small ones, at the first, the middle
        and the last of its layers; None where both are computed alike (see `lm.packed`).
    """

    kind: str
    check: str
    verdict: Verdict
    layers: int
    shape: bool
    gap: float | None
    writes: bool | None
    batch_gap: float | None = None


@dataclass(frozen=True)
class HookReport:
    """The verdicts on all kinds, and what they were reached on. `seconds` is the time it took.

    tokens: in the batch of every test but `batch_gap`'s, whose has `batch_tokens` (0 where there was none).
    """

    verdicts: list[KindVerdict]
    dtype: str
    device: str
    tokens: int
    seconds: float
    batch_tokens: int = 0

    @property
    def passed(self) -> bool:
        """Whether no kind that the model has is wrong."""
        return all(v.verdict != "wrong" and v.shape and v.writes is not False for v in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        return asdict(self) | {"passed": self.passed}


@torch.no_grad()
def verify_hooks(
    model: LanguageModel, on_step: Callable[[int, int], None] = lambda _done, _total: None
) -> HookReport:
    """Try every kind of hook point at every layer, on a few seeded random tokens.

    `on_step(done, total)` is called between passes; what it raises ends the test.
    """
    started = time.monotonic()
    tokens = _tokens(model)
    kinds = [kind for kind in BLOCK_KINDS if any(p.kind == kind for p in model.hook_points())]
    rows = _tokens(model, MIN_ROWS, BATCH_LENGTH)
    batched = lays_out(model.blocks, rows.numel())
    total = 3 + 2 * len(kinds) + 2 * batched
    on_step(0, total)
    names = [point.name for point in model.hook_points()]
    outputs = {name: model.place_of(name)[0] for name in names if parse_hook(name).kind in _RERUN}
    found = model.activations(tokens, [*names, *dict.fromkeys(outputs.values())])
    on_step(1, total)
    hidden: Any = model.hf(input_ids=tokens.to(model.device), output_hidden_states=True, use_cache=False)
    plain = model.logits(tokens)
    on_step(3, total)
    batch_gaps = _batch_gaps(model, rows) if batched else {}
    done = 3 + 2 * batched
    on_step(done, total)
    verdicts: list[KindVerdict] = []
    for kind in BLOCK_KINDS:
        points = [point for point in model.hook_points() if point.kind == kind]
        if not points:
            verdicts.append(KindVerdict(kind, CHECKS[kind], "absent", 0, True, None, None))
            continue
        shape = all(found[p.name].shape == (*tokens.shape, p.d) for p in points)
        gaps = [
            _rerun(model, outputs[p.name], found[p.name], found)
            if p.name in outputs
            else _gap(model, kind, p.layer or 0, found, hidden.hidden_states)
            for p in points
        ]
        known = [gap for gap in gaps if gap is not None]
        gap = max(known) if known else None
        name = points[len(points) // 2].name
        writes = _writes(model, tokens, name, plain)
        done += 2
        on_step(done, total)
        batch_gap = batch_gaps.get(kind)
        verdict = _verdict(gap, model.dtype)
        if batch_gap is not None and _verdict(batch_gap, model.dtype) == "wrong":
            verdict = "wrong"
        verdicts.append(KindVerdict(kind, CHECKS[kind], verdict, len(points), shape, gap, writes, batch_gap))
    return HookReport(
        verdicts=verdicts,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        tokens=tokens.numel(),
        seconds=round(time.monotonic() - started, 2),
        batch_tokens=rows.numel() if batched else 0,
    )


def _batch_gaps(model: LanguageModel, tokens: Tensor) -> dict[str, float]:
    """Of each kind, how far the activations of one large batch are from those of the same tokens in small ones."""
    names: dict[str, str] = {}
    for kind in BLOCK_KINDS:
        points = [point.name for point in model.hook_points() if point.kind == kind]
        names |= {points[at]: kind for at in {0, len(points) // 2, len(points) - 1} if points}
    together = model.activations(tokens, list(names))
    apart = [model.activations(part, list(names)) for part in tokens.split(MIN_ROWS // 2 // tokens.shape[1])]
    gaps: dict[str, float] = {}
    for name, kind in names.items():
        gap = _distance(together[name], torch.cat([one[name] for one in apart]))
        gaps[kind] = max(gap, gaps.get(kind, 0.0))
    return gaps


def _tokens(model: LanguageModel, at_least: int = ROWS * LENGTH, length: int = LENGTH) -> Tensor:
    """Random ordinary tokens `[B, S]`, B·S ≥ `at_least`, S ≤ `length`, the same for the same model."""
    special = torch.tensor(sorted(model.special_ids), dtype=torch.long)
    ordinary = torch.arange(model.vocab_size)
    ordinary = ordinary[~torch.isin(ordinary, special)]
    length = min(length, model.context_limit or length)
    draw = torch.Generator().manual_seed(0)
    return ordinary[torch.randint(len(ordinary), (-(-at_least // length), length), generator=draw)]


def _verdict(gap: float | None, dtype: torch.dtype) -> Verdict:
    if gap == 0:
        return "exact"
    # What cannot be compared, or is not a number, has not been shown to be right.
    return "close" if gap is not None and gap <= _CLOSE.get(dtype, 1e-4) else "wrong"


def _rerun(model: LanguageModel, path: str, here: Tensor, found: dict[str, Tensor]) -> float | None:
    """How far a module, called again on what it was seen to read, is from what it gave out then."""
    again = first_tensor(model.hf.get_submodule(path)(here))
    return None if again is None else _distance(again, found[path])


def _gap(
    model: LanguageModel, kind: BlockKind, layer: int, found: dict[str, Tensor], hidden: Any
) -> float | None:
    def at(other: str) -> Tensor | None:
        return found.get(format_hook(layer, other))

    here = found[format_hook(layer, kind)]
    if kind == "resid_pre":
        return _distance(here, hidden[layer])
    if kind == "resid_post":
        last = layer + 1 == model.n_layers
        return _distance(model.final_norm(here) if last else here, hidden[layer + 1])
    before, attention, mlp, after = at("resid_pre"), at("attn_out"), at("mlp_out"), at("resid_post")
    if before is None or attention is None:
        return None
    if kind == "resid_mid":
        return _distance(here, before + attention)
    if mlp is None or after is None:
        return None
    # Floating-point sums depend on their order, and which one a block uses is its own affair.
    sums = (before + attention + mlp, attention + mlp + before, before + mlp + attention)
    return min(_distance(total, after) for total in sums)


def _distance(one: Tensor, other: Tensor) -> float:
    """‖one − other‖ ÷ ‖other‖ of `[.., d]` at the worst token; infinite where shapes differ or one is no number."""
    if one.shape != other.shape:
        return float("inf")
    if torch.equal(one, other):
        return 0.0
    there = other.float()
    gap = float(((one.float() - there).norm(dim=-1) / there.norm(dim=-1).clamp(min=1e-12)).max())
    return gap if gap == gap else float("inf")


def _writes(model: LanguageModel, tokens: Tensor, name: str, plain: Tensor) -> bool:
    """Whether what is put in at a hook point reaches the logits, and nothing else does."""
    same = model.logits(tokens, interventions={name: lambda x, _: x.clone()})
    zeroed = model.logits(tokens, interventions={name: lambda x, _: torch.zeros_like(x)})
    return torch.equal(same, plain) and not torch.equal(zeroed, plain)
