"""Extractions on a real (tiny) model: both sources, defaults, pages, resuming, deletion, refusals."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import func, insert, select

from mistudio.activations.harvesting import open_cache
from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenization_schemas import TokenizationCreate, TokenizationSettings
from mistudio.datasets.tokenizations import add_tokenization
from mistudio.datasets.tokenize import open_tokens
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.features import browse, labels_current, library, pages
from mistudio.features import work as work_module
from mistudio.features.schemas import ExtractionCreate, ExtractionSettings
from mistudio.features.tables import Extraction, Feature
from mistudio.jobs import JobCancelled, JobInterrupted, get_job
from mistudio.models.library import open_model
from mistudio.sae.config import TrainerConfig
from mistudio.saes.library import delete_sae, open_sae
from mistudio.saes.tables import Sae
from mistudio.store import ExampleStore
from mistudio.training.schemas import SourceChoice, TrainingCreate
from mistudio.training.sweeps import create_sweep
from mistudio.web import PageRequest
from tests.features.make_sae import HOOK, add_sae
from tests.models.job_runs import run_here


def start(database: Any, sae_id: str, wanted: ExtractionCreate | None = None) -> tuple[str, str]:
    with database.session() as session:
        extraction, job = library.create_extraction(session, sae_id, wanted or ExtractionCreate())
        return extraction.id, job.id


def page_of(settings: Any, database: Any, extraction_id: str, index: int) -> Any:
    with database.reading() as session:
        return pages.feature_page(session, settings, extraction_id, index)


def dense(settings: Any, database: Any, extraction_id: str) -> tuple[torch.Tensor, Any, Any]:
    """Every activation of the extraction's tokens, computed in one piece: z [n, m], sequences [n], positions [n]."""
    with database.reading() as session:
        extraction = library.get_extraction(session, extraction_id)
        sae_row = session.get(Sae, extraction.sae_id)
    sae = open_sae(settings, sae_row)
    tokens = open_tokens(settings, extraction.tokenization_id)
    if extraction.cache_id is not None:
        cache = open_cache(settings, extraction.cache_id)
        rows = cache.tokens(0, cache.n_tokens)
        return (
            sae.encode_dense(torch.from_numpy(cache.read(HOOK, 0, cache.n_tokens))).detach(),
            rows.sequence,
            rows.position,
        )
    model = open_model(settings, sae_row.model_id, device="cpu")
    ids = torch.from_numpy(tokens.tokens(0, tokens.n_sequences).astype(np.int64))
    x = model.activations(ids, [HOOK])[HOOK]
    counts = ~torch.isin(ids, torch.tensor(sorted(model.special_ids)))
    sequences, positions = counts.nonzero(as_tuple=True)
    return sae.encode_dense(x[counts]).detach(), sequences.numpy(), positions.numpy()


@pytest.mark.parametrize("source", ["model", "cache"])
def test_features_equal_a_dense_computation(
    settings: Any, database: Any, tokens: str, cache: str, sae: str, source: str
) -> None:
    extraction_id, job_id = start(database, sae, ExtractionCreate(use_cache=source == "cache"))
    result, reports = run_here(settings, database, job_id)
    z, sequences, positions = dense(settings, database, extraction_id)
    with database.reading() as session:
        out = library.extractions_out(session, [library.get_extraction(session, extraction_id)])[0]
        rows = session.scalars(select(Feature).order_by(Feature.index)).all()
    assert out.ready and out.n_tokens == len(z) == result["n_tokens"]
    assert out.cache_id == (cache if source == "cache" else None)
    assert out.summary is not None and out.summary.n_dead == int((z.amax(0) == 0).sum()) >= 1
    assert out.summary.l0 == pytest.approx(float((z > 0).sum(1).float().mean()), rel=1e-3)
    assert out.summary.n_sequences == len(set(sequences.tolist()))
    assert {p["stage"] for p in reports.progress} >= {"Read tokens", "Logits", "Neighbours", "Write rows"}
    assert [row.index for row in rows] == list(range(48))
    np.testing.assert_allclose([row.frequency for row in rows], (z > 0).float().mean(0), atol=2e-4)
    np.testing.assert_allclose([row.max_activation for row in rows], z.amax(0), rtol=1e-4)
    assert rows[0].density == "dead" and rows[0].top_tokens == []

    tokenizer = open_model(settings, rows and out.model_id, device="cpu").tokenizer
    store = open_tokens(settings, tokens)
    for index in (0, 5, 31):
        page = page_of(settings, database, extraction_id, index)
        assert sum(page.histogram.counts) == page.count == pytest.approx(int((z[:, index] > 0).sum()), abs=2)
        best = z[:, index].max().item()
        strongest = [e.strongest for e in page.examples if e.group == "top"]
        assert strongest == sorted(strongest, reverse=True)
        assert not strongest or strongest[0] == pytest.approx(best, rel=1e-4)
        assert len({(e.sequence) for e in page.examples}) == len(page.examples)
        for example in page.examples:
            sequence = store[example.sequence]
            stop = example.window_start + len(example.token_ids)
            assert example.token_ids == sequence[example.window_start : stop].tolist()
            assert "".join(example.tokens) == tokenizer.decode(example.token_ids)
            expected = np.zeros(len(sequence), np.float32)
            here = np.asarray(sequences) == example.sequence
            expected[np.asarray(positions)[here]] = z[torch.from_numpy(here), index]
            shown = expected[example.window_start : stop]
            np.testing.assert_allclose(example.activations, shown, rtol=1e-3, atol=1e-3)
            assert max(example.activations) == example.activations[example.position - example.window_start]
            assert example.row is not None


