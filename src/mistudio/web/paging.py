"""Lists over HTTP: `?q=&sort=&limit=&offset=` in, `Page` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from mistudio.errors import StudioError

MAX_LIMIT = 500

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    total: int = Field(description="How many there are over all pages.")
    next_cursor: str | None = Field(
        default=None, description="Pass it as `cursor` to get the next page; null on the last one."
    )


@dataclass(frozen=True)
class PageRequest:
    """Which part of a list is asked for. `sort` names fields, `-` before one for descending:
    `-created_at,name`."""

    limit: int = 50
    offset: int = 0
    q: str | None = None
    sort: str | None = None


def _page_request(
    q: Annotated[str | None, Query(max_length=500, description="Text to search for.")] = None,
    sort: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Fields to sort by, `-` before one for descending: `-created_at,name`.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items a page.")] = 50,
    offset: Annotated[int, Query(ge=0, le=2**62, description="Items to skip.")] = 0,
    cursor: Annotated[
        str | None,
        Query(pattern=r"^\d{1,18}$", description="`next_cursor` of the page before; beats `offset`."),
    ] = None,
) -> PageRequest:
    start = int(cursor) if cursor is not None else offset
    return PageRequest(limit=limit, offset=start, q=q.strip() or None if q else None, sort=sort)


PageDep = Annotated[PageRequest, Depends(_page_request)]


def paginate(
    session: Session,
    statement: Select[Any],
    page: PageRequest,
    *,
    sorts: Mapping[str, Any],
    default_sort: str,
    search: Sequence[Any] = (),
    out: Callable[[Any], Any] | None = None,
) -> Page[Any]:
    """Run `statement` for one page.

    `sorts` maps the names that `?sort=` may use to columns; the last entry also breaks ties, so make it
    unique (the id). `search` are text columns of which one must contain `q`, whatever its case. `out` turns
    a row into what the API returns (default: the row itself). Raises StudioError `sort_unknown`.
    """
    if page.q and search:
        pattern = "%" + page.q.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
        statement = statement.where(or_(*(column.ilike(pattern, escape="\\") for column in search)))
    total = session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
    ordered = statement.order_by(None).order_by(*_order(page.sort or default_sort, sorts))
    rows = session.scalars(ordered.limit(page.limit).offset(page.offset)).all()
    end = page.offset + len(rows)
    return Page[Any](
        items=[out(row) for row in rows] if out else list(rows),
        total=total,
        next_cursor=str(end) if rows and end < total else None,
    )


def _order(sort: str, sorts: Mapping[str, Any]) -> list[Any]:
    names = [name.strip() for name in sort.split(",") if name.strip()]
    tie_breaker = list(sorts)[-1]
    terms: list[Any] = []
    for name in [*names, *([] if tie_breaker in [n.lstrip("-") for n in names] else [tie_breaker])]:
        column = sorts.get(name.lstrip("-"))
        if column is None:
            raise StudioError(
                "sort_unknown",
                f"This list cannot be sorted by “{name.lstrip('-')}”.",
                hint=f"Sort by {', '.join(sorts)}; put - before a name for descending order.",
                status=422,
                fields={"sort": "unknown field"},
            )
        terms.append(column.desc() if name.startswith("-") else column.asc())
    return terms
