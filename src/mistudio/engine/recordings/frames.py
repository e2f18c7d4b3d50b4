"""Histograms of a dictionary's latents over the steps of its training: at most 256 frames of counts, in one file.

Imports no PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mistudio.store import MetricLog, read_metrics
from mistudio.store.npy import Array

FRAMES_FILE = "histograms.bin"
MOST_FRAMES = 256
FIRST_FRAMES = 16
"""So many are taken of however short a training."""
FRAME_SECONDS = 0.001
SHARE = 0.005
"""Of a training's time, for the frames and again for the looks."""
LEAST_STEPS = 5
WINDOW = "window_tokens"
NONE = "none"
"""The column beside a histogram's bins: latents that its axis has no place for."""


@dataclass(frozen=True)
class HistogramInfo:
    """One quantity of every latent, and the axis on which its values are counted.

    `edges` [bins + 1] rise; values outside are counted in the outermost bins. `none` says which latents stand apart
    from the axis; it is empty where all have a place on it.
    """

    title: str
    unit: str
    formula: str
    description: str
    scale: str
    edges: Array = field(repr=False)
    none: str = ""


def _decades(low: int, high: int, per_decade: int) -> Array:
    return 10.0 ** np.linspace(low, high, (high - low) * per_decade + 1)


def _both_signs(low: int, high: int, per_decade: int) -> Array:
    positive = _decades(low, high, per_decade)
    return np.concatenate([-positive[::-1], positive])


HISTOGRAMS: dict[str, HistogramInfo] = {
    "frequency": HistogramInfo(
        "Feature frequency",
        "share of tokens",
        "fᵢ = count of tokens with zᵢ ≠ 0 / N, N = the tokens trained on since the frame before",
        "How often each latent is active. A healthy dictionary has most of its latents between 10⁻⁵ and 10⁻²; a second "
        "hill at the low end are latents about to die, one at the top are dense latents.",
        "log",
        _decades(-7, 0, 10),
        "not active once since the frame before",
    ),
    "decoder_norm": HistogramInfo(
        "Decoder norm",
        "",
        "‖dᵢ‖ of each latent's decoder direction, in normalised units (of a crosscoder the sum over its layers)",
        "Where norms are free. Latents whose norm shrinks towards the lower end write nothing any more.",
        "log",
        _decades(-4, 2, 16),
    ),
    "encoder_norm": HistogramInfo(
        "Encoder norm",
        "",
        "‖eᵢ‖ of each latent's row of W_enc, in normalised units",
        "How sharply a latent reads. Norms that run away mean a learning rate too high.",
        "log",
        _decades(-4, 3, 16),
    ),
    "encoder_bias": HistogramInfo(
        "Encoder bias",
        "",
        "bᵢ of each latent's pre-activation ⟨eᵢ, x⟩ + bᵢ, in normalised units",
        "The more negative, the stronger the input has to be. Biases that sink together make latents die.",
        "symlog",
        _both_signs(-3, 2, 8),
    ),
    "threshold": HistogramInfo(
        "Threshold",
        "",
        "θᵢ: the latent is active where its pre-activation exceeds it, in normalised units",
        "What a JumpReLU dictionary learns instead of a fixed k.",
        "log",
        _decades(-4, 2, 16),
        "threshold 0",
    ),
}


def frame_interval(total_steps: int, log_every: int, step_seconds: float) -> int:
    """Steps between two frames. A longer training has a multiple of a shorter one's interval, so that the one can be
    thinned to the other."""
    most = affordable(total_steps * step_seconds, FRAME_SECONDS, FIRST_FRAMES, MOST_FRAMES)
    return interval(total_steps, log_every, most, LEAST_STEPS)


def step_seconds(d_in: int, d_sae: int, batch_size: int) -> float:
    """About how long a training step takes, to within a factor of two (measured on a processor).

    Counted, not measured: what a training records depends on its settings and the step alone, so that one which was
    killed records what an unbroken one would have.
    """
    return 0.003 + 4e-11 * d_in * d_sae * batch_size


