"""The list of trainings: what a filter finds, how it is sorted and grouped, and the views that are kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mistudio.db import Database
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job
from mistudio.sae.config import JumpReLUConfig, TopKConfig, TrainerConfig
from mistudio.saes.tables import Sae
from mistudio.training import bulk, saved_views
from mistudio.training.filter_language import FilterError
from mistudio.training.listing import ListRequest, group_trainings, list_trainings
from mistudio.training.listing_schemas import BulkChange, ViewCreate, ViewSettings, ViewUpdate
from mistudio.training.tables import Training
from tests.training.runs_made import add_run, add_tokens

DAY = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def runs(request: Any, metadata: Any, settings: Any) -> Iterator[Database]:
    """Five runs on two models, on either database."""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_url")
        engine = create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("DROP DATABASE IF EXISTS listing"))
            connection.execute(text("CREATE DATABASE listing"))
        engine.dispose()
        database = Database(server.rsplit("/", 1)[0] + "/listing")
    else:
        database = Database(settings.effective_database_url)
    metadata.create_all(database.engine)
    with database.session() as session:
        small, large = add_tokens(session, "small", "Tales"), add_tokens(session, "large", "News, 50%")
        topk = TrainerConfig(architecture=TopKConfig(k=16), d_sae=4096, learning_rate=0.1)
        jump = TrainerConfig(architecture=JumpReLUConfig(target_l0=20), d_sae=8192, tied_init=False)
        one = add_run(session, small, "one", topk, layer=0, metrics={"fvu": 0.5, "l0": 16.0}, at=DAY)
        add_run(
            session, small, "two", jump, layer=6, metrics={"fvu": 0.1, "l0": 21.0}, at=DAY, state="running"
        )
        add_run(session, large, "Three", topk, layer=10, at=DAY + timedelta(hours=12), state="failed")
        four = add_run(session, large, "four_4", jump, layer=6, metrics={"fvu": None, "l0": 3.0}, at=DAY)
        five = add_run(session, small, 'say "hi"', topk, layer=None, metrics={"fvu": 0.3}, at=DAY)
        one.tags, four.tags, five.tags = ["Good", "first try"], ["good"], []
        one.favourite, one.notes = True, "The bias is odd."
        five.error = {"code": "training_diverged", "message": "no", "hint": None}
        session.add(Sae(name="made", training_id=one.id, origin={}, metrics={"fvu": 0.45}))
    yield database
    database.dispose()


def names(database: Database, settings: Any, filter: str = "", **more: Any) -> list[str]:
    with database.reading() as session:
        wanted = ListRequest(filter=filter, **{"sort": "name", **more})
        return [one.name for one in list_trainings(session, settings, wanted).items]


FOUND: list[tuple[str, set[str]]] = [
    ("d_sae>=8192", {"two", "four_4"}),
    ("d_sae>=8k", {"two", "four_4"}),
    ("layer:6", {"two", "four_4"}),
    ("layer:0,10", {"one", "Three"}),
    ("layer:none", {'say "hi"'}),
    ("layer!=6", {"one", "Three", 'say "hi"'}),
    ("state:running", {"two"}),
    ("state:failed", {"Three", 'say "hi"'}),
    ("-state:failed", {"one", "two", "four_4"}),
    ("architecture:topk fvu<0.4", {'say "hi"'}),
    ("-fvu<0.4", {"one", "Three", "four_4"}),
    ("fvu:none", {"Three", "four_4"}),
    ("k=16 OR architecture.target_l0:20", {"one", "two", "Three", "four_4", 'say "hi"'}),
    ("target_l0:none layer:10", {"Three"}),
    ("tied_init:no", {"two", "four_4"}),
    ("learning_rate:0.1", {"one", "Three", 'say "hi"'}),
    ("tag:GOOD", {"one", "four_4"}),
    ("tag:first*", {"one"}),
    ('tag~"try"', {"one"}),
    ("tag:none", {"two", "Three", 'say "hi"'}),
    ("starred:yes", {"one"}),
    ("sae:none", {"two", "Three", "four_4", 'say "hi"'}),
    ("held_out.fvu<0.46", {"one"}),
    ("model:large", {"Three", "four_4"}),
    ("model:L*", {"Three", "four_4"}),
    ('dataset~"50%"', {"Three", "four_4"}),
    ('dataset:"tales"', {"one", "two", 'say "hi"'}),
    ("name:four_4", {"four_4"}),
    ("name:four-4", set()),
    ('name~"\\"hi"', {'say "hi"'}),
    ("three", {"Three"}),
    ("odd bias", {"one"}),
    ("created:2026-01-31", {"one", "two", "four_4", 'say "hi"'}),
    ("created>2026-01-31", {"Three"}),
    ("created<=2026-01-31", {"one", "two", "four_4", 'say "hi"'}),
    ("created>=-1d", set()),
    ("(layer:6 OR layer:10) -(state:running OR state:failed)", {"four_4"}),
    ("disk>0", set()),
    ("disk<1kb name:one", {"one"}),
]


@pytest.mark.slow
def test_filters_find_what_they_say(runs: Database, settings: Any) -> None:
    for filter, found in FOUND:
        assert set(names(runs, settings, filter)) == found, filter


def test_orders_and_columns(runs: Database, settings: Any) -> None:
    assert names(runs, settings) == ["four_4", "one", 'say "hi"', "Three", "two"]
    # What has no value comes last, whichever way it is sorted.
    assert names(runs, settings, sort="fvu")[:3] == ["two", 'say "hi"', "one"]
    assert names(runs, settings, sort="-fvu")[:3] == ["one", 'say "hi"', "two"]
    assert names(runs, settings, sort="-layer,name") == ["Three", "four_4", "two", "one", 'say "hi"']
    assert names(runs, settings, sort="name", limit=2, offset=3) == ["Three", "two"]
    assert names(runs, settings, sort="-disk,name")[0] == "four_4"
    columns = ["k", "tag", "model", "layer", "created", "tied_init", "fvu", "held_out.fvu", "disk", "dataset"]
    with runs.reading() as session:
        wanted = ListRequest(filter="name:one", columns=columns)
        values = list_trainings(session, settings, wanted).items[0].values
    assert list(values) == columns
    assert values == {
        "k": 16.0,
        "tag": ["Good", "first try"],
        "model": "small",
        "layer": 0.0,
        "created": "2026-01-31T12:00:00Z",
        "tied_init": True,
        "fvu": 0.5,
        "held_out.fvu": 0.45,
        "disk": 0.0,
        "dataset": ["Tales"],
    }


def test_groups_lead_to_their_runs_in_the_order_of_the_list(runs: Database, settings: Any) -> None:
    for by in ("layer", "architecture", "model", "state", "learning_rate", "tied_init", "sweep"):
        with runs.reading() as session:
            found = group_trainings(session, settings, by, "-name:Three")
            assert found.total == 4
        listed = names(runs, settings, "-name:Three", group=by)
        for group in found.groups:
            members = names(runs, settings, group.filter)
            assert len(members) == group.count
            assert sorted(listed[: group.count], key=str.lower) == members
            del listed[: group.count]
    with runs.reading() as session:
        groups = {one.value: one for one in group_trainings(session, settings, "layer").groups}
        assert groups[6.0].best["fvu"] == 0.1 and groups[6.0].running == 1
        assert groups[0.0].best["held_out.fvu"] == 0.45
        tags = group_trainings(session, settings, "tag").groups
        assert {(one.value, one.count) for one in tags} == {("first try", 1), ("Good", 1), ("good", 1)}


@pytest.mark.parametrize(
    ("filter", "start", "says"),
    [
        ("k:16 layr:6", 5, "layer"),
        ("state:runing", 0, "running"),
        ("fvu<low", 0, "number"),
        ("name>5", 0, "no order"),
        ("fvu~3", 0, "number"),
        ("created>soon", 0, "2026-01-31"),
        ("k<1,2", 0, "one value"),
        ("tied_init:maybe", 0, "yes or no"),
    ],
)
def test_refusals_point_at_the_place(
    database: Any, settings: Any, filter: str, start: int, says: str
) -> None:
    with pytest.raises(FilterError, match=says) as refused:
        names(database, settings, filter)
    assert refused.value.start == start


@pytest.mark.parametrize(
    "wanted", [{"sort": "nothing"}, {"sort": "tag"}, {"columns": ["nothing"]}, {"group": "created"}]
)
def test_unknown_columns_and_orders_are_refused(database: Any, settings: Any, wanted: Any) -> None:
    with pytest.raises(StudioError) as refused:
        names(database, settings, **wanted)
    assert refused.value.status == 422 and next(iter(wanted)) in refused.value.fields


def test_many_are_tagged_or_none(runs: Database) -> None:
    with runs.session() as session:
        ids = [one.id for one in session.query(Training).filter(Training.name.in_(["one", "two"]))]
        assert (
            bulk.change_many(
                session, BulkChange(ids=ids, add_tags=["new", "Good"], remove_tags=["first try"])
            )
            == 2
        )
    with runs.reading() as session:
        assert {one.name: one.tags for one in session.query(Training).filter(Training.id.in_(ids))} == {
            "one": ["Good", "new"],
            "two": ["new", "Good"],
        }
    with pytest.raises(NotFound), runs.session() as session:
        bulk.change_many(session, BulkChange(ids=[*ids, "tr_none"], favourite=True))
    with runs.reading() as session:
        assert [one.name for one in session.query(Training).filter(Training.favourite)] == ["one"]
        assert session.query(Job).count() == 5


def test_views_are_kept_under_names(database: Any) -> None:
    with database.session() as session:
        kept = saved_views.add_view(
            session, ViewCreate(name="Best", filter="fvu<0.2", columns=["k"], sort="fvu")
        )
        with pytest.raises(Conflict):
            saved_views.add_view(session, ViewCreate(name="best"))
        with pytest.raises(FilterError):
            saved_views.add_view(session, ViewCreate(name="other", filter="fvu<"))
        with pytest.raises(StudioError):
            saved_views.change_view(session, kept.id, ViewUpdate(settings=ViewSettings(columns=["nothing"])))
        saved_views.change_view(
            session, kept.id, ViewUpdate(name="Better", settings=ViewSettings(group="layer"))
        )
    with database.session() as session:
        assert [(one.name, one.settings["group"]) for one in saved_views.list_views(session)] == [
            ("Better", "layer")
        ]
        saved_views.delete_view(session, kept.id)
        with pytest.raises(NotFound):
            saved_views.get_view(session, kept.id)
