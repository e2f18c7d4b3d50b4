"""Views of the list of trainings that are kept under a name, for everybody who uses this server."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.errors import Conflict, NotFound
from mistudio.training.listing import check_view
from mistudio.training.listing_schemas import ViewCreate, ViewSettings, ViewUpdate
from mistudio.training.tables import TrainingView


def list_views(session: Session) -> list[TrainingView]:
    """All of them, by name."""
    return sorted(session.scalars(select(TrainingView)), key=lambda view: view.name.lower())


def get_view(session: Session, view_id: str) -> TrainingView:
    """The view of this id. Raises NotFound."""
    found = session.get(TrainingView, view_id)
    if found is None:
        raise NotFound("view", view_id)
    return found


def add_view(session: Session, wanted: ViewCreate) -> TrainingView:
    """Keep a view. Raises Conflict where the name is taken, FilterError or StudioError for what it cannot show."""
    settings = ViewSettings(**wanted.model_dump(exclude={"name"}))
    check_view(settings)
    _free(session, wanted.name, None)
    made = TrainingView(name=wanted.name, settings=settings.model_dump())
    session.add(made)
    session.flush()
    return made


def change_view(session: Session, view_id: str, change: ViewUpdate) -> TrainingView:
    """Rename it, or let it show something else. Raises as `add_view`, and NotFound."""
    found = get_view(session, view_id)
    if change.name is not None:
        _free(session, change.name, view_id)
        found.name = change.name
    if change.settings is not None:
        check_view(change.settings)
        found.settings = change.settings.model_dump()
    session.flush()
    return found


def delete_view(session: Session, view_id: str) -> None:
    """Forget it. Raises NotFound."""
    session.delete(get_view(session, view_id))
    session.flush()


def _free(session: Session, name: str, own: str | None) -> None:
    for view in session.scalars(select(TrainingView)):
        if view.name.lower() == name.lower() and view.id != own:
            raise Conflict(
                "view_exists",
                f"There is a view called “{view.name}” already.",
                hint="Choose another name, or save over it.",
                fields={"name": "taken"},
            )
