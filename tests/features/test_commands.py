"""`mistudio saes …` and `mistudio features …`: the same functions, from the command line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mistudio.errors import StudioError
from mistudio.features import browse, library, pages
from mistudio.features import commands as features_commands
from mistudio.features.schemas import ExtractionCreate
from mistudio.sae import SAEError, load_sae
from mistudio.saes import commands as saes_commands
from mistudio.web import PageRequest
from tests.models.job_runs import run_here


@pytest.fixture
def shell(settings: Any, database: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command with --json and returns what it printed; jobs are done in this process."""
    from contextlib import contextmanager

    from mistudio.console.console import Console
    from mistudio.settings import LoadedSettings

    class HereConsole(Console):
        def run(self, job_id: str) -> dict[str, Any]:
            try:
                return run_here(self.settings, self.database, job_id)[0]
            except SAEError as error:  # as the real one does with a failed job's error
                raise StudioError(error.code, error.message, hint=error.hint) from error

    @contextmanager
    def open_here(*, migrate: bool = True) -> Any:
        yield HereConsole(LoadedSettings(settings, {}), database, as_json=True)

    for module in (saes_commands, features_commands):
        monkeypatch.setattr(module, "open_console", open_here)

    def run(app: Any, *arguments: str) -> Any:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout)

    return run


def test_from_a_folder_to_a_feature(
    shell: Any, settings: Any, database: Any, sae: str, tokens: str, tmp_path: Path
) -> None:
    exported = shell(saes_commands.app, "export", "random", str(tmp_path / "out.zip"))
    assert exported["written"].endswith("out.zip")
    shell(saes_commands.app, "export", "random", str(tmp_path / "folder"))
    with pytest.raises(StudioError) as caught:
        shell(saes_commands.app, "export", "random", str(tmp_path / "folder"))
    assert caught.value.code == "already_there"
    assert load_sae(tmp_path / "folder").d_sae == 48
    for target in ("theirs", "theirs.zip"):
        shell(saes_commands.app, "export", "random", str(tmp_path / target), "--format", "sparsify")
    with zipfile.ZipFile(tmp_path / "theirs.zip") as packed:
        assert sorted(packed.namelist()) == sorted(file.name for file in (tmp_path / "theirs").iterdir())
        assert "sae.safetensors" in packed.namelist()
    with pytest.raises(SAEError):
        shell(saes_commands.app, "export", "random", str(tmp_path / "lost.zip"), "--format", "goodfire")
    assert not (tmp_path / "lost.zip").exists() and not list(settings.data_dir.glob(".export-*"))
    imported = shell(saes_commands.app, "import", str(tmp_path / "out.zip"), "--name", "again")
    assert (imported["name"], imported["d_sae"], imported["model_name"]) == ("again", 48, "tiny")
    assert {row["name"] for row in shell(saes_commands.app, "list")} == {"random", "again"}
    assert shell(saes_commands.app, "show", "again", "--weights")["weights"]["decoder_norms"]["counts"]

    made = shell(features_commands.app, "extract", "again", "--tokens", "3000")
    assert made["ready"] and 3_000 <= made["n_tokens"] < 3_032
    assert [row["id"] for row in shell(features_commands.app, "list")] == [made["id"]]
    listed = shell(features_commands.app, "list", "again", "--sort", "-max_activation", "--limit", "3")
    assert len(listed) == 3
    dead = shell(features_commands.app, "list", made["id"], "--density", "dead", "--limit", "500")
    assert 0 in [row["index"] for row in dead]
    page = shell(features_commands.app, "show", "again", str(listed[0]["index"]))
    assert page["row"]["index"] == listed[0]["index"] and page["examples"]
    gone = shell(saes_commands.app, "delete", "again")
    assert made["id"] in gone["deleted"]


def test_a_failed_import_leaves_nothing(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudioError, match="no dictionary in a known format"):
        shell(saes_commands.app, "import", str(tmp_path / "empty"))
    assert shell(saes_commands.app, "list") == []


def test_show_for_people(settings: Any, database: Any, sae: str, tokens: str) -> None:
    with database.session() as session:
        extraction, job = library.create_extraction(session, sae, ExtractionCreate())
    run_here(settings, database, job.id)
    with database.reading() as session:
        best = browse.list_features(
            session, extraction.id, PageRequest(sort="-frequency"), browse.Filters()
        ).items[0]
        page = pages.feature_page(session, settings, extraction.id, best.index)
    shown = features_commands._readable(page, 4)
    assert shown["feature"] == best.index and "⟦" in str(shown["top 1"])
