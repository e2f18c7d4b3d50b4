"""Taking a look at features of a dictionary in training: which tokens of the buffer a few latents fire on."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.recordings.frames import step_seconds
from mistudio.engine.recordings.looks import (
    FOLDER,
    LEFT_OUT,
    asked_at,
    asked_for,
    drop_looks,
    list_looks,
    look_interval,
    read_look,
    write_look,
)
from mistudio.engine.runs import Run
from mistudio.engine.sources import Observed
from mistudio.sae import SAE, Trainer
from mistudio.store.npy import Array

FOLLOWED = 24
"""Latents that are followed without being asked for."""
EXAMPLES = 6
BEFORE, AFTER = 24, 12
"""Tokens shown before and after the strongest."""
_SHARE = 0.01
"""Rows of a look by rows trained on since the one before. Encoding a row is about half of what training on it costs."""
_LEAST, _MOST = 256, 32_768
_BLOCK = 1_024
_CHOICE = 4_096
_POLL_SECONDS = 1.0


class Looking:
    """Looks every so many steps at rows of the buffer, and soon after somebody asked for other latents.

    The latents followed are chosen once, evenly over the logarithm of their frequency, so that one can see them
    become something; one that is silent in two looks gives its place to another. What is seen depends on the step
    only, but for looks that were asked for between two.
    A look encodes 1 % as many rows as were trained on since the look before.
    """

    def __init__(self, trainer: Trainer, run: Run, source: Observed, folder: Path | None) -> None:
        self._trainer, self._run, self._source, self._folder = trainer, run, source, folder
        config = trainer.config
        self.every = look_interval(
            config.total_steps,
            config.log_every,
            step_seconds(trainer.sae.d_in, config.d_sae, config.batch_size),
        )
        self._rows = min(_MOST, max(_LEAST, int(_SHARE * self.every * config.batch_size)))
        self._asked_at, self._polled_at = 0, time.monotonic()
        if folder is not None:
            (folder / FOLDER).mkdir(exist_ok=True)
            drop_looks(folder, self.every, trainer.steps_done)
            self._asked_at = asked_at(folder)

    @property
    def due(self) -> bool:
        """Whether it is time for a look, after the step just done."""
        return self._trainer.steps_done % self.every == 0 or self._trainer.done

    @property
    def asked(self) -> bool:
        """Whether somebody has asked for other latents since the last look; looked up once a second."""
        now = time.monotonic()
        if self._folder is None or now - self._polled_at < _POLL_SECONDS:
            return False
        self._polled_at = now
        return asked_at(self._folder) != self._asked_at

    @torch.no_grad()
    def look(self, sae: SAE) -> None:
        """Take a look with a dictionary in the model's own units, and keep it."""
        assert self._folder is not None
        trainer, folder = self._trainer, self._folder
        sample = self._source.sample(self._rows, trainer.steps_done)
        if sample is None or not len(sample.tokens):
            return
        n = len(sample.tokens)
        parts = [sample.activations[hook] for hook in self._run.reads]
        rows = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).split(_BLOCK)
        self._asked_at = asked_at(folder)
        asked = [latent for latent in asked_for(folder) if latent < sae.d_sae]
        before = self._before()
        spread = list(before["follow_next"]) if before else _spread(_counts(sae, rows[: _CHOICE // _BLOCK]))
        followed = [*asked, *(latent for latent in spread if latent not in asked)]
        slots = torch.full((sae.d_sae,), -1, dtype=torch.int64, device=sae.device)
        slots[followed] = torch.arange(len(followed), device=sae.device)
        counts = torch.zeros(sae.d_sae, dtype=torch.int64, device=sae.device)
        seen: list[Tensor] = []
        for block in rows:
            latents = sae.encode(sae.check(block))
            counts += latents.counts()
            at = slots[latents.indices]
            kept = (at >= 0).nonzero()[:, 0]
            dense = torch.zeros(len(block), len(followed), device=sae.device)
            dense[latents.tokens[kept], at[kept]] = latents.values[kept].float()
            seen.append(dense.T.cpu())
        values = torch.cat(seen, 1).numpy()
        origins = tuple(part.cpu().numpy() for part in (sample.sequences, sample.positions, sample.tokens))
        found: list[dict[str, Any]] = [
            {
                "latent": latent,
                "chosen": "asked" if latent in asked else "spread",
                "count": int(counts[latent]),
                "maximum": _rounded(values[slot].max()),
                "examples": _examples(values[slot], *origins),
            }
            for slot, latent in enumerate(followed)
        ]
        silent = _silent(found) & _silent(before["latents"] if before else [])
        look = {
            "step": trainer.steps_done,
            "tokens": trainer.tokens_seen,
            "sample_tokens": n,
            "latents": found,
            "follow_next": _replaced(spread, silent, counts),
        }
        write_look(folder, look)

    def _before(self) -> dict[str, Any] | None:
        assert self._folder is not None
        # One that was asked for in between does not decide what the others follow.
        steps = [s for s in list_looks(self._folder) if s % self.every == 0 and s < self._trainer.steps_done]
        return read_look(self._folder, steps[-1]) if steps else None


def _counts(sae: SAE, blocks: tuple[Tensor, ...]) -> Tensor:
    counts = torch.zeros(sae.d_sae, dtype=torch.int64, device=sae.device)
    for block in blocks:
        counts += sae.encode(sae.check(block)).counts()
    return counts


def _spread(counts: Tensor, n: int = FOLLOWED, without: frozenset[int] = frozenset()) -> list[int]:
    """Up to `n` latents that are active more than once, evenly over the logarithm of their counts, the rarest first."""
    alive = (counts > 1).nonzero()[:, 0].cpu()
    order = alive[torch.argsort(counts.cpu()[alive], stable=True)].tolist()
    order = [latent for latent in order if latent not in without]
    if len(order) <= n:
        return order
    logs = [math.log(int(counts[latent])) for latent in order]
    chosen: list[int] = []
    at = 0
    for i in range(n):
        wanted = logs[0] + (logs[-1] - logs[0]) * i / max(n - 1, 1)
        last = len(order) - (n - i)  # so many are needed behind it
        while at < last and logs[at] < wanted:
            at += 1
        chosen.append(order[at])
        at += 1
    return chosen


def _silent(latents: list[dict[str, Any]]) -> set[int]:
    return {one["latent"] for one in latents if not one["count"]}


def _replaced(followed: list[int], silent: set[int], counts: Tensor) -> list[int]:
    """The latents to follow with others in the places of silent ones."""
    kept = [latent for latent in followed if latent not in silent]
    fresh = _spread(counts, FOLLOWED - len(kept), frozenset(followed)) if len(kept) < FOLLOWED else []
    return [*kept, *fresh]


def _examples(values: Array, sequences: Array, positions: Array, tokens: Array) -> list[dict[str, Any]]:
    """The strongest activations [n] of one latent, one of each sequence, with the tokens around them."""
    found: list[dict[str, Any]] = []
    used: set[int] = set()
    active = np.flatnonzero(values > 0 if (values >= 0).all() else values)
    for row in active[np.argsort(-values[active], kind="stable")].tolist():
        sequence = int(sequences[row])
        if sequence in used:
            continue
        used.add(sequence)
        first, last = max(0, row - BEFORE), min(len(values), row + AFTER + 1)
        same = np.flatnonzero(sequences[first:last] == sequence)
        first, last = first + int(same[0]), first + int(same[-1]) + 1
        places = positions[first:last].tolist()
        # tokens that do not count (special ones) have no row
        shown: dict[int, tuple[int, float | None]] = dict.fromkeys(
            range(places[0], places[-1] + 1), (LEFT_OUT, None)
        )
        near = map(_rounded, values[first:last].tolist())
        shown |= dict(zip(places, zip(tokens[first:last].tolist(), near, strict=True), strict=True))
        mark = int(positions[row]) - places[0]
        found.append(
            {
                "sequence": sequence,
                "position": places[0] + mark,
                "strongest": list(shown.values())[mark][1],
                "start": places[0],
                "mark": mark,
                "tokens": [token for token, _ in shown.values()],
                "activations": [value for _, value in shown.values()],
            }
        )
        if len(found) == EXAMPLES:
            break
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if value else 0.0
