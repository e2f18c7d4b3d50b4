"""A configuration as a text: what is written is read back the same, and what is wrong is named with its line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from mistudio.db import Database
from mistudio.db.migrate import upgrade
from mistudio.domains import all_domains, import_tables
from mistudio.sae.config import TrainerConfig
from mistudio.saes.tables import Sae
from mistudio.training.copying import command_of, document_of, python_of
from mistudio.training.document_lines import json_lines, toml_lines
from mistudio.training.documents import checked, read_document, write_json, write_toml
from mistudio.training.schemas import DocumentFault, TrainingCreate
from mistudio.training.tables import Sweep, Training
from tests.models.job_runs import run_here
from tests.training.test_sweeps import start, wanted


@pytest.fixture
def database(settings: Any) -> Iterator[Database]:
    """As the application has it, so that processes of their own may open it."""
    found = Database(settings.effective_database_url)
    upgrade(found, import_tables(all_domains()))
    yield found
    found.dispose()


TEXT = """\
name = "first"
hooks = [
  "blocks.6.hook_resid_post",
]
held_out_tokens = 100

[[sources]]
tokenization_id = "tk_1"

[[sources]]
tokenization_id = "tk_2"
weight = 3

[config]
d_sae = 4096  # a comment = with = signs
architecture.kind = "topk"

[config.optimizer]
kind = "adam"
weight_decay = 0.1

[grid]
k = [16,
  32]
