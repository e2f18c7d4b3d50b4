"""Prompts kept as templates, in a browser: a steering session and a labelling run begin with them and save to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import Server
from tests.e2e.window import Window, open_window

pytestmark = pytest.mark.timeout(600)
SOON, JOB = 60_000, 200_000
HOOK = "blocks.1.hook_resid_post"
CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def server(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a tiny chat model, an SAE that was trained on it, and its features."""
    folder = tmp_path_factory.mktemp("prompts")
    model = folder / "models" / "chatty"
    shutil.copytree(tiny_llama_folder, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    (model / "chat_template.jinja").write_text(CHAT)
    text = folder / "models" / "rows.txt"
    text.write_text("".join(f"Row {i} says def test_{i * 7}(self): return {i}.\n" for i in range(500)))
    server = Server(folder, {"import_folders": [str(folder / "models")], "cpu_slots": 2})
    server.start()
    source: dict[str, Any] = {"kind": "folder", "path": str(model)}
    model_id = server.ask("POST", "/models", {"source": source, "name": "chatty"})["id"]
    source = {"kind": "text", "path": str(text), "documents": "line"}
    data = server.ask("POST", "/datasets", {"source": source})["id"]
    server.wait_for_jobs()
    settings = {"model_id": model_id, "settings": {"context_length": 32}}
    tokens = server.ask("POST", f"/datasets/{data}/tokenizations", settings)["id"]
    server.wait_for_jobs()
    made = server.ask(
        "POST",
        "/trainings",
        {
            "sources": [{"tokenization_id": tokens}],
            "hooks": [HOOK],
            "held_out_tokens": 512,
            "config": {
                "architecture": {"kind": "topk", "k": 4},
                "d_sae": 64,
                "total_tokens": 4096,
                "batch_size": 512,
            },
        },
    )
    server.wait_for_jobs()
    sae = server.get(f"/trainings/{made['trainings'][0]['id']}")["sae_id"]
    server.ask("POST", f"/saes/{sae}/extractions", {})
    server.wait_for_jobs()
    server.ask("POST", "/steering/sessions", {"model_id": model_id, "sae_ids": [sae], "name": "try"})
    yield server
    server.stop()


@pytest.fixture
def window(browser: Browser, server: Server) -> Iterator[Window]:
    with open_window(browser, server.url, height=900) as window:
        window.allow("WebSocket is closed before")  # a page that is left at once
        yield window
        window.assert_untroubled()


def test_a_session_begins_with_a_template_and_saves_to_one(window: Window, server: Server) -> None:
    page = window.page
    [template] = server.get("/templates?q=I%20think&kind=steering")["items"]
    window.goto(f"/templates?open={template['id']}&q=I%20think")
    page.get_by_role("link", name="Steer from it").click()
    page.get_by_role("button", name="try", exact=True).click()
    prompt = page.get_by_role("textbox", name="Text to continue")
    expect(prompt).to_have_value("I think the most important thing in life is", timeout=SOON)
    expect(page.get_by_label("Start from a template")).to_have_value(template["id"])

    [extraction] = server.get("/extractions")["items"]
    features = server.get(f"/extractions/{extraction['id']}/features?sort=-max_activation&limit=1")["items"]
    page.goto(f"{page.url}&f={extraction['sae_id']}~{features[0]['index']}~2~add")
    expect(prompt).to_have_value("I think the most important thing in life is", timeout=SOON)
    page.get_by_label("Max new tokens").fill("6")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0, timeout=JOB)
    window.settle()
    assert server.get(f"/templates/{template['id']}")["uses"] == 1
    page.get_by_role("button", name="Save as template").click()
    dialog = page.get_by_role("dialog", name="Save as template")
    dialog.get_by_label("Name").fill("short thought")
    window.shoot("prompts-steering")
    assert window.axe() == [] and window.overflow() <= 0
    dialog.get_by_role("button", name="Save template").click()
    expect(dialog).to_be_hidden(timeout=SOON)
    [kept] = server.get("/templates?builtin=false&kind=steering")["items"]
    assert kept["body"]["max_new_tokens"] == 6 and kept["body"]["prompt"].startswith("I think")


def test_a_labelling_run_asks_as_a_template_says(window: Window, server: Server) -> None:
    page = window.page
    [extraction] = server.get("/extractions")["items"]
    [template] = server.get("/templates?q=One%20word&kind=labelling")["items"]
    window.goto(f"/features/{extraction['id']}?label=true")
    dialog = page.get_by_role("dialog", name="Label features")
    dialog.get_by_label("Source").select_option("local")
    dialog.get_by_label("Start from a template").select_option(template["id"])
    expect(dialog.get_by_label("Task")).to_have_value(template["body"]["prompt"]["task"])
    dialog.get_by_label("Question").fill("In one word:")
    dialog.get_by_label("Limit").fill("2")
    window.settle()
    window.shoot("prompts-labelling")
    assert window.axe() == [] and window.overflow() <= 0
    dialog.get_by_role("button", name="Save as template").click()
    saving = page.get_by_role("dialog", name="Save as template")
    saving.get_by_label("Name").fill("my word")
    saving.get_by_role("button", name="Save template").click()
    expect(saving).to_be_hidden(timeout=SOON)
    dialog.get_by_role("button", name="Start labelling").click()
    expect(dialog).to_be_hidden(timeout=SOON)
    [run] = server.get(f"/extractions/{extraction['id']}/labelling-runs")["items"]
    asked = run["request"]["prompt"]
    assert asked == {"task": template["body"]["prompt"]["task"], "question": "In one word:"}
    assert run["request"]["examples"] == 6
    assert server.get(f"/templates/{template['id']}")["uses"] == 1
    [kept] = server.get("/templates?builtin=false&kind=labelling")["items"]
    assert kept["body"] == {"prompt": asked, "examples": 6}
