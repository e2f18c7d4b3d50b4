"""Training one dictionary, a batch of activations at a time."""

from typing import Any

import torch
from torch import Tensor

from mistudio.sae import resampling, schedules
from mistudio.sae.architectures import StepContext, reference_gradients
from mistudio.sae.config import Resample
from mistudio.sae.config.live import changed, full_name, value_of
from mistudio.sae.errors import SAEError
from mistudio.sae.initialise import initialise
from mistudio.sae.normalise import activation_scales, normalised
from mistudio.sae.outcomes import GradientsOf, in_parts, over_ranks, over_shards
from mistudio.sae.step_metrics import StepMetrics, measure_step, refuse_unusable
from mistudio.sae.training_state import TrainingState


class Trainer(TrainingState):
    """Trains a dictionary on activations [N, d_in], `config.batch_size` (or fewer) at a time.

    With `d_out` it is a transcoder: each step then needs the target activations
    [N, d_out] too. With `n_sites` layers it is a crosscoder of activations [N, n_sites·d] laid side by side.

    The first batch also sets the normalisation factors and the starting point (or call `initialise` with a
    larger sample before). Everything that the future of the run depends on is in a checkpoint, so a resumed
    run equals an unbroken one to the bit on the same machine. Activations are given in the model's own
    units; the caller brings them in a shuffled order.

    With several `ranks` the training is theirs together, and all of them make the same calls: split over the
    "batch", each steps on its own part of every batch (consecutive tokens, in the order of ranks); split over
    the "latents", each steps on the whole batch and keeps a part of the dictionary. Either way it is the
    training of a single process, up to rounding, and its checkpoints are the same.
    """

    @property
    def log_due(self) -> bool:
        """Whether the step just done belongs on the curves: the first, every `log_every`th and the last."""
        return self.steps_done == 1 or self.steps_done % self.config.log_every == 0 or self.done

    @property
    def checkpoint_due(self) -> bool:
        """Whether a checkpoint should be written after the step just done."""
        every = self.config.checkpoint_every
        return every > 0 and self.steps_done > 0 and self.steps_done % every == 0

    def take_activity(self) -> tuple[Tensor, int]:
        """On how many tokens each latent (of this rank) was active [d_sae] int64 since the last call, and of how many;
        the count then begins anew. It is a part of checkpoints and changes nothing of the training."""
        found = self._active, self._active_tokens
        self._active, self._active_tokens = torch.zeros_like(self._active), 0
        return found

    def change(self, name: str, value: float) -> tuple[float, float]:
        """Go on with another value of a setting that may change (`config.live_settings`), or another `total_tokens`,
        from the next step on; returns the value before and after.

        The schedule is a function of the settings and the step, so from then on it is that of a training which had
        the new value from its start. Checkpoints remember the change. Raises ValueError for what cannot change.
        """
        config = changed(self.config, name, value)
        name = full_name(self.config, name)
        before, after = value_of(self.config, name), value_of(config, name)
        self._use(config)
        if (
            name == "architecture.sparsity_coefficient"
            and "sparsity_weight" in self.sae.activation.state_names
        ):
            self.sae.get_buffer("sparsity_weight").fill_(after)
        return before, after

    def learning_rate(self, step: int) -> float:
        """The learning rate of the given step (counted from 0)."""
        return schedules.learning_rate(self.config, step)

    def initialise(self, sample: Tensor, target: Tensor | None = None) -> None:
        """Set the normalisation factors and starting weights from a sample of activations [N, d_in] (and, for a
        transcoder, of targets [N, d_out]). Ranks that split the batch each give a part of it."""
        x, y = self._pair(sample, target)
        refuse_unusable(x, self.steps_done + 1)
        refuse_unusable(y, self.steps_done + 1)
        if self.ranks.size > 1:
            both = y is not x
            x = torch.cat(self.ranks.gather(x))
            y = torch.cat(self.ranks.gather(y)) if both else x
        n_sites = self.sae.n_sites
        if self.config.normalize_activations == "expected_average_only_in":
            scale_in = activation_scales(x, n_sites)
            self.scales = (scale_in, activation_scales(y, n_sites) if self.transcodes else scale_in)
        else:
            self.scales = ([1.0] * n_sites, [1.0] * n_sites)
        batch = normalised(self.sae, x, y, self.scales)
        tied = self.config.tied_init and not self.transcodes
        initialise(self.sae, batch.x, batch.y, self.config, self._generator, tied=tied)
        if self.average is not None:
            self.average.restart()

    def step(self, x: Tensor, y: Tensor | None = None) -> StepMetrics:
        """One update on activations x [N, d_in] (and a transcoder's targets y [N, d_out]), in the fast form.

        Raises TrainingDiverged, with the weights as they were, when the loss or a gradient is not finite or
        the error explodes.
        """
        return self._advance(x, y, self.sae.activation.gradients)

    def reference_step(self, x: Tensor, y: Tensor | None = None) -> StepMetrics:
        """The same update with gradients from dense autograd: slow, and the definition of `step`."""
        if self.together:
            raise SAEError("The reference step is for one process.")
        activation = self.sae.activation
        return self._advance(
            x, y, lambda sae, x, y, context: reference_gradients(activation, sae, x, y, context)
        )

    def _advance(self, x: Tensor, y: Tensor | None, gradients_of: GradientsOf) -> StepMetrics:
        config, sae = self.config, self.sae
        x, y = self._pair(x, y)
        counts = self.ranks.counts(x.shape[0], sae.device)
        self._check_batch(counts)
        if self.scales is None:
            self.initialise(x, y if self.transcodes else None)
        assert self.scales is not None
        batch = normalised(sae, x, y, self.scales)
        dead = self.dead
        progress = self.tokens_seen / config.total_tokens
        context = StepContext(self.steps_done, dead, progress, self.ranks)
        if self._working is not sae:
            for ours, low in zip(sae.parameters(), self._working.parameters(), strict=True):
                low.data.copy_(ours)
        parts = min(config.accumulate, *counts)
        outcome = in_parts(self._working, batch, context, gradients_of, counts, parts, sae.W_enc.dtype)
        outcome = over_shards(over_ranks(outcome, self.ranks), sae)
        self._project(outcome.gradients)
        rate = self.learning_rate(self.steps_done)
        metrics = measure_step(
            batch,
            outcome,
            sae,
            self.ranks,
            step=self.steps_done + 1,
            tokens=self.tokens_seen + sum(counts),
            dead=dead,
            learning_rate=rate,
            sparsity_coefficient=sae.activation.sparsity_coefficient(sae, self.steps_done),
        )

        clip = config.grad_clip_norm
        if clip and metrics.grad_norm > clip:
            for gradient in outcome.gradients.values():
                gradient.mul_(clip / metrics.grad_norm)
        self.optimizer.step(outcome.gradients, rate)
        self._tokens_since_fired += sum(counts)
        self._tokens_since_fired[outcome.active > 0] = 0
        self._active += outcome.active
        self._active_tokens += sum(counts)
        with torch.no_grad():
            if config.decoder_norm == "unit":
                sae.W_dec.div_(sae.decoder_norms()[:, None])
            sae.activation.constrain(sae)
            sae.activation.observe(sae, outcome, context)
            self.steps_done += 1
            self.tokens_seen += sum(counts)
            if self.average is not None:
                self.average.update(self.steps_done)
            if isinstance(config.dead_latents, Resample):
                self._resample(config.dead_latents, batch, outcome.reconstruction)
        return metrics

    def _resample(self, config: Resample, batch: Any, reconstruction: Tensor) -> None:
        if not resampling.due(config, self.steps_done, self.config.total_steps):
            return
        dead = self._tokens_since_fired >= config.dead_neuron_threshold
        latents = resampling.resample(
            self.sae, batch, reconstruction, dead, config, self._generator, self.ranks
        )
        self._tokens_since_fired[latents] = 0
        self.optimizer.forget(latents, self.sae.latent_weights)
        if self.average is not None:
            self.average.restart(latents, self.sae.latent_weights)

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

    def _check_batch(self, counts: list[int]) -> None:
        if self.done:
            raise SAEError(
                f"This training has seen all of its {self.config.total_tokens} tokens.",
                hint="Raise total_tokens to train longer.",
            )
        if not 0 < sum(counts) <= self.config.batch_size:
            raise SAEError(
                f"A batch must hold 1 to {self.config.batch_size} tokens (batch_size); got {sum(counts)}."
            )
        if not min(counts):
            raise SAEError(
                "Every rank needs a token of every batch.", hint="Give each its part of the batch."
            )

    def _project(self, gradients: dict[str, Tensor]) -> None:
        """Where directions must keep length 1, drop the part of their gradient that would change it."""
        if self.config.decoder_norm == "unit" and self.sae.n_sites == 1:
            W_dec = self.sae.W_dec.detach()
            # in pieces that stay in cache
            for part, direction in zip(gradients["W_dec"].split(1024), W_dec.split(1024), strict=True):
                along = torch.linalg.vecdot(part, direction)
                part.addcmul_(along[:, None], direction, value=-1)
