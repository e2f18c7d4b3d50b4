"""`mistudio convert`, as a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistudio.sae import load_sae, save_sae
from tests.cli.conftest import CommandLine
from tests.sae.formats.dictionaries import assert_same, random_sae

pytestmark = pytest.mark.slow


def test_an_sae_goes_from_one_format_to_another(cli: CommandLine, tmp_path: Path) -> None:
    sae = random_sae("topk")
    save_sae(sae, tmp_path / "ours")
    source, target = str(tmp_path / "ours"), str(tmp_path / "theirs")
    told = cli.json("convert", source, target, "--to", "sparsify")
    assert told == {
        "folder": target,
        "format": "sparsify",
        "architecture": "topk",
        "d_in": 12,
        "d_out": 12,
        "d_sae": 40,
        "model_name": "some/model",
        "hook_name": "blocks.6.hook_resid_post",
    }
    assert_same(sae, load_sae(target))
    assert list(cli.data_dir.iterdir()) == [], "a conversion needs no data folder"
    assert "is there already" in cli.refused("convert", source, target, "--to", "sparsify")
    cli.run("convert", source, target, "--to", "dictionary_learning", "--overwrite", "--dtype", "bfloat16")
    assert "cannot hold topk dictionaries" in cli.refused("convert", source, target + "2", "--to", "goodfire")
    assert "There is no file or folder" in cli.refused(
        "convert", target + "3", target + "4", "--to", "openai"
    )
    cli.run("convert", source, target + "5", "--to", "onnx", expect=2)
