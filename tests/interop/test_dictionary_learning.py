"""The real `dictionary-learning` package as referee: our folders load there, theirs load here, with equal latents.

Its classes are the real ones. Only nnsight, with which the package collects activations and which its
`__init__` imports, is not installed: an empty module stands in for it.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mistudio.sae import SAEFormatError, load_sae, save_sae
from tests.sae.formats.dictionaries import D_IN, D_SAE, activations, random_sae


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Their dictionary classes by name."""
    nnsight = ModuleType("nnsight")
    nnsight.LanguageModel = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nnsight", nnsight)
    from dictionary_learning import dictionary
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    return {
        "AutoEncoder": dictionary.AutoEncoder,
        "AutoEncoderNew": dictionary.AutoEncoderNew,
        "GatedAutoEncoder": dictionary.GatedAutoEncoder,
        "JumpReluAutoEncoder": dictionary.JumpReluAutoEncoder,
        "AutoEncoderTopK": AutoEncoderTopK,
        "BatchTopKSAE": BatchTopKSAE,
        "MatryoshkaBatchTopKSAE": MatryoshkaBatchTopKSAE,
    }


CLASSES = {
    ("standard", "plain"): "AutoEncoder",
    ("standard", "uncentred"): "AutoEncoderNew",
    ("gated", "plain"): "GatedAutoEncoder",
    ("topk", "plain"): "AutoEncoderTopK",
    ("batch_topk", "plain"): "BatchTopKSAE",
    ("matryoshka", "plain"): "MatryoshkaBatchTopKSAE",
    ("jump_relu", "uncentred"): "JumpReluAutoEncoder",
    ("jump_relu", "plain"): "JumpReluAutoEncoder",
    ("topk", "uncentred"): "AutoEncoderTopK",
}


@pytest.mark.parametrize(("kind", "shape"), CLASSES)
@torch.no_grad()
def test_ours_loads_there(kind: str, shape: str, classes: dict[str, Any], tmp_path: Path) -> None:
    ours = random_sae(kind, shape)
    save_sae(ours, tmp_path / "sae", format="dictionary_learning")
    trainer = json.loads((tmp_path / "sae" / "config.json").read_text())["trainer"]
    assert trainer["dict_class"] == CLASSES[kind, shape]
    assert (trainer["activation_dim"], trainer["dict_size"], trainer["layer"]) == (D_IN, D_SAE, 6)
    arguments = {"normalize_decoder": False} if trainer["dict_class"] == "AutoEncoder" else {}
    theirs = classes[trainer["dict_class"]].from_pretrained(str(tmp_path / "sae" / "ae.pt"), **arguments)
    x = activations()
    torch.testing.assert_close(ours.encode(x).dense(), theirs.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def a_dictionary_of_theirs(classes: dict[str, Any], name: str) -> Any:
    arguments: dict[str, Any] = {"k": 5} if "TopK" in name else {}
    if name == "MatryoshkaBatchTopKSAE":
        arguments["group_sizes"] = [10, 10, 20]
    theirs = classes[name](D_IN, D_SAE, **arguments)
    generator = torch.Generator().manual_seed(5)
    for parameter_name, parameter in theirs.named_parameters():
        values = torch.randn(parameter.shape, generator=generator) * 0.5
        parameter.data.copy_(values.abs() if parameter_name == "threshold" else values)
    if "BatchTopK" in name:
        theirs.threshold.fill_(0.8)
    return theirs


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize("name", sorted(set(CLASSES.values())))
@torch.no_grad()
def test_theirs_loads_here_and_goes_back(
    name: str, with_config: bool, classes: dict[str, Any], tmp_path: Path
) -> None:
    """As their trainer leaves a run: the state dict, and a configuration that names the class."""
    theirs = a_dictionary_of_theirs(classes, name)
    folder = tmp_path / "trainer_0"
    folder.mkdir()
    torch.save(theirs.state_dict(), folder / "ae.pt")
    trainer = {
        "dict_class": name,
        "layer": 4,
        "lm_name": "some/model",
        "submodule_name": "resid_post_layer_4",
    }
    if with_config:
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 64}}))
    elif name in ("AutoEncoderTopK", "BatchTopKSAE"):
        with pytest.raises(
            SAEFormatError, match=r"AutoEncoderTopK or BatchTopKSAE.*must give trainer.dict_class"
        ):
            load_sae(folder)
        return
    ours = load_sae(folder)
    x = activations()
    torch.testing.assert_close(ours.encode(x).dense(), theirs.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    if with_config:
        about = {"model_name": "some/model", "hook_name": "blocks.4.hook_resid_post", "context_size": 64}
        assert ours.metadata == about
    save_sae(ours, tmp_path / "back", format="dictionary_learning")
    back = torch.load(tmp_path / "back" / "ae.pt", weights_only=True)
    for key, tensor in theirs.state_dict().items():
        if (name, key) != ("AutoEncoderTopK", "threshold"):
            torch.testing.assert_close(back[key], tensor, rtol=1e-6, atol=0)


def test_groups_that_do_not_add_up_are_refused(classes: dict[str, Any], tmp_path: Path) -> None:
    theirs = a_dictionary_of_theirs(classes, "MatryoshkaBatchTopKSAE")
    for sizes in ([10, 10, 10], [40, 0], [-10, 50]):
        torch.save(theirs.state_dict() | {"group_sizes": torch.tensor(sizes)}, tmp_path / "ae.pt")
        with pytest.raises(SAEFormatError, match="group_sizes must be positive and add up to 40"):
            load_sae(tmp_path)
