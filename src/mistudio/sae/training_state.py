"""What a training is at any moment: what it goes on from, and what is made of it in the end."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from mistudio.sae import checkpoint, optimizers
from mistudio.sae.config import TrainerConfig
from mistudio.sae.config.live import differences
from mistudio.sae.dictionary import SAE
from mistudio.sae.distributed import ALONE, Ranks, Split
from mistudio.sae.errors import SAEError, TornCheckpoint
from mistudio.sae.normalise import Scales, as_row
from mistudio.sae.untrained import Shape, refuse_unfit, untrained


class TrainingState:
    """Weights, optimiser, counts and random state of a training: all that its future depends on.

    It is written and read as checkpoints, and finished into a dictionary; `Trainer` is what moves it on. A checkpoint
    does not know how many ranks wrote it.
    """

    def __init__(
        self,
        config: TrainerConfig,
        d_in: int,
        device: torch.device | str = "cpu",
        *,
        d_out: int | None = None,
        n_sites: int = 1,
        dtype: torch.dtype = torch.float32,
        ranks: Ranks = ALONE,
        split: Split = "batch",
    ) -> None:
        self.started_with = config
        """the settings before any `change`"""
        self.config = config
        """the settings now"""
        self.transcodes = d_out is not None
        refuse_unfit(config, self.transcodes, ranks, split)
        if config.hidden_dim not in (None, d_in // n_sites):
            raise SAEError(
                f"The activations have {d_in // n_sites} dimensions, and hidden_dim is {config.hidden_dim}.",
                hint="Take a hook point of that width, or leave hidden_dim out.",
            )
        if config.precision == "bfloat16" and dtype != torch.float32:
            raise SAEError("A step in bfloat16 goes with weights in float32.", hint="Leave dtype as it is.")
        self.ranks, self.shards = (ranks, ALONE) if split == "batch" else (ALONE, ranks)
        shape = Shape(d_in, d_out, n_sites)
        self.sae = untrained(config, shape, device, dtype, self.shards)
        self._working = self.sae
        if config.precision == "bfloat16":
            self._working = untrained(config, shape, device, torch.bfloat16, self.shards)
            for name in self.sae.activation.state_names:
                self._working.register_buffer(name, self.sae.get_buffer(name))
        self.steps_done = 0
        self.tokens_seen = 0
        self.scales: Scales | None = None
        self._generator = torch.Generator().manual_seed(config.seed)
        self._tokens_since_fired: Tensor = torch.zeros(
            self.sae.d_sae, dtype=torch.int64, device=self.sae.device
        )
        self._active: Tensor = torch.zeros_like(self._tokens_since_fired)
        self._active_tokens = 0
        parameters = dict(self.sae.named_parameters())
        self.optimizer = optimizers.build(config.optimizer, parameters, self.shards, self.sae.latent_weights)
        self.average = optimizers.WeightAverage(parameters, config.ema_decay) if config.ema_decay else None

    @property
    def activation_scale(self) -> float | None:
        """The normalisation factor of the (first) activations read; None before the first batch."""
        return None if self.scales is None else self.scales[0][0]

    @property
    def together(self) -> bool:
        """Whether this process is one of several ranks."""
        return self.ranks.size > 1 or self.shards.size > 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files for all."""
        return self.ranks.rank == self.shards.rank == 0

    @property
    def done(self) -> bool:
        """Whether all of `total_tokens` have been seen."""
        return self.tokens_seen >= self.config.total_tokens

    @property
    def dead(self) -> Tensor:
        """[d_sae] bool: latents (of this rank) not active for `dead_latent_window` tokens."""
        return self._tokens_since_fired >= self.config.dead_latent_window

    def _use(self, config: TrainerConfig) -> None:
        self.config = config
        for sae in (self.sae, self._working):
            sae.architecture = sae.activation.config = config.architecture

    @torch.no_grad()
    def finish(self, metadata: dict[str, Any] | None = None) -> SAE:
        """The inference form: a dictionary of activations in the model's own units, of averaged weights where they
        are averaged.

        Normalisation and decoder norms are folded into the weights, so decoder directions have length 1 and
        latents are in units of the activations. A crosscoder's latents stay in normalised units, since its
        layers have units of their own. The trainer is left as it was. Every rank gets the whole dictionary, on the
        CPU where it was in parts.
        """
        if self.scales is None:
            raise SAEError("There is nothing to finish: no activations were given yet.")
        trained, parts = self.sae, self.shards.size > 1
        d_out = trained.d_out if self.transcodes else None
        shape = Shape(trained.d_in, d_out, trained.n_sites)
        sae = untrained(self.config, shape, "cpu" if parts else trained.device, trained.W_enc.dtype)
        weights = trained.state_dict() | (self.average.weights if self.average is not None else {})
        sae.load_state_dict({name: self._whole(name, t) for name, t in weights.items()})
        sae.metadata = dict(metadata or {})
        if self.average is not None and sae.decoder_norm == "unit":
            sae.W_dec.div_(sae.decoder_norms()[:, None])  # a mean of directions is shorter than they are
        scale_in = as_row(self.scales[0], sae.W_enc, sae.d_in)
        scale_out = as_row(self.scales[1], sae.W_enc, sae.d_out)
        sae.fold_decoder_norms()
        sae.fold_activation_scale(scale_in, scale_out)
        if sae.n_sites == 1:
            sae.fold_decoder_norms()
        return sae

    def _by_latent(self, name: str) -> bool:
        return name in ("tokens_since_fired", "active") or any(
            part in self.sae.latent_weights for part in name.split(".")
        )

    def _whole(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor with the rows of all ranks."""
        if self.shards.size == 1 or not self._by_latent(name):
            return tensor
        return torch.cat([part.cpu() for part in self.shards.gather(tensor)])

    def _state(self) -> dict[str, Tensor]:
        """Every tensor that the rest of the run depends on, this rank's part of it."""
        tensors = {f"sae.{name}": t for name, t in self.sae.state_dict().items()} | self.optimizer.state()
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in self.average.weights.items()}
        return tensors | {"tokens_since_fired": self._tokens_since_fired, "active": self._active}

    def save_checkpoint(self, folder: str | Path, *, extra: dict[str, Any] | None = None) -> None:
        """Write everything that the rest of the run depends on; `extra` (JSON) is the caller's own state,
        such as the position in the data. All ranks call it; the first writes."""
        tensors: dict[str, Tensor] = {}
        for name, tensor in self._state().items():
            whole = self._whole(name, tensor)
            if self.first:
                tensors[name] = whole
        tensors["generator"] = self._generator.get_state()
        state = {
            "config": self.started_with.model_dump(mode="json"),
            "config_now": self.config.model_dump(mode="json"),
            "d_in": self.sae.d_in,
            "steps_done": self.steps_done,
            "tokens_seen": self.tokens_seen,
            "active_tokens": self._active_tokens,
            "d_out": self.sae.d_out if self.transcodes else None,
            "n_sites": self.sae.n_sites,
            "scales": self.scales,
            "extra": extra or {},
        }
        if self.first:
            checkpoint.write(Path(folder), tensors, state)
        self.ranks.wait()
        self.shards.wait()

    def load_checkpoint(self, folder: str | Path) -> dict[str, Any]:
        """Continue from a checkpoint of the same configuration, written by any number of ranks; returns the caller's
        `extra`.

        Raises TornCheckpoint, naming the file or setting, when it is damaged or belongs to another run.
        """
        folder = Path(folder)
        tensors, state = checkpoint.read(folder)
        differing = differences(self.started_with, TrainerConfig.model_validate(state["config"]))
        if differing or state["d_in"] != self.sae.d_in:
            what = ", ".join(differing) or f"d_in ({state['d_in']}, here {self.sae.d_in})"
            raise TornCheckpoint(
                f"The checkpoint {folder} belongs to a training with other settings: {what}.",
                hint="Resume it with the settings that it was started with.",
            )
        self.optimizer.expect(state["steps_done"])
        start, stop = self.shards.span(self.config.d_sae)
        for name, tensor in self._state().items():
            if name == "active" and name not in tensors:  # written before this was counted
                continue
            rows = slice(start, stop) if self._by_latent(name) else slice(None)
            checkpoint.restore(tensor, tensors, name, folder, rows)
        self._generator.set_state(tensors["generator"])
        self.steps_done, self.tokens_seen = state["steps_done"], state["tokens_seen"]
        self._active_tokens = state.get("active_tokens", 0)
        self.scales = _scales(state)
        self._use(TrainerConfig.model_validate(state.get("config_now", state["config"])))
        return dict(state["extra"])

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
        ranks: Ranks = ALONE,
        split: Split = "batch",
    ) -> tuple[Self, dict[str, Any]]:
        """A trainer as a checkpoint left it, and the caller's `extra`."""
        _, state = checkpoint.read(Path(folder))
        trainer = cls(
            TrainerConfig.model_validate(state["config"]),
            state["d_in"],
            device,
            d_out=state.get("d_out"),
            n_sites=state.get("n_sites", 1),
            dtype=dtype,
            ranks=ranks,
            split=split,
        )
        return trainer, trainer.load_checkpoint(folder)


def _scales(state: dict[str, Any]) -> Scales | None:
    if "activation_scale" in state:  # written before dictionaries had several sites
        scale: float | None = state["activation_scale"]
        return None if scale is None else ([scale], [scale])
    return None if state["scales"] is None else (state["scales"][0], state["scales"][1])
