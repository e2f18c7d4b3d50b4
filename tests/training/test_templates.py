"""Templates of trainings: what they keep, what they refuse, and that starting from one is counted."""

from __future__ import annotations

from typing import Any

import pytest

from mistudio.domains import all_domains, template_kinds
from mistudio.errors import NotFound, StudioError
from mistudio.templates.kinds import register_template_kinds
from mistudio.templates.library import add_template, get_template
from mistudio.templates.schemas import TemplateCreate
from mistudio.training.keeping import keep_as_template
from mistudio.training.schemas import TrainingCreate, TrainingTemplate
from mistudio.training.sweeps import create_sweep
from mistudio.training.views import asked_of, settings_kept
from tests.training.conftest import HOOK


@pytest.fixture(autouse=True)
def registered() -> None:
    register_template_kinds(template_kinds(all_domains()))


def test_a_training_starts_from_a_template_and_is_counted(database: Any, tokens: str) -> None:
    config = {"d_sae": 64, "architecture": {"kind": "topk", "k": 4}, "batch_size": 256}
    body = {"config": config, "held_out_tokens": 512}
    with database.session() as session:
        template = add_template(session, TemplateCreate(kind="training", name="small", body=body))
        kept = template.body
        wanted = {
            "sources": [{"tokenization_id": tokens}],
            "hooks": [HOOK],
            **kept,
            "template_id": template.id,
        }
        training = create_sweep(session, TrainingCreate.model_validate(wanted)).trainings[0]
        assert settings_kept(training) == asked_of(training.sweep) == TrainingTemplate.model_validate(kept)
        assert training.config["architecture"]["k"] == 4 and training.config["d_sae"] == 64
        assert get_template(session, template.id).uses == 1
    with database.session() as session:
        other = TemplateCreate(kind="extraction", name="small", body={"hooks": [HOOK]})
        wrong = add_template(session, other).id
        with pytest.raises(NotFound):
            create_sweep(session, TrainingCreate.model_validate({**wanted, "template_id": wrong}))


def test_a_sweep_is_kept_with_its_grid_and_started_again(database: Any, tokens: str) -> None:
    config = {"d_sae": 64, "batch_size": 256, "architecture": {"kind": "topk", "k": 4, "aux_k": 7}}
    grid = {"architecture": ["batch_topk", "topk"], "learning_rate": [1e-4, 1e-3]}
    request = {"sources": [{"tokenization_id": tokens}], "held_out_tokens": 512, "config": config}

    def start(session: Any, asked: dict[str, Any]) -> Any:
        return create_sweep(session, TrainingCreate.model_validate(request | {"hooks": [HOOK]} | asked))

    with database.session() as session:
        kept = asked_of(start(session, {"grid": grid}))
        assert kept is not None and kept.grid == grid
        wanted = TemplateCreate(kind="training", name="four", body=kept.model_dump(mode="json"))
        template = add_template(session, wanted)
        again = start(session, template.body | {"template_id": template.id})
        assert [one.config["architecture"]["kind"] for one in again.trainings] == [
            "batch_topk",
            "batch_topk",
            "topk",
            "topk",
        ]
        assert again.trainings[3].config["architecture"]["aux_k"] == 7
        assert asked_of(again) == kept
        one = again.trainings[3]
        made = keep_as_template(session, one, "the last")
        assert made.body["grid"] == {} and made.body["config"] == one.config


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"grid": {"k": []}}, "body"),
        ({"grid": {"sparsity": [1]}}, "body"),
        ({"grid": {"hook": [HOOK]}}, "body"),
        ({"grid": {"seed": list(range(300))}}, "body"),
        ({"config": {"d_sae": 0}}, "body.config.d_sae"),
        ({"config": {"skip_connection": True}}, "body"),
        ({"harvest": {"n_tokens": 5}}, "body"),
        ({"hook": HOOK}, "body.hook"),
    ],
)
def test_what_a_training_would_refuse_is_not_kept(database: Any, body: dict[str, Any], field: str) -> None:
    with database.session() as session, pytest.raises(StudioError) as refused:
        add_template(session, TemplateCreate(kind="training", name="wrong", body=body))
    assert field in refused.value.fields
