"""The real `sparsify` package as referee: our folders load there, theirs load here, with equal latents."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sparsify import SparseCoder, SparseCoderConfig, sparse_coder
from sparsify.utils import eager_decode

from mistudio.sae import SAEFormatError, load_sae, save_sae
from tests.sae.formats.dictionaries import D_IN, activations, random_sae


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Triton is installed, sparsify decodes with it, and that needs a GPU; this is its other decoder."""
    monkeypatch.setattr(sparse_coder, "decoder_impl", eager_decode)


def their_latents(theirs: SparseCoder, x: torch.Tensor) -> torch.Tensor:
    """Their k values per token as a matrix [N, m]."""
    out = theirs.encode(x)
    return torch.zeros(x.shape[0], theirs.num_latents).scatter(1, out.top_indices, out.top_acts)


@pytest.mark.parametrize("shape", ["plain", "uncentred", "square_transcoder", "square_skip_transcoder"])
@torch.no_grad()
def test_ours_loads_there(shape: str, tmp_path: Path) -> None:
    ours = random_sae("topk", shape)
    save_sae(ours, tmp_path / "layers.3.mlp", format="sparsify")
    theirs = SparseCoder.load_from_disk(tmp_path / "layers.3.mlp")
    assert theirs.cfg.transcode is ("transcoder" in shape)
    x = activations()
    torch.testing.assert_close(ours.encode(x).dense(), their_latents(theirs, x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x).sae_out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("transcode", [False, True])
@torch.no_grad()
def test_theirs_loads_here(transcode: bool, skip: bool, tmp_path: Path) -> None:
    config = SparseCoderConfig(k=5, num_latents=40, transcode=transcode, skip_connection=skip)
    theirs = SparseCoder(D_IN, config)
    generator = torch.Generator().manual_seed(5)
    for parameter in theirs.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    theirs.save_to_disk(tmp_path / "run" / "layers.3.mlp")
    run = {"model": "some/model", "dataset": "some/texts", "ctx_len": 256}
    (tmp_path / "run" / "config.json").write_text(json.dumps(run))
    ours = load_sae(tmp_path / "run" / "layers.3.mlp")
    x = activations()
    torch.testing.assert_close(ours.encode(x).dense(), their_latents(theirs, x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x).sae_out, rtol=1e-4, atol=1e-4)
    hooks = {"hook_name": "blocks.3.hook_mlp_out"}
    if transcode:
        hooks = {"hook_name": "blocks.3.hook_mlp_in", "hook_name_out": "blocks.3.hook_mlp_out"}
    about = {"model_name": "some/model", "dataset_path": "some/texts", "context_size": 256}
    assert ours.metadata == hooks | about
    save_sae(ours, tmp_path / "back", format="sparsify")
    back = SparseCoder.load_from_disk(tmp_path / "back")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"activation": "groupmax"}, "names the activation 'groupmax'"),
        ({"signed": True}, "'signed TopK'"),
        ({"transcode": "yes"}, "transcode must be true or false"),
        ({"k": 41}, "k is 41, but the dictionary has only 40 latents"),
        ({"d_in": 13}, r"encoder.weight is \[40, 12\], where .* \[40, 13\]"),
        ({"num_latents": 0, "expansion_factor": "x"}, "expansion_factor must be a whole number"),
        ({"num_latents": "many"}, "num_latents must be a whole number"),
    ],
)
def test_what_cannot_be_read(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    SparseCoder(D_IN, SparseCoderConfig(k=5, num_latents=40)).save_to_disk(tmp_path / "sae")
    path = tmp_path / "sae" / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SAEFormatError, match=says):
        load_sae(tmp_path / "sae")
