"""Labelling runs over a real (tiny) extraction, from the request to what the features show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select

from mistudio.datasets.tokenize import open_tokens
from mistudio.domains import all_domains, template_kinds
from mistudio.errors import NotFound, StudioError
from mistudio.features.library import delete_extraction, get_extraction
from mistudio.features.pages import open_examples
from mistudio.features.tables import Feature
from mistudio.jobs import JobCancelled, latest_jobs
from mistudio.labels import background, history, runs
from mistudio.labels.evidence import collect
from mistudio.labels.schemas import LabellingRunCreate, LabelScope
from mistudio.labels.tables import Label, LabellingRun
from mistudio.models.library import open_model, open_tokenizer
from mistudio.saes.library import open_sae
from mistudio.templates.kinds import register_template_kinds
from mistudio.templates.library import add_template, get_template
from mistudio.templates.schemas import TemplateCreate
from tests.features.make_sae import HOOK
from tests.labels.loopback import Endpoint
from tests.models.conftest import add_tiny
from tests.models.job_runs import run_here

CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@pytest.fixture
def chat_model(settings: Any, database: Any, tiny_llama_folder: Path, tmp_path: Path) -> str:
    """The id of a tiny chat model with room for a long prompt."""
    folder = tmp_path / "chatty"
    shutil.copytree(tiny_llama_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return add_tiny(settings, database, folder, "chatty").id


def wanted(*indices: int, **fields: Any) -> LabellingRunCreate:
    scope = LabelScope(indices=list(indices) or None, max_frequency=None, only="all")
    return LabellingRunCreate(scope=scope, background=64, **fields)


def create(settings: Any, database: Any, extraction: str, request: LabellingRunCreate) -> tuple[str, str]:
    with database.session() as session:
        run = runs.create_run(session, settings, extraction, request)
        subject = f"{runs.TABLE}/{run.id}"
        return run.id, latest_jobs(session, [subject])[subject].id


def label(
    settings: Any, database: Any, extraction: str, request: LabellingRunCreate
) -> tuple[str, dict[str, Any]]:
    run_id, job_id = create(settings, database, extraction, request)
    return run_id, run_here(settings, database, job_id)[0]


def test_contrast_labels_and_scores_a_whole_extraction(settings: Any, database: Any, extraction: str) -> None:
    run_id, job_id = create(settings, database, extraction, wanted())
    result, reports = run_here(settings, database, job_id)
    assert result["labelled"] + result["skipped"] == 47, "every latent but the dead one"
    assert result["failed"] == 0 and result["labelled"] >= 10
    assert len(result["failures"]) == result["skipped"]
    assert {p["stage"] for p in reports.progress} == {"Read random passages", "Label"}
    events = [r["publish"] for r in reports.all if "publish" in r]
    announced = [i for e in events if e["type"] == "labels" for i in e["data"]["indices"]]
    with database.reading() as session:
        rows = session.scalars(select(Label).where(Label.run_id == run_id)).all()
        features = {f.index: f for f in session.scalars(select(Feature))}
        out = runs.runs_out(session, [runs.get_run(session, run_id)])[0]
    assert sorted(announced) == sorted(row.feature_index for row in rows)
    assert out.labels == len(rows) == result["labelled"] == result["in_force"]
    assert out.job is not None and out.n_features == 47
    for row in rows:
        assert row.source == "machine:contrast" and row.text
        feature = features[row.feature_index]
        assert (feature.label, feature.label_source) == (row.text, row.source)
        assert feature.label_score == row.score
        if row.score_detail is not None:
            assert row.score_detail["method"] == "rule" and row.score_detail["n_positive"] >= 3
            assert row.score_detail["n_negative"] <= row.score_detail["n_positive"]
            assert row.score == row.score_detail["balanced_accuracy"]
    assert sum(row.score_detail is not None for row in rows) == result["scored"] > 0


def test_the_same_seed_gives_the_same_labels(settings: Any, database: Any, extraction: str) -> None:
    found = []
    for seed in (0, 0):
        run_id, _ = label(settings, database, extraction, wanted(3, 9, 17, 30, seed=seed))
        with database.reading() as session:
            rows = session.scalars(select(Label).where(Label.run_id == run_id).order_by(Label.feature_index))
            found.append([(row.feature_index, row.text, row.score_detail) for row in rows])
    assert found[0] == found[1] and found[0]


def test_silent_contexts_are_silent_and_nothing_held_out_is_shown(
    settings: Any, database: Any, extraction: str
) -> None:
    with database.reading() as session:
        row = get_extraction(session, extraction)
        model_id = row.sae.model_id
    tokenizer, sae = open_tokenizer(settings, model_id), open_sae(settings, row.sae_id)
    model = open_model(settings, model_id, device="cpu")
    for cache_id in (None, row.cache_id):
        row.cache_id = cache_id
        contexts = background.read_silent_contexts(
            settings, row, sae, HOOK, tokenizer, [3, 7, 20], n_passages=60, seed=1, model=lambda: model
        )
        assert len(contexts.passages) == 60 and contexts.active.shape == (60, 3)
        tokens = open_tokens(settings, row.tokenization_id)
        by_text: dict[str, Any] = {}
        for number in range(tokens.n_sequences):
            ids = tokens[number]
            x = model.activations(torch.tensor(ids[None].astype("int64")), [HOOK])[HOOK][0]
            x = x[[int(id) not in model.special_ids for id in ids]].half().float()  # the cache keeps float16
            text = "".join(background.token_texts(tokenizer, ids.tolist()))
            by_text[text] = (sae.encode_dense(x)[:, [3, 7, 20]] > 0).any(0).tolist()
        for one, active in zip(contexts.passages, contexts.active.tolist(), strict=True):
            assert active == by_text[one.text]
    store = open_examples(settings, extraction)
    for index in (3, 7, 20):
        evidence = collect(store, tokenizer, contexts, index, seed=0)
        assert not {p.text for p in evidence.shown} & {p.text for p in evidence.held_out}
        assert not {p.text for p in evidence.shown_silent} & {p.text for p in evidence.held_out_silent}
        assert all(p.firing for p in evidence.shown + evidence.held_out)
        assert not any(p.firing for p in evidence.shown_silent + evidence.held_out_silent)
        assert len(evidence.held_out_silent) <= len(evidence.held_out) <= 20


def test_a_run_goes_on_where_it_was_cut_off(settings: Any, database: Any, extraction: str) -> None:
    run_id, job_id = create(settings, database, extraction, wanted())

    def cut(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Label" and progress["done"] >= 32:
            asked.cancel.set()

    with pytest.raises(JobCancelled):
        run_here(settings, database, job_id, on_progress=cut)
    with database.reading() as session:
        before = {r.feature_index: r.id for r in session.scalars(select(Label).where(Label.run_id == run_id))}
    result, _ = run_here(settings, database, job_id)
    with database.reading() as session:
        rows = session.scalars(select(Label).where(Label.run_id == run_id)).all()
    assert before and before.items() <= {r.feature_index: r.id for r in rows}.items()
    assert len({r.feature_index for r in rows}) == len(rows) == result["labelled"] > len(before)


def test_labels_by_hand_stay_in_force(settings: Any, database: Any, extraction: str) -> None:
    with database.session() as session:
        history.write_by_hand(session, extraction, 9, "my words")
    _, result = label(settings, database, extraction, wanted(9, 17, 30))
    assert result["in_force"] == result["labelled"] - 1
    with database.reading() as session:
        found = history.labels_of(session, extraction, 9)
        assert found.label == "my words" and {one.source for one in found.history} == {
            "person",
            "machine:contrast",
        }
        assert runs.features_in_scope(session, extraction, LabelScope(max_frequency=None, limit=500))[0] != 9
        free = runs.features_in_scope(session, extraction, LabelScope(max_frequency=None, limit=500))
        assert 9 not in free and 17 in free and 0 not in free
        unlabelled = runs.features_in_scope(
            session, extraction, LabelScope(max_frequency=None, limit=500, only="unlabelled")
        )
        assert 17 not in unlabelled and 9 not in unlabelled
    with database.session() as session:
        assert history.take_away(session, extraction, 9).label_source == "machine:contrast"


def test_an_endpoint_labels_and_tests(
    settings: Any, database: Any, extraction: str, endpoint: Endpoint
) -> None:
    settings = settings.model_copy(update={"labels_base_url": endpoint.url})
    request = wanted(9, 17, 30, 41, source="openai", model="big-one", examples=5)
    run_id, result = label(settings, database, extraction, request)
    assert result["labelled"] == result["scored"] == 4 and result["failed"] == 0
    with database.reading() as session:
        rows = session.scalars(select(Label).where(Label.run_id == run_id)).all()
        run = session.get(LabellingRun, run_id)
        job = latest_jobs(session, [f"{runs.TABLE}/{run_id}"])[f"{runs.TABLE}/{run_id}"]
    assert job.resource == "io" and run is not None and "key" not in json.dumps(run.request)
    for row in rows:
        assert row.source == "machine:openai:big-one" and row.text.startswith("passages with ")
        assert row.score_detail["method"] == "detection" and row.score_detail["baseline_labels"] == 1
    tested = [r for r in endpoint.requests if "JSON list" in r["messages"][0]["content"]]
    assert tested and all("«" not in r["messages"][0]["content"] for r in tested)


def test_a_local_chat_model_labels_and_tests(
    settings: Any, database: Any, extraction: str, chat_model: str
) -> None:
    request = wanted(9, 17, 30, source="local", model=chat_model, examples=3)
    run_id, result = label(settings, database, extraction, request)
    assert result["labelled"] + result["failed"] == 3
    again_id, _ = label(settings, database, extraction, request)
    with database.reading() as session:
        rows = session.scalars(
            select(Label).where(Label.run_id == run_id).order_by(Label.feature_index)
        ).all()
        second = session.scalars(
            select(Label).where(Label.run_id == again_id).order_by(Label.feature_index)
        ).all()
    assert rows and [(r.text, r.score_detail) for r in rows] == [(r.text, r.score_detail) for r in second]
    for row in rows:
        assert row.source == "machine:local:chatty" and row.score_detail["method"] == "detection"


def test_a_run_asks_as_its_template_says(
    settings: Any, database: Any, extraction: str, chat_model: str
) -> None:
    register_template_kinds(template_kinds(all_domains()))
    body = {"prompt": {"task": "Read.", "question": ""}, "examples": 2}
    with database.session() as session:
        wish = TemplateCreate(kind="labelling", name="short", body=body)
        template = add_template(session, wish)
        template_id, kept = template.id, template.body
        other = add_template(session, TemplateCreate(kind="steering", name="short", body={"prompt": "x"})).id
    request = wanted(9, source="local", model=chat_model, template_id=template_id, **kept)
    run_id, _ = label(settings, database, extraction, request)
    with database.reading() as session:
        stored = runs.get_run(session, run_id).request
        assert stored["prompt"] == body["prompt"] and stored["examples"] == 2
        assert get_template(session, template_id).uses == 1
    with pytest.raises(NotFound), database.session() as session:
        runs.create_run(session, settings, extraction, request.model_copy(update={"template_id": other}))


def test_what_cannot_run_is_refused_at_once(settings: Any, database: Any, extraction: str) -> None:
    def refused(request: LabellingRunCreate, extraction_id: str = extraction) -> str:
        with pytest.raises(StudioError) as error, database.session() as session:
            runs.create_run(session, settings, extraction_id, request)
        with database.reading() as session:
            assert session.scalars(select(LabellingRun)).all() == []
        return error.value.code

    assert refused(wanted(source="openai", model="m")) == "labels_endpoint_unset"
    assert refused(wanted(source="local")) == "no_chat_template"
    assert refused(wanted(source="local", model="md_none")) == "model_not_found"
    assert refused(wanted(99)) == "feature_unknown"
    assert refused(wanted(0)) == "no_features_in_scope"
    assert refused(wanted(), "ex_none") == "extraction_not_found"
    asked = {"prompt": {"task": "x"}}  # which contrast has nobody to ask
    for body in ({"source": "openai"}, {"model": "m"}, {"background": 1}, {"sauce": "contrast"}, asked):
        with pytest.raises(ValueError):
            LabellingRunCreate.model_validate(body)


def test_deleting_the_extraction_ends_the_run(settings: Any, database: Any, extraction: str) -> None:
    _, job_id = create(settings, database, extraction, wanted())

    def drop(progress: dict[str, Any], _asked: Any) -> None:
        if progress["stage"] == "Label" and progress["done"] == 0:
            with database.session() as session:
                delete_extraction(session, settings, extraction)

    with pytest.raises(JobCancelled):
        run_here(settings, database, job_id, on_progress=drop)
    with database.reading() as session:
        assert session.scalars(select(Label)).all() == []
