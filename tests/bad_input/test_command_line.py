"""Bad input on the command line: one line with what to do, exit code 1, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine, cli, cli_apart
from tests.loopback_hub import LoopbackHub, Repository, loopback_hub

__all__ = ["cli", "cli_apart"]
pytestmark = pytest.mark.slow


def left_behind(cli: CommandLine) -> list[str]:
    kinds = ("models", "datasets", "uploads", "tokenizations", "activations", "saes", "trainings")
    return [
        str(path)
        for kind in kinds
        if (cli.data_dir / kind).exists()
        for path in (cli.data_dir / kind).iterdir()
    ]


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with loopback_hub() as hub:
        config = json.dumps({"model_type": "llama"}).encode()
        hub.repositories["tiny/gated"] = Repository(
            {"config.json": config, "x.safetensors": b"x"}, gated=True
        )
        hub.repositories["some/gated"] = Repository({"a.txt": b"text"}, kind="dataset", gated=True)
        yield hub


def test_hub_ids_that_are_not_there_gated_or_time_out(cli_apart: CommandLine, hub: LoopbackHub) -> None:
    cli = cli_apart
    secret = "hf_a_token_that_is_secret"
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cli.data_dir.parent / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "MISTUDIO_HUB_TIMEOUT_SECONDS": "1",
        "MISTUDIO_HF_TOKEN": secret,
    }
    for room, repo, says in (
        ("models", "tiny/none", "tiny/none"),
        ("models", "tiny/gated", "gated"),
        ("datasets", "some/none", "some/none"),
        ("datasets", "some/gated", "gated"),
    ):
        said = cli.refused(room, "add", repo, environment=environment)
        assert says in said and secret not in said
    hub.hang_everything = True
    try:
        for room in ("models", "datasets"):
            assert "hub" in cli.refused(room, "add", "some/thing", environment=environment)
    finally:
        hub.hang_everything = False
    logs = "".join(path.read_text("utf-8") for path in (cli.data_dir / "jobs").glob("*.log"))
    assert secret not in logs
    assert left_behind(cli) == []
    # What no retry can mend is gone; a token may still come, and the hub may answer again.
    for room in ("models", "datasets"):
        kept = sorted(cli.json(room, "list"), key=lambda one: one["name"])
        assert [(one["name"], one["job"]["state"]) for one in kept] == [
            ("gated", "failed"),
            ("thing", "failed"),
        ]


def test_models_without_weights_and_of_unknown_kinds(
    cli: CommandLine, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    bare, strange = tmp_path / "bare", tmp_path / "strange"
    shutil.copytree(tiny_llama_folder, bare)
    (bare / "model.safetensors").unlink()
    shutil.copytree(tiny_llama_folder, strange)
    (strange / "config.json").write_text(json.dumps({"model_type": "t5", "num_layers": 1}))
    assert "weights" in cli.refused("models", "add", str(bare))
    assert "t5" in cli.refused("models", "add", str(strange))
    assert left_behind(cli) == [] and cli.json("models", "list") == []


def test_unknown_settings_by_flag_environment_and_file(cli: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("prot = 1\n")
    for command in (("jobs", "list"), ("serve", "--port", "0"), ("settings",)):
        for said in (
            cli.refused("--set", "prot=1", *command),
            cli.refused(*command, environment={"MISTUDIO_PROT": "1"}),
            cli.refused("--config", str(config), *command),
        ):
            assert "nknown setting" in said and "rot" in said.lower() and "mistudio settings" in said
    assert "“port” (flag)" in cli.refused("--set", "port=70000", "serve")
    assert list(cli.data_dir.iterdir()) == []


def test_a_database_of_a_newer_version(cli: CommandLine) -> None:
    cli.run("db", "upgrade")
    with sqlite3.connect(cli.data_dir / "mistudio.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in (("jobs", "list"), ("serve", "--port", "0"), ("db", "upgrade"), ("db", "check")):
        said = cli.refused(*command)
        assert "9999" in said and "newer" in said and "Upgrade miStudio" in said


def test_a_file_that_is_no_database(cli: CommandLine) -> None:
    (cli.data_dir / "mistudio.db").write_bytes(b"anything but a database" * 50)
    for command in (("jobs", "list"), ("serve", "--port", "0")):
        assert "not a database" in cli.refused(*command)
    url = "--set", "database_url=oracle://somewhere"
    assert "oracle" in cli.refused(*url, "jobs", "list")
    unreachable = "--set", "database_url=postgresql+psycopg://nobody:topsecret@127.0.0.1:1/x"
    said = cli.refused(*unreachable, "jobs", "list")
    assert "cannot be opened" in said and "topsecret" not in said


def test_a_port_in_use(cli_apart: CommandLine) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"Port {port}" in cli_apart.refused("serve", "--port", port)
    assert list(cli_apart.data_dir.iterdir()) == []
