"""The whole path by hand: from text files to a steered sentence, in a browser, with a real language model.

The tests of this file are one story and run in order: each goes on where the one before stopped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.server import Server
from tests.e2e.window import Window, open_window

pytestmark = pytest.mark.timeout(600)

HOOK = "blocks.1.hook_resid_post"
LABEL = "my own words for this one"
SOON = 15_000
JOB = 150_000
"""Milliseconds: a job starts a process that loads PyTorch."""


@pytest.fixture(scope="module")
def server(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("story"), {"import_folders": [str(smollm2_folder.parent)]})
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


@pytest.fixture(scope="module")
def places() -> dict[str, str]:
    """Addresses of what the story has made so far."""
    return {}


def here(window: Window) -> str:
    return window.page.url.removeprefix(window.url)


def state(page: Page) -> Locator:
    """The state in the header line."""
    return page.locator("main header").first


def choose(locator: Locator, text: str) -> None:
    """Choose the option whose words contain `text`."""
    option = locator.locator("option", has_text=text).first
    locator.select_option(option.get_attribute("value"))


def test_a_text_file_becomes_a_data_set(
    window: Window, sotu_addresses: list[Any], tmp_path: Path, places: dict[str, str]
) -> None:
    page = window.page
    text = tmp_path / "addresses.txt"
    text.write_text("\n\n".join(address.text for address in sotu_addresses[100:102]), "utf-8")
    window.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Data sets")
    page.get_by_role("button", name="Add data set").first.click()
    page.locator("input[type=file]").set_input_files(text)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("table", name="First rows")).to_contain_text("Congress", timeout=SOON)
    dialog.get_by_role("button", name="Add data set").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("addresses", timeout=SOON)
    page.get_by_role("tab", name="Samples").click()
    expect(page.get_by_role("grid", name="Rows").get_by_role("row").nth(2)).to_be_visible(timeout=JOB)
    page.get_by_role("searchbox").fill("Congress")
    expect(page.locator("mark").first).to_have_text(re.compile("congress", re.I))
    places["dataset"] = here(window).partition("?")[0]
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="Data sets").click()
    expect(page.get_by_role("grid", name="Data sets")).to_contain_text("addresses")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_model_is_added_from_a_folder(window: Window, smollm2_folder: Path, places: dict[str, str]) -> None:
    page = window.page
    window.allow("status of 4")
    page.get_by_role("link", name="Models").click()
    page.get_by_role("button", name="Add model").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").first.select_option("folder")
    dialog.get_by_label("Path").fill(str(smollm2_folder.parent / "there is none"))
    dialog.get_by_role("button", name="Add model").click()
    expect(dialog.get_by_role("alert").first).to_contain_text("there is none")
    dialog.get_by_label("Path").fill(str(smollm2_folder))
    dialog.get_by_label("Name").fill("SmolLM2")
    dialog.get_by_role("button", name="Add model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("SmolLM2", timeout=SOON)
    expect(page.get_by_text("30", exact=True).first).to_be_visible(timeout=JOB)
    expect(page.locator("main")).to_contain_text(re.compile("llama", re.I))
    places["model"] = here(window).partition("?")[0]


def test_the_text_is_tokenized(window: Window, places: dict[str, str]) -> None:
    page = window.page
    page.get_by_role("link", name="Data sets").click()
    page.get_by_role("grid").get_by_text("addresses").first.dblclick()
    page.get_by_role("tab", name="Tokenizations").click()
    page.get_by_role("button", name=re.compile("Tokenize|New tokenization")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Maximum length").fill("0")
    dialog.get_by_role("button", name="Tokenize").click()
    expect(dialog.locator("[aria-invalid=true]")).to_be_focused()
    dialog.get_by_label("Maximum length").fill("128")
    expect(dialog.get_by_label("Preview").get_by_role("listitem").nth(20)).to_be_visible(timeout=SOON)
    dialog.get_by_role("button", name="Tokenize").click()
    expect(dialog).to_be_hidden()
    row = page.get_by_role("grid", name="Tokenizations").get_by_role("row").nth(1)
    expect(row).to_contain_text("SmolLM2")
    expect(page.get_by_label("Preview").get_by_role("list").first).to_be_visible(timeout=JOB)
    places["tokenizations"] = here(window)


def the_form_and_its_text_are_one(page: Page) -> None:
    """What is typed into the text is in the form, faults name their line, and a grid becomes several SAEs and back."""
    views = page.get_by_role("group", name="Show the configuration as")
    views.get_by_role("button", name="TOML").click()
    text = page.get_by_label("Configuration as TOML")
    expect(text).to_have_value(re.compile(r"d_sae = 512"), timeout=SOON)
    written = text.input_value()
    text.fill(written.replace("d_sae = 512", "d_sea = 512"))
    expect(page.get_by_text("config.d_sea is no setting here")).to_be_visible(timeout=SOON)
    text.fill(written.replace("seed = 0", "seed = 7") + "\n[grid]\nk = [8, 16]\n")
    expect(page.get_by_role("button", name="Start training 2 SAEs")).to_be_enabled(timeout=SOON)
    views.get_by_role("button", name="Command").click()
    expect(page.get_by_role("region", name="As a command")).to_contain_text("--grid", timeout=SOON)
    views.get_by_role("button", name="Form").click()
    expect(page.get_by_label("Active latents (k)")).to_have_value("8, 16")
    page.get_by_role("button", name="One value again").click()
    expect(page.get_by_label("Active latents (k)")).to_have_value("16")
    page.get_by_label("Search settings").fill("random number")
    expect(page.get_by_text("No setting speaks of")).to_be_visible()
    page.get_by_label("Search settings").fill("starting weights")
    expect(page.get_by_label("Seed")).to_have_value("7")
    page.get_by_label("Search settings").fill("")


def test_a_training_is_started_and_its_curves_arrive_live(window: Window, places: dict[str, str]) -> None:
    page = window.page
    page.get_by_role("link", name="Training").click()
    page.get_by_role("link", name="New training").or_(
        page.get_by_role("button", name="New training")
    ).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New training")
    page.get_by_role("checkbox", name=HOOK, exact=True).check()
    page.get_by_label("Name", exact=True).fill("first layers")
    page.get_by_label("Width of the dictionary").fill("512")
    page.get_by_label("Training tokens").fill("30000")
    page.get_by_label("Batch size").select_text()
    page.keyboard.type("256")  # key by key: the field keeps the focus
    expect(page.get_by_label("Batch size")).to_have_value("256")
    page.get_by_label("Active latents (k)").fill("16")
    forecast = page.get_by_role("complementary", name="Forecast")
    expect(forecast).to_contain_text("tokens/s", timeout=SOON)
    expect(forecast).to_contain_text("free")
    expect(forecast).to_contain_text("1 SAE")
    places["new training"] = here(window)
    window.shoot("new-training-filled")
    the_form_and_its_text_are_one(page)
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("first layers", timeout=SOON)
    places["training"] = here(window).partition("?")[0]
    # The curves come by themselves: points appear while it runs, with no reload.
    page.evaluate("window.__sameDocument = true")
    points = page.get_by_text(re.compile(r"\d+ points\."))
    expect(points).to_be_visible(timeout=JOB)
    first = int(re.findall(r"(\d+) points", points.inner_text())[0])
    expect(state(page)).to_contain_text("done", timeout=JOB, ignore_case=True)
    last = int(re.findall(r"(\d+) points", points.inner_text())[0])
    assert last > first, "all points came at once: nothing was seen live"
    assert page.evaluate("window.__sameDocument") is True
    figures = page.get_by_role("region", name="Figures")
    expect(figures).to_contain_text("FVU")
    expect(figures).to_contain_text("L0")
    page.get_by_role("tab", name="Log").click()
    expect(page.locator("main")).to_contain_text(re.compile("held.out|saved|trained", re.I))
    page.get_by_role("tab", name="Curves").click()


def test_its_sae_gives_features_by_one_click(window: Window, places: dict[str, str]) -> None:
    page = window.page
    page.get_by_role("link", name="The SAE that came out of it").click()
    expect(page.get_by_text("Measured")).to_be_visible()
    places["sae"] = here(window).partition("?")[0]
    page.get_by_role("button", name="Evaluate").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Evaluate", exact=True)).to_be_visible()
    window.shoot("evaluate")
    dialog.get_by_label("Tokens spliced").fill("1024")
    dialog.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.get_by_text("The model's loss with it spliced in")).to_be_visible(timeout=JOB)
    expect(page.locator("main")).to_contain_text("Over latents")
    window.shoot("evaluated")
    page.get_by_role("button", name="Extract features").click()
    grid = page.get_by_role("grid", name="Features")
    expect(grid.get_by_role("row").nth(5)).to_be_visible(timeout=JOB)
    places["features"] = here(window).partition("?")[0]


def figures_of(grid: Locator, column: int, rows: int = 8) -> list[float]:
    cells = [
        grid.get_by_role("row").nth(row).get_by_role("gridcell").nth(column).inner_text()
        for row in range(1, rows + 1)
    ]
    return [float(re.sub(r"[^\d.eE+-]", "", cell)) for cell in cells]


def test_the_table_sorts_filters_and_searches(window: Window) -> None:
    page = window.page
    grid = page.get_by_role("grid", name="Features")
    for header, column in (("Frequency", 3), ("Maximum", 4)):
        button = grid.get_by_role("columnheader").get_by_role("button", name=header)
        button.click()
        expect(grid.get_by_role("columnheader", name=header)).to_have_attribute("aria-sort", "descending")
        window.settle()
        seen = figures_of(grid, column)
        assert seen == sorted(seen, reverse=True) and seen[0] > 0
    total = page.locator("main").get_by_text(re.compile(r"^[\d,\s]+features?$"))
    expect(total).to_contain_text("512")
    page.get_by_label("Frequency", exact=True).select_option("normal")
    expect(total).not_to_contain_text("512")
    expect(page).to_have_url(re.compile("density=normal"))
    page.reload()  # the address holds the filter
    expect(page.get_by_label("Frequency", exact=True)).to_have_value("normal")
    page.get_by_role("button", name="Clear filters").click()
    token = grid.get_by_role("row").nth(1).locator("code").first.inner_text().strip()
    page.keyboard.press("/")
    page.keyboard.type(token)
    expect(total).not_to_contain_text("512 ")
    window.settle()
    expect(grid.get_by_role("row").nth(1)).to_contain_text(token, ignore_case=True)
    page.get_by_role("searchbox").fill("")
    expect(total).to_contain_text("512")


def test_a_feature_page_tells_values_and_takes_a_label(window: Window, places: dict[str, str]) -> None:
    page = window.page
    grid = page.get_by_role("grid", name="Features")
    window.settle()
    grid.get_by_role("row").nth(2).get_by_role("gridcell").first.click()
    panel = page.get_by_role("complementary", name="Preview")
    expect(panel).to_be_visible()
    panel.get_by_role("button", name="Open").click()
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text(re.compile(r"Feature \d+"))
    places["feature"] = here(window)
    line = page.get_by_role("region", name="Strongest", exact=True).get_by_role("list").nth(1)
    line.locator(".token[style]").first.hover()
    expect(page.get_by_role("tooltip")).to_contain_text(re.compile(r"Activation \d"))
    page.mouse.move(0, 0)
    title.focus()
    page.keyboard.press("Enter")
    box = page.get_by_label("Label", exact=True)
    expect(box).to_be_focused()
    page.keyboard.type(LABEL)
    page.keyboard.press("Enter")
    expect(box).to_be_hidden()
    expect(page.get_by_role("button", name=LABEL)).to_contain_text("by hand")
    before = title.inner_text()
    page.keyboard.press("j")
    expect(title).not_to_have_text(before)
    expect(page.get_by_text("3 of 512")).to_be_visible()
    page.keyboard.press("k")
    expect(title).to_have_text(before)
    page.keyboard.press("Escape")
    expect(grid.get_by_role("row").nth(2)).to_contain_text(LABEL)


def test_a_labelling_run_leaves_the_label_of_a_person(window: Window, places: dict[str, str]) -> None:
    page = window.page
    page.get_by_role("button", name="Label features").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("A label made by hand stays in force")
    dialog.get_by_label(re.compile("How many|Limit|Features", re.I)).first.fill("30")
    dialog.get_by_role("button", name="Start labelling").click()
    expect(dialog).to_be_hidden()
    places["labelling"] = here(window)
    expect(page.get_by_role("tabpanel").get_by_text(re.compile("done", re.I)).first).to_be_visible(
        timeout=JOB
    )
    page.get_by_role("tab", name="Features").click()
    page.get_by_label("Labels", exact=True).select_option("machine")
    grid = page.get_by_role("grid", name="Features")
    expect(grid.get_by_role("row").nth(10)).to_be_visible()
    expect(grid).not_to_contain_text(LABEL)
    page.get_by_label("Labels", exact=True).select_option("person")
    expect(grid.get_by_role("row").nth(1)).to_contain_text(LABEL)
    page.get_by_role("button", name="Clear filters").click()


def test_a_feature_is_steered_with_beside_the_unsteered_text(window: Window, places: dict[str, str]) -> None:
    page = window.page
    window.goto(places["feature"])
    page.get_by_role("button", name="Steer with it").click()
    page.get_by_role("button", name="Start session").click()
    page.get_by_label("Text to continue").fill("My fellow citizens, the")
    page.get_by_label("Max new tokens").or_(page.get_by_label("New tokens")).first.fill("16")
    page.get_by_role("slider").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Generate").click()
    # Both sides grow while they are written.
    steered = page.get_by_role("article", name="Steered text", exact=True)
    unsteered = page.get_by_role("article", name="Unsteered text", exact=True)
    seen: dict[str, set[int]] = {"steered": set(), "unsteered": set()}
    for name, side in (("steered", steered), ("unsteered", unsteered)):
        expect(side).to_contain_text(re.compile(r"[1-9]\d* token"), timeout=JOB)
        seen[name].add(tokens_of(side))
    for _ in range(600):
        for name, side in (("steered", steered), ("unsteered", unsteered)):
            seen[name].add(tokens_of(side))
        if max(seen["steered"]) == max(seen["unsteered"]) == 16:
            break
        page.wait_for_timeout(50)
    assert max(seen["steered"]) == max(seen["unsteered"]) == 16
    assert len(seen["steered"]) > 2 and len(seen["unsteered"]) > 2, f"nothing streamed: {seen}"
    expect(steered).to_contain_text("perplexity", timeout=SOON)
    assert text_of(steered) != text_of(unsteered)
    places["steering"] = here(window)


def tokens_of(side: Locator) -> int:
    found = re.search(r"(\d+) tokens?", side.locator("footer").inner_text())
    return int(found[1]) if found else 0


def text_of(side: Locator) -> str:
    return side.get_by_role("list").inner_text()


def test_the_monitor_shows_figures_that_move(window: Window, places: dict[str, str]) -> None:
    page = window.page
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Monitor").click()
    main = page.locator("main")
    expect(main).to_contain_text(re.compile(r"\d+ cores?, load \d"))
    expect(main).to_contain_text(re.compile(r"[\d.]+\sGB of [\d.]+\sGB"))
    # The warm steering session is a process of ours.
    expect(page.get_by_role("table").first.get_by_role("row").nth(2)).to_be_visible(timeout=SOON)
    chart = page.get_by_role("img", name=re.compile("after \\d+ points")).first
    before = chart.get_attribute("aria-label") or ""
    expect(chart).not_to_have_attribute("aria-label", before, timeout=SOON)


def test_every_page_in_both_themes_is_accessible(
    browser: Browser, server: Server, places: dict[str, str]
) -> None:
    assert "steering" in places, "the story did not get this far"
    dataset, training = places["dataset"], places["training"]
    pages = {
        "datasets": "/datasets",
        "dataset": dataset,
        "dataset-samples": f"{dataset}?tab=samples",
        "dataset-tokenizations": places["tokenizations"],
        "models": "/models",
        "model": places["model"],
        "model-hook-points": f"{places['model']}?tab=hooks",
        "activations": "/activations",
        "activations-harvest": "/activations?add=true",
        "templates": "/templates",
        "templates-new": "/templates?add=true",
        "trainings": "/trainings",
        "training-new": "/trainings/new",
        "training": training,
        "training-configuration": f"{training}?tab=configuration",
        "training-log": f"{training}?tab=log",
        "saes": "/saes",
        "sae": places["sae"],
        "extractions": "/features",
        "features": f"{places['features']}?open=3",
        "features-labelling": places["labelling"],
        "features-summary": f"{places['features']}?tab=summary",
        "feature": places["feature"],
        "steering": "/steering",
        "steering-session": places["steering"],
        "jobs": "/jobs",
        "monitor": "/monitor",
        "settings": "/settings",
        "settings-server": "/settings?tab=server",
    }
    found: list[str] = []
    with open_window(browser, server.url) as window:
        window.goto("/")
        for theme in ("light", "dark"):
            window.set_theme(theme)
            for name, path in pages.items():
                window.goto(path)
                for width, height in ((1280, 800), (1920, 1080)):
                    window.page.set_viewport_size({"width": width, "height": height})
                    window.settle()
                    window.shoot(f"{name}-{theme}-{width}")
                    if window.overflow() > 0:
                        found.append(f"{name} is wider than {width} pixels")
                    if width == 1280:
                        found += [f"{name} ({theme}): {line}" for line in window.axe()]
                window.page.set_viewport_size({"width": 1280, "height": 800})  # as the next page is opened
        window.assert_untroubled()
    assert found == []


def test_a_deleted_training_is_gone_and_its_sae_stays(
    window: Window, server: Server, places: dict[str, str]
) -> None:
    page = window.page
    window.allow("status of 404")
    window.goto(places["training"])
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The SAE that it made stays.")
    dialog.get_by_role("button", name="Delete training").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Training")
    expect(page.locator("main")).not_to_contain_text("first layers")
    assert server.get("/trainings")["total"] == 0
    key = places["training"].rpartition("/")[2]
    assert not list(server.data_dir.rglob(f"{key}*")), "files of it are left"
    window.goto(places["training"])
    expect(page.get_by_role("alert").first).to_contain_text(key)
    window.goto(places["sae"])
    expect(page.get_by_text("Measured")).to_be_visible()
