"""Looking at the rows of a data set, searching them and reading their statistics, in a browser."""

from __future__ import annotations

import json
import random
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import Server
from tests.e2e.window import open_window

WORDS = [
    "fellow",
    "citizens",
    "of",
    "the",
    "senate",
    "and",
    "house",
    "representatives",
    "union",
    "peace",
    "war",
    "commerce",
    "treaty",
    "treasury",
    "people",
    "government",
    "congress",
    "states",
    "nation",
    "public",
    "year",
    "law",
    "power",
    "country",
    "great",
    "foreign",
    "debt",
    "army",
    "navy",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a data set of 3,000 rows, its statistics and its index, made by the real jobs."""
    folder: Path = tmp_path_factory.mktemp("rows")
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(4, 60))) for _ in range(2_990)]
    lines += ["The Emancipation Proclamation was read aloud, and café society wept."] * 10
    with (folder / "messages.jsonl").open("w") as file:
        for number, line in enumerate(lines):
            file.write(json.dumps({"text": line, "year": 1790 + number % 230}) + "\n")
    server = Server(folder, {"import_folders": [str(folder)]})
    server.start()
    source = {"kind": "jsonl", "path": str(folder / "messages.jsonl")}
    wanted = json.dumps({"source": source, "text_column": "text"}).encode()
    request = urllib.request.Request(
        f"{server.url}/api/v1/datasets", wanted, {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30).close()
    server.wait_for_jobs()
    yield server
    server.stop()


def test_samples_and_statistics(browser: Browser, served: Server) -> None:
    [dataset] = served.get("/datasets")["items"]
    with open_window(browser, served.url) as window:
        page = window.page
        for theme in ("light", "dark"):
            window.goto(f"/datasets/{dataset['id']}?tab=samples")
            window.set_theme(theme)
            window.goto(f"/datasets/{dataset['id']}?tab=samples")
            window.settle()
            expect(page.get_by_role("button", name=re.compile("Indexed"))).to_be_visible()

            page.keyboard.press("/")
            page.keyboard.type("emancip* cafe")
            expect(page.get_by_text("10 rows match")).to_be_visible()
            expect(page.locator("mark").first).to_have_text("Emancipation")
            page.keyboard.press("Escape")
            expect(page.get_by_label("Search rows")).to_have_value("emancip* cafe")
            page.keyboard.press("j")
            page.keyboard.press("Space")
            panel = page.get_by_role("complementary", name="Preview")
            expect(panel.get_by_text("Match 1 of 2")).to_be_visible()
            page.keyboard.press("n")
            expect(panel.get_by_text("Match 2 of 2")).to_be_visible()
            expect(panel.locator("mark[data-current]")).to_have_text("café")
            assert "rows=emancip" in page.url and "row=2990" in page.url
            window.settle()
            window.shoot(f"rows-found-{theme}")
            assert window.axe() == []

            page.get_by_label("Search rows").fill('"not closed')
            expect(page.get_by_text("is never closed")).to_be_visible()
            page.get_by_label("Search rows").fill("")
            page.get_by_label("Go to row").fill("1500")
            page.keyboard.press("Enter")
            expect(panel.get_by_role("heading", name="Row 1500")).to_be_visible()
            expect(page.get_by_role("row").filter(has_text="1500").first).to_be_visible()
            page.keyboard.press("]")
            expect(panel.get_by_role("heading", name="Row 1501")).to_be_visible()
            page.keyboard.press("Escape")
            expect(panel).to_have_count(0)
            page.keyboard.press("r")
            expect(panel).to_be_visible()

            page.get_by_role("tab", name="Statistics").click()
            expect(page.get_by_text("Exact duplicates")).to_be_visible()
            window.settle()
            window.shoot(f"statistics-{theme}")
            assert window.axe() == []
            assert window.overflow() == 0
        page.get_by_role("row").filter(has_text="Emancipation").get_by_role("button").click()
        expect(panel.get_by_role("heading", name="Row 2990")).to_be_visible()
        window.allow("422")
        window.assert_untroubled()
