"""SAELens' loaders for other people's checkpoints as referee: the same files, read by them and by us.

The loaders are the real ones; only the hub is not asked: files come from a local folder laid out like the
repository. Where our writer knows the layout, it wrote them; else they are built here as their loader expects.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from sae_lens import SAE as TheirSAE
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.registry import get_sae_class
from safetensors import safe_open

from mistudio.sae import SAE, load_sae, save_sae
from tests.sae.formats.dictionaries import D_IN, D_SAE, activations, random_sae

Load = Callable[..., Any]
REPOSITORY = "some/repository"
SIZES = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32"}


@pytest.fixture
def load_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load with one of their converters, as `SAE.from_pretrained` does, from the test's folder."""

    def download(repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        path = tmp_path / repo_id / (subfolder or "") / filename
        if not path.is_file():
            raise EntryNotFoundError(f"no {path}")
        return str(path)

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        with safe_open(download(repo_id, filename), framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    monkeypatch.setattr(loaders, "hf_hub_download", download)
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", shapes)

    def load(name: str, repository: str, folder: str, scale: float | None = None, **overrides: Any) -> Any:
        config, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[name](
            repository,
            folder,
            device="cpu",
            force_download=False,
            cfg_overrides={"dtype": "float32"} | overrides,
        )
        config = loaders.handle_config_defaulting(config)
        sae_class, config_class = get_sae_class(config["architecture"])
        theirs: Any = sae_class(config_class.from_dict(config))
        theirs.process_state_dict_for_loading(state)
        theirs.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
        if scale is not None:
            theirs.fold_activation_norm_scaling_factor(scale)
        return theirs

    return load


def assert_agree(ours: SAE, theirs: Any) -> None:
    x = activations(width=ours.d_in)
    with torch.no_grad():
        latents = theirs.encode(x)
        assert 0 < int((latents != 0).sum()) < latents.numel()
        torch.testing.assert_close(ours.encode(x).dense(), latents, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("release", "hook"),
    [
        ("google/gemma-scope-2b-pt-res", "blocks.12.hook_resid_post"),
        ("google/gemma-scope-9b-it-mlp", "blocks.12.hook_mlp_out"),
        ("google/gemma-scope-9b-pt-att", "blocks.12.attn.hook_z"),
    ],
)
@pytest.mark.parametrize("kind", ["jump_relu", "batch_topk"])
def test_gemma_scope(kind: str, release: str, hook: str, load_there: Load, tmp_path: Path) -> None:
    folder = "layer_12/width_16k/average_l0_82"
    save_sae(random_sae(kind, metadata={}), tmp_path / release / folder, format="gemma_scope")
    # with one token per row there are no heads to put side by side
    theirs = load_there("gemma_2", release, folder, **SIZES, reshape_activations="none")
    (tmp_path / release / folder / "mistudio.json").unlink()
    ours = load_sae(tmp_path / release / folder)
    assert_agree(ours, theirs)
    model = f"google/gemma-2-{release[19:21]}" + ("-it" if "-it-" in release else "")
    reshape = {"reshape_activations": "hook_z"} if "hook_z" in hook else {}
    assert ours.metadata == {"model_name": model, "hook_name": hook} | reshape
    assert theirs.cfg.metadata.hook_name == hook


def test_gemma_scope_embeddings(load_there: Load, tmp_path: Path) -> None:
    release, folder = "google/gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_44"
    save_sae(random_sae("jump_relu", "uncentred"), tmp_path / release / folder, format="gemma_scope")
    (tmp_path / release / folder / "mistudio.json").unlink()
    ours = load_sae(tmp_path / release / folder)
    assert_agree(ours, load_there("gemma_2", release, folder, **SIZES))
    assert ours.metadata["hook_name"] == "blocks.0.hook_resid_pre"


@pytest.mark.parametrize("shape", ["transcoder", "square_transcoder"])
def test_gemma_scope_transcoders(shape: str, load_there: Load, tmp_path: Path) -> None:
    release, folder = "google/gemma-scope-2b-pt-transcoders", "layer_3/width_16k/average_l0_82"
    sae = random_sae("jump_relu", shape)
    save_sae(sae, tmp_path / release / folder, format="gemma_scope")
    (tmp_path / release / folder / "mistudio.json").unlink()
    ours = load_sae(tmp_path / release / folder)
    assert_agree(ours, load_there("gemma_2_transcoder", release, folder, **SIZES, d_out=sae.d_out))
    assert ours.is_transcoder
    assert ours.metadata["hook_name_out"] == "blocks.3.hook_mlp_out"


@pytest.mark.parametrize(
    ("place", "shape", "hook"),
    [
        ("resid_post/layer_6_width_16k_l0_small", "plain", "blocks.6.hook_resid_post"),
        ("transcoder/layer_3_width_16k_l0_small", "transcoder", "blocks.3.hook_mlp_in"),
        ("transcoder/layer_3_width_16k_l0_small_affine", "skip_transcoder", "blocks.3.hook_mlp_in"),
    ],
)
def test_gemma_scope_2(place: str, shape: str, hook: str, load_there: Load, tmp_path: Path) -> None:
    release = "google/gemma-scope-2-1b-pt"
    sae = random_sae("jump_relu", shape)
    sae.metadata["model_name"] = "google/gemma-3-1b-pt"
    save_sae(sae, tmp_path / release / place, format="gemma_scope_2")
    (tmp_path / release / place / "mistudio.json").unlink()
    ours = load_sae(tmp_path / release / place)
    theirs = load_there("gemma_3", release, place)
    assert_agree(ours, theirs)
    assert ours.metadata["hook_name"] == hook
    assert ours.metadata.get("hook_name_out") == theirs.cfg.metadata.hook_name_out
    assert ours.metadata["model_name"] == theirs.cfg.metadata.model_name


@pytest.mark.parametrize("norm", [3.0, 40.0])
def test_llama_scope(norm: float, load_there: Load, tmp_path: Path) -> None:
    folder = tmp_path / REPOSITORY / "Llama3_1-8B-Base-L15R-8x"
    save_sae(random_sae("batch_topk", "uncentred"), folder, format="llama_scope")
    (folder / "mistudio.json").unlink()
    config = json.loads((folder / "hyperparams.json").read_text())
    config |= {"dataset_average_activation_norm": {"in": norm, "out": norm}}
    config["jump_relu_threshold"] = 0.2
    (folder / "hyperparams.json").write_text(json.dumps(config))
    theirs = load_there("llama_scope", REPOSITORY, folder.name, D_IN**0.5 / norm)
    assert_agree(load_sae(folder), theirs)


def test_llama_scope_r1_distill(load_there: Load, tmp_path: Path) -> None:
    folder = tmp_path / REPOSITORY / "800M-Slimpajama-0-OpenR1-Math-220k/L5R"
    save_sae(random_sae("jump_relu", "uncentred"), folder, format="llama_scope")
    (folder / "mistudio.json").unlink()
    theirs = load_there(
        "llama_scope_r1_distill", REPOSITORY, "800M-Slimpajama-0-OpenR1-Math-220k/L5R", 1.0, **SIZES
    )
    ours = load_sae(folder)
    assert ours.architecture.kind == "jump_relu"
    assert_agree(ours, theirs)


@pytest.mark.parametrize("kind", ["standard", "gated", "topk", "batch_topk", "matryoshka", "jump_relu"])
def test_dictionary_learning(kind: str, load_there: Load, tmp_path: Path) -> None:
    sae = random_sae(kind, "uncentred" if kind == "jump_relu" else "plain")
    save_sae(sae, tmp_path / REPOSITORY / "run", format="dictionary_learning")
    assert_agree(sae, load_there("dictionary_learning_1", REPOSITORY, "run"))


def test_qwen_scope(load_there: Load, tmp_path: Path) -> None:
    release = "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_5"
    sae = random_sae("topk", "uncentred")
    save_sae(sae, tmp_path / release, format="qwen_scope")
    for name in ("mistudio.json", "config.json"):
        (tmp_path / release / name).unlink()
    ours = load_sae(tmp_path / release / "layer6.sae.pt")
    assert ours.metadata == {"model_name": "Qwen/Qwen3-1.7B-Base", "hook_name": "blocks.6.hook_resid_post"}
    assert_agree(ours, load_there("qwen_scope", release, "layer6.sae.pt", **SIZES))


def test_sparsify(tmp_path: Path) -> None:
    sae = random_sae("topk")
    save_sae(sae, tmp_path / "run" / "layers.6", format="sparsify")
    config = tmp_path / "run" / "layers.6" / "cfg.json"
    config.write_text(config.read_text().replace('"normalize_decoder": true', '"normalize_decoder": false'))
    theirs: Any = TheirSAE.load_from_disk(
        tmp_path / "run" / "layers.6",
        dtype="float32",
        converter=lambda *args, **kwargs: _transposed(loaders.sparsify_disk_loader(*args, **kwargs)),
    )
    assert_agree(sae, theirs)


def _transposed(loaded: tuple[dict[str, Any], dict[str, torch.Tensor]]) -> Any:
    """Their converter turns W_dec round, as an older layout of sparsify's needed; the present one does not."""
    config, state = loaded
    return config, state | {"W_dec": state["W_dec"].T.contiguous()}


def test_goodfire(load_there: Load, tmp_path: Path) -> None:
    release, file = "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", "Llama-3.1-8B-Instruct-SAE-l19.pth"
    save_sae(random_sae("standard", "uncentred"), tmp_path / "written", format="goodfire")
    (tmp_path / release).mkdir(parents=True)
    (tmp_path / "written" / "sae.pth").rename(tmp_path / release / file)
    ours = load_sae(tmp_path / release / file)
    assert_agree(ours, load_there("goodfire", release, file, **SIZES))
    assert ours.metadata == {
        "model_name": "meta-llama/Llama-3.1-8B-Instruct",
        "hook_name": "blocks.19.hook_resid_post",
    }


def test_kissanes_attention_dictionaries(load_there: Load, tmp_path: Path) -> None:
    save_sae(random_sae("standard"), tmp_path / "written", format="nanda")
    folder = tmp_path / REPOSITORY
    folder.mkdir(parents=True)
    (tmp_path / "written" / "0.pt").rename(folder / "gpt2-small_L5_Hcat_z.pt")
    (tmp_path / "written" / "0_cfg.json").rename(folder / "gpt2-small_L5_Hcat_z_cfg.json")
    ours = load_sae(folder)
    theirs = load_there(
        "connor_rob_hook_z", REPOSITORY, "gpt2-small_L5_Hcat_z.pt", reshape_activations="none", hook_name="x"
    )
    assert_agree(ours, theirs)


def test_deepseek_r1(load_there: Load, tmp_path: Path) -> None:
    """The layout of dictionary_learning's AutoEncoderNew, without a configuration."""
    sae = random_sae("standard", "uncentred")
    save_sae(sae, tmp_path / "written", format="dictionary_learning")
    (tmp_path / REPOSITORY).mkdir(parents=True)
    file = "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    (tmp_path / "written" / "ae.pt").rename(tmp_path / REPOSITORY / file)
    assert_agree(load_sae(tmp_path / REPOSITORY / file), load_there("deepseek_r1", REPOSITORY, file, **SIZES))


def test_transcoders_for_circuit_tracer(load_there: Load, tmp_path: Path) -> None:
    folder = tmp_path / REPOSITORY
    sae = random_sae("standard", "square_transcoder", metadata={})
    save_sae(sae, folder, format="circuit_tracer")
    (folder / "layer_0.safetensors").rename(folder / "layer_7.safetensors")
    (folder / "mistudio.json").unlink()
    (folder / "config.yaml").write_text("model_name: Qwen/Qwen3-0.6B\n")
    (folder / "wandb-config.yaml").write_text(
        f"d_model: {{value: {D_IN}}}\nd_feature: {{value: {D_SAE}}}\nbatch_size: {{value: 64}}\n"
    )
    ours = load_sae(folder / "layer_7.safetensors")
    assert_agree(ours, load_there("mwhanna_transcoder", REPOSITORY, "layer_7.safetensors"))
    assert ours.metadata == {"hook_name": "blocks.7.hook_mlp_in", "hook_name_out": "blocks.7.hook_mlp_out"}


def test_gemma_scope_as_its_authors_save_it(tmp_path: Path) -> None:
    """Independent of our writer: arrays by their published names, in numpy's own two archives."""
    sae = random_sae("jump_relu", "uncentred")
    arrays: dict[str, Any] = {
        "w_enc": sae.W_enc.T.numpy(),
        "w_dec": sae.W_dec.numpy(),
        "b_enc": sae.b_enc.numpy(),
        "b_dec": sae.b_dec.numpy(),
        "threshold": sae.get_parameter("threshold").numpy(),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "params.npz", **arrays)
        again = load_sae(tmp_path)
        x = activations()
        assert torch.equal(again.encode(x).dense(), sae.encode(x).dense())
