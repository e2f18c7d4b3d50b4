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
from mistudio.sae.initialise import activation_scale, initialise
from mistudio.sae.step_metrics import StepMetrics, measure_step, refuse_unusable

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainer:
    """Trains a dictionary on activations [N, d_in], `config.batch_size` (or fewer) at a time.

    The first batch also sets the normalisation factor and the starting point (or call `initialise` with a
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
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.sae = SAE(
            config.architecture,
            d_in,
            config.d_sae,
            apply_b_dec_to_input=config.apply_b_dec_to_input,
            decoder_norm=config.decoder_norm,
            device=device,
            dtype=dtype,
        )
        self.steps_done = 0
        self.tokens_seen = 0
        self.activation_scale: float | None = None
        self._generator = torch.Generator().manual_seed(config.seed)
        self._tokens_since_fired = torch.zeros(config.d_sae, dtype=torch.int64, device=self.sae.device)
        weights = [self.sae.W_enc, self.sae.W_dec]
        biases = [self.sae.b_enc, self.sae.b_dec]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": weights, "weight_decay": config.weight_decay},
                {"params": biases, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            fused=self.sae.device.type in ("cpu", "cuda"),
        )

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

    def initialise(self, sample: Tensor) -> None:
        """Set the normalisation factor and starting weights from a sample of activations [N, d_in]."""
        sample = self.sae.check(sample)
        refuse_unusable(sample, self.steps_done + 1)
        normalised = self.config.normalize_activations == "expected_average_only_in"
        self.activation_scale = activation_scale(sample) if normalised else 1.0
        initialise(self.sae, sample * self.activation_scale, self.config, self._generator)

    def step(self, x: Tensor) -> StepMetrics:
        """One update on activations x [N, d_in], in the fast form.

        Raises TrainingDiverged, with the weights as they were, when the loss or a gradient is not finite or
        the error explodes.
        """
        return self._advance(x, self.sae.activation.gradients)

    def reference_step(self, x: Tensor) -> StepMetrics:
        """The same update with gradients from dense autograd: slow, and the definition of `step`."""
        activation = self.sae.activation
        return self._advance(x, lambda sae, x, context: reference_gradients(activation, sae, x, context))

    def _advance(
        self, x: Tensor, gradients_of: Callable[[SAE, Tensor, StepContext], StepGradients]
    ) -> StepMetrics:
        x = self._check_batch(x)
        if self.activation_scale is None:
            self.initialise(x)
        scale = self.activation_scale or 1.0
        scaled = x * scale if scale != 1.0 else x
        dead = self.dead
        outcome = gradients_of(self.sae, scaled, StepContext(self.steps_done, dead))
        self._project(outcome.gradients)
        rate = self.learning_rate(self.steps_done)
        metrics = measure_step(
            scaled,
            outcome,
            scale=scale,
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
        if self.config.decoder_norm == "unit":
            with torch.no_grad():
                self.sae.W_dec.div_(self.sae.decoder_norms()[:, None])

        self._tokens_since_fired += x.shape[0]
        self._tokens_since_fired[outcome.fired] = 0
        self.steps_done += 1
        self.tokens_seen += x.shape[0]
        return metrics

    def _check_batch(self, x: Tensor) -> Tensor:
        if self.done:
            raise SAEError(
                f"This training has seen all of its {self.config.total_tokens} tokens.",
                hint="Raise total_tokens to train longer.",
            )
        x = self.sae.check(x)
        if not 0 < x.shape[0] <= self.config.batch_size:
            raise SAEError(
                f"A batch must hold 1 to {self.config.batch_size} tokens (batch_size); got {x.shape[0]}."
            )
        return x

    def _project(self, gradients: dict[str, Tensor]) -> None:
        """Where directions must keep length 1, drop the part of their gradient that would change it."""
        if self.config.decoder_norm == "unit":
            W_dec = self.sae.W_dec.detach()
            # in pieces that stay in cache
            for part, direction in zip(gradients["W_dec"].split(1024), W_dec.split(1024), strict=True):
                along = torch.linalg.vecdot(part, direction)
                part.addcmul_(along[:, None], direction, value=-1)

    @torch.no_grad()
    def finish(self, metadata: dict[str, Any] | None = None) -> SAE:
        """The inference form: a dictionary of activations in the model's own units.

        Normalisation and decoder norms are folded into the weights, so decoder directions have length 1 and
        latents are in units of the activations. The trainer is left as it was.
        """
        config = self.config
        if self.activation_scale is None:
            raise SAEError("There is nothing to finish: no activations were given yet.")
        sae = SAE(
            config.architecture,
            self.sae.d_in,
            config.d_sae,
            apply_b_dec_to_input=config.apply_b_dec_to_input,
            decoder_norm=config.decoder_norm,
            metadata=metadata,
            device=self.sae.device,
            dtype=self.sae.W_enc.dtype,
        )
        sae.load_state_dict(self.sae.state_dict())
        sae.fold_activation_scale(self.activation_scale)
        sae.fold_decoder_norms()
        return sae

    def save_checkpoint(self, folder: str | Path, *, extra: dict[str, Any] | None = None) -> None:
        """Write everything that the rest of the run depends on; `extra` (JSON) is the caller's own state,
        such as the position in the data."""
        tensors: dict[str, Tensor] = {f"sae.{name}": p for name, p in self.sae.named_parameters()}
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
            "activation_scale": self.activation_scale,
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
        theirs: dict[str, Any] = state["config"]
        differing = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        if differing or state["d_in"] != self.sae.d_in:
            what = ", ".join(differing) or f"d_in ({state['d_in']}, here {self.sae.d_in})"
            raise TornCheckpoint(
                f"The checkpoint {folder} belongs to a training with other settings: {what}.",
                hint="Resume it with the settings that it was started with.",
            )
        for name, parameter in self.sae.named_parameters():
            checkpoint.restore(parameter, tensors, f"sae.{name}", folder)
        checkpoint.restore(self._tokens_since_fired, tensors, "tokens_since_fired", folder)
        self._generator.set_state(tensors["generator"])
        self.steps_done, self.tokens_seen = state["steps_done"], state["tokens_seen"]
        self.activation_scale = state["activation_scale"]
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
        trainer = cls(TrainerConfig.model_validate(state["config"]), state["d_in"], device, dtype=dtype)
        return trainer, trainer.load_checkpoint(folder)
