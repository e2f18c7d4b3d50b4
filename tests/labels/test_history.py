"""Whose label is in force: a person's always, else the best by a machine, whatever came in which order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from mistudio.db import Database
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.features.labels_current import change_feature, get_feature
from mistudio.features.tables import Extraction, Feature
from mistudio.labels import history
from mistudio.labels.history import MachineLabel
from mistudio.labels.schemas import ScoreDetail
from mistudio.labels.tables import Label
from mistudio.saes.tables import Sae

EXTRACTION = "ex_1"


def score(value: float) -> ScoreDetail:
    return ScoreDetail(
        method="rule",
        balanced_accuracy=value,
        true_positive_rate=value,
        true_negative_rate=value,
        auc=value,
        n_positive=9,
        n_negative=9,
    )


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with one extraction of three features."""
    from mistudio.domains import all_domains, import_tables

    path: Path = tmp_path_factory.mktemp("labels") / "labels.db"
    database = Database(f"sqlite:///{path}")
    import_tables(all_domains()).create_all(database.engine)
    with database.session() as session:
        session.add(Sae(id="sa_1", name="sae", origin={}))
        session.flush()
        session.add(Extraction(id=EXTRACTION, name="x", sae_id="sa_1", settings={}))
        session.flush()
        for index in range(3):
            session.add(
                Feature(
                    extraction_id=EXTRACTION,
                    index=index,
                    frequency=0.1,
                    max_activation=1.0,
                    mean_activation=0.5,
                    density="normal",
                    top_tokens_text=" war",
                )
            )
    yield database
    database.dispose()


@pytest.fixture(autouse=True)
def _empty(labels: Database) -> None:
    clear(labels)


def clear(database: Database) -> None:
    with database.session() as session:
        for row in session.scalars(select(Label)):
            session.delete(row)
        for row in session.scalars(select(Feature)):
            row.label = row.label_source = row.label_score = None


Person = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(["mine", "my own", "wars"])),
    st.tuples(st.just("take away"), st.just("")),
)
Machine = st.tuples(
    st.just("machine"),
    st.sampled_from(["machine:contrast", "machine:local:a", "machine:openai:b"]),
    st.one_of(st.none(), st.sampled_from([0.4, 0.5, 0.7, 0.9])),
)


@pytest.mark.slow
@hypothesis_settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.one_of(Person, Machine), max_size=10))
def test_a_label_by_hand_survives_any_sequence_of_machine_runs(labels: Database, steps: list[Any]) -> None:
    clear(labels)
    by_hand: str | None = None
    machines: dict[str, tuple[str, float | None, int]] = {}
    for number, step in enumerate(steps):
        with labels.session() as session:
            if step[0] == "write":
                history.write_by_hand(session, EXTRACTION, 1, step[1])
                by_hand = step[1]
            elif step[0] == "take away" and by_hand is None:
                with pytest.raises(Conflict):
                    history.take_away(session, EXTRACTION, 1)
            elif step[0] == "take away":
                history.take_away(session, EXTRACTION, 1)
                by_hand = None
            else:
                label = MachineLabel(1, f"label {number}", score(step[2]) if step[2] is not None else None)
                in_force = history.add_machine_labels(session, EXTRACTION, None, step[1], [label])
                machines[step[1]] = (label.text, step[2], number)
                assert not (by_hand and in_force)
        with labels.reading() as session:
            feature = get_feature(session, EXTRACTION, 1)
            if by_hand is not None:
                assert (feature.label, feature.label_source) == (by_hand, "person")
            elif machines:
                best = max(machines, key=lambda s: (machines[s][1] or -1.0, machines[s][2]))
                assert (feature.label, feature.label_source) == (machines[best][0], best)
                assert feature.label_score == machines[best][1]
            else:
                assert feature.label is None and feature.label_source is None
            assert (feature.label or "") in feature.search_text
            others = [get_feature(session, EXTRACTION, index).label for index in (0, 2)]
            assert others == [None, None]
    with labels.reading() as session:
        kept = history.labels_of(session, EXTRACTION, 1).history
    assert [one.text for one in kept if one.source != "person"] == [
        f"label {n}" for n, step in reversed(list(enumerate(steps))) if step[0] == "machine"
    ], "every machine's word is kept"


def test_notes_and_refusals(labels: Database) -> None:
    with labels.session() as session:
        found = history.write_by_hand(session, EXTRACTION, 0, "  two \n words ", notes="seen in 1812")
        assert found.label == "two words" and found.history[0].source == "person"
        assert get_feature(session, EXTRACTION, 0).notes == "seen in 1812"
        change_feature(session, EXTRACTION, 0, notes="")
    with labels.session() as session:
        with pytest.raises(StudioError, match="The label is empty"):
            history.write_by_hand(session, EXTRACTION, 0, " \n ")
        for attempt in (
            lambda: history.write_by_hand(session, EXTRACTION, 99, "x"),
            lambda: history.take_away(session, "ex_none", 0),
            lambda: history.labels_of(session, EXTRACTION, 99),
        ):
            with pytest.raises(NotFound):
                attempt()


def test_labels_go_with_their_extraction(labels: Database) -> None:
    with labels.session() as session:
        session.add(Extraction(id="ex_2", name="y", sae_id="sa_1", settings={}))
        session.flush()
        session.add(Label(extraction_id="ex_2", feature_index=0, text="x", source="machine:contrast"))
    with labels.session() as session:
        session.delete(session.get(Extraction, "ex_2"))
    with labels.reading() as session:
        assert session.scalars(select(Label).where(Label.extraction_id == "ex_2")).all() == []
