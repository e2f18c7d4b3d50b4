"""Adding data sets in a browser: each is looked at first, whether it comes by upload, from a hub or from a folder."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.server import Server
from tests.e2e.window import Window, open_window
from tests.loopback_hub import TOKEN, LoopbackHub, Repository, loopback_hub

JOB = 90_000
CARD = """---
license: mit
configs:
- config_name: stories
  data_files: [{split: train, path: train*}, {split: test, path: test*}]
- config_name: chats
  data_files: chats.jsonl.gz
dataset_info:
- config_name: stories
  splits: [{name: train, num_examples: 3000}]
---
# Small stories

See [the paper](https://example.org/paper) <script>window.__hacked = 1</script>
and [this](javascript:window.__hacked=2).

![a picture](http://127.0.0.1:9/track.png)
"""


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def files() -> dict[str, bytes]:
    chats = [
        {"messages": [{"role": "user", "content": f"hello {i}"}, {"role": "assistant", "content": "hi"}]}
        for i in range(40)
    ]
    return {
        "README.md": CARD.encode(),
        "train.parquet": parquet([{"text": f"a story of fox {i}", "n": i} for i in range(3000)]),
        "test.parquet": parquet([{"text": f"a test of hen {i}", "n": i} for i in range(7)]),
        "chats.jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in chats).encode()),
    }


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with loopback_hub() as hub:
        hub.repositories["some/stories"] = Repository(files(), kind="dataset")
        hub.repositories["some/gated"] = Repository(files(), kind="dataset", gated=True)
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("import")


@pytest.fixture(scope="module")
def server(hub: LoopbackHub, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_ENDPOINT", hub.url)
        environment.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        environment.setenv("NO_PROXY", "127.0.0.1")
        environment.delenv("HF_TOKEN", raising=False)
        server = Server(tmp_path_factory.mktemp("adding"), {"import_folders": [str(folder)]})
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def shared_window(browser: Browser, server: Server) -> Iterator[Window]:
    with open_window(browser, server.url, height=900) as window:
        yield window


@pytest.fixture
def window(shared_window: Window) -> Iterator[Window]:
    yield shared_window
    shared_window.assert_untroubled()


def ready(page: Page) -> None:
    expect(page.locator("main header")).to_contain_text("ready", timeout=JOB)


def test_from_the_hub_with_its_card_configurations_and_splits(window: Window, hub: LoopbackHub) -> None:
    page = window.page
    window.goto("/datasets?add=true")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("tab", name="From the hub").click()
    dialog.get_by_label("Repository").fill("some/stories")
    dialog.get_by_role("button", name="Look at it").click()
    preview = dialog.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("license mit")
    expect(preview).to_contain_text("3000 rows")
    expect(dialog.get_by_role("table", name="First rows")).to_contain_text("a story of fox 1")
    assert not any("test.parquet" in line for line in hub.requests)
    dialog.get_by_label("Split", exact=True).select_option("test")
    expect(dialog.get_by_role("table", name="First rows")).to_contain_text("a test of hen 1")
    dialog.get_by_text("Data set card").click()
    expect(dialog.get_by_role("heading", name="Small stories")).to_be_visible()
    expect(dialog.get_by_role("link")).to_have_count(1)  # of the two, the script is none
    window.settle()
    assert window.axe() == []
    window.shoot("add-from-hub")
    dialog.get_by_role("button", name="Add data set").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("stories")
    ready(page)
    expect(page.locator("main")).to_contain_text("hub: some/stories / stories / test")
    expect(page.get_by_text("a picture")).to_be_visible()
    assert page.evaluate("window.__hacked") is None
    window.settle()
    assert window.axe() == []
    window.shoot("data-set-overview")


def test_a_gated_one_asks_for_a_token_and_takes_it(window: Window, server: Server) -> None:
    page = window.page
    window.allow("status of 403")
    window.goto("/datasets?add=true")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("tab", name="From the hub").click()
    dialog.get_by_label("Repository").fill("some/gated")
    dialog.get_by_role("button", name="Look at it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("is gated")
    dialog.get_by_role("button", name="Store a token").click()
    dialog.get_by_label("Access token").fill(TOKEN)
    dialog.get_by_role("button", name="Store", exact=True).click()
    expect(dialog.get_by_role("table", name="First rows")).to_contain_text("a story of fox")
    expect(dialog).to_contain_text("The stored access token is used")
    assert TOKEN not in page.content() and TOKEN not in json.dumps(server.get("/hub"))
    dialog.get_by_role("button", name="Forget it").click()
    expect(dialog).to_contain_text("No access token")
    expect(dialog.get_by_role("alert")).to_contain_text("is gated")  # asked again, without it


def test_first_rows_whose_download_breaks_are_kept_and_gone_on_with(
    window: Window, server: Server, hub: LoopbackHub
) -> None:
    page = window.page
    lines = b"".join(b'{"text": "line %d of %s"}\n' % (i, b"many words " * 40) for i in range(10_000))
    card = b"---\ndataset_info:\n  splits: [{name: train, num_examples: 10000}]\n---\n"
    hub.repositories["some/lines"] = Repository({"README.md": card, "lines.jsonl": lines}, kind="dataset")
    window.goto("/datasets?add=true")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("tab", name="From the hub").click()
    dialog.get_by_label("Repository").fill("some/lines")
    dialog.get_by_role("button", name="Look at it").click()
    dialog.get_by_label("Only the first rows").fill("5000")
    expect(dialog).to_contain_text(re.compile(r"To fetch: about 2\.33.MB of 4\.66.MB"))
    hub.repositories["some/lines"].faults = ["cut", "denied"]
    dialog.get_by_role("button", name="Add data set").click()
    failed = page.locator("main").get_by_role("alert")
    expect(failed).to_contain_text("answered 403", timeout=JOB)
    expect(failed).to_contain_text("are here and kept: a retry goes on from them")
    failed.get_by_role("button", name="Retry").click()
    ready(page)
    expect(page.locator("main")).to_contain_text("in parts, for which the hub has no checksums")
    window.settle()
    assert window.axe() == []
    added = page.url.rpartition("/")[2].partition("?")[0]
    server.wait_for_jobs()
    window.goto("/datasets")
    server.ask("DELETE", f"/datasets/{added}")


def test_an_upload_joined_by_a_template(window: Window, tmp_path: Path) -> None:
    page = window.page
    rows = [{"question": f"what is {i}?", "answer": f"it is {i}"} for i in range(200)]
    path = tmp_path / "qa.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    window.goto("/datasets?add=true")
    dialog = page.get_by_role("dialog")
    page.locator("input[type=file]").set_input_files(path)
    expect(dialog.get_by_role("table", name="First rows")).to_contain_text("what is 3?")
    expect(dialog.get_by_role("button", name="Add data set")).to_be_disabled()  # several columns of text
    dialog.get_by_label("The text is").select_option("template")
    dialog.get_by_label("Template", exact=True).fill("Q: {question} A: {answer}")
    expect(dialog.get_by_text("Q: what is 2? A: it is 2")).to_be_visible()
    dialog.get_by_label("Tags").fill("toy,")
    dialog.get_by_role("button", name="Add data set").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("qa")
    ready(page)
    expect(page.get_by_label("joined is the text")).to_be_checked()
    page.get_by_role("tab", name="Samples").click()
    expect(page.get_by_text("Q: what is 0? A: it is 0").first).to_be_visible(timeout=20_000)


def test_an_upload_goes_on_after_a_break_and_after_a_reload(
    window: Window, server: Server, tmp_path: Path
) -> None:
    page = window.page
    window.allow("Failed to load resource")
    content = "".join(f"line {i} of a long text\n" for i in range(20_000)).encode()
    path = tmp_path / "long.txt"
    path.write_bytes(content)
    begun = server.ask("POST", "/datasets/uploads", {"filename": "long.txt", "size": len(content)})
    server.ask("PATCH", f"/datasets/uploads/{begun['id']}?offset=0", content[:100_000])
    offsets: list[str] = []

    def pass_on(route: Route) -> None:
        offsets.append(route.request.url.partition("offset=")[2])
        if len(offsets) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/uploads/*?offset=*", pass_on)
    window.goto("/datasets?add=true")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("region", name="Unfinished uploads")).to_contain_text("long.txt")
    page.locator("input[type=file]").set_input_files(path)
    expect(dialog.get_by_role("table", name="First rows")).to_contain_text("line 0 of a long text")
    page.unroute("**/uploads/*?offset=*")
    assert offsets == ["100000", "100000"], "it goes on where it was, and again after the break"
    stored = server.data_dir / "uploads" / begun["id"] / "long.txt"
    assert stored.read_bytes() == content
    server.ask("DELETE", f"/datasets/uploads/{begun['id']}")


def test_columns_composed_later_and_deleted(window: Window) -> None:
    page = window.page
    window.allow("status of 422")
    window.goto("/datasets")
    page.get_by_role("link", name="qa").click()
    page.get_by_role("button", name="Compose a column").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Template", exact=True).fill("{question} {nope}")
    expect(dialog).to_contain_text("names “nope”, which is no column")
    dialog.get_by_label("Template", exact=True).fill("{answer}!")
    dialog.get_by_label("Name of the new column").fill("loud")
    expect(dialog.get_by_role("region", name="First rows")).to_contain_text("it is 4!")
    window.settle()
    assert window.axe() == []
    window.shoot("compose-a-column")
    dialog.get_by_role("button", name="Compose", exact=True).click()
    expect(page.get_by_label("loud is the text")).to_be_checked(timeout=JOB)
    page.get_by_label("question is the text").click()
    expect(page.get_by_label("question is the text")).to_be_checked()
    page.get_by_role("button", name="Delete the column loud").click()
    expect(page.get_by_label("loud is the text")).to_have_count(0)


def test_a_folder_on_the_server(window: Window, folder: Path) -> None:
    page = window.page
    window.allow("status of 4")
    for i in range(3):
        (folder / f"note-{i}.txt").write_text(f"note number {i}")
    window.goto("/datasets?add=true")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("tab", name="On the server").click()
    dialog.get_by_role("combobox").first.select_option("folder")
    dialog.get_by_label("Path").fill("/etc")
    dialog.get_by_role("button", name="Look at it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("may import from")
    dialog.get_by_label("Path").fill(str(folder))
    dialog.get_by_role("button", name="Look").click()
    expect(dialog.get_by_role("table", name="First rows")).to_contain_text("note number 2")
    dialog.get_by_label("Name", exact=True).fill("notes")
    dialog.get_by_role("button", name="Add data set").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("notes")
    ready(page)


def test_the_list_is_filtered_starred_and_deleted_together(window: Window, server: Server) -> None:
    page = window.page
    window.goto("/datasets")
    grid = page.get_by_role("grid", name="Data sets")
    expect(grid.get_by_role("row")).to_have_count(4)
    page.get_by_label("Tag", exact=True).select_option("toy")
    expect(grid.get_by_role("row")).to_have_count(2)
    assert "tag=toy" in page.url
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_label("Source", exact=True).select_option("hub")
    expect(grid).to_contain_text("stories")
    expect(grid.get_by_role("row")).to_have_count(2)
    page.get_by_label("Source", exact=True).select_option("")
    grid.get_by_role("button", name="Star notes").click()
    page.get_by_role("button", name="Favourites").click()
    expect(grid.get_by_role("row")).to_have_count(2)
    page.get_by_role("button", name="Favourites").click()
    expect(grid.get_by_role("row")).to_have_count(4)
    for name in ("notes", "qa"):
        grid.get_by_role("row", name=re.compile(name)).get_by_label("Select row").check()
    window.settle()
    assert window.axe() == []
    window.shoot("data-sets")
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("are removed from the disk")
    dialog.get_by_role("button", name=re.compile("^Delete")).click()
    expect(grid.get_by_role("row")).to_have_count(2)
    assert [one["name"] for one in server.get("/datasets")["items"]] == ["stories"]