def test_directions(settings: Any, database: Any, tokens: str, sae: str, tiny_model: Any) -> None:
    extraction_id, job_id = start(database, sae)
    run_here(settings, database, job_id)
    W_dec = open_sae(settings, sae).W_dec
    model = open_model(settings, tiny_model, device="cpu")
    logits = W_dec @ model.unembedding.T
    page = page_of(settings, database, extraction_id, 7)
    values, ids = logits[7].topk(10)
    assert [logit.id for logit in page.top_logits] == ids.tolist()
    np.testing.assert_allclose([logit.value for logit in page.top_logits], values, rtol=1e-4)
    values, ids = logits[7].topk(10, largest=False)
    assert [logit.id for logit in page.bottom_logits] == ids.tolist()
    cosines = torch.nn.functional.cosine_similarity(W_dec[7], W_dec)
    cosines[7] = -2
    values, ids = cosines.topk(10)
    assert [one.index for one in page.neighbours] == ids.tolist()
    np.testing.assert_allclose([one.cosine for one in page.neighbours], values, rtol=1e-4)
    assert page.decoder_norm == pytest.approx(float(W_dec[7].norm()), rel=1e-5)


def test_conventions_are_stored_and_act(settings: Any, database: Any, tokens: str, sae: str) -> None:
    plain, job = start(database, sae)
    run_here(settings, database, job)
    changed = ExtractionSettings(
        skip_bos=False, skip_special_tokens=False, decoder_norm="folded", n_tokens=2_000
    )
    other, job = start(database, sae, ExtractionCreate(settings=changed))
    run_here(settings, database, job)
    with database.reading() as session:
        first, second = library.extractions_out(
            session, [library.get_extraction(session, plain), library.get_extraction(session, other)]
        )
    assert first.conventions is not None and second.conventions is not None
    assert first.conventions.skip_bos and first.conventions.decoder_norm == "raw"
    assert first.summary is not None and first.summary.tokens_left_out > 0
    assert not second.conventions.skip_bos and second.conventions.decoder_norm == "folded"
    assert second.summary is not None and second.summary.tokens_left_out == 0
    assert second.n_tokens is not None and 2_000 <= second.n_tokens < 2_000 + 32
    meta = ExampleStore(library.extraction_folder(settings, other)).meta
    assert meta["conventions"] == second.conventions.model_dump()


