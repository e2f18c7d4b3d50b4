"""Settings, database and jobs on the command line; exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from mistudio.settings import Settings
from tests.cli.conftest import CommandLine

pytestmark = pytest.mark.slow


def test_settings_show_each_value_with_its_source(cli_apart: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("io_slots = 7\nhost = '127.0.0.9'\n")
    environment = {"MISTUDIO_HOST": "127.0.0.3", "MISTUDIO_HF_TOKEN": "hf_very_secret"}
    done = cli_apart.run(
        "--config", str(config), "--set", "cpu_slots=2", "settings", "--json", environment=environment
    )
    assert "hf_very_secret" not in done.stdout
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert set(found) == set(Settings.model_fields) and all(one["meaning"] for one in found.values())
    shown = {
        name: (found[name]["value"], found[name]["source"]) for name in ("cpu_slots", "host", "io_slots")
    }
    assert shown == {
        "cpu_slots": (2, "flag"),
        "host": ("127.0.0.3", "environment"),
        "io_slots": (7, "file own.toml"),
    }
    assert found["port"]["source"] == "default" and found["data_dir"]["source"] == "flag"
    assert "127.0.0.3" in cli_apart.run("settings", environment=environment).stdout
    assert list(cli_apart.data_dir.iterdir()) == [], "looking at settings wrote something"


def test_the_database_goes_up_down_and_is_checked(cli: CommandLine) -> None:
    before = cli.run("db", "check", "--json", expect=1)
    assert json.loads(before.stdout)["revision"] is None
    assert "Run `mistudio db upgrade`" in before.stderr
    assert cli.json("db", "upgrade")["revision"] == cli.json("db", "check")["newest"]
    assert cli.json("db", "check")["differences"] == []
    assert "0099" in cli.refused("db", "upgrade", "0099")
    assert "0099" in cli.refused("db", "downgrade", "0099")
    assert cli.json("db", "downgrade", "base") == {"revision": "base"}
    assert json.loads(cli.run("db", "check", "--json", expect=1).stdout)["revision"] is None
    cli.run("db", "downgrade", expect=2)


def test_jobs_are_listed_shown_cancelled_and_their_logs_read(
    cli: CommandLine, tmp_path: Path, tiny_llama_folder: Path
) -> None:
    text = tmp_path / "latin.txt"
    text.write_bytes(b"caf\xe9\n")
    cli.refused("datasets", "add", str(text))
    cli.run("models", "add", str(tiny_llama_folder), "--name", "tiny")
    done, failed = cli.json("jobs", "list")
    assert (done["state"], failed["state"]) == ("succeeded", "failed")
    assert cli.json("jobs", "list", "--state", "failed", "--state", "queued") == [failed]
    assert cli.json("jobs", "list", "--subject", done["subject"], "--limit", "1") == [done]
    assert cli.json("jobs", "show", failed["id"])["error"]["code"] == "not_utf8"
    assert (
        done["id"] in cli.run("jobs", "list", environment={"COLUMNS": "60"}).stdout
        and "succeeded" in cli.run("jobs", "show", done["id"]).stdout
    )

    log = " ".join(line["text"] for line in cli.json("jobs", "logs", done["id"])["lines"])
    assert "succeeded" in log and "Loading weights" not in log
    assert cli.run("jobs", "logs", done["id"], "--tail", "1").stdout.count("\n") == 1
    assert "succeeded" in cli.refused("jobs", "cancel", done["id"])
    cli.refused("jobs", "show", "jb_none")
    cli.run("jobs", "list", "--state", "nonsense", expect=2)
    cli.run("jobs", "show", expect=2)


def test_a_queued_job_is_cancelled(cli: CommandLine, tmp_path: Path) -> None:
    """Nobody serves: a retried job waits until it is cancelled."""
    text = tmp_path / "latin.txt"
    text.write_bytes(b"caf\xe9\n")
    cli.json("db", "upgrade")
    job_id = leave_a_failed_job(cli, text)
    assert cli.json("jobs", "retry", job_id)["state"] == "queued"
    assert cli.json("jobs", "cancel", job_id)["state"] == "cancelled"
    assert "cancelled" in cli.run("jobs", "show", job_id).stdout


def leave_a_failed_job(cli: CommandLine, text: Path) -> str:
    cli.refused("datasets", "add", str(text))
    (job,) = cli.json("jobs", "list")
    return job["id"]


def test_exit_codes(cli: CommandLine) -> None:
    cli.run("jobs", "list")
    for wrong in (
        ("nonsense",),
        ("jobs", "nonsense"),
        ("serve", "--prot", "1"),
        ("serve", "--port", "many"),
        ("--set", "port", "jobs", "list"),
        ("train", "show"),
        ("labels", "set", "ex_1", "-1", "x"),
    ):
        done = cli.run(*wrong, expect=2)
        assert "Usage:" in done.stderr
    assert cli.refused("models", "show", "nope") == "There is no model with the id “nope”."


def test_a_defect_is_one_line_and_debug_shows_more(data_dir: Path) -> None:
    program = (
        "import sys, mistudio.cli as cli, mistudio.jobs.commands as c\n"
        "def broken(*a, **k): raise ZeroDivisionError('inner detail')\n"
        "c.open_console = broken\n"
        "cli.main(sys.argv[1:])\n"
    )
    for level, traceback in (("info", False), ("debug", True)):
        command = [sys.executable, "-c", program, "--data-dir", str(data_dir)]
        command += ["--set", f"log_level={level}", "jobs", "list"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and ("Traceback" in done.stderr) is traceback
        if not traceback:
            assert done.stderr.startswith("mistudio: A defect in miStudio") and done.stderr.count("\n") == 1


def test_serve_announces_its_address_as_json(cli: CommandLine) -> None:
    command = [sys.executable, "-m", "mistudio.cli", "--data-dir", str(cli.data_dir)]
    process = subprocess.Popen(
        [*command, "serve", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True, cwd=cli.data_dir
    )
    try:
        assert process.stdout is not None
        url: Any = json.loads(process.stdout.readline())["url"]
        assert httpx.get(f"{url}/api/v1/health").json()["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        process.wait(timeout=20)
        assert time.monotonic() - started < 20 and process.returncode in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()


def test_a_reader_that_leaves_is_no_error(cli: CommandLine) -> None:
    """`mistudio settings | head -1`."""
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "mistudio.cli", "--data-dir", str(cli.data_dir), "settings", "--json"]
    with os.fdopen(writes, "wb") as pipe:
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert "Traceback" not in done.stderr and "defect" not in done.stderr, done.stderr
