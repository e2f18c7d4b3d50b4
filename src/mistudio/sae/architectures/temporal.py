"""Temporal SAE ("Priors in Time", arXiv 2511.01836). Read, not trained."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mistudio.sae.architectures.base import Architecture
from mistudio.sae.config.architectures import TemporalConfig
from mistudio.sae.errors import SAEError
from mistudio.sae.latents import Latents, TokenFrame

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

_EPSILON = 1e-6
_MAPS = ("k_ctx", "q_target", "v_ctx", "c_proj")


class Temporal(Architecture[TemporalConfig]):
    """What can be predicted from earlier tokens, and sparse latents of what is new.

    The rows of what is encoded are consecutive tokens of ONE text. With r the (centred) activations and λ =
    1/4d_in, each attention layer looks from z = ReLU(λ·E·r) at the z of earlier tokens, giving p = ReLU(…),
    whose best multiple α·D·p is taken off r and counts as predicted. Latents are ReLU(λ·E·r) of what is left,
    or its k largest. Decoding adds the prediction, which travels in `Latents.frame`.
    """

    ranks_latents = True

    @staticmethod
    def weight_shapes(config: TemporalConfig, d_sae: int) -> Iterator[tuple[str, list[int]]]:
        """Names and shapes of the attention layers' weights, as their authors name them."""
        narrow = d_sae // config.bottleneck_factor
        for layer in range(config.n_layers):
            for name in _MAPS:
                out = narrow if name in ("k_ctx", "q_target") else d_sae
                yield f"attn_layers.{layer}.{name}.weight", [out, d_sae]
                yield f"attn_layers.{layer}.{name}.bias", [out]

    def attach(self, sae: "SAE", weights: Mapping[str, Tensor]) -> None:
        """Give the dictionary its attention layers, with these weights."""
        if sae.d_sae % (self.config.bottleneck_factor * self.config.n_heads):
            raise SAEError(
                f"{sae.d_sae} latents do not divide into {self.config.n_heads} heads of a bottleneck of "
                f"{self.config.bottleneck_factor}."
            )
        for name, shape in self.weight_shapes(self.config, sae.d_sae):
            found = "missing" if name not in weights else list(weights[name].shape)
            if found != shape:
                raise SAEError(f"{name} is {found}, but it should be {shape}.")

        def linear(layer: int, name: str) -> nn.Linear:
            weight = weights[f"attn_layers.{layer}.{name}.weight"]
            made = nn.Linear(sae.d_sae, weight.shape[0], device="meta")
            for part in ("weight", "bias"):
                value = weights[f"attn_layers.{layer}.{name}.{part}"].to(sae.W_enc, copy=True)
                setattr(made, part, nn.Parameter(value.contiguous(), requires_grad=False))
            return made

        layers = [
            nn.ModuleDict({name: linear(layer, name) for name in _MAPS})
            for layer in range(self.config.n_layers)
        ]
        sae.add_module("attn_layers", nn.ModuleList(layers))

    @torch.no_grad()
    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents of what is new in each of the consecutive tokens [N, d_in]; their frame is the prediction."""
        new, predicted = self._split(sae, seen)
        scale = seen.new_ones(seen.shape[0], 1)
        latents = Latents.from_dense(self._latents(sae, new))
        return Latents(
            latents.values, latents.indices, latents.offsets, latents.d_sae, TokenFrame(predicted, scale)
        )

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """The same latents as a matrix [N, m], without the prediction; not for gradients."""
        if seen.requires_grad:
            raise SAEError(
                "A temporal dictionary reconstructs from latents and a prediction: it has no dense, "
                "differentiable form.",
                hint="Use encode and decode without gradients.",
            )
        return self._latents(sae, self._split(sae, seen)[0])

    def _latents(self, sae: "SAE", new: Tensor) -> Tensor:
        z = self._read(sae, new)
        if self.config.k is None:
            return z
        values, indices = z.topk(self.config.k, dim=1)
        return torch.zeros_like(z).scatter(1, indices, values)

    def _read(self, sae: "SAE", residual: Tensor) -> Tensor:
        return functional.relu((residual / (4 * sae.d_in)) @ sae.W_enc.T)

    def _split(self, sae: "SAE", seen: Tensor) -> tuple[Tensor, Tensor]:
        """What is new in each token, and what was predicted of it: [N, d_in] each."""
        residual, predicted = seen, torch.zeros_like(seen)
        for layer in cast(nn.ModuleList, sae.get_submodule("attn_layers")):
            z = self._read(sae, residual)
            earlier = torch.cat([torch.zeros_like(z[:1]), z[:-1]])
            direction = functional.relu(self._attend(cast(nn.ModuleDict, layer), earlier, z)) @ sae.W_dec
            length = direction.norm(dim=1, keepdim=True) + _EPSILON
            step = (direction * residual).sum(1, keepdim=True) / length.square() * direction
            residual, predicted = residual - step, predicted + step
        return residual, predicted

    def _attend(self, layer: nn.ModuleDict, earlier: Tensor, z: Tensor) -> Tensor:
        """Causal attention from z at `earlier` [N, m], whose row n is the token before: [N, m]."""

        def heads(rows: Tensor) -> Tensor:
            return rows.unflatten(1, (self.config.n_heads, -1)).transpose(0, 1)

        mixed = functional.scaled_dot_product_attention(
            heads(layer["q_target"](z)),
            heads(layer["k_ctx"](earlier)),
            heads(layer["v_ctx"](earlier)),
            is_causal=True,
        )
        return layer["c_proj"](mixed.transpose(0, 1).flatten(1))

    def scale_latents(self, sae: "SAE", factors: Tensor) -> None:
        """Refused: the attention layers know the latents at their present scale."""
        raise SAEError("The latents of a temporal dictionary cannot be rescaled.")
