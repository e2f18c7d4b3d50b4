"""Harvesting into caches: against the model's own forward pass, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistudio.activations import caches, harvesting, work
from mistudio.activations.harvesting import open_cache, stream_activations
from mistudio.activations.schemas import CacheCreate, HarvestSettings
from mistudio.datasets import library, tokenizations
from mistudio.datasets.schemas import DatasetCreate, TextSource
from mistudio.datasets.tokenization_schemas import TokenizationCreate, TokenizationSettings
from mistudio.datasets.tokenize import open_tokens
from mistudio.engine import reading
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import JobCancelled
from mistudio.models.library import open_model
from tests.models.job_runs import run_here

HOOKS = ["blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"]


def tokenized(settings: Any, database: Any, model: Any, tmp_path: Path, **wanted: Any) -> Any:
    """A tokenization of 200 rows."""
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"row {i} def test_{i * 7}(self)" + " x" * (i % 9) + "\n" for i in range(200)))
    with database.session() as session:
        dataset, job = library.add_dataset(
            session,
            settings,
            DatasetCreate(source=TextSource(path=str(path), documents="line")),
            any_folder=True,
        )
    run_here(settings, database, job.id)
    with database.session() as session:
        made, job = tokenizations.add_tokenization(
            session,
            settings,
            dataset.id,
            TokenizationCreate(model_id=model.id, settings=TokenizationSettings(**wanted)),
        )
    run_here(settings, database, job.id)
    with database.reading() as session:
        return tokenizations.get_tokenization(session, made.id)


@pytest.fixture
def joined(settings: Any, database: Any, tiny_model: Any, tmp_path: Path) -> Any:
    return tokenized(settings, database, tiny_model, tmp_path, context_length=16, prepend_bos=True)


@pytest.fixture
def padded(settings: Any, database: Any, tiny_model: Any, tmp_path: Path) -> Any:
    return tokenized(
        settings, database, tiny_model, tmp_path, context_length=24, packing="one_per_row", prepend_bos=True
    )


def make(settings: Any, database: Any, tokenization: Any, **wanted: Any) -> tuple[str, str]:
    harvest = HarvestSettings(**wanted.pop("harvest", {}))
    with database.session() as session:
        cache, job = caches.add_cache(
            session,
            settings,
            CacheCreate(tokenization_id=tokenization.id, settings=harvest, **{"hooks": HOOKS, **wanted}),
        )
        return cache.id, job.id


def get(database: Any, key: str) -> Any:
    with database.reading() as session:
        return caches.get_cache(session, key)


@torch.no_grad()
def expected_rows(model: Any, tokens: Any, hook: str, sequences: Any, positions: Any) -> torch.Tensor:
    """Activations from transformers' own hidden states, one sequence at a time."""
    assert hook == HOOKS[0]
    wanted: list[torch.Tensor] = []
    for sequence in sorted(set(sequences.tolist())):
        ids = torch.from_numpy(tokens[sequence].astype(np.int64)).unsqueeze(0)
        hidden = model.hf(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
        wanted.append(hidden[torch.from_numpy(positions[sequences == sequence].astype(np.int64))])
    return torch.cat(wanted)


@pytest.mark.parametrize("kind", ["joined", "padded"])
def test_a_cache_holds_the_models_own_activations(
    settings: Any, database: Any, tiny_model: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    tokenization = request.getfixturevalue(kind)
    key, job = make(settings, database, tokenization, dtype="float32", harvest={"order": "sequential"})
    _, reports = run_here(settings, database, job)
    row, cache, tokens = get(database, key), open_cache(settings, key), open_tokens(settings, tokenization)
    model = open_model(settings, tiny_model)
    where = cache.tokens(0, cache.n_tokens)
    special = sorted(model.special_ids)
    all_ids = [tokens[i] for i in range(len(tokens))]
    real = sum(len(ids) for ids in all_ids)
    assert row.n_tokens == cache.n_tokens == sum(int((~np.isin(ids, special)).sum()) for ids in all_ids)
    assert row.statistics["tokens_seen"] == real == tokens.n_tokens
    assert row.statistics["tokens_special"] == real - row.n_tokens
    assert not np.isin(where.token, special).any()
    assert all(tokens[int(s)][int(p)] == t for s, p, t in list(zip(*where, strict=True))[::37])
    order = np.lexsort((where.position, where.sequence))
    order = order[where.sequence[order] < 40]  # every sequence would take a minute and prove no more
    values = torch.from_numpy(cache.read(HOOKS[0], 0, cache.n_tokens)[order])
    theirs = expected_rows(model, tokens, HOOKS[0], where.sequence[order], where.position[order])
    torch.testing.assert_close(values, theirs, rtol=1e-5, atol=1e-6)
    values = torch.from_numpy(cache.read(HOOKS[0], 0, cache.n_tokens))
    norms = values.norm(dim=1)
    assert row.statistics["hooks"][HOOKS[0]]["mean_norm"] == pytest.approx(float(norms.mean()), rel=1e-4)
    assert row.statistics["hooks"][HOOKS[0]]["max_norm"] == pytest.approx(float(norms.max()), rel=1e-4)
    assert row.statistics["hooks"][HOOKS[0]]["rms"] == pytest.approx(
        float(values.pow(2).mean().sqrt()), rel=1e-4
    )
    assert row.bytes == sum(p.stat().st_size for p in cache.folder.rglob("*") if p.is_file())
    bar = [p for p in reports.progress if p["stage"] == "Harvest"]
    assert bar[-1]["done"] == bar[-1]["total"]


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("bfloat16", 1e-2), ("int8", 2e-2)])
def test_stored_precision(settings: Any, database: Any, joined: Any, dtype: str, error: float) -> None:
    whole, job = make(settings, database, joined, dtype="float32")
    run_here(settings, database, job)
    rough, job = make(settings, database, joined, dtype=dtype)
    run_here(settings, database, job)
    exact, cache = open_cache(settings, whole), open_cache(settings, rough)
    n = exact.n_tokens
    difference = cache.read(HOOKS[0], 0, n) - exact.read(HOOKS[0], 0, n)
    assert 0 < np.linalg.norm(difference) / np.linalg.norm(exact.read(HOOKS[0], 0, n)) < error
    assert get(database, rough).bytes < 0.6 * get(database, whole).bytes
    with database.reading() as session:
        shown = caches.caches_out(session, [get(database, rough)])[0].statistics
    assert shown is not None and shown.hooks[HOOKS[0]].error == pytest.approx(cache.error[HOOKS[0]])
    measured = float(np.linalg.norm(difference) / np.linalg.norm(exact.read(HOOKS[0], 0, n)))
    assert cache.error[HOOKS[0]] == pytest.approx(measured, rel=0.1)


