"""The frame around every page: keys, palette, theme, addresses; and pages with nothing in them yet."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import Server
from tests.e2e.window import Window, open_window

PLACES = [
    ("/datasets", "Data sets", "g d"),
    ("/models", "Models", "g m"),
    ("/activations", "Activations", "g a"),
    ("/trainings", "Training", "g t"),
    ("/saes", "SAEs", "g s"),
    ("/features", "Features", "g f"),
    ("/steering", "Steering", "g x"),
    ("/templates", "Templates", "g p"),
    ("/monitor", "Monitor", "g o"),
    ("/settings", "Settings", "g ,"),
    ("/jobs", "Jobs", "g j"),
]


def press(window: Window, keys: str) -> None:
    for key in keys.split():
        window.page.keyboard.press(key)


def test_keys_lead_to_every_page_and_the_tab_is_named(window: Window) -> None:
    window.goto("/settings")
    for path, title, keys in PLACES:
        press(window, keys)
        expect(window.page).to_have_url(f"{window.url}{path}")
        expect(window.page.get_by_role("heading", level=1)).to_have_text(title)
        expect(window.page).to_have_title(f"{title} · miStudio")


def test_question_mark_lists_the_keys_and_escape_returns_focus(window: Window) -> None:
    window.goto("/datasets")
    link = window.page.get_by_role("link", name="Models")
    link.focus()
    window.page.keyboard.press("?")
    dialog = window.page.get_by_role("dialog")
    expect(dialog).to_contain_text("find anything")
    expect(dialog).to_contain_text("search on this page")
    window.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()


def test_slash_goes_to_the_search_field_and_escape_leaves_it(window: Window) -> None:
    window.goto("/jobs")
    window.goto("/datasets")
    field = window.page.get_by_role("searchbox").first
    if field.count() == 0:  # an empty list has nothing to search
        pytest.fail("the page has no search field")
    window.page.keyboard.press("/")
    expect(field).to_be_focused()
    window.page.keyboard.type("g d")
    expect(field).to_have_value("g d")
    window.page.keyboard.press("Escape")
    expect(field).not_to_be_focused()


def test_the_palette_finds_a_page_and_escape_returns_focus(window: Window) -> None:
    window.goto("/datasets")
    link = window.page.get_by_role("link", name="SAEs")
    link.focus()
    window.page.keyboard.press("Control+k")
    box = window.page.get_by_role("dialog", name="Find anything").get_by_role("combobox")
    expect(box).to_be_focused()
    window.page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(link).to_be_focused()
    window.page.keyboard.press("Control+k")
    window.page.keyboard.type("monit")
    expect(window.page.get_by_role("option", name="Monitor")).to_be_visible()
    window.page.keyboard.press("Enter")
    expect(window.page).to_have_url(f"{window.url}/monitor")


def test_the_theme_is_kept(window: Window) -> None:
    window.goto("/settings")
    page = window.page
    background = "getComputedStyle(document.body).backgroundColor"
    shades: set[str] = set()
    for theme in ("Dark", "Light"):
        page.get_by_role("button", name="Theme, density, keys").click()
        page.get_by_role("menuitem", name=theme).click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme.lower())
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", theme.lower())
        shades.add(page.evaluate(background))
    assert len(shades) == 2


def test_the_system_decides_where_nobody_chose(browser: Browser, empty_server: Server) -> None:
    shades: set[str] = set()
    for scheme in ("light", "dark"):
        with open_window(browser, empty_server.url, color_scheme=scheme) as window:
            window.goto("/datasets")
            shades.add(window.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(shades) == 2


def test_back_and_forward_go_through_the_pages(window: Window) -> None:
    window.goto("/datasets")
    window.page.get_by_role("link", name="Models").click()
    expect(window.page).to_have_url(f"{window.url}/models")
    window.page.get_by_role("link", name="Monitor").click()
    expect(window.page).to_have_url(f"{window.url}/monitor")
    window.page.go_back()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Models")
    window.page.go_back()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Data sets")
    window.page.go_forward()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Models")


def test_an_address_without_a_page_says_so(window: Window) -> None:
    window.goto("/nowhere/at/all")
    expect(window.page.get_by_text("There is no page at this address")).to_be_visible()
    assert window.axe() == []
    window.page.get_by_role("link", name="To the start").click()
    expect(window.page).to_have_url(f"{window.url}/datasets")


def test_an_object_that_is_not_there_is_told_with_a_way_back(browser: Browser, empty_server: Server) -> None:
    with open_window(browser, empty_server.url) as window:
        for path in (
            "/datasets/ds_none",
            "/models/md_none",
            "/trainings/tr_none",
            "/saes/sa_none",
            "/features/ex_none",
            "/features/ex_none/3",
            "/jobs/jb_none",
        ):
            window.goto(path)
            expect(window.page.get_by_role("alert").first).to_contain_text("none")
            assert window.page.locator("main [data-crumb]").count() > 0, path
        window.allow("404")  # Chromium itself notes each such answer
        window.assert_untroubled()


def test_a_failing_server_is_told_readably_and_tried_again(browser: Browser, empty_server: Server) -> None:
    problem = {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "Something went wrong on the server.",
        "code": "internal",
        "hint": "The server's log tells more.",
        "request_id": "abc123",
    }
    with open_window(browser, empty_server.url) as window:
        window.page.route(
            "**/api/v1/models?*",
            lambda route: route.fulfill(status=500, json=problem, content_type="application/problem+json"),
        )
        window.goto("/models")
        alert = window.page.get_by_role("alert").first
        expect(alert).to_contain_text("Something went wrong on the server.")
        expect(alert).to_contain_text("abc123")
        assert window.axe() == []
        window.page.unroute("**/api/v1/models?*")
        window.page.get_by_role("button", name="Try again").click()
        expect(alert).to_be_hidden()
        expect(window.page.get_by_role("button", name="Add").first).to_be_visible()


@pytest.mark.parametrize(("path", "title", "_"), PLACES)
def test_a_fresh_folder_explains_each_page(window: Window, path: str, title: str, _: str) -> None:
    window.goto(path)
    window.settle()
    expect(window.page.get_by_role("heading", level=1)).to_have_text(title)
    main = window.page.locator("main").inner_text()
    assert len(main) > len(title) + 40, "the page says nothing"
    assert "NaN" not in main and "undefined" not in main
    for theme in ("light", "dark"):
        window.set_theme(theme)
        window.goto(path)
        window.settle()
        window.shoot(f"empty{path.replace('/', '-')}-{theme}")
        assert window.axe() == []


@pytest.mark.parametrize("path", [path for path, _, _ in PLACES])
def test_a_narrow_window_can_be_read(browser: Browser, empty_server: Server, path: str) -> None:
    with open_window(browser, empty_server.url, width=390, height=844) as window:
        window.goto(path)
        window.settle()
        assert window.overflow() <= 0
        window.shoot(f"narrow{path.replace('/', '-')}")
        window.page.get_by_role("button", name="Menu").click()
        window.page.get_by_role("link", name="Models").click()
        expect(window.page.get_by_role("heading", level=1)).to_have_text("Models")
        window.assert_untroubled()
