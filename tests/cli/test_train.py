"""`mistudio train config.toml`: a live line for each SAE, exit codes, Ctrl-C that saves, going on after a kill, and a
grid from options."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine

pytestmark = pytest.mark.slow
HOOK = "blocks.1.hook_resid_post"


def test_training_from_a_file_and_leaving_it(
    cli: CommandLine, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    text = tmp_path / "speeches.txt"
    text.write_text(
        "\n\n".join(path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py")))
    )
    cli.json("models", "add", str(tiny_llama_folder), "--name", "tiny")
    cli.json("datasets", "add", str(text), "--name", "speeches")
    tokens = cli.json("datasets", "tokenize", "speeches", "--model", "tiny", "--context-length", "32")
    config = cli.data_dir.parent / "config.toml"
    wanted = f"""
        hooks = ["{HOOK}"]
        held_out_tokens = 512
        sources = [{{tokenization_id = "{tokens["id"]}"}}]
        [config]
        d_sae = 64
        total_tokens = 8192
        batch_size = 256
        log_every = 1
    """
    config.write_text(wanted)
    done = cli.run("train", "config.toml", "--set", "warmup_steps=2", "--grid", "k=2,4")
    assert "succeeded" in done.stdout and f"{HOOK} · k=2" in done.stdout
    ended = [line for line in done.stderr.splitlines() if "FVU" in line]
    assert all(any(line.startswith(name) for line in ended) for name in ("k=2", "k=4")), done.stderr
    first = cli.json("train", "list")
    assert {one["config"]["architecture"]["k"] for one in first} == {2, 4}
    assert {one["tokens_trained"] for one in first} == {8192}
    kept = cli.json("train", "keep", first[0]["id"], "both k", "--sweep")
    assert kept["body"]["grid"] == {"k": [2, 4]} and kept["body"]["config"]["warmup_steps"] == 2
    one = cli.json("train", "keep", first[0]["id"], "one k")
    made = cli.json("saes", "show", first[0]["sae_id"])["metrics"]
    assert (one["expected"]["l0"], one["expected"]["fvu"]) == (made["l0"], made["fvu"])
    assert "512 held-out tokens" in one["expected"]["source"], one

    config.write_text(wanted.replace("d_sae = 64", "d_sea = 64"))
    assert "config.toml:6: config.d_sea is no setting here" in cli.refused("train", "config.toml")
    # What starts and then fails is one line and an exit code, too.
    config.write_text(wanted)
    assert "hook" in cli.refused("train", "config.toml", "--hook", "blocks.9.hook_resid_post")

    long = _train(cli, str(config), "--set", "total_tokens=100000000")
    training = _running(cli)
    long.send_signal(signal.SIGINT)
    _, said = long.communicate(timeout=120)
    assert long.returncode == 130, said
    assert f"Go on with: mistudio train resume {training}" in said
    left = cli.json("train", "show", training)
    assert left["job"]["state"] == "paused" and left["checkpoints"], "nothing was saved"

    killed = _train(cli, "resume", training)
    assert _running(cli) == training
    killed.kill()
    killed.communicate(timeout=120)
    assert cli.json("train", "show", training)["job"]["state"] == "queued", "a dead process trains nothing"
    again = _train(cli, "resume", training)
    assert _running(cli) == training
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=120)
    assert again.returncode == 130


def _train(cli: CommandLine, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mistudio.cli", "--data-dir", str(cli.data_dir), "train", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | cli.environment,
    )


def _running(cli: CommandLine) -> str:
    """The id of the training that is running, once it has trained a while."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for one in cli.json("train", "list"):
            job = one["job"]
            if job["state"] == "running" and (job["done"] or 0) > 2_000 and job["stage"] == "Train":
                return str(one["id"])
        time.sleep(0.2)
    raise AssertionError("the training did not start")
