"""A run, or all that its sweep was asked for, kept as a template."""

from __future__ import annotations

from sqlalchemy.orm import Session

from mistudio.errors import Conflict
from mistudio.templates.library import add_template
from mistudio.templates.schemas import Expected, TemplateCreate
from mistudio.templates.tables import Template
from mistudio.training.tables import Training
from mistudio.training.views import asked_of, settings_kept


def keep_as_template(
    session: Session,
    training: Training,
    name: str,
    *,
    whole: bool = False,
    expected: Expected | None = None,
    description: str = "",
    favourite: bool = False,
) -> Template:
    """Add a template of a run's settings with what they came to; or, `whole`, of its sweep's with the grid.

    Raises Conflict `settings_not_kept` where they are not known as a whole or would be refused today, `name_taken`.
    """
    kept = asked_of(training.sweep) if whole else settings_kept(training)
    if kept is None:
        raise Conflict(
            "settings_not_kept",
            f"The settings of “{training.sweep.name}” are not known as a whole any more, or refused today.",
            hint="Leave --sweep out to keep those of the one run." if whole else None,
        )
    wanted = TemplateCreate(
        kind="training",
        name=name,
        description=description,
        favourite=favourite,
        body=kept.model_dump(mode="json", exclude={"harvest"} if training.sweep.cache_id else None),
        expected=expected,
    )
    return add_template(session, wanted)