def affordable(seconds: float, each: float, first: int, most: int) -> int:
    """How many recordings that take `each` seconds are `SHARE` of a training of so many: from `first` to `most`."""
    return min(most, max(first, int(SHARE * seconds / each)))


def interval(total_steps: int, log_every: int, most: int, least: int) -> int:
    """`log_every` times the smallest power of two of at least `least` steps and at most `most` times in all."""
    every = log_every
    while every < least or total_steps > most * every:
        every *= 2
    return every


class FrameLog:
    """Appends frames to the file of a run; raises what `MetricLog` raises.

    names: which of `HISTOGRAMS` it holds. steps_done: frames beyond are forgotten, as when a training goes on from the
    checkpoint of that step, and so are those that `every` passes over.
    """

    def __init__(self, path: Path, names: list[str], every: int, steps_done: int) -> None:
        columns = [WINDOW]
        for name in names:
            columns += [f"{name}.{i}" for i in range(len(HISTOGRAMS[name].edges) - 1)] + [f"{name}.{NONE}"]
        if path.exists():
            self._thin(path, every, steps_done)
        self._log = MetricLog(path, columns)

    @staticmethod
    def _thin(path: Path, every: int, steps_done: int) -> None:
        found = read_metrics(path)
        steps = found.pop("step")
        tokens, time = found.pop("tokens"), found.pop("time")
        on_schedule = (steps % every == 0) | (steps == steps_done)
        kept = np.flatnonzero((steps <= steps_done) & on_schedule)
        if len(kept) == len(steps):
            return
        thinned = path.with_name(f".part-{path.name}")
        thinned.unlink(missing_ok=True)
        with MetricLog(thinned, list(found)) as log:
            for row in kept.tolist():
                values = {name: float(column[row]) for name, column in found.items()}
                log.append(int(steps[row]), int(tokens[row]), values, float(time[row]))
        thinned.replace(path)

    def append(self, step: int, tokens: int, window_tokens: int, counts: dict[str, list[int]]) -> None:
        """One frame: per histogram its bins and, last, the latents that stand apart. Readable at once."""
        values = {WINDOW: float(window_tokens)}
        for name, numbers in counts.items():
            values |= {f"{name}.{i}": float(n) for i, n in enumerate(numbers[:-1])}
            values[f"{name}.{NONE}"] = float(numbers[-1])
        self._log.append(step, tokens, values)
        self._log.flush()

    def sync(self) -> None:
        """Make the frames so far as durable as the checkpoint that follows."""
        self._log.sync()

    def close(self) -> None:
        """Write everything and let the file go."""
        self._log.close()


@dataclass(frozen=True)
class Frames:
    """F frames of one histogram: steps, tokens and window_tokens [F] int64, counts [F, bins] and none [F] int64."""

    steps: Array
    tokens: Array
    window_tokens: Array
    counts: Array
    none: Array


def read_frames(folder: Path) -> dict[str, Frames]:
    """The frames in a run's folder by the histogram's name; empty where none were recorded.

    Safe while the training appends. Raises `TornFile` when the file is damaged inside.
    """
    path = folder / FRAMES_FILE
    if not path.exists():
        return {}
    found = read_metrics(path)
    names = dict.fromkeys(column.partition(".")[0] for column in found if "." in column)
    steps, tokens = found["step"], found["tokens"]
    read: dict[str, Frames] = {}
    for name in names:
        bins = [found[f"{name}.{i}"] for i in range(len(HISTOGRAMS[name].edges) - 1)]
        counts = np.stack(bins, axis=1).astype(np.int64)
        none = found[f"{name}.{NONE}"].astype(np.int64)
        read[name] = Frames(steps, tokens, found[WINDOW].astype(np.int64), counts, none)
    return read