"optimizer.weight_decay" = [0.0, 0.1]
"""


def faults(text: str, format: Any = "toml") -> list[DocumentFault]:
    found, said = checked(read_document(text, format))
    assert (found is None) == bool(said)
    return said


def test_toml_is_a_request() -> None:
    found, said = checked(read_document(TEXT, "toml"))
    assert said == [] and found is not None
    assert [source.weight for source in found.sources] == [1.0, 3.0]
    assert found.grid == {"k": [16, 32], "optimizer.weight_decay": [0.0, 0.1]}
    assert found.config.optimizer.weight_decay == 0.1


@pytest.mark.parametrize(
    ("changed", "line", "field", "words"),
    [
        (("d_sae = 4096", "d_sae = 0"), 15, "config.d_sae", "greater than or equal to 1"),
        (("d_sae = 4096", "d_sea = 4096"), 15, "config.d_sea", "no setting here"),
        (
            ("weight_decay = 0.1", "weight_decay = 99"),
            20,
            "config.optimizer.weight_decay",
            "less than or equal to 10",
        ),
        (("weight = 3", "weight = -3"), 12, "sources.1.weight", "greater than 0"),
        (('"topk"', '"topkk"'), 16, "config.architecture", "topkk"),
        (("held_out_tokens = 100", ""), None, None, ""),
        (("[[sources]]\ntokenization_id", "[[sourced]]\ntokenization_id"), 7, "sourced", "no setting here"),
    ],
)
def test_a_fault_names_its_line(
    changed: tuple[str, str], line: int | None, field: str | None, words: str
) -> None:
    said = faults(TEXT.replace(*changed))
    assert [(one.line, one.field) for one in said[-1:]] == ([(line, field)] if line else [])
    assert all(words in one.message for one in said[-1:])


def test_a_text_that_cannot_be_read_says_where() -> None:
    (fault,) = faults('name = "x"\nhooks = [\n', "toml")
    assert fault.line >= 2 and "TOML" in fault.message
    (fault,) = faults('{"name": "x",\n "hooks": [}', "json")
    assert (fault.line, "JSON" in fault.message) == (2, True)
    (fault,) = faults("[1]", "json")
    assert "object" in fault.message
    assert {one.field for one in faults("", "toml")} == {"sources", "hooks"}


def test_json_lines_are_those_of_every_value() -> None:
    text = '{\n "hooks": [\n  "a",\n  "b"\n ],\n "config": {"d_sae": 1,\n  "k": 2}\n}'
    found = json_lines(text)
    assert found[("hooks",)] == 2 and found[("hooks", 1)] == 4
    assert found[("config",)] == 6 and found[("config", "k")] == 7


def test_toml_lines_see_through_lists_texts_and_comments() -> None:
    text = 'a = """\n[b]\nc = 1\n"""\n# [d]\nx.y = {z = "]"}\n[[s]]\nn = 1\n[[s]]\nn = [\n1]\n[s.t]\nu = 1\n'
    found = toml_lines(text)
    assert {place: line for place, line in found.items() if place} == {
        ("a",): 1,
        ("x",): 6,
        ("x", "y"): 6,
        ("s",): 7,
        ("s", 0): 7,
        ("s", 0, "n"): 8,
        ("s", 1): 9,
        ("s", 1, "n"): 10,
        ("s", 1, "t"): 12,
        ("s", 1, "t", "u"): 13,
    }


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
)
words = st.text(min_size=1).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text))
bodies = st.recursive(
    st.dictionaries(words, plain | words | st.lists(plain | words, max_size=3), max_size=4),
    lambda inner: st.dictionaries(words, inner | st.lists(inner, min_size=1, max_size=2), max_size=3),
    max_leaves=6,
)


@given(body=bodies)
def test_what_is_written_is_read_back(body: dict[str, Any]) -> None:
    for text, format in ((write_toml(body), "toml"), (write_json(body), "json")):
        document = read_document(text, format)  # pyright: ignore[reportArgumentType]
        assert document.faults == [] and document.body == body


SETTINGS: dict[str, Any] = {
    "name": "it's a “sweep”",
    "grid": {"k": [2, 4], "optimizer.weight_decay": [0.0, 0.1]},
    "harvest": {"skip_bos": False, "seed": 7},
    "config": TrainerConfig.model_validate(
        {
            "architecture": {"kind": "topk", "k": 4, "aux_coefficient": 0.0},
            "d_sae": 64,
            "total_tokens": 2_048,
            "batch_size": 256,
            "seed": 3,
            "evaluate_every": 4,
            "dead_latents": {"kind": "resample", "resample_interval": 2, "dead_neuron_threshold": 500},
            "optimizer": {"kind": "muon"},
        }
    ),
}


def alike(one: TrainingCreate, other: TrainingCreate) -> bool:
    return (
        one.model_dump(exclude={"harvest"}) == other.model_dump(exclude={"harvest"})
        and one.harvest == other.harvest
    )


def test_the_document_of_a_request_is_that_request() -> None:
    tracked = wanted("tk_1", trackers=["wandb", "tensorboard"], tracker_project="my SAEs")
    assert "--tracker wandb" in (said := command_of(tracked)) and "--tracker-project 'my SAEs'" in said
    for request in (wanted("tk_1"), wanted("tk_1", **SETTINGS), tracked):
        body = document_of(request)
        for text, format in ((write_toml(body), "toml"), (write_json(body), "json")):
            found, said = checked(read_document(text, format))  # pyright: ignore[reportArgumentType]
            assert said == [] and alike(found, request)
    assert "grad_clip_norm" not in document_of(wanted("tk_1"))["config"], "only what was changed is said"


@pytest.mark.slow
def test_the_command_and_the_program_train_the_same_to_the_bit(
    settings: Any, database: Any, tokens: str, tmp_path: Any
) -> None:
    """What is copied is executed: the command's trainings are those of the request, and so are the program's SAEs."""
    request = wanted(tokens, **SETTINGS)
    sweep, trainings, job_id = start(database, request)
    run_here(settings, database, job_id)
    environment = {
        **__import__("os").environ,
        "MISTUDIO_DATA_DIR": str(settings.data_dir),
        "OMP_NUM_THREADS": "1",
    }
    command = command_of(request).replace("mistudio", f"{sys.executable} -m mistudio.cli --json", 1)
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    with database.reading() as session:
        other = session.scalars(select(Sweep).where(Sweep.id != sweep.id)).one()
        rows = session.scalars(select(Training).where(Training.sweep_id == other.id)).all()
        assert other.harvest == sweep.harvest and other.name == sweep.name
        assert [one.config for one in rows] == [one.config for one in trainings]
    program = python_of(request) + (
        "    import json\n    print('FVU', json.dumps(trained.metrics['fvu']), file=__import__('sys').stderr)\n"
    )
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    found = [
        json.loads(line.removeprefix("FVU ")) for line in done.stderr.splitlines() if line.startswith("FVU ")
    ]
    with database.reading() as session:
        saes = [session.scalars(select(Sae).where(Sae.training_id == one.id)).one() for one in trainings]
        assert found == [sae.metrics["fvu"] for sae in saes]
