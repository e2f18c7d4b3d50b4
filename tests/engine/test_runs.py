"""Settings by name, grids of runs, and the thread that reads ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mistudio.engine import Run, SettingsRefused, settings, sweep
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.prefetching import prefetched
from mistudio.engine.run_folder import folder_of
from mistudio.engine.runs import checked, named_apart
from mistudio.sae.config import JumpReLUConfig, TopKConfig, TrainerConfig

HOOK = "blocks.1.hook_resid_post"


def test_settings_go_where_they_belong() -> None:
    assert settings() == TrainerConfig()
    config = settings(d_sae=64, k=4, seed=3)
    assert (config.d_sae, config.architecture.k, config.seed) == (64, 4, 3)  # pyright: ignore[reportAttributeAccessIssue]
    jump = settings(config, architecture="jump_relu", target_l0=10)
    assert jump.architecture == JumpReLUConfig(target_l0=10)
    assert jump.d_sae == 64
    kept = settings(jump, architecture="jump_relu", bandwidth=0.1)
    assert kept.architecture == JumpReLUConfig(target_l0=10, bandwidth=0.1)
    assert settings(architecture=TopKConfig(k=7)).architecture == TopKConfig(k=7)
    assert settings(architecture={"kind": "topk", "k": 7}).architecture == TopKConfig(k=7)
    assert settings({"d_sae": 64}, **{"architecture.k": 5}).architecture.k == 5  # pyright: ignore[reportAttributeAccessIssue]
    assert settings(config.model_dump()) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"d_sae": 8, "k": 32},
            r"^k is 32, but the dictionary has only 8 latents: lower k or widen the dictionary\.$",
        ),
        ({"total_tokens": 0}, r"^total_tokens must be at least 1, not 0\.$"),
        ({"learning_rate": 2.0}, r"^learning_rate must be at most 1\.0, not 2\.0\.$"),
        ({"k": 0}, r"^architecture\.k must be at least 1, not 0\.$"),
        ({"k": "many"}, r"^architecture\.k: .*integer.*'many'"),
        ({"learnig_rate": 1e-3}, "no setting 'learnig_rate'. Did you mean 'learning_rate'"),
        ({"architecture": "jumprelu"}, "no architecture 'jumprelu' .*Did you mean 'jump_relu'"),
        ({"architecture": "jump_relu", "k": 3}, "architecture jump_relu has no setting 'k'"),
        ({"architecture": "abs_topk"}, "no architecture 'abs_topk' to train"),
        ({"training.k": 3}, "no setting 'training.k'"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsRefused, match=message):
        settings(**wrong)


def test_settings_of_other_kinds_are_refused_alike() -> None:
    with pytest.raises(SettingsRefused, match=r"^There is no setting 'skipbos'\. Did you mean 'skip_bos'\?$"):
        checked(HarvestSettings, {"skipbos": True})
    with pytest.raises(SettingsRefused, match=r"^n_tokens must be at least 1, not 0\.$"):
        checked(HarvestSettings, {"n_tokens": 0})


def test_a_run_reads_and_writes_what_it_says() -> None:
    assert Run(HOOK).reads == Run(HOOK).writes == (HOOK,)
    assert not Run(HOOK, HOOK).transcodes
    assert Run(HOOK, "blocks.1.hook_mlp_out").transcodes
    assert Run(hooks=("a", "b")).reads == ("a", "b")
    for wrong in (
        {},
        {"hook": HOOK, "hooks": ("a", "b")},
        {"hooks": ("a", "a")},
        {"hooks": ("a",), "hook_out": "b"},
    ):
        with pytest.raises(SettingsRefused):
            Run(**wrong)  # pyright: ignore[reportArgumentType]


def test_a_sweep_is_every_combination_under_names_that_tell_them_apart() -> None:
    base = Run(HOOK, config=settings(d_sae=64, k=4), name="try")
    runs = sweep(base, {"architecture.k": [2, 8], "learning_rate": [1e-3, 1e-4], "hook": ["a", "b"]})
    assert len(runs) == len({run.name for run in runs}) == 8
    assert runs[1].name == "try k=2 learning_rate=0.001 hook=b"
    assert runs[1].hook == "b"
    assert runs[1].config == settings(base.config, k=2, learning_rate=1e-3)
    mixed = sweep(base, {"architecture": ["topk", JumpReLUConfig()], "hooks": [["a", "b"]]})
    assert [run.name for run in mixed] == [
        "try architecture=topk hooks=a+b",
        "try architecture=jump_relu hooks=a+b",
    ]
    assert mixed[0].reads == ("a", "b")
    with pytest.raises(SettingsRefused, match="list of one or more values for k"):
        sweep(base, {"k": []})


def test_runs_without_names_get_different_ones() -> None:
    named = named_apart([Run(HOOK), Run(HOOK), Run(HOOK, name="mine")])
    assert [run.name for run in named] == [
        f"{HOOK} batch_topk k=32 d=8192",
        f"{HOOK} batch_topk k=32 d=8192 (2)",
        "mine",
    ]


def test_a_runs_folder_stays_inside_its_parent(tmp_path: object) -> None:
    from pathlib import Path

    parent = Path("/somewhere")
    for name in ("../up", "a/b", "..", "k=2 learning_rate=0.001", "λ 3"):
        folder = folder_of(parent, name)
        assert folder.parent == parent
        assert folder.name not in ("", ".", "..")


def test_prefetching_keeps_order_errors_and_no_thread() -> None:
    closed: list[bool] = []

    def items(n: int) -> Iterator[int]:
        try:
            yield from range(n)
            raise LookupError("at the end")
        finally:
            closed.append(True)

    for ahead in (0, 1, 3):
        seen: list[int] = []
        with pytest.raises(LookupError, match="at the end"):
            for item in prefetched(items(20), ahead):
                seen.append(item)
        assert seen == list(range(20))
        stream = prefetched(items(1_000_000), ahead)
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        stream.close()
    assert len(closed) == 6
    assert not [thread for thread in threading.enumerate() if thread.name == "activations-ahead"]
