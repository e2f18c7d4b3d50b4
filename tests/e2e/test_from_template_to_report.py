"""A training from beginning to end in a browser: from a template, watched, paused, resumed, changed, stopped, compared
with its sibling, and reported on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.server import Server
from tests.e2e.tiny import HOOK, TinyData, tiny_server
from tests.e2e.window import open_window

pytestmark = pytest.mark.timeout(600)

SOON = 60_000


@pytest.fixture(scope="module")
def server(tiny_data: TinyData, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with tiny_server(tmp_path_factory.mktemp("journey"), tiny_data) as server:
        config = {
            "architecture": {"kind": "topk", "k": 4},
            "d_sae": 64,
            "total_tokens": 2_000_000_000,
            "batch_size": 256,
            "log_every": 5,
            "checkpoint_every": 50,
        }
        body = {"config": config, "held_out_tokens": 512}
        server.ask("POST", "/templates", {"kind": "training", "name": "Narrow and long", "body": body})
        yield server


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def points(page: Page) -> int:
    return int(page.locator("[data-total]").get_attribute("data-total") or 0)


def test_from_a_template_to_a_report(browser: Browser, server: Server, tmp_path: Path) -> None:
    with open_window(browser, server.url) as window:
        page = window.page
        window.goto("/trainings/new")
        start = page.get_by_label("Start from")
        wanted = start.locator("option", has_text="Narrow and long").first
        start.select_option(wanted.get_attribute("value", timeout=SOON))
        expect(page.get_by_label("Width of the dictionary")).to_have_value("64")
        page.get_by_role("checkbox", name=HOOK, exact=True).check()
        page.get_by_label("Name", exact=True).fill("Journey")
        page.get_by_role("group", name="Show the configuration as").get_by_role("button", name="TOML").click()
        text = page.get_by_label("Configuration as TOML")
        expect(text).to_have_value(re.compile("d_sae = 64"), timeout=SOON)
        text.fill(text.input_value() + "\n[grid]\nk = [4, 8]\n")
        button(page, "Start training 2 SAEs").click(timeout=SOON)

        # The sweep: two runs side by side; then one of them, live.
        expect(page.get_by_role("heading", name="Journey")).to_be_visible(timeout=SOON)
        found = server.get("/templates?kind=training&q=Narrow%20and%20long")["items"]
        assert [(one["name"], one["uses"]) for one in found] == [("Narrow and long", 1)]
        sweep = page.url
        page.get_by_role("link", name=re.compile("k=8")).first.click(timeout=SOON)
        expect(page.locator("[data-total]")).to_be_visible(timeout=SOON)
        seen = points(page)
        expect(page.locator("[data-total]")).not_to_have_attribute("data-total", str(seen), timeout=SOON)

        button(page, "Pause").click()
        button(page, "Resume").click(timeout=SOON)
        button(page, "Change").click(timeout=SOON)
        dialog = page.get_by_role("dialog", name="Change settings while it runs")
        dialog.get_by_role("textbox", name="Learning rate").fill("0.0001")
        dialog.get_by_role("button", name="Change", exact=True).click()
        expect(dialog).to_be_hidden()
        run = page.url.rpartition("/")[2].partition("?")[0]
        for _ in range(300):
            if server.get(f"/trainings/{run}/changes")["changes"]:
                break
            page.wait_for_timeout(200)
        made = server.get(f"/trainings/{run}/changes")["changes"]
        assert [(one["name"], one["after"]) for one in made] == [("learning_rate", 0.0001)]
        button(page, "Stop and keep").click()
        expect(page.get_by_text("The SAE that came out of it")).to_be_visible(timeout=SOON)

        # Both are kept; the sweep's page compares them, and a report is made of it.
        page.goto(sweep)
        expect(page.get_by_role("heading", name="Journey")).to_be_visible()
        window.settle()
        for name in ("Figures", "Settings"):
            expect(page.get_by_text(name, exact=True).first).to_be_visible(timeout=SOON)
        window.shoot("journey-sweep")
        assert window.axe() == []
        button(page, "Report").click()
        report = page.get_by_role("dialog", name="Report on 2 runs")
        with page.expect_download() as download:
            report.get_by_role("button", name="HTML").click()
        written = tmp_path / "report.html"
        download.value.save_as(written)
        html = written.read_text("utf-8")
        assert "<svg" in html and "FVU" in html and "http-equiv" not in html.lower()
        assert len(server.get("/saes")["items"]) == 2
        window.assert_untroubled()