def test_conventions_act(settings: Any, database: Any, tiny_model: Any, joined: Any) -> None:
    tokens, model = open_tokens(settings, joined), open_model(settings, tiny_model)
    ids = tokens.tokens(0, len(tokens))
    special = np.isin(ids, sorted(model.special_ids))

    def kept(**wanted: Any) -> set[tuple[int, int]]:
        found: set[tuple[int, int]] = set()
        for chunk in stream_activations(model, tokens, HOOKS[:1], HarvestSettings(**wanted)):
            assert chunk.counts.kept == len(chunk.tokens) == len(chunk.activations[HOOKS[0]])
            found |= set(zip(chunk.sequences.tolist(), chunk.positions.tolist(), strict=True))
        return found

    everything = {(s, p) for s in range(len(ids)) for p in range(16)}
    assert kept(skip_bos=False, skip_special_tokens=False) == everything
    assert kept(skip_bos=True, skip_special_tokens=False) == {(s, p) for s, p in everything if p > 0}
    assert kept() == {(s, p) for s, p in everything if not special[s, p]}
    fewer = kept(outlier_multiple=1.05)
    assert fewer < kept()


def test_a_stream_goes_on_where_it_stopped(
    settings: Any, tiny_model: Any, joined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "GROUP_TOKENS", 512)
    tokens, model = open_tokens(settings, joined), open_model(settings, tiny_model)
    wanted = HarvestSettings(batch_sequences=8)
    whole = list(stream_activations(model, tokens, HOOKS, wanted))
    assert len(whole) > 5
    later = list(stream_activations(model, tokens, HOOKS, wanted, start=whole[2].next))
    assert len(later) == len(whole) - 3
    for one, other in zip(whole[3:], later, strict=True):
        assert torch.equal(one.positions, other.positions) and torch.equal(one.sequences, other.sequences)
        for hook in HOOKS:
            assert torch.equal(one.activations[hook], other.activations[hook])


