"""From one format to another, through files, in one call."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import mistudio
from mistudio.sae import SAEFormatError, load_sae, save_sae
from mistudio.sae.formats import convert

from .dictionaries import assert_same, random_sae

THRESHOLDED = ["sae_lens", "gemma_scope", "gemma_scope_2", "llama_scope", "circuit_tracer", "mistudio"]


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(THRESHOLDED, 2)))
def test_a_batch_topk_survives_every_step(source: Any, target: Any, tmp_path: Path) -> None:
    sae = random_sae("batch_topk", "uncentred")
    save_sae(sae, tmp_path / "source", format=source)
    assert_same(sae, convert(tmp_path / "source", tmp_path / "target", to=target))
    again = load_sae(tmp_path / "target")
    assert_same(sae, again)
    assert again.architecture == sae.architecture
    assert again.metadata.items() >= sae.metadata.items()


def test_precision_is_kept_unless_asked_for(tmp_path: Path) -> None:
    save_sae(random_sae("topk").to(torch.bfloat16), tmp_path / "source")
    assert convert(tmp_path / "source", tmp_path / "a", to="sparsify").W_enc.dtype == torch.bfloat16
    assert load_sae(tmp_path / "a", dtype=None).W_enc.dtype == torch.bfloat16
    half = convert(tmp_path / "source", tmp_path / "b", to="sparsify", dtype=torch.float16)
    assert half.W_enc.dtype == torch.float16
    sae = random_sae("topk")
    convert(sae, tmp_path / "c", to="sae_lens", dtype=torch.float16)
    assert load_sae(tmp_path / "c", dtype=None).W_enc.dtype == torch.float16
    assert sae.W_enc.dtype == torch.float32


def test_nothing_that_is_there_is_replaced_unasked(tmp_path: Path) -> None:
    save_sae(random_sae("topk"), tmp_path / "source")
    precious = tmp_path / "target" / "precious.txt"
    precious.parent.mkdir()
    convert(tmp_path / "source", tmp_path / "target", to="sparsify")
    (tmp_path / "target" / "precious.txt").write_text("mine")
    with pytest.raises(SAEFormatError, match="is there already, and would be replaced"):
        convert(tmp_path / "source", tmp_path / "target", to="sparsify")
    with pytest.raises(SAEFormatError, match="is there already"):
        mistudio.convert(tmp_path / "source", tmp_path / "target", to="sparsify")
    assert precious.read_text() == "mine"
    mistudio.convert(tmp_path / "source", tmp_path / "target", to="sparsify", overwrite=True)
    assert not precious.exists()
    for target in (tmp_path / "source", tmp_path, tmp_path / "target" / ".." / "source"):
        with pytest.raises(SAEFormatError, match="holds the source"):
            convert(tmp_path / "source", target, to="sparsify", overwrite=True)
    with pytest.raises(SAEFormatError, match="is there already"):
        convert(tmp_path / "source", tmp_path / "source" / "cfg.json", to="sparsify", overwrite=True)


def test_a_refusal_leaves_no_folder(tmp_path: Path) -> None:
    save_sae(random_sae("gated"), tmp_path / "source")
    with pytest.raises(SAEFormatError, match="cannot hold gated dictionaries"):
        convert(tmp_path / "source", tmp_path / "target", to="gemma_scope")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
