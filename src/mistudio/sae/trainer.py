"""Training one dictionary, a batch of activations at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.sae import checkpoint
from mistudio.sae.architectures import StepContext, StepGradients, reference_gradients
from mistudio.sae.config import TrainerConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEError, TornCheckpoint
from mistudio.sae.initialise import activation_scales, initialise
from mistudio.sae.step_metrics import NormalisedBatch, StepMetrics, measure_step, refuse_unusable

_MOMENTS = ("exp_avg", "exp_avg_sq")
GradientsOf = Callable[[SAE, Tensor, Tensor, StepContext], StepGradients]


class Trainer:
    """Trains a dictionary on activations [N, d_in], `config.batch_size` (or fewer) at a time.

    With `d_out` or `transcodes` it is a transcoder: each step then needs the target activations
    [N, d_out] too. With `n_sites` layers it is a crosscoder of activations [N, n_sites·d] laid side by side.

    The first batch also sets the normalisation factors and the starting point (or call `initialise` with a
    larger sample before). Everything that the future of the run depends on is in a checkpoint, so a resumed
    run equals an unbroken one to the bit on the same machine. Activations are given in the model's own
    units; the caller brings them in a shuffled order.
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
    ) -> None:
        self.config = config
        self.transcodes = d_out is not None
        if config.skip_connection and not self.transcodes:
            raise SAEError(
                "A skip connection would let an autoencoder copy its input.",
                hint="Turn skip_connection off, or give a transcoder's target.",
            )
        if self.transcodes and config.normalize_activations in ("unit_norm", "layer_norm"):
            raise SAEError(
                f"{config.normalize_activations} cannot be undone in a transcoder, which does not know the norms "
                "of what it predicts.",
                hint="Set normalize_activations to expected_average_only_in or none.",
            )
        self.sae = self._empty_sae(d_in, d_out, n_sites, torch.device(device), dtype)
        self.steps_done = 0
        self.tokens_seen = 0
        self.scales: tuple[list[float], list[float]] | None = None
        """what x and y are multiplied by, for each site"""
        self._generator = torch.Generator().manual_seed(config.seed)
        self._tokens_since_fired = torch.zeros(config.d_sae, dtype=torch.int64, device=self.sae.device)
        weights = [p for p in self.sae.parameters() if p.ndim == 2]
        biases = [p for p in self.sae.parameters() if p.ndim == 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": weights, "weight_decay": config.weight_decay},
                {"params": biases, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            fused=self.sae.device.type in ("cpu", "cuda"),
        )

    def _empty_sae(
        self, d_in: int, d_out: int | None, n_sites: int, device: torch.device, dtype: torch.dtype
    ) -> SAE:
        config = self.config
        normalize = config.normalize_activations
        return SAE(
            config.architecture,
            d_in,
            config.d_sae,
            d_out=d_out,
            n_sites=n_sites,
            skip=config.skip_connection and self.transcodes,
            apply_b_dec_to_input=config.apply_b_dec_to_input and not self.transcodes,
            decoder_norm=config.decoder_norm,
            token_norm=normalize if normalize in ("unit_norm", "layer_norm") else "none",
            device=device,
            dtype=dtype,
        )

    @property
    def activation_scale(self) -> float | None:
        """The normalisation factor of the (first) activations read; None before the first batch."""
        return None if self.scales is None else self.scales[0][0]

    @property
    def done(self) -> bool:
        """Whether all of `total_tokens` have been seen."""
        return self.tokens_seen >= self.config.total_tokens

    @property
    def log_due(self) -> bool:
        """Whether the step just done belongs on the curves: the first, every `log_every`th and the last."""
        return self.steps_done == 1 or self.steps_done % self.config.log_every == 0 or self.done

    @property
    def checkpoint_due(self) -> bool:
        """Whether a checkpoint should be written after the step just done."""
        every = self.config.checkpoint_every
        return every > 0 and self.steps_done > 0 and self.steps_done % every == 0

    @property
    def dead(self) -> Tensor:
        """[d_sae] bool: latents not active for `dead_latent_window` tokens."""
        return self._tokens_since_fired >= self.config.dead_latent_window

    def learning_rate(self, step: int) -> float:
        """The learning rate of the given step (counted from 0): linear warm-up, constant, linear decay."""
        config = self.config
        rate = config.learning_rate
        if step < config.warmup_steps:
            rate *= (step + 1) / config.warmup_steps
        decay_steps = config.decay_fraction * config.total_steps
        if decay_steps > 0:
            rate *= min(1.0, max(0.0, (config.total_steps - step) / decay_steps))
        return rate

    def initialise(self, sample: Tensor, target: Tensor | None = None) -> None:
        """Set the normalisation factors and starting weights from a sample of activations [N, d_in] (and, for a
        transcoder, of targets [N, d_out])."""
        x, y = self._pair(sample, target)
        refuse_unusable(x, self.steps_done + 1)
        refuse_unusable(y, self.steps_done + 1)
        n_sites = self.sae.n_sites
        if self.config.normalize_activations == "expected_average_only_in":
            scale_in = activation_scales(x, n_sites)
            self.scales = (scale_in, activation_scales(y, n_sites) if self.transcodes else scale_in)
        else:
            self.scales = ([1.0] * n_sites, [1.0] * n_sites)
        batch = self._normalise(x, y)
        tied = self.config.tied_init and not self.transcodes
        initialise(self.sae, batch.x, batch.y, self.config, self._generator, tied=tied)

    def step(self, x: Tensor, y: Tensor | None = None) -> StepMetrics:
        """One update on activations x [N, d_in] (and a transcoder's targets y [N, d_out]), in the fast form.

        Raises TrainingDiverged, with the weights as they were, when the loss or a gradient is not finite or
        the error explodes.
        """
        return self._advance(x, y, self.sae.activation.gradients)

    def reference_step(self, x: Tensor, y: Tensor | None = None) -> StepMetrics:
        """The same update with gradients from dense autograd: slow, and the definition of `step`."""
        activation = self.sae.activation
        return self._advance(
            x, y, lambda sae, x, y, context: reference_gradients(activation, sae, x, y, context)
        )

    def _advance(self, x: Tensor, y: Tensor | None, gradients_of: GradientsOf) -> StepMetrics:
        x, y = self._check_batch(x, y)
        if self.scales is None:
            self.initialise(x, y if self.transcodes else None)
        batch = self._normalise(x, y)
        dead = self.dead
        context = StepContext(self.steps_done, dead, self.tokens_seen / self.config.total_tokens)
        outcome = gradients_of(self.sae, batch.x, batch.y, context)
        self._project(outcome.gradients)
        rate = self.learning_rate(self.steps_done)
        metrics = measure_step(
            batch,
            outcome,
            step=self.steps_done + 1,
            tokens=self.tokens_seen + x.shape[0],
            dead=dead,
            learning_rate=rate,
        )

        clip = self.config.grad_clip_norm
        if clip and metrics.grad_norm > clip:
            for gradient in outcome.gradients.values():
                gradient.mul_(clip / metrics.grad_norm)
        for name, parameter in self.sae.named_parameters():
            parameter.grad = outcome.gradients[name]
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # gradients stay until the next step's replace them: freeing them first would hand their memory back
        # to the system and fault it in again, which costs as much as computing them
        self._optimizer.step()
        with torch.no_grad():
            if self.config.decoder_norm == "unit":
                self.sae.W_dec.div_(self.sae.decoder_norms()[:, None])
            self.sae.activation.constrain(self.sae)
            self.sae.activation.observe(self.sae, outcome, context)

        self._tokens_since_fired += x.shape[0]
        self._tokens_since_fired[outcome.fired] = 0
        self.steps_done += 1
        self.tokens_seen += x.shape[0]
        return metrics

    def _pair(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """x and what is to be written from it: x itself, but for transcoders."""
        x = self.sae.check(x)
        if not self.transcodes:
            if y is not None:
                raise SAEError("Only a transcoder takes target activations besides those that it reads.")
            return x, x
        if y is None:
            raise SAEError("A transcoder needs the target hook point's activations in every step.")
        y = self.sae.check_output(y)
        if y.shape[0] != x.shape[0]:
            raise SAEError(f"{x.shape[0]} activations were given with {y.shape[0]} targets.")
        return x, y

    def _normalise(self, x: Tensor, y: Tensor) -> NormalisedBatch:
        assert self.scales is not None
        if self.sae.token_norm != "none":
            normalised, frame = self.sae.normalise(x)
            assert frame is not None
            return NormalisedBatch(normalised, normalised, frame.scale)
        scale_in, scale_out = (self._row(scales, x) for scales in self.scales)
        scaled = x * scale_in
        return NormalisedBatch(scaled, y * scale_out if self.transcodes else scaled, 1 / scale_out)

    def _row(self, scales: list[float], like: Tensor) -> Tensor:
        """Scales as a factor of rows: a scalar, or one number for each entry of a crosscoder's input."""
        if len(scales) == 1:
            return like.new_tensor(scales[0])
        return like.new_tensor(scales).repeat_interleave(self.sae.d_in // len(scales))

    def _check_batch(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.done:
            raise SAEError(
                f"This training has seen all of its {self.config.total_tokens} tokens.",
                hint="Raise total_tokens to train longer.",
            )
        x, y = self._pair(x, y)
        if not 0 < x.shape[0] <= self.config.batch_size:
            raise SAEError(
                f"A batch must hold 1 to {self.config.batch_size} tokens (batch_size); got {x.shape[0]}."
            )
        return x, y

    def _project(self, gradients: dict[str, Tensor]) -> None:
        """Where directions must keep length 1, drop the part of their gradient that would change it."""
        if self.config.decoder_norm == "unit" and self.sae.n_sites == 1:
            W_dec = self.sae.W_dec.detach()
            # in pieces that stay in cache
            for part, direction in zip(gradients["W_dec"].split(1024), W_dec.split(1024), strict=True):
                along = torch.linalg.vecdot(part, direction)
                part.addcmul_(along[:, None], direction, value=-1)

    @torch.no_grad()
    def finish(self, metadata: dict[str, Any] | None = None) -> SAE:
        """The inference form: a dictionary of activations in the model's own units.

        Normalisation and decoder norms are folded into the weights, so decoder directions have length 1 and
        latents are in units of the activations. A crosscoder's latents stay in normalised units, since its
        layers have units of their own. The trainer is left as it was.
        """
        if self.scales is None:
            raise SAEError("There is nothing to finish: no activations were given yet.")
        trained = self.sae
        d_out = trained.d_out if self.transcodes else None
        sae = self._empty_sae(trained.d_in, d_out, trained.n_sites, trained.device, trained.W_enc.dtype)
        sae.load_state_dict(trained.state_dict())
        sae.metadata = dict(metadata or {})
        scale_in, scale_out = (self._row(scales, trained.W_enc) for scales in self.scales)
        sae.fold_decoder_norms()
        sae.fold_activation_scale(scale_in, scale_out)
        if sae.n_sites == 1:
            sae.fold_decoder_norms()
        return sae

    def save_checkpoint(self, folder: str | Path, *, extra: dict[str, Any] | None = None) -> None:
        """Write everything that the rest of the run depends on; `extra` (JSON) is the caller's own state,
        such as the position in the data."""
        tensors: dict[str, Tensor] = {f"sae.{name}": t for name, t in self.sae.state_dict().items()}
        tensors["tokens_since_fired"] = self._tokens_since_fired
        tensors["generator"] = self._generator.get_state()
        for name, parameter in self.sae.named_parameters():
            moments = self._optimizer.state.get(parameter, {})
            tensors |= {f"adam.{name}.{m}": moments[m] for m in _MOMENTS if m in moments}
        state = {
            "config": self.config.model_dump(mode="json"),
            "d_in": self.sae.d_in,
            "steps_done": self.steps_done,
            "tokens_seen": self.tokens_seen,
            "d_out": self.sae.d_out if self.transcodes else None,
            "n_sites": self.sae.n_sites,
            "scales": self.scales,
            "extra": extra or {},
        }
        checkpoint.write(Path(folder), tensors, state)

    def load_checkpoint(self, folder: str | Path) -> dict[str, Any]:
        """Continue from a checkpoint of the same configuration; returns the caller's `extra`.

        Raises TornCheckpoint, naming the file or setting, when it is damaged or belongs to another run.
        """
        folder = Path(folder)
        tensors, state = checkpoint.read(folder)
        ours = self.config.model_dump(mode="json")
        theirs = TrainerConfig.model_validate(state["config"]).model_dump(mode="json")
        differing = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        if differing or state["d_in"] != self.sae.d_in:
            what = ", ".join(differing) or f"d_in ({state['d_in']}, here {self.sae.d_in})"
            raise TornCheckpoint(
                f"The checkpoint {folder} belongs to a training with other settings: {what}.",
                hint="Resume it with the settings that it was started with.",
            )
        for name, tensor in self.sae.state_dict().items():
            checkpoint.restore(tensor, tensors, f"sae.{name}", folder)
        checkpoint.restore(self._tokens_since_fired, tensors, "tokens_since_fired", folder)
        self._generator.set_state(tensors["generator"])
        self.steps_done, self.tokens_seen = state["steps_done"], state["tokens_seen"]
        self.scales = _scales(state)
        self._optimizer.state.clear()
        for name, parameter in self.sae.named_parameters() if self.steps_done else ():
            moments = {m: torch.zeros_like(parameter) for m in _MOMENTS}
            for m, tensor in moments.items():
                checkpoint.restore(tensor, tensors, f"adam.{name}.{m}", folder)
            count = torch.tensor(float(self.steps_done), dtype=torch.float32, device=parameter.device)
            self._optimizer.state[parameter] = {"step": count, **moments}
        return dict(state["extra"])

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> "tuple[Trainer, dict[str, Any]]":
        """A trainer as a checkpoint left it, and the caller's `extra`."""
        _, state = checkpoint.read(Path(folder))
        trainer = cls(
            TrainerConfig.model_validate(state["config"]),
            state["d_in"],
            device,
            d_out=state.get("d_out"),
            n_sites=state.get("n_sites", 1),
            dtype=dtype,
        )
        return trainer, trainer.load_checkpoint(folder)


def _scales(state: dict[str, Any]) -> tuple[list[float], list[float]] | None:
    if "activation_scale" in state:  # written before dictionaries had several sites
        scale: float | None = state["activation_scale"]
        return None if scale is None else ([scale], [scale])
    return None if state["scales"] is None else (state["scales"][0], state["scales"][1])