def test_a_killed_harvest_resumes_to_the_same_cache(
    settings: Any, database: Any, joined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "GROUP_TOKENS", 256)
    monkeypatch.setattr(work, "SHARD_BYTES", 1)  # the least that a shard may hold, 4,096 tokens
    long = {
        "dtype": "float32",
        "harvest": {"batch_sequences": 4, "skip_special_tokens": False, "skip_bos": False},
    }
    n = open_tokens(settings, joined).n_tokens
    assert n > 5000, n
    whole, job = make(settings, database, joined, **long)
    run_here(settings, database, job)
    broken, job = make(settings, database, joined, **long)

    def kill(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Harvest" and progress["done"] > 4600:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        run_here(settings, database, job, on_progress=kill)
    assert not get(database, broken).ready
    _, reports = run_here(settings, database, job)
    assert next(p for p in reports.progress if p["stage"] == "Harvest")["done"] >= 4096
    one, other = open_cache(settings, whole), open_cache(settings, broken)
    assert one.n_tokens == other.n_tokens == n
    assert np.array_equal(one.read(HOOKS[1], 0, n), other.read(HOOKS[1], 0, n))
    ours, theirs = get(database, broken).statistics, get(database, whole).statistics
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_limits_cancel_and_delete(settings: Any, database: Any, joined: Any) -> None:
    key, job = make(settings, database, joined, harvest={"n_tokens": 777})
    run_here(settings, database, job)
    assert get(database, key).n_tokens == open_cache(settings, key).n_tokens == 777
    with database.session() as session:
        caches.delete_cache(session, settings, key)
    assert not harvesting.cache_folder(settings, key).exists()
    key, job = make(settings, database, joined)

    def cancel(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Harvest":
            asked.cancel.set()

    with pytest.raises(JobCancelled):
        run_here(settings, database, job, on_progress=cancel)
    assert not harvesting.cache_folder(settings, key).exists()

    def delete(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Harvest":
            with database.session() as session:
                caches.delete_cache(session, settings, key)

    with pytest.raises(JobCancelled):
        run_here(settings, database, job, on_progress=delete)
    assert not harvesting.cache_folder(settings, key).exists()
    with database.reading() as session, pytest.raises(NotFound):
        caches.get_cache(session, key)


def test_the_forecast_is_what_comes_out(settings: Any, database: Any, joined: Any) -> None:
    wanted = CacheCreate(
        tokenization_id=joined.id,
        hooks=HOOKS,
        dtype="float16",
        settings=HarvestSettings(skip_special_tokens=False, skip_bos=False),
    )
    with database.reading() as session:
        before = caches.forecast(session, settings, wanted)
    assert before.seconds is None
    with database.session() as session:
        cache, job = caches.add_cache(session, settings, wanted)
    run_here(settings, database, job.id)
    row = get(database, cache.id)
    assert before.n_tokens == row.n_tokens
    assert before.bytes <= row.bytes < before.bytes * 1.05 + 10_000
    with database.reading() as session:
        after = caches.forecast(session, settings, wanted)
    assert after.seconds == pytest.approx(row.statistics["seconds"])


def test_bad_wishes_are_refused_at_once(
    settings: Any, database: Any, joined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hook in ("blocks.3.hook_resid_post", "blocks.0.hook_z"):
        with pytest.raises(Exception) as caught:
            make(settings, database, joined, hooks=[hook])
        error: Any = caught.value
        assert error.code == "hook_not_found" and error.hint
    with pytest.raises(NotFound), database.session() as session:
        caches.add_cache(session, settings, CacheCreate(tokenization_id="tk_none", hooks=HOOKS))
    usage = caches.shutil.disk_usage(settings.data_dir)
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _path: usage._replace(free=10))
    with pytest.raises(StudioError) as full:
        make(settings, database, joined)
    assert full.value.code == "disk_full" and full.value.status == 507


def test_a_tokenization_in_use_is_kept(settings: Any, database: Any, tiny_model: Any, joined: Any) -> None:
    key, job = make(settings, database, joined, name="my cache")
    run_here(settings, database, job)
    with database.session() as session:
        with pytest.raises(Conflict) as caught:
            tokenizations.delete_tokenization(
                session, settings, tokenizations.get_tokenization(session, joined.id)
            )
        assert "activation cache “my cache”" in caught.value.message
        with pytest.raises(Conflict):
            library.delete_dataset(session, settings, joined.dataset_id)
    with database.session() as session:
        gone = library.delete_dataset(session, settings, joined.dataset_id, force=True)
    assert {table for table, _ in gone} == {"datasets", "tokenizations", "activation_caches"}
    for kind in ("datasets", "tokenizations", "activations"):
        assert list((settings.data_dir / kind).iterdir()) == []
    with pytest.raises(NotFound):
        get(database, key)


@pytest.mark.slow
def test_the_real_model_streams_its_hidden_states(
    settings: Any, database: Any, smollm2_folder: Path, tmp_path: Path
) -> None:
    from tests.models.conftest import add_tiny

    real = add_tiny(settings, database, smollm2_folder, "smollm2")
    tokenization = tokenized(settings, database, real, tmp_path, context_length=32)
    model, tokens = open_model(settings, real), open_tokens(settings, tokenization)
    chunk = next(
        stream_activations(model, tokens, ["blocks.1.hook_resid_post"], HarvestSettings(batch_sequences=4))
    )
    which = chunk.sequences == chunk.sequences[0]
    ids = torch.from_numpy(tokens[int(chunk.sequences[0])].astype(np.int64)).unsqueeze(0)
    with torch.no_grad():
        hidden = model.hf(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
    torch.testing.assert_close(
        chunk.activations["blocks.1.hook_resid_post"][which],
        hidden[chunk.positions[which]],
        rtol=1e-4,
        atol=1e-3,
    )
