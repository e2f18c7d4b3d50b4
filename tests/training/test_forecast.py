"""Forecasts: memory counted by what the settings ask for, time from measured rates, and advice that says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.engine.recordings.environment import add_environment
from mistudio.engine.runs import settings as settings_of
from mistudio.jobs.tables import Job
from mistudio.sae.config import TrainerConfig
from mistudio.training.advice import advise, rule_of_learning_rate
from mistudio.training.forecast import forecast_sweep, rows_read, step_flops
from mistudio.training.memory import Reading, memory_parts
from mistudio.training.rates import MeasuredRun, rate_of
from mistudio.training.schemas import Advice
from mistudio.training.views import training_folder
from tests.models.job_runs import run_here
from tests.training.conftest import HOOK
from tests.training.test_sweeps import CONFIG, LOWER, start, wanted

ACTIVATIONS = Reading({HOOK: 32}, held_out_tokens=0, value=2, cached_tokens=10_000)


def parts(**changes: Any) -> dict[str, int]:
    return memory_parts([(settings_of(**changes), 32)], ACTIVATIONS)


def test_memory_is_counted_for_what_the_settings_ask_for() -> None:
    adam = parts()
    weights = adam["SAE weights"]
    assert weights == 4 * (2 * 8192 * 32 + 8192 + 32)
    assert adam["optimiser's moments"] == 2 * weights
    assert parts(optimizer="signum")["optimiser's moments"] == weights
    assert parts(ema_decay=0.9)["averaged weights"] == weights
    assert parts(precision="bfloat16")["weights in bfloat16"] == weights // 2
    assert parts(precision="bfloat16")["gradients"] == weights + weights // 2
    block = adam["pre-activations of a batch"]
    dense, halved = (parts(architecture="gated", accumulate=n)["pre-activations of a batch"] for n in (1, 2))
    assert dense - block == 2 * (halved - block) > 0
    # JumpReLU starts with twice the latents that it is to have in the end
    few, more, most = (
        parts(architecture="jump_relu", target_l0=wanted)["pre-activations of a batch"] - block
        for wanted in (64, 128, 1024)
    )
    assert 0 < 2 * few == more < most < dense - block


def test_a_sweep_keeps_every_dictionary_and_steps_one_at_a_time() -> None:
    config = settings_of(d_sae=4096)
    one, three = (memory_parts([(config, 32)] * n, ACTIVATIONS) for n in (1, 3))
    for name in ("SAE weights", "optimiser's moments"):
        assert three[name] == 3 * one[name]
    for name in ("gradients", "pre-activations of a batch"):
        assert three[name] == one[name]


@given(
    a=st.floats(1e-13, 1e-9),
    ratio=st.floats(0.3, 3),
    sizes=st.lists(st.tuples(st.floats(1e6, 1e9), st.floats(1e6, 1e9)), min_size=3, max_size=8),
    wanted=st.tuples(st.floats(1e6, 1e9), st.floats(1e6, 1e9)),
)
def test_rates_of_the_model_and_of_steps_are_told_apart(
    a: float, ratio: float, sizes: list[tuple[float, float]], wanted: tuple[float, float]
) -> None:
    """A machine on which both have a price of their own is forecast within what the prior costs."""

    def seconds(model: float, steps: float) -> float:
        return a * model + ratio * a * steps

    measured = [MeasuredRun("", m, s, 1 / seconds(m, s)) for m, s in [*sizes, (0.0, 1e8), (1e8, 1e6)]]
    found = rate_of(*wanted, measured)
    bounds = sorted([a, ratio * a])
    assert bounds[0] * 0.5 <= 1 / found.tokens_per_second / sum(wanted) <= bounds[1] * 2
    assert "measured" in found.basis


def test_cached_runs_and_sweeps_inform_each_other() -> None:
    """From one SAE on a cache and one beside the model, the time of four beside the model follows."""
    cached = MeasuredRun("cached", 0, 1e8, 1e3)
    streamed = MeasuredRun("streamed", 5e8, 1e8, 1 / (1e-3 + 2.5e-3))
    assert rate_of(5e8, 4e8, [cached, streamed]).tokens_per_second == pytest.approx(1 / 6.5e-3, rel=0.05)


def test_a_short_run_beside_the_model_is_priced_by_the_pool_that_it_read() -> None:
    """Otherwise a run on a thousand tokens, for which a pool of 65,536 is mixed, would stand for long ones."""
    assert rows_read(1_000, 10**6) == rows_read(65_536, 10**6) == 65_536
    assert rows_read(70_000, 100_000) == 100_000 and rows_read(300_000, 100_000) == 300_000
    second = 1e8 / (65_536 * 5e8 + 1_000 * 1e8)
    short = MeasuredRun("short", 5e8 * 65.536, 1e8, 1_000 * second)
    assert rate_of(5e8, 1e8, [short]).tokens_per_second == pytest.approx(1e8 / 6e8, rel=0.05)


def test_a_forecast_counts_every_sae_and_uses_measured_rates(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    request = wanted(tokens, cache_id=cache, grid={"k": [2, 4]})
    with database.reading() as session:
        before = forecast_sweep(session, settings, request)
        streamed = forecast_sweep(session, settings, wanted(tokens, hooks=[LOWER, HOOK], grid={"k": [2, 4]}))
        splicing = wanted(tokens, cache_id=cache, config=CONFIG.model_copy(update={"evaluate_every": 1}))
        spliced = forecast_sweep(session, settings, splicing)
    assert "assumed" in before.basis
    assert before.memory_bytes == sum(before.parts.values())
    assert [(sae.hook, sae.name) for sae in before.saes] == [(HOOK, "k=2"), (HOOK, "k=4")]
    assert before.disk_bytes == sum(sae.disk_bytes for sae in before.saes)
    assert len(streamed.saes) == 4 and "language model" in streamed.parts
    assert {"language model", "pages of the cache"} <= spliced.parts.keys()
    _, trainings, job_id = start(database, request)
    run_here(settings, database, job_id)
    with database.session() as session:
        session.get_one(Job, job_id).state = "succeeded"
    with database.reading() as session:
        after = forecast_sweep(session, settings, request)
    assert "measured" in after.basis
    assert after.seconds == pytest.approx(4_096 / after.tokens_per_second)
    for one in trainings:  # as of a job that made them longer: what lies between the two is no training
        add_environment(training_folder(settings, one.id), {"job": job_id, "started_at": "2100-01-01T00:00Z"})
    with database.reading() as session:
        assert "assumed" in forecast_sweep(session, settings, request).basis
    assert trainings[0].d_in * 64 * 2 < step_flops(TrainerConfig.model_validate(trainings[0].config), 32)


def said(distinct: int = 10**9, held_out: int = 1, d_in: int = 512, **changes: Any) -> list[Advice]:
    return advise([(settings_of(**changes), d_in)], distinct, held_out)


def test_settings_as_they_come_give_no_warnings() -> None:
    assert said() == []


@pytest.mark.parametrize(
    ("changes", "setting", "words"),
    [
        ({"learning_rate": 0.01}, "config.learning_rate", "scaling rule"),
        ({"learning_rate": 1e-6}, "config.learning_rate", "before it has converged"),
        ({"k": 200}, "config.architecture.k", "many for activations"),
        ({"d_sae": 524_288}, "config.total_tokens", "Too few tokens for this width"),
        ({"total_tokens": 100_000, "d_sae": 1024}, "config.dead_latent_window", "none can be noticed"),
        ({"warmup_steps": 5_000}, "config.warmup_steps", "never reaches"),
        ({"distinct": 1_000_000}, "config.total_tokens", "each is seen 10.0 times"),
        ({"d_sae": 256}, "config.d_sae", "compresses"),
        ({"held_out": 0}, "held_out_tokens", "not measured"),
        ({"held_out": 0, "evaluate_every": 50}, "held_out_tokens", "no curve of CE recovered"),
    ],
)
def test_advice_names_the_setting_and_a_value_that_stills_it(
    changes: dict[str, Any], setting: str, words: str
) -> None:
    found = [one for one in said(**changes) if one.setting == setting]
    assert len(found) == 1 and words in found[0].message
    suggestion = found[0].suggestion
    assert suggestion is not None
    name = setting.removeprefix("config.").removeprefix("architecture.")
    if name != "held_out_tokens":
        whole = isinstance(getattr(TrainerConfig(), name, 1), int)
        mended = said(**{**changes, name: int(suggestion) if whole else suggestion})
        assert setting not in [one.setting for one in mended]


def test_advice_on_a_sweep_is_said_once_with_its_count() -> None:
    runs = [(settings_of(learning_rate=0.05, k=k), 512) for k in (16, 32, 64)]
    assert [(one.setting, one.saes) for one in advise(runs, 10**9, 1)] == [("config.learning_rate", 3)]
    runs = [(settings_of(total_tokens=100_000, dead_latent_window=1_000, k=k), 512) for k in (16, 32)]
    few = next(one for one in advise(runs, 10**9, 1) if one.setting == "config.total_tokens")
    assert few.saes == 2 and "16 of 8,192 latents" in few.message, "the worse case stands for both"


def test_the_rule_falls_with_the_root_of_the_width() -> None:
    assert rule_of_learning_rate(2**14) == 2e-4
    assert rule_of_learning_rate(2**16) == 1e-4
