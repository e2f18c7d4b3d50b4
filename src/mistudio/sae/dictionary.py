"""The sparse dictionary itself: weights, encode, decode. Autoencoders, transcoders and crosscoders alike."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mistudio.sae import architectures, kernels
from mistudio.sae.config import ArchitectureConfig
from mistudio.sae.distributed import ALONE, Ranks
from mistudio.sae.errors import SAEError
from mistudio.sae.latents import Latents, TokenFrame

DecoderNorm = Literal["unit", "free"]
TokenNorm = Literal["none", "unit_norm", "layer_norm"]

_SMALLEST_NORM = 1e-8
_LAYER_NORM_EPSILON = 1e-5


class SAE(nn.Module):
    """A dictionary of `d_sae` latents: y ≈ Σ zᵢ·dᵢ + b_dec, z sparse and computed from x [N, d_in].

    - An autoencoder reconstructs what it reads: y = x.
    - A transcoder predicts another hook point, y [N, d_out]; a skip transcoder adds W_skip·x to it.
    - A crosscoder reads and writes several layers at once: x [N, n_sites·d] holds them side by side.

    Weights are rows per latent: `W_enc` [d_sae, d_in], `W_dec` [d_sae, d_out], `b_enc` [d_sae], `b_dec`
    [d_out], `W_skip` [d_out, d_in] for skip transcoders, and what the architecture adds (`threshold`, …).
    They start at zero, for a trainer or a reader to fill in. `metadata` says where it belongs
    (`model_name`, `hook_name`, `context_size`, `prepend_bos`, …) and travels with it through every format.
    """

    def __init__(
        self,
        architecture: ArchitectureConfig,
        d_in: int,
        d_sae: int,
        *,
        d_out: int | None = None,
        n_sites: int = 1,
        skip: bool = False,
        apply_b_dec_to_input: bool = True,
        decoder_norm: DecoderNorm = "unit",
        token_norm: TokenNorm = "none",
        metadata: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        d_out = d_in if d_out is None else d_out
        k = getattr(architecture, "k", None)
        if min(d_in, d_out, d_sae) < 1:
            raise SAEError(
                f"A dictionary needs d_in, d_out and d_sae of at least 1; got {d_in}, {d_out} and {d_sae}."
            )
        if k is not None and k > d_sae:
            raise SAEError(f"k is {k}, but the dictionary has only {d_sae} latents.")
        if n_sites < 1 or d_in % n_sites or d_out % n_sites:
            raise SAEError(f"{n_sites} layers of equal width do not fit into d_in {d_in} and d_out {d_out}.")
        if token_norm != "none" and (n_sites > 1 or d_out != d_in):
            raise SAEError("Tokens are normalised one by one in autoencoders only.")
        if apply_b_dec_to_input and d_out != d_in:
            raise SAEError("The decoder's bias can only be subtracted from an input of its own width.")
        self.architecture = architecture
        self.n_sites = n_sites
        self.apply_b_dec_to_input = apply_b_dec_to_input
        self.decoder_norm: DecoderNorm = decoder_norm
        self.token_norm: TokenNorm = token_norm
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.activation = architectures.build(architecture)
        self.shards: Ranks = ALONE
        """the processes of which each has some of the latents, while a dictionary is trained in parts"""

        def weights(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape, device=device, dtype=dtype), requires_grad=False)

        self.W_enc, self.W_dec = weights(d_sae, d_in), weights(d_sae, d_out)
        self.b_enc, self.b_dec = weights(d_sae), weights(d_out)
        self.W_skip: nn.Parameter | None = weights(d_out, d_in) if skip else None
        for name in self.activation.latent_parameters:
            self.register_parameter(name, weights(d_sae))
        for name in self.activation.state_names:
            self.register_buffer(name, torch.zeros((), device=device, dtype=torch.float64))

    def extra_repr(self) -> str:
        """Its kind, sizes and place, for a notebook."""
        k = getattr(self.architecture, "k", None)
        kind = self.architecture.kind + ("" if k is None else f" k={k}")
        place = [
            str(self.metadata[name]) for name in ("hook_name", "hook_name_out") if self.metadata.get(name)
        ]
        sizes = f"d_in={self.d_in}, d_sae={self.d_sae}" + f", d_out={self.d_out}" * (self.d_out != self.d_in)
        return ", ".join([kind, sizes, *([" to ".join(place)] if place else [])])

    @property
    def d_in(self) -> int:
        """Width of the activations that are read."""
        return self.W_enc.shape[1]

    @property
    def d_out(self) -> int:
        """Width of the activations that are written."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.W_enc.shape[0]

    @property
    def latent_weights(self) -> tuple[str, ...]:
        """Names of the weights that have a row for each latent."""
        return ("W_enc", "W_dec", "b_enc", *self.activation.latent_parameters)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc.device

    @property
    def is_transcoder(self) -> bool:
        """Whether it predicts another hook point than the one that it reads."""
        return self.W_skip is not None or self.d_out != self.d_in or bool(self.metadata.get("hook_name_out"))

    def check(self, x: Tensor) -> Tensor:
        """x as [N, d_in] on this dictionary's device and in its precision, or a clear refusal."""
        return self._check(x, self.d_in, "Activations")

    def check_output(self, y: Tensor) -> Tensor:
        """The same for what it is to write, [N, d_out]."""
        return self._check(y, self.d_out, "Target activations")

    def _check(self, x: Tensor, width: int, what: str) -> Tensor:
        if x.ndim != 2 or x.shape[1] != width:
            raise SAEError(
                f"{what} must be [tokens, {width}] for this dictionary; got {list(x.shape)}.",
                hint="Check that the hook point and the model are those that it was trained on.",
            )
        return x.to(self.W_enc)

    def normalise(self, x: Tensor) -> tuple[Tensor, TokenFrame | None]:
        """x [N, d_in] as the dictionary knows it, and how to undo that; x itself when `token_norm` is none.

        unit_norm brings every token to norm √d; layer_norm takes off its mean and divides by its (sample)
        standard deviation. Both as in SAELens ("constant_norm_rescale", "layer_norm").
        """
        if self.token_norm == "none":
            return x, None
        if self.token_norm == "unit_norm":
            mean = x.new_zeros(x.shape[0], 1)
            scale = x.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) / x.shape[1] ** 0.5
            return x / scale, TokenFrame(mean, scale)
        mean = x.mean(1, keepdim=True)
        x = x - mean
        deviation = x.std(1, keepdim=True)
        return x / (deviation + _LAYER_NORM_EPSILON), TokenFrame(mean, deviation)

    def centre(self, x: Tensor) -> Tensor:
        """What the encoder sees: x - b_dec, or x where the decoder bias is not subtracted."""
        return x - self.shards.shared(self.b_dec) if self.apply_b_dec_to_input else x

    def decoder_norms(self) -> Tensor:
        """‖dᵢ‖ [d_sae], at least 1e-8; for a crosscoder the sum of its norms at each layer (Anthropic,
        "Sparse Crosscoders", October 2024)."""
        if self.n_sites == 1:
            return self.W_dec.norm(dim=1).clamp_min(_SMALLEST_NORM)
        return self.W_dec.unflatten(1, (self.n_sites, -1)).norm(dim=2).sum(1).clamp_min(_SMALLEST_NORM)

    def ranking_norms(self) -> Tensor | None:
        """Norms [d_sae] by which latents are ranked and penalised; None while all count as 1."""
        return self.decoder_norms() if self.decoder_norm == "free" else None

    @torch.no_grad()
    def encode(self, x: Tensor) -> Latents:
        """Latents of activations [N, d_in], sparse. Not differentiable: see `encode_dense`."""
        x, frame = self.normalise(self.check(x))
        latents = self.activation.encode(self, self.centre(x))
        return latents if frame is None else replace(latents, frame=frame)

    def encode_dense(self, x: Tensor) -> Tensor:
        """The same as a matrix [N, d_sae], differentiable in x and the weights."""
        x, _ = self.normalise(self.check(x))
        return self.activation.activate(self, self.centre(x))

    def decode(self, latents: Latents, x: Tensor | None = None) -> Tensor:
        """Reconstruction [N, d_out] from sparse latents: Σ zᵢ·dᵢ + b_dec (+ W_skip·x, which needs x)."""
        if latents.d_sae != self.d_sae:
            raise SAEError(
                f"These latents belong to a dictionary of {latents.d_sae}, not of {self.d_sae} latents."
            )
        return self._finish(kernels.decode(latents, self.W_dec), x, latents.frame)

    def decode_dense(self, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Reconstruction [N, d_out] from dense latents [N, d_sae]; differentiable.

        Needs x [N, d_in] where tokens are normalised or a skip connection is there.
        """
        frame = None
        if self.token_norm != "none":
            if x is None:
                raise SAEError("This dictionary normalises every token: decoding dense latents needs x.")
            _, frame = self.normalise(self.check(x))
        return self._finish(z @ self.W_dec, x, frame)

    def _finish(self, written: Tensor, x: Tensor | None, frame: TokenFrame | None) -> Tensor:
        out = written + self.b_dec
        if self.W_skip is not None:
            if x is None:
                raise SAEError("A skip transcoder needs x, besides the latents, to decode.")
            seen, _ = self.normalise(self.check(x))
            out = out + seen @ self.W_skip.T
        return out if frame is None else frame.restore(out)

    def forward(self, x: Tensor) -> Tensor:
        """ŷ [N, d_out]; differentiable (through the slower dense form) when x or the weights ask for it."""
        wants_gradient = x.requires_grad or self.W_enc.requires_grad
        if torch.is_grad_enabled() and wants_gradient:
            return self.decode_dense(self.encode_dense(x), x)
        return self.decode(self.encode(x), x)

    @torch.no_grad()
    def fold_activation_scale(
        self, scale_in: Tensor | float, scale_out: Tensor | float | None = None
    ) -> None:
        """Make a dictionary of scaled activations one of the model's own: same latents, ŷ divided by scale.

        Scales are numbers or one for each entry, [d_in] and [d_out]; `scale_out` is `scale_in` by default.
        """
        scale_out = scale_in if scale_out is None else scale_out
        self.W_enc *= scale_in
        self.W_dec /= scale_out
        self.b_dec /= scale_out
        if self.W_skip is not None:
            if isinstance(scale_out, Tensor) and scale_out.ndim == 1:
                scale_out = scale_out[:, None]
            self.W_skip.mul_(scale_in).div_(scale_out)

    @torch.no_grad()
    def fold_decoder_norms(self) -> None:
        """Give every decoder direction length 1, with latents in units of x: x̂ stays the same.

        Which latents are active stays the same too where they are ranked by value times length, or all
        lengths are equal; a top-k dictionary with unequal lengths that ignores them is refused.
        """
        norms = self.decoder_norms()
        ranked_raw = self.activation.ranks_latents and self.decoder_norm == "unit"
        if ranked_raw and float(norms.max()) > float(norms.min()) * (1 + 1e-4):
            raise SAEError(
                "Folding decoder norms would change which latents of this dictionary are active, "
                "because it was trained to rank them without their norms."
            )
        self.activation.scale_latents(self, norms)
        self.W_dec /= norms[:, None]
        self.decoder_norm = "unit"
