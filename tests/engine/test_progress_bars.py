"""Bars of progress: in a terminal, in a real notebook's kernel, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from mistudio.engine.progress import Progress
from mistudio.engine.progress_bars import progress_bar


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (None, False):
        with progress_bar(shown) as receive:
            assert receive is None
    assert capsys.readouterr() == ("", "")


def test_a_bar_names_stage_amount_rate_and_note(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(True) as receive:
        assert receive is not None
        receive(Progress("Train", 5_000, 10_000, rate=2_500, note="FVU 0.123"))
        receive(Progress("Measure", 1, 2, "dictionaries"))
    out, drawn = capsys.readouterr()
    assert out == ""
    for part in ("Train", "5,000 tokens · 2,500/s", "Measure", "1 dictionaries"):
        assert part in drawn


def test_a_function_of_ones_own_is_given_the_reports() -> None:
    seen: list[Progress] = []
    with progress_bar(seen.append) as receive:
        assert receive is not None
        receive(Progress("Train", 1, 2))
    assert seen == [Progress("Train", 1, 2)]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real notebook's kernel; ipywidgets is not installed."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    manager, client = start_new_kernel()
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_notebook_shows_one_output_that_is_drawn_anew(notebook: Any) -> None:
    code = """
        from mistudio.engine.progress import Progress
        from mistudio.engine.progress_bars import progress_bar
        with progress_bar() as receive:
            receive(Progress("Train", 0, 10_000))
            receive(Progress("Train", 5_000, 10_000, rate=2_500, seconds_left=2, note="FVU < 0.2"))
        """
    seen: list[tuple[str, Any]] = []
    notebook.execute_interactive(
        code, timeout=60, output_hook=lambda m: seen.append((m["msg_type"], m["content"]))
    )
    outputs = [(kind, content) for kind, content in seen if "data" in content]
    assert [kind for kind, _ in outputs] == ["display_data", "update_display_data"], seen
    first, last = (content for _, content in outputs)
    assert first["transient"]["display_id"] == last["transient"]["display_id"]
    said = "5,000 of 10,000 tokens · 2,500/s · 0:00:02 left · FVU < 0.2"
    assert last["data"]["text/plain"] == f"Train: {said}"
    assert '<progress value="5000" max="10000">' in last["data"]["text/html"]
    assert "FVU &lt; 0.2" in last["data"]["text/html"]
