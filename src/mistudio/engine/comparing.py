"""Checkpoints as dictionaries, and how far one dictionary's directions are from another's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mistudio.engine.checkpoints import Checkpoint
from mistudio.engine.errors import EngineError
from mistudio.sae import SAE, Trainer

SAMPLE = 8192
"""Latents that are matched at most: each with all of the other dictionary."""
BINS = 40
_PIECE = 512


class Incomparable(EngineError):
    """Two dictionaries of activations of different widths."""

    code = "incomparable"


@dataclass(frozen=True)
class Likeness:
    """How alike the decoder directions of two dictionaries are.

    matched: [n] for each latent of the later dictionary (a seeded sample beyond `SAMPLE`), the largest cosine of its
        decoder direction with any of the earlier one's.
    same: [n] its cosine with the latent of the same number; None where the widths differ.
    moved: how many have their nearest direction in another latent's place; None where the widths differ.
    """

    matched: Tensor
    same: Tensor | None
    moved: int | None


def open_checkpoint(checkpoint: Checkpoint | Path) -> SAE:
    """The dictionary as it was at a checkpoint, in the model's own units.

    Raises TornCheckpoint when it is damaged, SAEError when no activations had been seen.
    """
    path = checkpoint if isinstance(checkpoint, Path) else checkpoint.path
    trainer, extra = Trainer.resume(path)
    return trainer.finish(extra.get("metadata"))


@torch.no_grad()
def likeness(before: SAE, after: SAE, *, seed: int = 0) -> Likeness:
    """Compare decoder directions; a crosscoder's are those of all its layers together. Raises Incomparable."""
    if before.d_out != after.d_out:
        raise Incomparable(
            f"One dictionary writes activations of width {before.d_out}, the other of {after.d_out}.",
            "Compare checkpoints of one hook point, or of hook points of one width.",
        )
    old, new = _directions(before.W_dec), _directions(after.W_dec)
    chosen = torch.arange(len(new))
    if len(new) > SAMPLE:
        draw = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(new), generator=draw)[:SAMPLE].sort().values
    found = [(old @ part.T).max(dim=0) for part in new[chosen].split(_PIECE)]
    matched = torch.cat([one.values for one in found]).clamp(-1, 1)
    if len(old) != len(new):
        return Likeness(matched, None, None)
    nearest = torch.cat([one.indices for one in found])
    same = torch.linalg.vecdot(old[chosen], new[chosen]).clamp(-1, 1)
    return Likeness(matched, same, int((nearest != chosen).sum()))


def _directions(W_dec: Tensor) -> Tensor:
    return torch.nn.functional.normalize(W_dec.detach().float(), dim=1)
