"""From a text file to a steered sentence, each step a command that prints JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine

pytestmark = pytest.mark.slow
HOOK = "blocks.1.hook_resid_post"


def test_from_a_text_file_to_a_steered_sentence(
    cli: CommandLine, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    text = tmp_path / "speeches.txt"
    sources = sorted(Path(__file__).parents[1].glob("*.py"))
    text.write_text("\n\n".join(source.read_text("utf-8") for source in sources))

    model = cli.json("models", "add", str(tiny_llama_folder), "--name", "tiny")
    assert (model["n_layers"], model["job"]["state"]) == (3, "succeeded")
    dataset = cli.json("datasets", "add", str(text), "--name", "speeches")
    assert dataset["rows"] > 10
    tokens = cli.json(
        *("datasets", "tokenize", "speeches", "--model", "tiny", "--context-length", "32"),
        *("--with", "prepend_bos=true", "--with", "max_tokens=8000"),
    )
    cache = cli.json("activations", "harvest", tokens["id"], "--hook", HOOK)
    assert cache["job"]["state"] == "succeeded"

    start = (
        "train",
        "--tokens",
        tokens["id"],
        "--hook",
        HOOK,
        "--cache",
        cache["id"],
        "--held-out-tokens",
        "512",
    )
    chosen = ("d_sae=64", "architecture.k=4", "total_tokens=8192", "batch_size=256")
    sets = [word for one in chosen for word in ("--set", one)]
    assert cli.json(*start, *sets, "--forecast")["memory_bytes"] > 0
    training = cli.json(*start, *sets)
    assert training["job"]["state"] == "succeeded" and training["sae_id"]
    assert 0 < training["last_metrics"]["l0"] <= 4

    extraction = cli.json("features", "extract", training["sae_id"], "--cache", cache["id"])
    assert extraction["job"]["state"] == "succeeded"
    features = cli.json("features", "list", extraction["id"], "--limit", "5")
    feature = features[0]["index"]
    labelled = cli.json("labels", "run", extraction["id"], "--limit", "3", "--max-frequency", "1")
    assert labelled["labelled"] + labelled["skipped"] + labelled["failed"] == 3, labelled
    assert cli.json("labels", "set", extraction["id"], str(feature), "mine")
    shown = cli.json("features", "show", extraction["id"], str(feature))
    assert shown["row"]["label"] == "mine"
    written = cli.json(
        *("steer", "run", "Hello", "--sae", training["sae_id"], "--add", f"{feature}=5", "--tokens", "8")
    )
    assert set(written["outputs"]) == {"steered", "unsteered"}

    for listing in (
        ("models", "list"),
        ("models", "show", "tiny"),
        ("models", "tokenize", "tiny", "Hello there"),
        ("models", "memory", "tiny"),
        ("datasets", "show", "speeches"),
        ("datasets", "rows", "speeches"),
        ("datasets", "tokenizations", "list"),
        ("activations", "show", cache["id"]),
        ("saes", "list"),
        ("saes", "show", training["sae_id"], "--weights"),
        ("saes", "export", training["sae_id"], str(tmp_path / "sae.zip")),
        ("train", "list"),
        ("train", "show", training["id"]),
        ("labels", "show", extraction["id"], str(feature)),
        ("steer", "sessions"),
        ("monitor", "storage"),
        ("monitor", "system"),
    ):
        assert cli.json(*listing), listing
    assert (tmp_path / "sae.zip").is_file()

    logs = "".join(path.read_text("utf-8") for path in (cli.data_dir / "jobs").glob("*.log"))
    assert "succeeded" in logs and "Loading weights" not in logs

    edited = cli.json("train", "edit", training["id"], "--name", "first", "--notes", "Good enough.")
    assert (edited["name"], edited["notes"]) == ("first", "Good enough.")
    assert cli.json("train", "delete", training["id"]) == {"deleted": [training["id"]]}
    assert "in use" in cli.refused("models", "delete", "tiny")
    cli.json("models", "delete", "tiny", "--force")
    cli.json("datasets", "delete", "speeches", "--force")
    cli.json("saes", "delete", training["sae_id"], "--force")  # what was learned outlives its model
    for rest in ("models", "datasets", "activations", "saes", "train", "features"):
        assert cli.json(rest, "list") == [], rest
    for kind in ("models", "datasets", "tokenizations", "activations", "saes", "trainings", "extractions"):
        folder = cli.data_dir / kind
        assert not folder.exists() or list(folder.iterdir()) == [], kind
