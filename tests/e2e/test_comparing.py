"""Runs in a browser: filtered with completion, grouped, kept as a view, compared, brushed, reported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.server import Server
from tests.e2e.tiny import TinyData, tiny_server
from tests.e2e.window import Window

SWEEP = {
    "d_sae": 64,
    "total_tokens": 20_000,
    "batch_size": 256,
    "learning_rate": 2e-3,
    "warmup_steps": 5,
    "log_every": 2,
    "checkpoint_every": 0,
    "architecture": {"kind": "topk", "k": 4},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_data: TinyData) -> Iterator[Server]:
    """A server with a sweep of six SAEs and one by itself, all trained."""
    with tiny_server(tmp_path_factory.mktemp("comparing"), tiny_data) as server:
        train(server, tiny_data.tokens)
        yield server


def train(server: Server, tokens: str) -> None:
    request = {"sources": [{"tokenization_id": tokens}], "held_out_tokens": 1024, "config": SWEEP}
    hooks = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    server.ask("POST", "/trainings", {**request, "name": "grid", "hooks": hooks, "grid": {"k": [2, 4, 8]}})
    server.ask("POST", "/trainings", {**request, "name": "alone", "hooks": hooks[:1]})
    server.wait_for_jobs()


@pytest.fixture
def window(browser: Any, trained: Server) -> Any:
    from tests.e2e.window import open_window

    with open_window(browser, trained.url) as window:
        yield window
        window.assert_untroubled()


def test_runs_are_filtered_grouped_and_kept_as_a_view(window: Window) -> None:
    page = window.page
    page.goto(f"{window.url}/trainings")
    rows = page.get_by_role("row").filter(has=page.get_by_role("checkbox"))
    expect(rows).to_have_count(7)
    field = page.get_by_role("combobox", name="Filter runs")
    field.click()
    field.press_sequentially("laye")
    expect(page.get_by_role("option", name="layer Layer")).to_be_visible()
    page.keyboard.press("Tab")
    expect(field).to_have_value("layer")
    field.press_sequentially(":0 k>2")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(3)
    expect(page).to_have_url(re.compile("filter=layer"))
    page.get_by_label("Group by").select_option("k")
    expect(rows).to_have_count(5)
    page.get_by_role("button", name="Close Active latents (k) 4").click()
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name="Save as a view…").click()
    page.get_by_label("Name", exact=True).fill("Lower ones")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(re.compile("view=vw_"))
    view = re.search(r"vw_\w+", page.url)
    assert view is not None
    page.goto(f"{window.url}/trainings?view={view[0]}")
    expect(rows).to_have_count(5)
    assert window.axe() == []


def test_a_sweep_is_compared_and_reported(window: Window, trained: Server) -> None:
    page = window.page
    sweep = trained.get("/trainings?filter=name~grid&limit=1")["items"][0]["sweep_id"]
    page.goto(f"{window.url}/sweeps/{sweep}")
    expect(page.get_by_role("region", name="Figures of the runs").get_by_role("row")).to_have_count(7)
    expect(page.get_by_label("best").first).to_be_visible()
    page.get_by_role("tab", name="Pareto").click()
    points = page.get_by_role("figure", name="FVU against").get_by_role("link")
    expect(points).to_have_count(6)
    page.get_by_role("tab", name="Parallel coordinates").click()
    end = page.get_by_role("slider", name="k: to")
    end.focus()
    for _ in range(3):
        page.keyboard.press("PageDown")
    expect(page.get_by_text("4 of 6 runs within what is chosen.")).to_be_visible()
    expect(page).to_have_url(re.compile("brush=k"))
    page.get_by_role("button", name="Compare these").click()
    expect(page.get_by_role("heading", name="4 runs compared")).to_be_visible()
    page.get_by_role("button", name="Report").click()
    assert window.axe() == []
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML").click()
    assert "<svg" in Path(download.value.path()).read_text("utf-8")
