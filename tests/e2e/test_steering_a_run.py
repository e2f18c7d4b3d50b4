"""Steering a run in a browser: change a setting, pause, resume, stop and keep; its checkpoints; a clone of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
    with tiny_server(tmp_path_factory.mktemp("steering"), tiny_data, cpu_slots=2) as server:
        yield server


@pytest.fixture(scope="module")
def training(server: Server, tiny_data: TinyData) -> str:
    """The id of a training that would take hours."""
    sweep = server.ask(
        "POST",
        "/trainings",
        {
            "name": "Steered",
            "sources": [{"tokenization_id": tiny_data.tokens}],
            "hooks": [HOOK],
            "held_out_tokens": 512,
            "config": {
                "architecture": "topk",
                "target_l0": 4,
                "latent_dim": 64,
                "total_steps": 10_000_000,
                "batch_size": 256,
                "log_interval": 5,
                "checkpoint_interval": 20,
                "keep_checkpoints": 3,
            },
        },
    )
    return str(sweep["trainings"][0]["id"])


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def changes(server: Server, training: str) -> list[dict[str, Any]]:
    """The changes that have been made, once there is one."""
    began = time.monotonic()
    while not (made := server.get(f"/trainings/{training}/changes")["changes"]):
        assert time.monotonic() - began < SOON / 1000, "the change was not made"
        time.sleep(0.1)
    return made


def several_checkpoints(server: Server, training: str) -> None:
    """Wait until the run has as many checkpoints as it keeps."""
    began = time.monotonic()
    while len(server.get(f"/trainings/{training}")["checkpoints"]) < 3:
        assert time.monotonic() - began < SOON / 1000, "no checkpoints were written"
        time.sleep(0.1)


def test_a_run_is_steered_from_its_page(browser: Browser, server: Server, training: str) -> None:
    with open_window(browser, server.url) as window:
        page = window.page
        window.goto(f"/trainings/{training}")
        button(page, "Change").click(timeout=SOON)
        dialog = page.get_by_role("dialog", name="Change settings while it runs")
        latents = dialog.get_by_role("textbox", name="Active latents (k)")
        expect(latents).to_have_value("4")
        latents.fill("4.5")
        expect(dialog.get_by_text("A whole number is needed.")).to_be_visible()
        expect(dialog.get_by_role("button", name="Change", exact=True)).to_be_disabled()
        latents.fill("8")
        expect(dialog.get_by_text("now 4, ×2")).to_be_visible()
        window.shoot("run-change")
        assert window.axe() == []
        dialog.get_by_role("button", name="Change", exact=True).click()
        expect(dialog).to_be_hidden()

        made = changes(server, training)
        assert [(one["name"], one["before"], one["after"]) for one in made] == [("architecture.k", 4, 8)]
        button(page, "Pause").click()
        expect(button(page, "Resume")).to_be_visible(timeout=SOON)
        button(page, "Resume").click()
        several_checkpoints(server, training)
        button(page, "Stop and keep").click(timeout=SOON)
        expect(page.get_by_text("The SAE that came out of it")).to_be_visible(timeout=SOON)

        page.get_by_role("tab", name="Checkpoints").click()
        table = page.get_by_role("grid", name="Checkpoints")
        expect(table.get_by_text("newest")).to_be_visible()
        boxes = table.get_by_role("checkbox")
        boxes.first.click()
        expect(button(page, "Compare")).to_be_disabled()
        boxes.last.click()
        button(page, "Compare").click()
        expect(page.get_by_text("How far directions have turned")).to_be_visible(timeout=SOON)
        expect(page.get_by_text("64 decoder directions of the later checkpoint")).to_be_visible()
        window.shoot("run-compare-checkpoints")
        assert window.axe() == []
        page.keyboard.press("Escape")

        table.get_by_role("button", name="Actions for step").last.click()
        page.get_by_role("menuitem", name="Make an SAE of it").click()
        expect(page.get_by_text("An SAE is being made of step")).to_be_visible()
        server.wait_for_jobs()
        steps = [one["origin"].get("checkpoint") for one in server.get("/saes")["items"]]
        assert len(steps) == 2
        assert steps.count(None) == 1

        button(page, "More actions").click()
        page.get_by_role("menuitem", name="Clone with changes").click()
        clone = page.get_by_role("dialog", name="Clone “Steered”")
        expect(clone.get_by_text("Nothing changed yet")).to_be_visible()
        clone.get_by_label("Width of the dictionary", exact=False).first.fill("96")
        expect(clone.get_by_text("1 change", exact=True)).to_be_visible()
        clone.get_by_label("Training tokens", exact=False).first.fill("5120")
        window.shoot("run-clone")
        clone.get_by_role("button", name="Start the clone").click()
        expect(page.get_by_role("heading", name="Steered (clone)")).to_be_visible()
        server.wait_for_jobs()
        cloned = server.get(f"/trainings/{page.url.rpartition('/')[2].partition('?')[0]}")
        assert (cloned["config"]["d_sae"], cloned["config"]["architecture"]["k"]) == (96, 4)
        assert cloned["job"]["state"] == "succeeded"
        window.assert_untroubled()
