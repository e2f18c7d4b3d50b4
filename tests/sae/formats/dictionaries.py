"""Random dictionaries of every kind, and whether two of them do the same."""

from pathlib import Path
from typing import Any

import torch

from mistudio.sae import (
    SAE,
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    StandardConfig,
    TopKConfig,
)
from mistudio.sae.architectures.temporal import Temporal
from mistudio.sae.config import AbsTopKConfig, MatchingPursuitConfig
from mistudio.sae.config.architectures import TemporalConfig
from mistudio.sae.formats.exchange import assemble

D_IN, D_SAE = 12, 40
METADATA = {
    "model_name": "some/model",
    "hook_name": "blocks.6.hook_resid_post",
    "context_size": 128,
    "prepend_bos": True,
}
ARCHITECTURES: dict[str, Any] = {
    "standard": StandardConfig(l1_coefficient=2, l1_warmup_steps=9),
    "topk": TopKConfig(k=5, aux_k=7),
    "batch_topk": BatchTopKConfig(k=5, threshold_momentum=0.9),
    "matryoshka": MatryoshkaConfig(k=5, prefix_fractions=(0.25, 0.5)),
    "jump_relu": JumpReLUConfig(target_l0=9.0, penalty="tanh"),
    "gated": GatedConfig(l1_coefficient=3),
    "abs_topk": AbsTopKConfig(k=5),
    "matching_pursuit": MatchingPursuitConfig(max_iterations=6),
}
TRANSCODER = {
    "d_out": 8,
    "apply_b_dec_to_input": False,
    "metadata": {
        "model_name": "some/model",
        "hook_name": "blocks.3.hook_mlp_in",
        "hook_name_out": "blocks.3.hook_mlp_out",
    },
}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "uncentred": {"apply_b_dec_to_input": False},
    "unit_norm": {"token_norm": "unit_norm"},
    "layer_norm": {"token_norm": "layer_norm"},
    "free_norms": {"decoder_norm": "free"},
    "transcoder": TRANSCODER,
    "square_transcoder": TRANSCODER | {"d_out": D_IN},
    "skip_transcoder": TRANSCODER | {"skip": True},
    "square_skip_transcoder": TRANSCODER | {"d_out": D_IN, "skip": True},
    "crosscoder": {"n_sites": 3, "apply_b_dec_to_input": False, "decoder_norm": "free"},
}


def random_sae(kind: str = "topk", shape: str = "plain", *, seed: int = 0, **form: Any) -> SAE:
    """A dictionary with random weights, whose latents are sparse and whose thresholds bite."""
    arguments: dict[str, Any] = {"metadata": METADATA} | SHAPES[shape] | form
    sae = SAE(ARCHITECTURES[kind], D_IN, D_SAE, **arguments)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sae.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(values.abs() if name == "threshold" else values * 0.6)
    if kind in ("batch_topk", "matryoshka"):
        sae.get_buffer("threshold").fill_(1.3)
    if kind == "matching_pursuit":
        directions = sae.W_dec / sae.W_dec.norm(dim=1, keepdim=True)
        sae.W_dec.data.copy_(directions)
        sae.W_enc.data.copy_(directions)
        sae.b_enc.data.zero_()
    return sae


def random_temporal(d_sae: int = D_SAE) -> SAE:
    """A temporal dictionary with random weights: those come with their attention layers, never without."""
    config = TemporalConfig(k=5, n_heads=2, bottleneck_factor=5)
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": [d_sae, D_IN], "W_dec": [d_sae, D_IN], "b_enc": [d_sae], "b_dec": [D_IN]}
    shapes |= dict(Temporal.weight_shapes(config, d_sae))
    weights = {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}
    weights["b_enc"].zero_()
    return assemble(Path("nowhere"), config, weights, metadata=METADATA, device="cpu", dtype=torch.float32)


def activations(n: int = 60, width: int = D_IN, seed: int = 9) -> torch.Tensor:
    """Activations [n, width] with a mean and unequal norms."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator) * torch.linspace(0.5, 3, n)[:, None] + 0.4


def assert_same(a: SAE, b: SAE, *, exactly: bool = False) -> None:
    """Both give the same latents and the same reconstruction."""
    x = activations(width=a.d_in)
    tolerance = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-4, "atol": 1e-4}
    latents = a.encode(x).dense()
    assert 0 < int((latents != 0).sum()) < latents.numel()
    torch.testing.assert_close(b.encode(x).dense(), latents, **tolerance)
    torch.testing.assert_close(b(x), a(x), **tolerance)
