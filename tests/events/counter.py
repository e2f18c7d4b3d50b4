"""A small real domain for the socket tests: named counters whose numbers are rows, announced after the commit."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.orm import Session

from mistudio.domain import Domain
from mistudio.errors import NotFound

metadata = MetaData()  # of its own, so that the application's metadata stays what it is
numbers = Table(
    "counter_numbers",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(40)),
    Column("n", Integer),
)
router = APIRouter(prefix="/counter")


@router.post("/{name}/{n}")
def count(name: str, n: int, request: Request) -> dict[str, int]:
    studio = request.app.state.studio
    with studio.database.session() as session:
        session.execute(insert(numbers).values(name=name, n=n))
    studio.events.publish(f"counter/{name}", "counted", {"n": n})
    return {"n": n}


def snapshot(session: Session, channel: str) -> dict[str, Any]:
    name = channel.partition("/")[2]
    if name == "missing":
        raise NotFound("counter", name)
    if name == "broken":
        raise RuntimeError("secret detail")
    rows = session.scalars(select(numbers.c.n).where(numbers.c.name == name).order_by(numbers.c.id))
    return {"numbers": list(rows)}


domain = Domain(
    name="counter",
    router="tests.events.counter:router",
    snapshots={"counter": "tests.events.counter:snapshot"},
)
