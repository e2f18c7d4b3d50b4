"""A data set of chats in a browser: rendered by a model's chat template, tokenized, then another column as its text."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import Server
from tests.e2e.window import Window, open_window

SOON, JOB = 20_000, 150_000
TEMPLATE = (
    "{% for m in messages %}{{ bos_token }}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
RENDERED = "<s>[user] What is 3 and 4?</s>\n<s>[assistant] It is 7.</s>\n"


@pytest.fixture(scope="module")
def server(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("chats")
    model = folder / "models" / "chatty"
    shutil.copytree(tiny_llama_folder, model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    server = Server(folder, {"import_folders": [str(folder / "models")], "cpu_slots": 2})
    server.start()
    server.ask("POST", "/models", {"source": {"kind": "folder", "path": str(model)}, "name": "chatty"})
    server.wait_for_jobs()
    yield server
    server.stop()


@pytest.fixture
def window(browser: Browser, server: Server) -> Iterator[Window]:
    with open_window(browser, server.url, height=900) as window:
        yield window
        window.assert_untroubled()


def test_chats_become_text_and_then_tokens(window: Window, server: Server, tmp_path: Path) -> None:
    page = window.page
    file = tmp_path / "talk.jsonl"
    with file.open("w") as out:
        for i in range(200):
            chat = [
                {"role": "user", "content": f"What is {i} and {i + 1}?"},
                {"role": "assistant", "content": f"It is {2 * i + 1}."},
            ]
            out.write(json.dumps({"messages": chat, "topic": "sums", "note": f"kept {i}"}) + "\n")
    window.goto("/datasets?add=true")
    dialog = page.get_by_role("dialog")
    page.locator("input[type=file]").set_input_files(file)
    dialog.get_by_label("The text is").select_option("chat", timeout=SOON)
    expect(dialog.get_by_label("Column of chats")).to_have_value("messages")
    expect(
        dialog.get_by_role("button", name="Add data set")
    ).to_be_disabled()  # whose template is not said yet
    dialog.get_by_label("Chat template of").select_option(label="chatty")
    shown = dialog.get_by_role("listitem").filter(has_text="What is 0 and 1?")
    expect(shown).to_have_text("<s>[user] What is 0 and 1?</s>\n<s>[assistant] It is 1.</s>\n", timeout=SOON)
    dialog.get_by_label("End each chat with the beginning of an answer").check()
    expect(shown).to_have_text(re.compile(r"\[assistant\]$"))
    dialog.get_by_label("End each chat with the beginning of an answer").uncheck()
    expect(shown).not_to_have_text(re.compile(r"\[assistant\]$"))
    window.settle()
    assert window.axe() == [] and window.overflow() <= 0
    window.shoot("chats-add")
    dialog.get_by_role("button", name="Add data set").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("talk", timeout=SOON)
    expect(page.get_by_role("radio", name="chat text is the text")).to_be_checked(timeout=JOB)
    root = page.url.removeprefix(window.url).partition("?")[0]
    page.get_by_role("tab", name="Samples").click()
    expect(page.get_by_role("grid", name="Rows")).to_contain_text("[assistant] It is 7.", timeout=SOON)

    page.get_by_role("tab", name="Tokenizations").click()
    page.get_by_role("button", name="New tokenization").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Maximum length").fill("64")
    dialog.get_by_label("Packing").select_option(label="one per row")
    preview = dialog.get_by_role("region", name="Preview")
    expect(preview.get_by_role("listitem").first).to_contain_text("<s>", timeout=SOON)
    dialog.get_by_role("button", name="Advanced").click()
    dialog.get_by_label("note", exact=True).check()
    expect(preview).to_contain_text("kept 0")
    dialog.get_by_role("button", name="Tokenize").click()
    panel = page.get_by_role("complementary", name="Preview")
    expect(panel).to_contain_text("Sequence 0", timeout=JOB)
    for _ in range(3):
        panel.get_by_role("button", name="Next sequence").click()
    expect(panel).to_contain_text("kept 3", timeout=SOON)
    tokens = panel.get_by_role("list", name="Sequence 3")
    expect(tokens.get_by_role("listitem").first).to_contain_text("<s>")
    expect(panel).to_contain_text("Nothing was made from it yet.")
    window.settle()
    assert window.axe() == [] and window.overflow() <= 0
    window.shoot("chats-sequence")
    [made] = server.get(f"{root}/tokenizations")["items"]
    [third] = server.get(f"{root}/tokenizations/{made['id']}/sequences?offset=3&limit=1")["items"]
    assert "".join(token["text"] for token in third["tokens"]) == RENDERED + "</s>"
    assert third["metadata"] == {"note": "kept 3"}
    server.wait_for_jobs()

    # Another column as the text: what was found out about the text is made anew, and says so meanwhile.
    window.goto(root)
    page.get_by_role("radio", name="note is the text").click()
    notice = page.get_by_role("status").filter(has_text="not of the text column note")
    expect(notice).to_be_visible(timeout=SOON)
    window.shoot("chats-another-text")
    expect(notice).to_be_hidden(timeout=JOB)
    server.wait_for_jobs()
    assert server.get(f"{root}/statistics")["statistics"]["text_column"] == "note"
