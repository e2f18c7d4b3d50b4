"""JumpReLU (Rajamanoharan et al. 2024, "Jumping Ahead", arXiv 2407.14435), steered to a wanted L0."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mistudio.sae import search
from mistudio.sae.architectures.base import (
    Architecture,
    StepContext,
    StepGradients,
    reconstruct,
    squared_error,
    warmed_up,
)
from mistudio.sae.architectures.sparse_step import SparseStep, add_norm_gradients, dense_gradients
from mistudio.sae.config import JumpReLUConfig
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

_COLUMNS = 1024
_L0_MOMENTUM = 0.9
_PROPORTIONAL = 1.0
_INTEGRAL = 0.01
_DIRECT = (0.02, 0.1)
"""Gains of the controller, measured: L0 settles within some 200 steps whatever weight it starts with."""
_FURTHEST = 4.0
"""The controller takes an L0 beyond this multiple of its target for this multiple."""


class JumpReLU(Architecture[JumpReLUConfig]):
    """z = pre where pre > θ, else 0, with one θ ≥ 0 for each latent.

    Loss: Σ‖y − ŷ‖²/N + λ·L0 (or λ·Σ tanh(c·z·‖d‖)/N), and for dead latents p·Σ ReLU(θ − pre)·‖d‖/N. The
    step at θ has no gradient; within a window of width ε around it the estimators are (their equations 11
    and 12, K a rectangle) ∂z/∂θ = −(θ/ε)·K((pre − θ)/ε) and ∂L0/∂θ = −(1/ε)·K((pre − θ)/ε).

    Thresholds are trained in linear space: in log space an Adam step moves a small threshold by a share of
    itself, too little to get anywhere in a short training.

    With a target L0, e = log(L0/target) of a running mean of L0 steers twice. The weight is λ = w·exp(e)
    with log w growing by 0.01·e each step (proportional and integral control); and all thresholds are
    multiplied by exp(0.02·e) (at the end exp(0.1·e)), since λ alone moves them no faster than the learning
    rate allows.
    """

    latent_parameters = ("threshold",)
    latent_terms = ("l0_loss", "pre_act_loss")
    state_names = ("sparsity_weight", "recent_l0")

    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents above their thresholds."""
        return search.encode_above(seen, sae.W_enc, sae.b_enc, sae.get_parameter("threshold"))

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """Dense latents [N, m]."""
        pre = seen @ sae.W_enc.T + sae.b_enc
        return _apply(_JumpReLU, pre, sae.get_parameter("threshold"), self.config.bandwidth)

    def start(self, sae: "SAE", seen: Tensor) -> None:
        """Thresholds where the settings say, or where each latent is active on an equal share of the sample."""
        self.restart(sae, torch.arange(sae.d_sae, device=sae.device), seen)
        sae.get_buffer("sparsity_weight").fill_(self.config.sparsity_coefficient)
        sae.get_buffer("recent_l0").fill_(self.config.target_l0 or 0.0)

    def restart(self, sae: "SAE", latents: Tensor, seen: Tensor) -> None:
        """The thresholds of some latents [n], in the same way."""
        threshold = sae.get_parameter("threshold")
        if self.config.threshold_init is not None:
            threshold[latents] = self.config.threshold_init
            return
        d_sae = sum(sae.shards.counts(sae.d_sae, sae.device))
        active = round(self.config.share_at_start(d_sae) * seen.shape[0])
        for rows in latents.split(_COLUMNS):
            pre = torch.addmm(sae.b_enc[rows], seen, sae.W_enc[rows].T)
            threshold[rows] = pre.kthvalue(max(1, seen.shape[0] - active), dim=0).values.clamp_min_(0)

    def sparsity_coefficient(self, sae: "SAE", step: int) -> float:
        """λ at the given step (counted from 0)."""
        weight = float(sae.get_buffer("sparsity_weight"))
        if self.config.target_l0 is not None:
            weight *= math.exp(_PROPORTIONAL * self._log_excess(sae))
        return warmed_up(weight, step, self.config.sparsity_warmup_steps)

    def _log_excess(self, sae: "SAE") -> float:
        assert self.config.target_l0 is not None
        ratio = float(sae.get_buffer("recent_l0")) / self.config.target_l0
        return math.log(min(_FURTHEST, max(1 / _FURTHEST, ratio)))

    def terms(
        self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and ŷ in dense autograd, with the estimators as its backward passes."""
        threshold, bandwidth = sae.get_parameter("threshold"), self.config.bandwidth
        pre = sae.centre(x) @ sae.W_enc.T + sae.b_enc
        z = _apply(_JumpReLU, pre, threshold, bandwidth)
        reconstruction = reconstruct(sae, z, x)
        norms = sae.ranking_norms()
        if self.config.penalty == "l0":
            count = _apply(_Step, pre, threshold, bandwidth).sum()
        else:
            count = torch.tanh(self.config.tanh_scale * (z if norms is None else z * norms)).sum()
        terms = {
            "mse_loss": squared_error(reconstruction - y),
            "l0_loss": self.sparsity_coefficient(sae, context.step) * count / x.shape[0],
            "pre_act_loss": x.new_zeros(()),
        }
        if self._pre_act_acts(sae, context):
            below = (threshold - pre).relu() if norms is None else (threshold - pre).relu() * norms
            total = (below * context.dead).sum()
            terms["pre_act_loss"] = self.config.pre_act_coefficient * total / x.shape[0]
        return terms, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients, through the entries above their thresholds or within the window only."""
        threshold, bandwidth = sae.get_parameter("threshold"), self.config.bandwidth
        seen = sae.centre(x)
        near = search.encode_above_if_sparse(seen, sae.W_enc, sae.b_enc, threshold - bandwidth / 2)
        if sae.shards.any(near is None) or near is None:
            return dense_gradients(self, sae, x, y, context)
        pre, theta = near.values, threshold[near.indices]
        active = pre > theta
        window = (pre - theta).abs() < bandwidth / 2
        step = SparseStep(sae, x, y, seen, replace(near, values=pre * active))

        dz = step.value_gradients()
        weight = self.sparsity_coefficient(sae, context.step) / x.shape[0]
        norms = sae.ranking_norms()
        norm_weights = None
        if self.config.penalty == "l0":
            l0_loss = active.sum().to(x.dtype) * weight
            threshold_entries = -(theta * dz + weight) / bandwidth
        else:
            c = self.config.tanh_scale
            scale = c if norms is None else c * norms[near.indices]
            saturated = torch.tanh(scale * step.latents.values)
            l0_loss = saturated.sum() * weight
            slope = weight * (1 - saturated.square())
            dz = dz + slope * scale
            threshold_entries = -theta * dz / bandwidth
            if norms is not None:
                norm_weights = step.by_latent.sums(slope * c * step.latents.values)
        gradients = step.parameter_gradients(dz * active)
        gradients["threshold"] = step.by_latent.sums(threshold_entries * window)
        if norms is not None and norm_weights is not None:
            add_norm_gradients(sae, gradients["W_dec"], norm_weights, norms)
        terms = {"mse_loss": step.squared_error, "l0_loss": l0_loss, "pre_act_loss": x.new_zeros(())}
        if self._pre_act_acts(sae, context):
            terms["pre_act_loss"] = self._add_pre_act(sae, seen, context.dead, norms, gradients)
        return step.outcome(terms, gradients, active=active)

    def _pre_act_acts(self, sae: "SAE", context: StepContext) -> bool:
        return self.config.pre_act_coefficient > 0 and sae.shards.any(bool(context.dead.any()))

    def _add_pre_act(
        self,
        sae: "SAE",
        seen: Tensor,
        dead_mask: Tensor,
        norms: Tensor | None,
        gradients: dict[str, Tensor],
    ) -> Tensor:
        """Add the gradients of what pulls dead latents up, in place; return its value."""
        dead = dead_mask.nonzero()[:, 0]
        W_enc, theta = sae.W_enc[dead], sae.get_parameter("threshold")[dead]
        below = (theta - torch.addmm(sae.b_enc[dead], seen, W_enc.T)).relu_()
        weights = theta.new_full(theta.shape, self.config.pre_act_coefficient / seen.shape[0])
        if norms is not None:
            add = torch.zeros_like(norms)
            add[dead] = below.sum(0) * weights
            add_norm_gradients(sae, gradients["W_dec"], add, norms)
            weights = weights * norms[dead]
        value = (below.sum(0) * weights).sum()
        reached = (below > 0).to(seen.dtype)
        counts = reached.sum(0) * weights
        gradients["threshold"].index_add_(0, dead, counts.to(gradients["threshold"]))
        gradients["b_enc"].index_add_(0, dead, counts.to(gradients["b_enc"]), alpha=-1)
        gradients["W_enc"].index_add_(0, dead, (reached.T @ seen) * weights[:, None], alpha=-1)
        if sae.apply_b_dec_to_input:
            gradients["b_dec"].add_(sae.shards.sum(counts.to(W_enc) @ W_enc))
        return value

    def constrain(self, sae: "SAE") -> None:
        """Thresholds stay at 0 or above."""
        sae.get_parameter("threshold").clamp_(min=0)

    def observe(self, sae: "SAE", outcome: StepGradients, context: StepContext) -> None:
        """Steer the penalty's weight towards the target L0."""
        if self.config.target_l0 is None:
            return
        momentum = _L0_MOMENTUM if context.step else 0.0
        sae.get_buffer("recent_l0").lerp_(outcome.l0.double(), 1 - momentum)
        excess = self._log_excess(sae)
        first, last = _DIRECT
        direct = first + (last - first) * context.progress**2
        sae.get_buffer("sparsity_weight").mul_(math.exp(_INTEGRAL * excess))
        sae.get_parameter("threshold").mul_(math.exp(direct * excess))

    def scale_latents(self, sae: "SAE", factors: Tensor) -> None:
        """Larger latents have larger thresholds."""
        super().scale_latents(sae, factors)
        sae.get_parameter("threshold").mul_(factors)


def _apply(function: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    return function.apply(pre, threshold, bandwidth)


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        pre, threshold = ctx.saved_tensors
        window = (pre - threshold).abs() < ctx.bandwidth / 2
        to_threshold = -(threshold / ctx.bandwidth) * window * upstream
        return upstream * (pre > threshold), to_threshold.sum(0), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        pre, threshold = ctx.saved_tensors
        window = (pre - threshold).abs() < ctx.bandwidth / 2
        return None, (-upstream * window / ctx.bandwidth).sum(0), None
