"""What the web may ask about several trainings side by side."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from mistudio.training.comparison import Comparison, chosen_ids, compare
from mistudio.training.report import make_report
from mistudio.training.report_pages import report_html, report_zip
from mistudio.web import ReadingDep, SettingsDep, problems

router = APIRouter(tags=["trainings"])

Ids = Annotated[list[str] | None, Query(max_length=64, description="Trainings, in the order shown.")]
SweepId = Annotated[
    str | None, Query(max_length=64, description="A sweep, all of whose trainings are meant.")
]


@router.get(
    "/trainings/compare",
    response_model=Comparison,
    summary="Compare trainings",
    responses=problems(404, 422),
)
def compare_trainings(
    session: ReadingDep, settings: SettingsDep, ids: Ids = None, sweep: SweepId = None
) -> Comparison:
    """Where the settings differ, and all final figures with the best marked."""
    return compare(session, settings, chosen_ids(session, ids or [], sweep))


@router.get(
    "/trainings/report",
    summary="A report of trainings",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {}, "application/zip": {}}, "description": "The page, or the zip."},
        **problems(404, 422),
    },
)
def report_trainings(
    session: ReadingDep,
    settings: SettingsDep,
    ids: Ids = None,
    sweep: SweepId = None,
    format: Annotated[
        Literal["html", "markdown"],
        Query(description="One self-contained page, or Markdown with its figures as SVG in a zip."),
    ] = "html",
    title: Annotated[str | None, Query(max_length=200)] = None,
    show: Annotated[bool, Query(description="Show the page instead of saving it.")] = False,
) -> Response:
    """What was trained on what, settings and where they differ, curves, fronts, final figures, the environment."""
    report = make_report(session, settings, chosen_ids(session, ids or [], sweep), title)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", report.title).strip("-.")[:80] or "report"
    if format == "markdown":
        return Response(
            report_zip(report),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}.zip"'},
        )
    placed = "inline" if show else f'attachment; filename="{name}.html"'
    # The page is styled by itself and does nothing: it may not load anything from anywhere.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
    headers = {"Content-Disposition": placed, "Content-Security-Policy": policy}
    return Response(report_html(report), media_type="text/html; charset=utf-8", headers=headers)
