"""Loading from folders and GGUF files, and every way in which that is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from safetensors.torch import load_file, save_file

from mistudio.lm import ModelLoadError, convert_gguf, estimate, load_language_model, load_tokenizer


def test_a_folder_loads_as_it_was_saved(tiny_llama_folder: Path) -> None:
    model = load_language_model(tiny_llama_folder, device="cpu")
    assert (model.n_layers, model.d_model, model.vocab_size, model.context_limit) == (3, 32, 512, 256)
    assert model.dtype == torch.float32 and str(model.device) == "cpu"
    assert {0, 1, 2} <= model.special_ids
    weights = load_file(tiny_llama_folder / "model.safetensors")
    state = model.hf.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())
    assert (
        model.tokenizer.decode(load_tokenizer(tiny_llama_folder)("half a loaf")["input_ids"]) == "half a loaf"
    )
    half = load_language_model(str(tiny_llama_folder), dtype="bfloat16", device="cpu")
    assert half.activations(torch.tensor([[5, 6]]), ["blocks.1.hook_mlp_in"])[
        "blocks.1.hook_mlp_in"
    ].dtype == (torch.bfloat16)


def test_a_model_without_tokenizer_harvests_but_says_so_when_asked(
    tiny_llama_folder: Path, tmp_path: Path
) -> None:
    folder = copied(tiny_llama_folder, tmp_path)
    (folder / "tokenizer.json").unlink()
    model = load_language_model(folder, device="cpu")
    assert model.activations(torch.tensor([[5]]), ["blocks.0.hook_resid_post"])
    with pytest.raises(ModelLoadError, match="no tokenizer"):
        _ = model.tokenizer
    with pytest.raises(ModelLoadError, match="no tokenizer"):
        load_tokenizer(folder)


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def missing_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}})
    )


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "no_weights", "holds no model weights"),
        (pickled, "pickle_weights", "only as pickle files (pytorch_model.bin)"),
        (lambda f: (f / "config.json").unlink(), "no_config", "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "broken_config", "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), "broken_config", "no model_type"),
        (cut, "corrupt_weights", "its header asks for"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "corrupt_weights", "not a whole safetensors"),
        (
            lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid"),
            "corrupt_weights",
            "Git LFS pointer",
        ),
        (missing_shard, "corrupt_weights", "lacks 1 of 2 weight files, first model-00002-of-00002"),
        (without_a_tensor, "corrupt_weights", "lack 1 tensors"),
        (with_config(hidden_size=64), "corrupt_weights", "cannot be read"),
        (with_config(model_type="no_such_model"), "unsupported_architecture", "no_such_model"),
        (
            with_config(model_type="no_such_model", auto_map={"AutoConfig": "code.Config"}),
            "unsupported_architecture",
            "own code",
        ),
        (with_config(model_type="t5"), "unsupported_architecture", "does not write text from left to right"),
        (with_config(model_type="vit"), "unsupported_architecture", "vit"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "no_tokenizer", "tokenizer"),
    ],
)
def test_a_bad_folder_is_one_clear_sentence(
    tiny_llama_folder: Path, tmp_path: Path, spoil: Callable[[Path], Any], code: str, words: str
) -> None:
    folder = copied(tiny_llama_folder, tmp_path)
    spoil(folder)
    with pytest.raises(ModelLoadError) as error:
        load_language_model(folder, device="cpu")
    assert error.value.code == code
    assert words in str(error.value) and str(folder) in error.value.message and error.value.hint
    assert "\n" not in str(error.value)


def test_code_beside_a_model_is_never_run(tiny_llama_folder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_llama_folder, tmp_path)
    (folder / "code.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\nclass Config: pass"
    )
    with_config(
        model_type="mine", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    )(folder)
    with pytest.raises(ModelLoadError):
        load_language_model(folder, device="cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("source", "options", "code"),
    [
        ("/no/such/folder", {}, "not_found"),
        ("./neither", {}, "not_found"),
        (Path(__file__), {}, "no_weights"),
        (None, {"dtype": "float8"}, "bad_dtype"),
        (None, {"device": "abacus"}, "no_cuda"),
        (None, {"device": "cuda:77"}, "no_cuda"),
    ],
)
def test_what_cannot_be_had_is_refused(tiny_llama_folder: Path, source: Any, options: Any, code: str) -> None:
    with pytest.raises(ModelLoadError) as error:
        load_language_model(source or tiny_llama_folder, **{"device": "cpu", **options})
    assert error.value.code == code and error.value.hint


def write_gguf(path: Path, folder: Path, dtype: Any = GGMLQuantizationType.Q8_0) -> None:
    """The tiny Llama as llama.cpp's converter writes it (queries and keys interleaved), quantized."""
    from gguf import quants

    names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"} | {
        f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")
    }
    names |= {f"self_attn.{p}_proj": f"attn_{'output' if p == 'o' else p}" for p in "qkvo"}
    writer = GGUFWriter(path, "llama")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    writer.add_block_count(3)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(512)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([TokenType.CONTROL if i < 3 else TokenType.NORMAL for i in range(512)])
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    for name, tensor in load_file(folder / "model.safetensors").items():
        parts = name.removesuffix(".weight").removeprefix("model.").split(".")
        if parts[0] == "layers":
            new = f"blk.{parts[1]}.{names['.'.join(parts[2:])]}.weight"
        else:
            new = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[
                parts[-1]
            ] + ".weight"
        heads = 4 if "q_proj" in name else 2 if "k_proj" in name else 0
        if heads:
            tensor = tensor.view(heads, 2, -1, 32).transpose(1, 2).reshape(tensor.shape)
        data = tensor.contiguous().numpy()
        if tensor.ndim == 2:
            writer.add_tensor(new, quants.quantize(data, dtype), raw_dtype=dtype)
        else:
            writer.add_tensor(new, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_loads_converts_and_is_the_same_model(tiny_llama_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, tiny_llama_folder)
    assert estimate(path).parameters == estimate(tiny_llama_folder).parameters
    tokens = torch.tensor([[5, 100, 17, 300]])
    original = load_language_model(tiny_llama_folder, device="cpu")
    direct = load_language_model(path, device="cpu")
    torch.testing.assert_close(direct.logits(tokens), original.logits(tokens), rtol=0.05, atol=5e-3)
    folder = convert_gguf(path, tmp_path / "converted")
    converted = load_language_model(folder, device="cpu")
    assert torch.equal(converted.logits(tokens), direct.logits(tokens))
    assert converted.tokenizer("half a loaf")["input_ids"] == original.tokenizer("half a loaf")["input_ids"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["converted", "tiny.gguf"]
    with pytest.raises(ModelLoadError, match="already exists"):
        convert_gguf(path, folder)


def test_a_bad_gguf_is_refused_and_leaves_nothing(tiny_llama_folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    write_gguf(whole, tiny_llama_folder)
    for name, data in {
        "torn.gguf": whole.read_bytes()[:5000],
        "short.gguf": whole.read_bytes()[:-5000],
        "text.gguf": b"hello",
        "other.gguf": whole.read_bytes().replace(b"llama", b"lemon"),
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ModelLoadError) as error:
            convert_gguf(path, tmp_path / "out")
        assert error.value.code == ("unsupported_architecture" if name == "other.gguf" else "corrupt_weights")
        assert str(path) in error.value.message and "\n" not in str(error.value)
    with pytest.raises(ModelLoadError, match="5 GGUF files"):
        load_language_model(tmp_path, device="cpu")
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".gguf"]


def test_a_full_disk_leaves_nothing(
    tiny_llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from transformers import LlamaForCausalLM

    path = tmp_path / "tiny.gguf"
    write_gguf(path, tiny_llama_folder)
    save = LlamaForCausalLM.save_pretrained

    def full(self: Any, folder: Any, *args: Any, **kwargs: Any) -> None:
        save(self, folder, *args, **kwargs)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(ModelLoadError, match="disk is full") as error:
        convert_gguf(path, tmp_path / "out")
    assert error.value.code == "not_written"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.gguf"]
