"""Layouts whose authors publish no installable package: files as they write them, held against their formulas."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mistudio.sae import SAEFormatError, load_sae, save_sae

from .dictionaries import activations, random_sae

D, M, L = 12, 40, 3


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.5


def layer_norm(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As Gao et al. 2024 preprocess tokens: mean 0, sample standard deviation 1."""
    mean = x.mean(1, keepdim=True)
    deviation = (x - mean).std(1, keepdim=True)
    return (x - mean) / (deviation + 1e-5), mean, deviation


def openai_state(**changes: Any) -> dict[str, Any]:
    return (
        OrderedDict(
            pre_bias=numbers(D, seed=1),
            latent_bias=numbers(M, seed=2),
            stats_last_nonzero=torch.zeros(M, dtype=torch.long),
            latents_activation_frequency=torch.ones(M),
            latents_mean_square=torch.zeros(M),
            **{"encoder.weight": numbers(M, D, seed=3), "decoder.weight": numbers(D, M, seed=4)},
            activation="TopK",
            activation_state_dict={"k": 5, "postact_fn": "ReLU"},
        )
        | changes
    )


def test_openai_topk(tmp_path: Path) -> None:
    state = openai_state()
    torch.save(state, tmp_path / "7.pt")
    x = activations()
    seen, mean, deviation = layer_norm(x)
    pre = (seen - state["pre_bias"]) @ state["encoder.weight"].T + state["latent_bias"]
    best = pre.topk(5, dim=1)
    z = torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())
    expected = (z @ state["decoder.weight"].T + state["pre_bias"]) * deviation + mean
    ours = load_sae(tmp_path / "7.pt")
    torch.testing.assert_close(ours.encode(x).dense(), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)
    save_sae(ours, tmp_path / "back", format="openai")
    back = torch.load(tmp_path / "back" / "autoencoder.pt", weights_only=True)
    assert back.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(back[name], value) if isinstance(value, Tensor) else back[name] == value


@pytest.mark.parametrize("tied", [False, True])
def test_openai_relu(tied: bool, tmp_path: Path) -> None:
    state = openai_state(activation="ReLU", activation_state_dict=OrderedDict())
    W_dec = state["decoder.weight"].T
    if tied:
        del state["decoder.weight"]
        W_dec = state["decoder.linear.weight"] = state["encoder.weight"]
    torch.save(state, tmp_path / "7.pt")
    x = activations()
    z = ((x - state["pre_bias"]) @ state["encoder.weight"].T + state["latent_bias"]).relu()
    ours = load_sae(tmp_path)
    torch.testing.assert_close(ours.encode(x).dense(), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x), z @ W_dec + state["pre_bias"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"activation": "GELU"}, "names the activation 'GELU'"),
        ({"activation": ["TopK"]}, "names the activation"),
        ({"activation_state_dict": {"k": 5, "postact_fn": "Identity"}}, "keeps negative values"),
        ({"activation_state_dict": {"k": 41}}, "k is 41"),
        ({"activation_state_dict": {}}, "k: Input should be a valid integer"),
        ({"activation_state_dict": 7}, "names the activation 'TopK'"),
    ],
)
def test_openai_settings_that_cannot_be_read(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    torch.save(openai_state(**changes), tmp_path / "7.pt")
    with pytest.raises(SAEFormatError, match=says):
        load_sae(tmp_path / "7.pt")


def crosscoder_state(**changes: Any) -> dict[str, Tensor]:
    return {
        "encoder.weight": numbers(L, D, M, seed=1),
        "encoder.bias": numbers(M, seed=2),
        "decoder.weight": numbers(L, M, D, seed=3),
        "decoder.bias": numbers(L, D, seed=4),
        "code_normalization_id": torch.tensor(1),
    } | changes


@pytest.mark.parametrize("file", ["model.safetensors", "ae_final.pt"])
@pytest.mark.parametrize("normalisation", [None, 1, 2, 4])
def test_crosscoders(normalisation: int | None, file: str, tmp_path: Path) -> None:
    """CrossCoder (None), and BatchTopKCrossCoder with each way in which decoder norms may count."""
    state = crosscoder_state()
    if normalisation is not None:
        state |= {
            "code_normalization_id": torch.tensor(normalisation),
            "k": torch.tensor(5, dtype=torch.int),
            "threshold": torch.tensor(1.4),
        }
    save = save_file if file.endswith("safetensors") else torch.save
    save(state, tmp_path / file)
    x = activations(width=L * D).unflatten(1, (L, D))
    z = (torch.einsum("nld,ldm->nm", x, state["encoder.weight"]) + state["encoder.bias"]).relu()
    if normalisation is not None:
        W_dec = state["decoder.weight"]
        sums, whole = W_dec.norm(dim=2).sum(0), W_dec.norm(dim=(0, 2))
        z = z * (z * {1: sums, 2: whole, 4: 1}[normalisation] > 1.4)
    expected = torch.einsum("nm,lmd->nld", z, state["decoder.weight"]) + state["decoder.bias"]
    ours = load_sae(tmp_path)
    assert (ours.n_sites, ours.d_in, ours.d_sae) == (L, L * D, M)
    kinds = {None: "standard", 1: "batch_topk", 2: "jump_relu", 4: "batch_topk"}
    assert ours.architecture.kind == kinds[normalisation]
    torch.testing.assert_close(ours.encode(x.flatten(1)).dense(), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x.flatten(1)), expected.flatten(1), rtol=1e-4, atol=1e-4)
    if normalisation != 2:
        save_sae(ours, tmp_path / "back", format="crosscoder_learning")
        again = load_sae(tmp_path / "back")
        torch.testing.assert_close(again.encode(x.flatten(1)).dense(), z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decoder.weight": numbers(2, M, D)}, "that read and write different layers"),
        ({"activation_mean": numbers(D)}, "holds activation_mean, which is not supported"),
        (
            {"k": torch.tensor(5), "threshold": torch.tensor(1.0), "code_normalization_id": torch.tensor(5)},
            "code normalisation DECOUPLED",
        ),
        ({"k": torch.tensor(5)}, "threshold must be one number, but it is missing"),
        ({"k": torch.tensor(0.5), "threshold": torch.tensor(1.0)}, "k must be a whole number"),
    ],
)
def test_crosscoders_that_cannot_be_read(changes: dict[str, Tensor], says: str, tmp_path: Path) -> None:
    save_file(crosscoder_state(**changes), tmp_path / "model.safetensors")
    with pytest.raises(SAEFormatError, match=says):
        load_sae(tmp_path)