def test_a_stopped_extraction_goes_on_where_it_was(
    settings: Any, database: Any, tokens: str, cache: str, sae: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mistudio.features import streams

    monkeypatch.setattr(streams, "_CACHE_ROWS", 1_000)
    whole, job = start(database, sae)
    run_here(settings, database, job)
    broken, job = start(database, sae)

    def interrupt(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Read tokens" and progress["done"] > 4_000:
            asked.interrupt.set()

    with pytest.raises(JobInterrupted):
        run_here(settings, database, job, on_progress=interrupt)
    assert not library.extraction_folder(settings, broken).exists()
    _, reports = run_here(settings, database, job)
    first = next(p for p in reports.progress if p["stage"] == "Read tokens")
    assert first["done"] > 4_000
    for index in range(48):
        ours, theirs = (page_of(settings, database, id, index) for id in (broken, whole))
        same = {"extraction_id"}
        assert ours.model_dump(exclude=same) == theirs.model_dump(exclude=same)
    assert not library.progress_folder(settings, broken).exists()


def test_a_killed_extraction_goes_on_from_its_checkpoint(
    settings: Any, database: Any, tokens: str, cache: str, sae: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mistudio.features import streams

    monkeypatch.setattr(streams, "_CACHE_ROWS", 1_000)
    monkeypatch.setattr(work_module, "_CHECKPOINT_SECONDS", 0.0)
    extraction_id, job = start(database, sae)

    class Killed(BaseException):
        pass

    def kill(stage: str) -> Any:
        def on_progress(progress: dict[str, Any], asked: Any) -> None:
            if progress["stage"] == stage and progress["done"] > 3_000 * (stage == "Read tokens"):
                raise Killed

        return on_progress

    for stage in ("Read tokens", "Write rows"):
        with pytest.raises(Killed):
            run_here(settings, database, job, on_progress=kill(stage))
        with database.reading() as session:
            assert not library.get_extraction(session, extraction_id).ready
    run_here(settings, database, job)
    z, _, _ = dense(settings, database, extraction_id)
    with database.reading() as session:
        rows = session.scalars(select(Feature).order_by(Feature.index)).all()
    np.testing.assert_allclose([row.frequency for row in rows], (z > 0).float().mean(0), rtol=1e-6)


def test_deleted_while_it_runs(settings: Any, database: Any, tokens: str, cache: str, sae: str) -> None:
    extraction_id, job = start(database, sae)
    deleted = False

    def delete(progress: dict[str, Any], asked: Any) -> None:
        nonlocal deleted
        if progress["stage"] == "Neighbours" and not deleted:
            deleted = True
            with database.session() as session:
                library.delete_extraction(session, settings, extraction_id)

    with pytest.raises(JobCancelled):
        run_here(settings, database, job, on_progress=delete)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Feature)) == 0
        assert get_job(session, job).state == "cancelled"


def test_defaults_are_those_of_the_training(
    settings: Any, database: Any, tokens: str, cache: str, tiny_model: Any, tmp_path: Path
) -> None:
    sae = add_sae(settings, database, tiny_model.id)
    with database.session() as session:
        dataset_id = session.scalars(select(Tokenization.dataset_id)).one()
        newer, job = add_tokenization(
            session,
            settings,
            dataset_id,
            TokenizationCreate(
                model_id=tiny_model.id, name="newer", settings=TokenizationSettings(context_length=16)
            ),
        )
    run_here(settings, database, job.id)
    without, _ = start(database, sae)
    with database.session() as session:
        sweep = create_sweep(
            session,
            TrainingCreate(
                sources=[SourceChoice(tokenization_id=tokens)],
                hooks=[HOOK],
                held_out_tokens=0,
                config=TrainerConfig(batch_size=256),
            ),
        )
        row = session.get(Sae, sae)
        assert row is not None
        row.training_id = sweep.trainings[0].id
    with_training, _ = start(database, sae)
    with database.reading() as session:
        first = library.get_extraction(session, without)
        second = library.get_extraction(session, with_training)
    assert first.tokenization_id == newer.id and first.cache_id is None
    assert second.tokenization_id == tokens and second.cache_id == cache
    assert second.settings["n_tokens"] > 10_000


def test_refusals(settings: Any, database: Any, tokens: str, cache: str, sae: str, tiny_model: Any) -> None:
    homeless = add_sae(settings, database, None, hook=None, name="homeless")
    elsewhere = add_sae(settings, database, tiny_model.id, hook="blocks.0.hook_resid_post", name="elsewhere")
    no_bos = ExtractionSettings(skip_bos=False)
    with database.session() as session:
        for error, code, sae_id, wanted in (
            (NotFound, "sae_not_found", "sa_none", ExtractionCreate()),
            (StudioError, "sae_without_place", homeless, ExtractionCreate()),
            (StudioError, "cache_does_not_fit", elsewhere, ExtractionCreate(cache_id=cache)),
            (StudioError, "cache_does_not_fit", sae, ExtractionCreate(cache_id=cache, settings=no_bos)),
            (NotFound, "tokenization_not_found", sae, ExtractionCreate(tokenization_id="tk_none")),
        ):
            with pytest.raises(error) as caught:
                library.create_extraction(session, sae_id, wanted)
            assert caught.value.code == code
        extraction, _ = library.create_extraction(session, sae, ExtractionCreate(settings=no_bos))
        assert extraction.cache_id is None
        with pytest.raises(Conflict):
            library.ready_extraction(session, extraction.id)


def test_deleting_is_quick_however_many_features(settings: Any, database: Any, sae: str) -> None:
    n = 100_000
    folder = library.extraction_folder(settings, "ex_big")
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 1000)
    with database.session() as session:
        session.add(Extraction(id="ex_big", name="big", sae_id=sae, settings={}))
        session.flush()
        rows = [
            {
                "extraction_id": "ex_big",
                "index": i,
                "frequency": i / n,
                "max_activation": float(i % 977),
                "mean_activation": 1.0,
                "density": "normal",
                "search_text": f"token {i}",
            }
            for i in range(n)
        ]
        session.execute(insert(Feature), rows)
    began = time.monotonic()
    with database.session() as session:
        delete_sae(session, settings, sae)
    seconds = time.monotonic() - began
    assert not folder.exists()
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Feature)) == 0
    assert seconds < 3  # under a second on an idle machine


