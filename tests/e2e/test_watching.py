"""Watching a run: points arrive by themselves, and the page shows the truth within two seconds of coming back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.streaming import insert_runs, write_points
from bench.watch import submit
from playwright.sync_api import Browser, Page, expect

from mistudio.db import Database
from mistudio.db.migrate import upgrade
from mistudio.domains import all_domains, import_tables
from mistudio.settings import Settings
from mistudio.store import MetricLog
from tests.e2e.server import Server
from tests.e2e.window import open_window

SOON = 30_000
BACK = 10.0
"""Seconds: two where the machine is free, which that of a test need not be."""


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """The ids of two runs of one sweep, with 500 points each, in the data folder of `server`."""
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    database = Database(settings.effective_database_url)
    upgrade(database, import_tables(all_domains()))
    with database.session() as session:
        found = insert_runs(session, 2)
    database.dispose()
    for number, run in enumerate(found):
        write_points(settings.data_dir / "trainings" / run, 500, number / 2)
    return found


@pytest.fixture
def server(tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # for the plugin, also in job processes
    server = Server(tmp_path, {"plugins": ["bench.streaming"]})
    server.start()
    yield server
    server.stop()


def points(page: Page) -> int:
    return int(page.locator("[data-total]").get_attribute("data-total") or 0)


def wait_for_points(page: Page, wanted: int, seconds: float) -> None:
    """Until the page has so many points."""
    began = time.monotonic()
    while points(page) < wanted:
        assert time.monotonic() - began < seconds, f"{points(page)} points, not {wanted}, after {seconds} s"
        page.wait_for_timeout(20)


def wait_until_it_answers(server: Server) -> None:
    for _ in range(1_000):
        try:
            server.get("/health")
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the server does not answer")


def test_a_run_streams_and_its_charts_are_read_by_keyboard(
    browser: Browser, server: Server, runs: list[str]
) -> None:
    with open_window(browser, server.url) as window:
        page = window.page
        window.goto(f"/trainings/{runs[0]}?sweep=true")
        expect(page.locator("[data-total]")).to_have_attribute("data-total", "1000", timeout=SOON)
        submit(server.data_dir, runs, rate=20, seconds=4, first_step=500)
        wait_for_points(page, 1040, 60)
        server.wait_for_jobs()
        last = server.get(f"/trainings/{runs[0]}/metrics")["last_step"]
        assert last > 520
        wait_for_points(page, 2 * last, 5)

        chart = page.get_by_role("slider", name=re.compile("FVU"))
        chart.focus()
        page.keyboard.press("End")
        expect(chart).to_have_attribute("aria-valuetext", re.compile(rf"step {last}, .*seed=0 .*seed=1 "))
        page.keyboard.press("ArrowLeft")
        expect(chart).not_to_have_attribute("aria-valuetext", re.compile(f"step {last},"))
        page.keyboard.press("+")
        expect(page).to_have_url(re.compile("zoom="))
        expect(page.get_by_role("button", name="Whole run")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Whole run")).to_be_hidden()

        legend = page.get_by_role("list", name="Runs").get_by_role("button", name="seed=1")
        legend.click()
        expect(legend).to_have_attribute("aria-pressed", "false")
        page.get_by_label("Group by").select_option("seed")
        assert window.axe() == []
        files = {"CSV": b"run,step,tokens,time,fvu\r\nbench seed=0,1,", "SVG": b"<svg ", "PNG": b"\x89PNG"}
        for kind, begins in files.items():
            page.get_by_role("button", name="FVU: more").click()
            with page.expect_download() as download:
                page.get_by_role("menuitem", name=f"Download {kind}").click()
            assert Path(download.value.path()).read_bytes().startswith(begins), kind
        page.get_by_role("button", name="FVU: more").click()
        page.get_by_role("menuitem", name="Hide").click()
        expect(chart).to_have_count(0)
        window.goto(f"/trainings/{runs[1]}")
        expect(page.get_by_role("slider", name=re.compile("Loss"))).to_be_visible(timeout=SOON)
        expect(page.get_by_role("slider", name=re.compile("FVU"))).to_have_count(0)
        window.assert_untroubled()


def test_the_truth_is_shown_within_two_seconds_of_coming_back(
    browser: Browser, server: Server, runs: list[str]
) -> None:
    with open_window(browser, server.url) as window:
        page = window.page
        window.goto(f"/trainings/{runs[0]}")
        expect(page.locator("[data-total]")).to_have_attribute("data-total", "500", timeout=SOON)
        expect(page.get_by_role("status", name="Live")).to_be_visible(timeout=SOON)
        page.evaluate("window.__sameDocument = true")

        # The network is away while points come.
        page.context.set_offline(True)
        submit(server.data_dir, [runs[0]], rate=20, seconds=2, first_step=500)
        server.wait_for_jobs()
        last = server.get(f"/trainings/{runs[0]}/metrics")["last_step"]
        assert points(page) < last, "the network was not away"
        page.context.set_offline(False)
        wait_for_points(page, last, BACK)

        # The server is restarted, and the run went on from an earlier checkpoint meanwhile.
        server.stop()
        expect(page.get_by_text("offline", exact=True)).to_be_visible(timeout=SOON)
        path = server.data_dir / "trainings" / runs[0] / "metrics.bin"
        with MetricLog(path, []) as log:
            log.truncate_after(400)
        server.start()
        wait_until_it_answers(server)
        expect(page.locator("[data-total]")).to_have_attribute("data-total", "400", timeout=BACK * 1000)
        assert page.evaluate("window.__sameDocument") is True
        expect(page.get_by_role("status", name="Live")).to_be_visible(timeout=SOON)
        window.allow("ERR_|Failed to fetch|WebSocket|status of 5")
        window.assert_untroubled()