def test_crosscoders_between_models(tmp_path: Path) -> None:
    """The layout of Kissane's model diffing: [models, width, latents], decoder [latents, models, width]."""
    state = {
        "W_enc": numbers(2, D, M, seed=1),
        "W_dec": numbers(M, 2, D, seed=2),
        "b_enc": numbers(M, seed=3),
        "b_dec": numbers(2, D, seed=4),
    }
    torch.save(state, tmp_path / "17.pt")
    (tmp_path / "17_cfg.json").write_text('{"hook_point": "blocks.14.hook_resid_pre", "seq_len": 1024}')
    x = activations(width=2 * D).unflatten(1, (2, D))
    z = (torch.einsum("nld,ldm->nm", x, state["W_enc"]) + state["b_enc"]).relu()
    expected = torch.einsum("nm,mld->nld", z, state["W_dec"]) + state["b_dec"]
    ours = load_sae(tmp_path / "17.pt")
    assert ours.metadata == {"hook_name": "blocks.14.hook_resid_pre", "context_size": 1024}
    torch.testing.assert_close(ours.encode(x.flatten(1)).dense(), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x.flatten(1)), expected.flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("skips", [False, True])
def test_circuit_tracer_transcoders(jumps: bool, skips: bool, tmp_path: Path) -> None:
    state = {
        "W_enc": numbers(M, D, seed=1),
        "W_dec": numbers(M, D, seed=2),
        "b_enc": numbers(M, seed=3),
        "b_dec": numbers(D, seed=4),
    }
    x = activations()
    pre = x @ state["W_enc"].T + state["b_enc"]
    z = pre.relu()
    if jumps:
        state["activation_function.threshold"] = numbers(M, seed=5).abs()
        z = pre * (pre > state["activation_function.threshold"])
    y = z @ state["W_dec"] + state["b_dec"]
    if skips:
        state["W_skip"] = numbers(D, D, seed=6)
        y = y + x @ state["W_skip"].T
    save_file(state, tmp_path / "layer_3.safetensors")
    ours = load_sae(tmp_path)
    torch.testing.assert_close(ours.encode(x).dense(), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(x), y, rtol=1e-4, atol=1e-4)
    assert ours.metadata == {"hook_name": "blocks.3.hook_mlp_in", "hook_name_out": "blocks.3.hook_mlp_out"}


def test_cross_layer_transcoders_are_refused_by_name(tmp_path: Path) -> None:
    weights = {"w_enc": numbers(D, M), "w_dec": numbers(M, L, D), "threshold": numbers(M).abs()}
    save_file(
        weights | {"b_enc": numbers(M), "b_dec": numbers(L, D)}, tmp_path / "params_layer_0.safetensors"
    )
    with pytest.raises(SAEFormatError, match="one layer of a cross-layer transcoder"):
        load_sae(tmp_path)


def test_qwen_scope_needs_to_know_how_many_latents_are_active(tmp_path: Path) -> None:
    save_sae(random_sae("topk", "uncentred"), tmp_path / "sae", format="qwen_scope")
    for name in ("config.json", "mistudio.json"):
        (tmp_path / "sae" / name).unlink()
    with pytest.raises(SAEFormatError, match=r"does not say how many latents are active.*L0_50"):
        load_sae(tmp_path / "sae")
    (tmp_path / "sae").rename(tmp_path / "SAE-Res-Qwen3-8B-Base-W64K-L0_7")
    assert load_sae(tmp_path / "SAE-Res-Qwen3-8B-Base-W64K-L0_7").architecture.k == 7  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset_average_activation_norm": {"in": 0, "out": 1}}, "must be positive"),
        ({"dataset_average_activation_norm": {"in": "x"}}, "in must be a number, not 'x'"),
        ({"dataset_average_activation_norm": 3}, "has no section dataset_average_activation_norm"),
        ({"jump_relu_threshold": None}, "jump_relu_threshold must be a number"),
        ({"act_fn": "topk", "top_k": "few"}, "k: Input should be a valid integer"),
    ],
)
def test_llama_scope_settings_that_cannot_be_read(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    save_sae(random_sae("batch_topk", "uncentred"), tmp_path / "sae", format="llama_scope")
    path = tmp_path / "sae" / "hyperparams.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(config))
    with pytest.raises(SAEFormatError, match=says):
        load_sae(tmp_path / "sae")
    del config["dataset_average_activation_norm"]
    path.write_text(json.dumps(config))
    with pytest.raises(SAEFormatError, match="neither it nor the weights give dataset_average"):
        load_sae(tmp_path / "sae")
