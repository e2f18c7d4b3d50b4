"""Counting a dictionary's latents into the histograms of `frames`, while it is trained."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mistudio.engine.recordings.frames import FRAMES_FILE, HISTOGRAMS, FrameLog, frame_interval, step_seconds
from mistudio.sae import Trainer


class Histograms:
    """Writes a frame every so many steps of a training, and at its end.

    folder: of the run; None where nothing is written (another rank writes, but all count together).
    """

    def __init__(self, trainer: Trainer, folder: Path | None) -> None:
        config = trainer.config
        self._trainer = trainer
        self.every = frame_interval(
            config.total_steps,
            config.log_every,
            step_seconds(trainer.sae.d_in, config.d_sae, config.batch_size),
        )
        self.names = ["frequency"]
        if config.decoder_norm == "free":
            self.names.append("decoder_norm")
        self.names += ["encoder_norm", "encoder_bias"]
        if "threshold" in trainer.sae.activation.latent_parameters:
            self.names.append("threshold")
        self._edges = {
            name: torch.tensor(HISTOGRAMS[name].edges, dtype=torch.float64, device=trainer.sae.device)
            for name in self.names
        }
        self._log: FrameLog | None = None
        if folder is not None:
            self._log = FrameLog(folder / FRAMES_FILE, self.names, self.every, trainer.steps_done)

    @property
    def due(self) -> bool:
        """Whether a frame belongs after the step just done."""
        return self._trainer.steps_done % self.every == 0 or self._trainer.done

    @torch.no_grad()
    def add(self) -> None:
        """Count the latents as they are now. Ranks that share them call this together."""
        trainer, sae = self._trainer, self._trainer.sae
        active, window = trainer.take_activity()
        values = {
            "frequency": active.double() / max(window, 1),
            "decoder_norm": sae.decoder_norms() if "decoder_norm" in self.names else None,
            "encoder_norm": sae.W_enc.norm(dim=1),
            "encoder_bias": sae.b_enc,
            "threshold": sae.get_parameter("threshold") if "threshold" in self.names else None,
        }
        counted: list[Tensor] = []
        for name in self.names:
            found = values[name]
            assert found is not None
            counted.append(_count(found.double(), self._edges[name], bool(HISTOGRAMS[name].none)))
        sizes = [len(counts) for counts in counted]
        numbers = sae.shards.sum(torch.cat(counted)).split(sizes)
        if self._log is not None:
            counts = {name: found.tolist() for name, found in zip(self.names, numbers, strict=True)}
            self._log.append(trainer.steps_done, trainer.tokens_seen, window, counts)

    def sync(self) -> None:
        """Make the frames as durable as the checkpoint that follows."""
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Let the file go."""
        if self._log is not None:
            self._log.close()


def _count(values: Tensor, edges: Tensor, apart: bool) -> Tensor:
    """[bins + 1] int64: values [m] in each bin, and last those that are 0 where these stand `apart`."""
    bins = len(edges) - 1
    places = (torch.bucketize(values, edges, right=True) - 1).clamp_(0, bins - 1)
    if apart:
        places = torch.where(values == 0, bins, places)
    return torch.bincount(places, minlength=bins + 1)
