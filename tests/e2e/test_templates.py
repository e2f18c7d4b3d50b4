"""Templates by hand in a browser: found, looked at, copied, checked, carried elsewhere, deleted and put back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import Server
from tests.e2e.window import Window, open_window

SOON = 20_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("templates"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_window(browser: Browser, server: Server) -> Iterator[Window]:
    with open_window(browser, server.url, height=900) as window:
        yield window


@pytest.fixture
def window(shared_window: Window) -> Iterator[Window]:
    shared_window.allow("WebSocket is closed before")  # a page that is left at once
    yield shared_window
    shared_window.assert_untroubled()


def look(window: Window, name: str) -> None:
    window.settle()
    window.shoot(name)
    assert window.axe() == []
    assert window.overflow() <= 0


def test_built_in_ones_are_found_and_copied(window: Window, server: Server) -> None:
    page = window.page
    window.goto("/templates")
    grid = page.get_by_role("grid", name="Templates")
    expect(grid).to_contain_text("built in")
    page.get_by_label("Kind").select_option(label="Training")
    page.get_by_label("Architecture").select_option(label="TopK")
    expect(grid).to_contain_text("First look, 135M parameters")
    expect(grid).not_to_contain_text("Matryoshka")
    expect(grid).to_contain_text("L0 32, FVU 0.11")
    look(window, "templates-topk")
    page.get_by_role("searchbox").fill("First look, 135M")
    expect(grid.get_by_role("row")).to_have_count(2)
    grid.get_by_text("First look, 135M parameters").click()
    panel = page.get_by_role("complementary", name="Preview")
    expect(panel).to_contain_text("Comes with miStudio")
    expect(panel).to_contain_text("16,384 held-out activations")
    expect(panel.get_by_role("button", name="Delete template")).to_have_count(0)
    look(window, "templates-built-in")
    panel.get_by_role("button", name="Duplicate, to change the copy").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("First look, 135M parameters copy")
    dialog.get_by_label("Name").fill("mine")
    dialog.get_by_label("Active latents (k)").fill("48")
    dialog.get_by_role("button", name="Save changes").click()
    expect(dialog).to_be_hidden(timeout=SOON)
    [mine] = server.get("/templates?builtin=false")["items"]
    assert (mine["name"], mine["body"]["config"]["architecture"]["k"], mine["expected"]) == ("mine", 48, None)


def test_what_would_be_refused_is_said_while_one_types(window: Window, server: Server) -> None:
    page = window.page
    window.goto("/templates?add=true")
    dialog = page.get_by_role("dialog", name="New template")
    dialog.get_by_label("Kind").select_option(label="Steering prompt")
    dialog.get_by_label("Name").fill("greeting")
    refused = dialog.get_by_role("status", name="What would be refused")
    expect(refused).to_contain_text("prompt", timeout=SOON)  # neither a text nor a chat yet
    dialog.get_by_role("button", name="Write a chat instead").click()
    dialog.get_by_label("Turn 1", exact=True).fill("Say hello.")
    expect(refused).to_be_hidden(timeout=SOON)
    dialog.get_by_role("textbox", name="Prompt").fill("And a text")
    expect(refused).to_contain_text("either", timeout=SOON)
    look(window, "templates-refused")
    dialog.get_by_role("textbox", name="Prompt").fill("")
    expect(refused).to_be_hidden(timeout=SOON)
    dialog.get_by_role("button", name="Save template").click()
    expect(dialog).to_be_hidden(timeout=SOON)
    [made] = server.get("/templates?builtin=false&kind=steering")["items"]
    assert made["body"]["messages"] == [{"role": "user", "content": "Say hello."}]


def test_out_as_a_file_and_in_again_with_a_choice(window: Window, server: Server, tmp_path: Path) -> None:
    page = window.page
    window.goto("/templates?made=own")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    expect(page.get_by_text("2 templates exported")).to_be_visible()
    document = json.loads(Path(download.value.path()).read_text())
    assert [one["name"] for one in document["templates"]] == ["greeting", "mine"]
    document["templates"][0]["body"]["seed"] = 5
    document["templates"] += [
        {"kind": "labelling", "name": "short", "body": {"examples": 3}},
        {"kind": "labelling", "name": "none", "body": {"examples": 0}},
    ]
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(document))
    page.get_by_role("button", name="Import").click()
    dialog = page.get_by_role("dialog", name="Import templates")
    dialog.get_by_label("Exported file").set_input_files(file)
    expect(dialog).to_contain_text("is there already, with the same settings", timeout=SOON)
    expect(dialog).to_contain_text("differs in Seed")
    expect(dialog).to_contain_text("body.examples")
    dialog.get_by_label("Row 1: its name is taken").select_option("replace")
    look(window, "templates-import")
    dialog.get_by_role("button", name="Import 2").click()
    expect(dialog).to_be_hidden(timeout=SOON)
    expect(page.get_by_text("2 templates imported")).to_be_visible()
    names = {one["name"]: one for one in server.get("/templates?builtin=false")["items"]}
    assert set(names) == {"greeting", "mine", "short"} and names["greeting"]["body"]["seed"] == 5


def test_deleted_and_put_back(window: Window, server: Server) -> None:
    page = window.page
    before = server.get("/templates?builtin=false&sort=name")["items"]
    window.goto("/templates?made=own&sort=name")
    grid = page.get_by_role("grid", name="Templates")
    grid.get_by_role("button", name="Make it a favourite").first.click()
    expect(page.get_by_text("is a favourite now")).to_be_visible()
    for row in ("mine", "short"):
        grid.get_by_role("row", name=re.compile(row)).get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("2 templates deleted")).to_be_visible()
    expect(grid).not_to_contain_text("mine")
    assert server.get("/templates?builtin=false")["total"] == 1
    page.get_by_role("button", name="Undo").click()
    expect(grid).to_contain_text("mine", timeout=SOON)
    expect(page.get_by_text("2 templates are back")).to_be_visible()
    after = server.get("/templates?builtin=false&sort=name")["items"]
    kept = ("id", "name", "body", "uses", "created_at")
    assert [[one[name] for name in kept] for one in after] == [[one[name] for name in kept] for one in before]
    for theme in ("dark", "light"):
        window.set_theme(theme)
        window.goto("/templates")
        look(window, f"templates-{theme}")
