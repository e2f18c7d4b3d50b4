"""What a run recorded of itself, in a browser: histograms over time, early features, its log and its environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import Server
from tests.e2e.tiny import HOOK, TinyData, tiny_server
from tests.e2e.window import Window, open_window

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(tiny_data: TinyData, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with tiny_server(tmp_path_factory.mktemp("recordings"), tiny_data) as server:
        yield server


@pytest.fixture(scope="module")
def training(server: Server, tiny_data: TinyData) -> str:
    """The id of a finished training."""
    sweep = server.ask(
        "POST",
        "/trainings",
        {
            "name": "Recorded",
            "sources": [{"tokenization_id": tiny_data.tokens}],
            "hooks": [HOOK],
            "held_out_tokens": 512,
            "config": {
                "architecture": {"kind": "jump_relu", "target_l0": 6},
                "d_sae": 128,
                "total_tokens": 30_000,
                "batch_size": 256,
                "log_every": 2,
                "warmup_steps": 5,
                "learning_rate": 3e-3,
                "decoder_norm": "free",
                "evaluate_every": 40,
            },
        },
    )
    server.wait_for_jobs()
    found = str(sweep["trainings"][0]["id"])
    assert server.get(f"/trainings/{found}")["job"]["state"] == "succeeded"
    return found


@pytest.fixture
def window(browser: Browser, server: Server, training: str) -> Iterator[Window]:
    with open_window(browser, server.url, height=900) as window:
        window.goto(f"/trainings/{training}?tab=latents")
        yield window
        window.assert_untroubled()


def test_latents_over_the_training(window: Window, server: Server, training: str) -> None:
    page = window.page
    for title in ("Feature frequency", "Decoder norm", "Encoder norm", "Encoder bias", "Threshold"):
        expect(page.get_by_role("region", name=title, exact=True)).to_be_visible()
    frequency = page.get_by_role("region", name="Feature frequency")
    heat = frequency.get_by_role("slider")
    frames = server.get(f"/trainings/{training}/histograms")["steps"]
    expect(heat).to_have_attribute("aria-valuetext", re.compile(f"^step {frames[-1]}:"))
    heat.press("ArrowLeft")
    expect(heat).to_have_attribute("aria-valuetext", re.compile(f"^step {frames[-2]}:"))
    # all histograms show the same frame
    norm = page.get_by_role("region", name="Encoder norm").get_by_role("slider")
    expect(norm).to_have_attribute("aria-valuetext", re.compile(f"^step {frames[-2]}:"))
    heat.press("Home")
    expect(frequency.get_by_text(f"After step {frames[0]},")).to_be_visible()

    early = page.get_by_role("region", name="Early features")
    steps = server.get(f"/trainings/{training}/looks")["steps"]
    expect(early.get_by_text(f"Step {steps[-1]}, on")).to_be_visible()
    expect(early.get_by_role("list", name=re.compile("^Latent ")).first).to_be_visible()
    early.get_by_role("button", name="Earlier look").click()
    expect(early.get_by_text(f"Step {steps[-2]}, on")).to_be_visible()
    window.shoot("run-latents")
    assert window.axe() == []
    window.set_theme("dark")
    window.goto(f"/trainings/{training}?tab=latents")
    expect(frequency).to_be_visible()
    expect(early.get_by_role("list", name=re.compile("^Latent ")).first).to_be_visible()
    window.shoot("run-latents-dark")
    assert window.axe() == []


def test_log_and_environment(window: Window, training: str) -> None:
    page = window.page
    page.get_by_role("tab", name="Log").click()
    log = page.get_by_role("log")
    expect(log.get_by_text("CE recovered").first).to_be_visible()
    expect(log.get_by_text(re.compile("attempt 1"))).to_be_visible()
    page.get_by_label("Search the log").fill("ce recovered")
    expect(log.locator("mark").first).to_have_text("CE recovered")
    expect(page.get_by_role("status").filter(has_text=re.compile(r"of \d+ lines"))).to_be_visible()
    page.get_by_label("Level").select_option("error")
    expect(log.get_by_text("No line matches.")).to_be_visible()
    assert "loglevel=error" in page.url
    page.get_by_label("Level").select_option("debug")
    window.shoot("run-log")
    assert window.axe() == []
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert "CE recovered" in Path(download.value.path()).read_text("utf-8")

    page.get_by_role("tab", name="Environment").click()
    expect(page.get_by_text("PyTorch threads")).to_be_visible()
    page.get_by_label("Search packages").fill("safet")
    expect(page.get_by_role("listitem").filter(has_text="safetensors")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="numpy")).to_have_count(0)
    window.shoot("run-environment")
    assert window.axe() == []
    window.page.set_viewport_size({"width": 390, "height": 800})
    assert window.overflow() == 0
