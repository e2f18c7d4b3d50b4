"""Runs side by side and their report, of SAEs that were really trained."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any
from xml.etree import ElementTree

import pytest

from mistudio.engine.changes import Change, write_changes
from mistudio.errors import NotFound, StudioError
from mistudio.store import read_metrics
from mistudio.training.comparison import chosen_ids, compare
from mistudio.training.report import make_report, short_names
from mistudio.training.report_pages import report_html, report_markdown, report_zip
from mistudio.training.views import training_folder
from tests.models.job_runs import run_here
from tests.training.test_sweeps import start, wanted


def test_a_sweep_is_compared_and_reported(settings: Any, database: Any, tokens: str) -> None:
    grid = {"k": [2, 4, 8], "seed": [0]}
    sweep, trainings, job_id = start(database, wanted(tokens, grid=grid, name="Three <k>"))
    run_here(settings, database, job_id)
    with database.session() as session:
        session.get(type(trainings[0]), trainings[0].id).notes = "A | bar & <b>"
    made = Change(step=1_200, time=0.0, name="learning_rate", before=1e-3, after=3e-4)
    write_changes(training_folder(settings, trainings[1].id), [made])
    with database.reading() as session:
        ids = chosen_ids(session, [], sweep.id)
        assert ids == [one.id for one in trainings]
        data = compare(session, settings, ids)
        report = make_report(session, settings, ids)
    assert [(one.name, one.values) for one in data.settings] == [("k", [2.0, 4.0, 8.0])]
    assert data.shared["d_sae"] == 64.0 and data.shared["architecture"] == "topk"
    figures = {one.name: one for one in data.figures}
    fvu = figures["held_out.fvu"]
    assert fvu.best == [min(range(3), key=lambda place: fvu.values[place] or 0)]
    assert figures["l0"].values == [2.0, 4.0, 8.0] and figures["l0"].best == []
    assert data.figures[0].group == "On held-out tokens" and "‖" in fvu.formula

    page = report_html(report)
    assert "Three &lt;k&gt;" in page and "<b>" not in page
    assert "k=8" in page and "torch" in page and fvu.formula in page
    assert report.changes == [(report.names[1], "Learning rate 0.001 → 0.0003 after step 1,200")]
    assert report.changes[0][1] in page
    # Nothing is loaded from anywhere, and nothing runs.
    assert not re.search(r"""(src|href)\s*=|@import|url\(|<script""", page)
    with zipfile.ZipFile(io.BytesIO(report_zip(report))) as archive:
        text = archive.read("report.md").decode()
        assert report.changes[0][1] in text and "<b>" not in text
        linked = set(re.findall(r"\]\((figures/[^)]+)\)", text))
        assert linked == set(archive.namelist()) - {"report.md"}
        assert {"figures/curve-fvu.svg", "figures/pareto-fvu.svg"} <= linked
        for name in linked:
            drawn = ElementTree.fromstring(archive.read(name))
            assert drawn.tag.endswith("svg")
        curves = ElementTree.fromstring(archive.read("figures/curve-fvu.svg"))
        lines = curves.findall("{http://www.w3.org/2000/svg}polyline")
        recorded = read_metrics(training_folder(settings, ids[0]) / "metrics.bin")["step"]
        assert [len(line.get("points", "").split()) for line in lines] == 3 * [len(recorded)]
    rows = [line for line in text.splitlines() if line.startswith("| ") and "k=" in line]
    assert len(rows) == 3 and all(line.count(" | ") == rows[0].count(" | ") for line in rows)
    assert report_markdown(report) == text


def test_what_cannot_be_compared_is_refused(database: Any) -> None:
    with database.reading() as session:
        with pytest.raises(StudioError, match="1 to 64"):
            chosen_ids(session, [], None)
        with pytest.raises(NotFound):
            chosen_ids(session, ["tr_none"], None)
        with pytest.raises(NotFound):
            chosen_ids(session, [], "sw_none")


def test_names_lose_what_all_begin_with() -> None:
    assert short_names(["grid · a · k=1", "grid · a · k=2"]) == ["k=1", "k=2"]
    assert short_names(["grid · a", "grid · a"]) == ["grid · a", "grid · a"]
    assert short_names(["alpha", "alps"]) == ["alpha", "alps"]