class Test_the_table:
    @pytest.fixture
    def filled(self, database: Any, sae: str) -> str:
        words = ["the", " Cat", "dog_", "100%", "\\n"]
        with database.session() as session:
            session.add(Extraction(id="ex_1", name="one", sae_id=sae, settings={}))
            session.flush()
            for i in range(50):
                session.add(
                    Feature(
                        extraction_id="ex_1",
                        index=i,
                        frequency=i / 100,
                        max_activation=float((i * 7) % 50),
                        mean_activation=1.0,
                        density="dead" if i == 0 else "normal",
                        top_tokens_text=words[i % 5],
                        search_text=labels_current.search_text(None, "", words[i % 5]),
                    )
                )
        return "ex_1"

    def indices(
        self, database: Any, filters: browse.Filters | None = None, **request: Any
    ) -> tuple[list[int], int]:
        with database.reading() as session:
            found = browse.list_features(session, "ex_1", PageRequest(**request), filters or browse.Filters())
        return [row.index for row in found.items], found.total

    def test_search(self, database: Any, filled: str) -> None:
        assert self.indices(database, q="#17") == ([17], 1)
        assert self.indices(database, q="#99") == ([], 0)
        assert self.indices(database, q="cAT")[0] == list(range(1, 50, 5))
        assert self.indices(database, q="g_")[0] == list(range(2, 50, 5))
        assert self.indices(database, q="_")[0] == list(range(2, 50, 5))
        assert self.indices(database, q="0%")[0] == list(range(3, 50, 5))
        with database.session() as session:
            labels_current.set_label(session, "ex_1", 4, "Animals: Cats", "person", None)
            labels_current.change_feature(session, "ex_1", 6, notes="See the CAT paper")
        assert self.indices(database, q="cats")[0] == [4]
        assert set(self.indices(database, q="cat")[0]) == {4, *range(1, 50, 5)}

    def test_sort_filter_and_page(self, database: Any, filled: str) -> None:
        first, total = self.indices(database, sort="-max_activation", limit=5)
        assert total == 50
        assert [(i * 7) % 50 for i in first] == [49, 48, 47, 46, 45]
        assert self.indices(database, sort="-frequency", limit=3, offset=2)[0] == [47, 46, 45]
        with pytest.raises(StudioError) as caught:
            self.indices(database, sort="beauty")
        assert caught.value.code == "sort_unknown"
        assert self.indices(database, browse.Filters(min_frequency=0.1, max_frequency=0.12))[0] == [
            10,
            11,
            12,
        ]
        assert self.indices(database, browse.Filters(density="dead"))[0] == [0]
        with database.session() as session:
            labels_current.set_label(session, "ex_1", 3, "three", "machine:contrast", 0.7)
            labels_current.set_label(session, "ex_1", 5, "five", "person", None)
            labels_current.change_feature(session, "ex_1", 9, starred=True)
        assert self.indices(database, browse.Filters(label_state="labelled"))[0] == [3, 5]
        assert self.indices(database, browse.Filters(label_state="person"))[0] == [5]
        assert self.indices(database, browse.Filters(label_state="machine"))[0] == [3]
        assert self.indices(database, browse.Filters(label_state="unlabelled"))[1] == 48
        assert self.indices(database, browse.Filters(starred=True))[0] == [9]
        assert self.indices(database, sort="-label_score", limit=1)[0] == [3]

    def test_a_machine_never_overwrites_a_person(self, database: Any, filled: str) -> None:
        with database.session() as session:
            put = labels_current.set_label
            assert put(session, "ex_1", 1, "guess", "machine:contrast", 0.6)
            assert put(session, "ex_1", 1, "better guess", "machine:local", 0.8)
            assert put(session, "ex_1", 1, "by hand", "person", None)
            assert not put(session, "ex_1", 1, "overruled", "machine:local", 0.9)
            assert not put(session, "ex_1", 1, None, "machine:local", None)
            row = labels_current.get_feature(session, "ex_1", 1)
            assert (row.label, row.label_source, row.label_score) == ("by hand", "person", None)
            assert put(session, "ex_1", 1, "  ", "person", None)
            assert (row.label, row.label_source) == (None, None)
            assert put(session, "ex_1", 1, "free again", "machine:local", 0.9)
            with pytest.raises(NotFound):
                put(session, "ex_1", 999, "x", "person", None)
