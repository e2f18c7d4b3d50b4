"""Templates of trainings: what they keep, what they refuse, and that starting from one is counted."""

from __future__ import annotations

from typing import Any

import pytest

from mistudio.domains import all_domains, template_kinds
from mistudio.errors import NotFound, StudioError
from mistudio.templates.kinds import register_template_kinds
from mistudio.templates.library import add_template, get_template
from mistudio.templates.schemas import TemplateCreate
from mistudio.training.schemas import TrainingCreate
from mistudio.training.sweeps import create_sweep
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
        assert training.config["architecture"]["k"] == 4 and training.config["d_sae"] == 64
        assert get_template(session, template.id).uses == 1
    with database.session() as session:
        other = TemplateCreate(kind="extraction", name="small", body={"hooks": [HOOK]})
        wrong = add_template(session, other).id
        with pytest.raises(NotFound):
            create_sweep(session, TrainingCreate.model_validate({**wanted, "template_id": wrong}))


@pytest.mark.parametrize(
    ("body", "field"),
    [
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
