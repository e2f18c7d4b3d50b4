"""Looking at a model of every family: its modules, its self-test, and the logit lens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mistudio.lm import TokensRefused
from mistudio.lm.architecture import module_tree
from mistudio.lm.lens import logit_lens_grid
from mistudio.lm.model import LanguageModel
from mistudio.lm.packed import MIN_ROWS, PackedLayers
from mistudio.lm.selftest import verify_hooks
from tests.lm.conftest import PARALLEL, tiny_hf

TOKENS = torch.randint(3, 97, (20,), generator=torch.Generator().manual_seed(0)).tolist()


def nodes(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree, *(found for child in tree["children"] for found in nodes(child))]


def test_the_tree_counts_every_parameter_and_places_every_hook(tiny: LanguageModel) -> None:
    tree = module_tree(tiny)
    assert tree["name"] == tree["path"] == "" and tree["kind"] == type(tiny.hf).__name__
    blocks = [node for node in nodes(tree) if node["last"] is not None]
    assert [(node["name"], node["last"]) for node in blocks] == [("0", 2)], "equal blocks are one node"
    # The stack's own count is of all three blocks, the node's of one.
    stack = next(node for node in nodes(tree) if blocks[0] in node["children"])
    assert stack["parameters"] == 3 * blocks[0]["parameters"]
    assert tree["parameters"] == sum(p.numel() for p in tiny.hf.parameters())
    sites = [site for node in nodes(tree) for site in node["hooks"]]
    assert {site["name"] for site in sites} == {p.name for p in tiny.hook_points() if p.layer == 0}
    for node in nodes(tree):
        module = tiny.hf.get_submodule(node["path"])
        assert node["shapes"] == {name: list(p.shape) for name, p in module.named_parameters(recurse=False)}
        for site in node["hooks"]:
            # A hook point is its module's input or output, which can be named by the module's path too.
            place = f"{node['path']}:in" if site["side"] == "in" else node["path"]
            found = tiny.activations(torch.tensor([TOKENS]), [site["name"], place])
            assert torch.equal(found[site["name"]], found[place])
            assert found[place].shape[-1] == site["d"]


def test_tied_weights_are_counted_once_and_said() -> None:
    model = LanguageModel(tiny_hf("gpt2"))
    tied = [node for node in nodes(module_tree(model)) if node["tied"]]
    assert [(node["path"], node["tied"], node["parameters"]) for node in tied] == [("lm_head", ["weight"], 0)]


def test_blocks_that_differ_are_not_folded() -> None:
    model = LanguageModel(tiny_hf("llama"))
    del model.blocks[1].mlp.act_fn
    model.blocks[1].mlp.act_fn = torch.nn.ReLU()
    stack = next(n for n in nodes(module_tree(model)) if n["kind"] == "ModuleList")
    assert [(node["name"], node["last"]) for node in stack["children"]] == [
        ("0", None),
        ("1", None),
        ("2", None),
    ]


def test_every_family_passes_the_self_test_bit_for_bit(tiny: LanguageModel, family: str) -> None:
    steps: list[tuple[int, int]] = []
    report = verify_hooks(tiny, lambda done, total: steps.append((done, total)))
    assert report.passed
    verdicts = {one.kind: one for one in report.verdicts}
    assert len(verdicts) == 7
    for kind, one in verdicts.items():
        if kind == "resid_mid" and family in PARALLEL:
            assert (one.verdict, one.layers, one.writes) == ("absent", 0, None)
        else:
            assert (one.verdict, one.layers, one.shape, one.writes, one.gap) == ("exact", 3, True, True, 0.0)
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    assert report.as_dict()["passed"] and report.dtype == "float32" and report.device == "cpu"
    if family == "gpt2":  # whose products are no linear layers
        assert report.batch_tokens == 0
        return
    # A harvest's batches go another way, which is held against this one.
    assert report.batch_tokens >= MIN_ROWS > report.tokens
    assert all(one.batch_gap is not None and one.batch_gap < 1e-4 for one in verdicts.values() if one.layers)


def test_the_self_test_finds_a_fault_in_large_batches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(tiny_hf("llama"))
    monkeypatch.setattr(
        PackedLayers, "_linear", lambda self, layer: lambda x: type(layer).forward(layer, x) * 1.01
    )
    report = verify_hooks(model)
    assert not report.passed and all(one.gap == 0 for one in report.verdicts)
    assert {one.kind for one in report.verdicts if one.verdict == "wrong"} >= {"attn_out", "mlp_out"}


def test_the_self_test_finds_a_place_that_is_not_what_it_says() -> None:
    model = LanguageModel(tiny_hf("llama"))
    model.hook_points()
    # The block now adds something that no hook point knows of.
    plain = model.blocks[1].forward

    def altered(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **kwargs) * 1.01

    model.blocks[1].forward = altered
    report = verify_hooks(model)
    wrong = {one.kind: one.gap for one in report.verdicts if one.verdict == "wrong"}
    assert set(wrong) == {"attn_out", "mlp_out"} and min(wrong.values()) > 1e-3
    assert not report.passed


def test_half_precision_passes_too() -> None:
    report = verify_hooks(LanguageModel(tiny_hf("llama").to(torch.bfloat16)))
    assert report.passed and report.dtype == "bfloat16"
    assert report.batch_tokens == 0 and all(one.batch_gap is None for one in report.verdicts)


def test_the_lens_ends_in_the_model_itself(tiny: LanguageModel) -> None:
    grid = logit_lens_grid(tiny, TOKENS, top_k=4)
    logprobs = torch.log_softmax(tiny.logits(torch.tensor([TOKENS]))[0].float(), -1)
    assert grid.hooks == ["blocks.0.hook_resid_pre", *(f"blocks.{i}.hook_resid_post" for i in range(3))]
    assert grid.ids.shape == grid.probabilities.shape == (4, 20, 4)
    best = logprobs.topk(4)
    assert torch.equal(grid.ids[-1], best.indices)
    torch.testing.assert_close(grid.probabilities[-1], best.values.exp())
    assert torch.all(grid.kl[-1] < 1e-5) and torch.all(grid.rank[-1] == 1)
    # Every other row against its definition, in float64.
    for row, hook in enumerate(grid.hooks[:-1]):
        residual = tiny.activations(torch.tensor([TOKENS]), [hook])[hook][0]
        here = torch.log_softmax(tiny.logit_lens(residual).double(), -1)
        kl = (logprobs.double().exp() * (logprobs.double() - here)).sum(-1)
        torch.testing.assert_close(grid.kl[row].double(), kl, rtol=1e-3, atol=1e-5)
        places = (here.argsort(-1, descending=True) == best.indices[:, :1]).nonzero()[:, 1] + 1
        assert torch.equal(grid.rank[row], places)


def test_the_lens_looks_at_the_last_positions_and_can_be_stopped(tiny: LanguageModel) -> None:
    whole, tail = logit_lens_grid(tiny, TOKENS), logit_lens_grid(tiny, TOKENS, last=5)
    assert (whole.first, tail.first) == (0, 15)
    assert torch.equal(tail.ids, whole.ids[:, 15:])
    with pytest.raises(TokensRefused):
        logit_lens_grid(tiny, [500])

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logit_lens_grid(tiny, TOKENS, on_row=stop)


def test_chunks_of_a_large_vocabulary_change_nothing(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = logit_lens_grid(tiny, TOKENS)
    monkeypatch.setattr("mistudio.lm.lens._CHUNK_BYTES", 4 * 97 * 3)
    parts = logit_lens_grid(tiny, TOKENS)
    assert torch.equal(whole.ids, parts.ids)
    torch.testing.assert_close(whole.kl, parts.kl)
