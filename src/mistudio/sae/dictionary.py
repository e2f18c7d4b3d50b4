"""The sparse autoencoder itself: weights, encode, decode."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mistudio.sae import architectures, kernels
from mistudio.sae.config import ArchitectureConfig, TopKConfig
from mistudio.sae.errors import SAEError
from mistudio.sae.latents import Latents

_SMALLEST_NORM = 1e-8


class SAE(nn.Module):
    """A dictionary of `d_sae` directions in a space of width `d_in`: x ≈ Σ zᵢ·dᵢ + b_dec, z sparse.

    Weights are rows per latent: `W_enc` and `W_dec` [d_sae, d_in], `b_enc` [d_sae], `b_dec` [d_in]; they
    start at zero, for a trainer or a reader to fill in. `metadata` says where it belongs (`model_name`,
    `hook_name`, `context_size`, `prepend_bos`, …) and travels with it through every format.
    """

    def __init__(
        self,
        architecture: ArchitectureConfig,
        d_in: int,
        d_sae: int,
        *,
        apply_b_dec_to_input: bool = True,
        decoder_norm: Literal["unit", "free"] = "unit",
        metadata: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if d_in < 1 or d_sae < 1:
            raise SAEError(f"A dictionary needs d_in and d_sae of at least 1; got {d_in} and {d_sae}.")
        if isinstance(architecture, TopKConfig) and architecture.k > d_sae:
            raise SAEError(f"k is {architecture.k}, but the dictionary has only {d_sae} latents.")
        self.architecture = architecture
        self.apply_b_dec_to_input = apply_b_dec_to_input
        self.decoder_norm: Literal["unit", "free"] = decoder_norm
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.activation = architectures.build(architecture)
        self.W_enc = nn.Parameter(torch.zeros(d_sae, d_in, device=device, dtype=dtype), requires_grad=False)
        self.W_dec = nn.Parameter(torch.zeros(d_sae, d_in, device=device, dtype=dtype), requires_grad=False)
        self.b_enc = nn.Parameter(torch.zeros(d_sae, device=device, dtype=dtype), requires_grad=False)
        self.b_dec = nn.Parameter(torch.zeros(d_in, device=device, dtype=dtype), requires_grad=False)

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.W_enc.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.W_enc.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc.device

    def check(self, x: Tensor) -> Tensor:
        """x as [N, d_in] on this dictionary's device and in its precision, or a clear refusal."""
        if x.ndim != 2 or x.shape[1] != self.d_in:
            raise SAEError(
                f"Activations must be [tokens, {self.d_in}] for this dictionary; got {list(x.shape)}.",
                hint="Check that the hook point and the model are those that it was trained on.",
            )
        return x.to(self.W_enc)

    def centre(self, x: Tensor) -> Tensor:
        """What the encoder sees: x - b_dec, or x where the decoder bias is not subtracted."""
        return x - self.b_dec if self.apply_b_dec_to_input else x

    def decoder_norms(self) -> Tensor:
        """‖dᵢ‖ [d_sae], at least 1e-8."""
        return self.W_dec.norm(dim=1).clamp_min(_SMALLEST_NORM)

    def ranking_norms(self) -> Tensor | None:
        """Norms [d_sae] by which latents are ranked and penalised; None while all count as 1."""
        return self.decoder_norms() if self.decoder_norm == "free" else None

    @torch.no_grad()
    def encode(self, x: Tensor) -> Latents:
        """Latents of activations [N, d_in], sparse. Not differentiable: see `encode_dense`."""
        x = self.check(x)
        return self.activation.encode(self.centre(x), self.W_enc, self.b_enc, self.ranking_norms())

    def encode_dense(self, x: Tensor) -> Tensor:
        """The same as a matrix [N, d_sae], differentiable in x and the weights."""
        x = self.check(x)
        pre = self.centre(x) @ self.W_enc.T + self.b_enc
        return self.activation.activate(pre, self.ranking_norms())

    def decode(self, latents: Latents) -> Tensor:
        """Reconstruction [N, d_in] from sparse latents: Σ zᵢ·dᵢ + b_dec."""
        if latents.d_sae != self.d_sae:
            raise SAEError(
                f"These latents belong to a dictionary of {latents.d_sae}, not of {self.d_sae} latents."
            )
        return kernels.decode(latents, self.W_dec) + self.b_dec

    def decode_dense(self, z: Tensor) -> Tensor:
        """Reconstruction [N, d_in] from dense latents [N, d_sae]; differentiable."""
        return z @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """x̂ [N, d_in]; differentiable (through the slower dense form) when x or the weights ask for it."""
        wants_gradient = x.requires_grad or self.W_enc.requires_grad
        if torch.is_grad_enabled() and wants_gradient:
            return self.decode_dense(self.encode_dense(x))
        return self.decode(self.encode(x))

    @torch.no_grad()
    def fold_activation_scale(self, scale: float) -> None:
        """Make a dictionary of scaled activations `scale`·x one of x: same latents, x̂ divided by scale."""
        self.W_enc *= scale
        self.W_dec /= scale
        self.b_dec /= scale

    @torch.no_grad()
    def fold_decoder_norms(self) -> None:
        """Give every decoder direction length 1, with latents in units of x: x̂ stays the same.

        Which latents are active stays the same too where they are ranked by value times length, or all
        lengths are equal; TopK with unequal lengths that ignores them is refused.
        """
        norms = self.decoder_norms()
        ranked_raw = self.architecture.kind == "topk" and self.decoder_norm == "unit"
        if ranked_raw and float(norms.max()) > float(norms.min()) * (1 + 1e-4):
            raise SAEError(
                "Folding decoder norms would change which latents of this TopK dictionary are active, "
                "because it was trained to rank them without their norms."
            )
        self.W_enc *= norms[:, None]
        self.b_enc *= norms
        self.W_dec /= norms[:, None]
        self.decoder_norm = "unit"
