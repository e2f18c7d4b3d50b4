"""Finding features: what it adds to harvesting alone, against SAEDashboard, and how quickly the table answers.

The setting: the real 135M model, a TopK SAE of 9,216 latents at layer 15 (trained here for a moment on the same
activations, so that its latents fire as a dictionary's do), 65,536 tokens in sequences of 128.

Ours is everything that the job `features.extract` does after loading: harvest, one pass, logits, neighbours,
examples, files, and rows in SQLite. Runs of ours and of harvesting alone take turns; the best of each counts.

SAEDashboard encodes all latents anew for each batch of them, so that its time is one forward pass over the tokens and
then the same for each batch. It runs on some of the batches, with its cache of activations, and its total is
scaled up: forward + batches × the mean of the batches measured. `dashboard_peer.py` says what stands in the way of
running it as installed. Its environment is made on first use from `requirements-dashboard.txt`, in
`.venv-bench-dashboard` (or name its Python in STUDIO_BENCH_DASHBOARD).

    STUDIO_BENCH_MODEL=folder python -m bench.features [--quick]
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import insert

HOOK = "blocks.15.hook_resid_post"
D_SAE, K, CONTEXT = 9216, 32, 128
HARVEST_GOAL, DEFAULT_GOAL, TUNED_GOAL, LIST_GOAL = 1.30, 10.0, 4.0, 0.1
DEFAULT_BATCH, TUNED_BATCH = 128, 1024
ROOT = Path(__file__).parents[1]


def model_folder() -> Path:
    """The real 135M model as a folder of safetensors: STUDIO_BENCH_MODEL, or the demo's, converted once."""
    named = os.environ.get("STUDIO_BENCH_MODEL")
    if named:
        return Path(named)
    from mistudio.demo.sources import fetch_model, source_cache
    from mistudio.lm import convert_gguf

    folder = ROOT / "bench" / ".cache" / "model"
    return folder if (folder / "config.json").is_file() else convert_gguf(fetch_model(source_cache()), folder)


def write_tokens(model: Any, folder: Path, n_tokens: int) -> None:
    """The newest State of the Union addresses as a token store."""
    from mistudio.demo.sources import fetch_addresses, source_cache
    from mistudio.store import TokenStoreWriter

    addresses = fetch_addresses(source_cache())
    ids: list[int] = []
    for address in reversed(addresses):
        ids += model.tokenizer(address.text)["input_ids"]
        if len(ids) >= n_tokens:
            break
    rows = np.array(ids[:n_tokens]).reshape(-1, CONTEXT)
    with TokenStoreWriter(folder, context=CONTEXT, vocab_size=model.vocab_size, tokenizer="bench") as writer:
        writer.append(rows, np.zeros(len(rows), np.int64), np.arange(len(rows)))


class Setting:
    """The model, tokens and SAE of all rows, in a folder that is removed at the end."""

    def __init__(self, work: Path, n_tokens: int) -> None:
        from mistudio.features.schemas import ExtractionSettings
        from mistudio.features.streams import from_model
        from mistudio.lm import load_language_model
        from mistudio.models.tokenizer import ModelTokenizer
        from mistudio.sae import TopKConfig, Trainer, TrainerConfig, save_sae
        from mistudio.store import TokenStore

        self.work, self.model_folder, self.n_tokens = work, model_folder(), n_tokens
        self.model = load_language_model(self.model_folder, device="cpu")
        self.tokenizer = ModelTokenizer(self.model_folder)
        write_tokens(self.model, work / "tokens", n_tokens)
        self.tokens = TokenStore(work / "tokens")
        self.settings = ExtractionSettings()
        x = torch.cat([b.x for b in from_model(self.model, self.tokens, HOOK, self.settings, n_tokens)])
        steps, batch = 48, 4096
        config = TrainerConfig(
            architecture=TopKConfig(k=K), d_sae=D_SAE, batch_size=batch, total_tokens=steps * batch
        )
        trainer = Trainer(config, x.shape[1])
        order = torch.Generator().manual_seed(0)
        for _ in range(steps):
            trainer.step(x[torch.randint(len(x), (batch,), generator=order)])
        self.sae = trainer.finish({"hook_name": HOOK, "model_name": "model", "context_size": CONTEXT})
        save_sae(self.sae, work / "sae")
        ids = self.tokens.tokens(0, self.tokens.n_sequences)
        np.save(work / "tokens.npy", ids)
        expected = self.model.activations(torch.from_numpy(ids[:4].astype(np.int64)), [HOOK])[HOOK]
        np.save(work / "expected.npy", expected.numpy())
        self._number = 0

    def harvest(self) -> float:
        """Seconds to have all activations, one batch after another."""
        from mistudio.features.streams import from_model

        start = time.perf_counter()
        for batch in from_model(self.model, self.tokens, HOOK, self.settings, self.n_tokens):
            assert len(batch.x) == len(batch.sequences)
        return time.perf_counter() - start

    def features(self) -> float:
        """Seconds from the first token to files and rows."""
        from mistudio.db import Database
        from mistudio.features.dashboards import feature_rows, write_dashboards
        from mistudio.features.feature_pass import FeaturePass
        from mistudio.features.logit_lens import CONVENTION
        from mistudio.features.schemas import Conventions
        from mistudio.features.streams import from_model
        from mistudio.features.tables import Feature

        self._number += 1
        folder = self.work / f"run-{self._number}"
        database = Database(f"sqlite:///{folder}.db")
        with database.engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            Feature.__table__.create(connection)  # type: ignore[attr-defined]
        start = time.perf_counter()
        run = FeaturePass(self.sae)
        for batch in from_model(self.model, self.tokens, HOOK, self.settings, self.n_tokens):
            run.update(batch.x, batch.sequences, batch.positions)
        conventions = Conventions(
            skip_bos=True,
            skip_special_tokens=True,
            outlier_multiple=None,
            decoder_norm="raw",
            activations="model",
            dtype="float32",
            model_dtype="float32",
            logits=CONVENTION,
        )
        columns, examples = write_dashboards(folder, run, self.model, self.tokens, self.settings, conventions)
        with database.engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
            with connection.begin():
                connection.execute(
                    insert(Feature), list(feature_rows("ex", columns, examples, self.tokenizer))
                )
        seconds = time.perf_counter() - start
        database.dispose()
        return seconds


def dashboard_python() -> Path:
    """The Python of SAEDashboard's environment, which is made when it is not there."""
    named = os.environ.get("STUDIO_BENCH_DASHBOARD")
    if named:
        return Path(named)
    folder = ROOT / ".venv-bench-dashboard"
    ready = folder / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        requirements = ROOT / "bench" / "requirements-dashboard.txt"
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", requirements]
        subprocess.run(pip, check=True)
        ready.touch()
    return folder / "bin" / "python"


def dashboards(setting: Setting, batches: dict[int, int]) -> tuple[dict[int, float], str]:
    """SAEDashboard's seconds for all latents by size of batch, and what was measured of it.

    `batches` says how many batches of each size are run; the first of all runs the model, too.
    """
    options = [o for size, n in batches.items() for o in ("--batch", str(size), str(n))]
    command = [
        dashboard_python(),
        ROOT / "bench" / "dashboard_peer.py",
        setting.work,
        setting.model_folder,
        *options,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"SAEDashboard failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[0]["difference"] < 1e-4, "SAEDashboard was given another model"
    first = found[0]["seconds"]
    forward = max(0.0, first[0] - statistics.mean(first[1:]))
    totals: dict[int, float] = {}
    for number, one in enumerate(found):
        later = one["seconds"][1:] if number == 0 else one["seconds"]
        totals[one["features_per_batch"]] = (
            forward + statistics.mean(later) * D_SAE / one["features_per_batch"]
        )
    note = f"forward {forward:.1f} s once, then " + ", ".join(
        f"{n - (i == 0)} of {D_SAE // size} batches of {size}" for i, (size, n) in enumerate(batches.items())
    )
    return totals, f"{note} measured and scaled"


def list_seconds(work: Path) -> float:
    """The slowest of the table's queries over 100,000 features: sorted, searched, filtered, paged."""
    from mistudio.db import Database
    from mistudio.domains import all_domains, import_tables
    from mistudio.features import browse
    from mistudio.features.tables import SEPARATOR, Extraction, Feature
    from mistudio.saes.tables import Sae
    from mistudio.web import PageRequest

    database = Database(f"sqlite:///{work / 'list.db'}")
    import_tables(all_domains()).create_all(database.engine)
    draw = random.Random(0)
    words = [f" word{i}" for i in range(20_000)]
    n = 100_000
    with database.session() as session:
        session.add(Sae(id="sa", name="sae", origin={}))
        session.flush()
        session.add(Extraction(id="ex", name="extraction", sae_id="sa", settings={}))
        session.flush()
        rows: list[dict[str, Any]] = []
        for index in range(n):
            tokens = SEPARATOR.join(draw.choices(words, k=8))
            labelled = index % 3 == 0
            rows.append(
                {
                    "extraction_id": "ex",
                    "index": index,
                    "frequency": draw.random(),
                    "max_activation": draw.random() * 50,
                    "mean_activation": draw.random(),
                    "density": "normal",
                    "top_tokens_text": tokens,
                    "search_text": tokens.lower(),
                    "label": f"label {index}" if labelled else None,
                    "label_source": "machine:contrast" if labelled else None,
                    "label_score": draw.random() if labelled else None,
                }
            )
        session.execute(insert(Feature), rows)
    everything = browse.Filters()
    asked = [
        (PageRequest(), everything),
        (PageRequest(sort="-max_activation"), everything),
        (PageRequest(sort="frequency", offset=50_000), everything),
        (PageRequest(sort="-label_score"), everything),
        (PageRequest(q="word123"), everything),
        (PageRequest(q="label 77", sort="-frequency"), everything),
        (PageRequest(sort="-max_activation"), browse.Filters(min_frequency=0.5, label_state="unlabelled")),
    ]
    slowest = 0.0
    for request, filters in asked:
        taken: list[float] = []
        for _ in range(7):
            with database.reading() as session:
                start = time.perf_counter()
                browse.list_features(session, "ex", request, filters)
                taken.append(time.perf_counter() - start)
        slowest = max(slowest, statistics.median(taken))
    database.dispose()
    return slowest


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows `features/…`."""
    with tempfile.TemporaryDirectory(prefix="bench-features-") as name:
        work = Path(name)
        listed = list_seconds(work)
        setting = Setting(work, 32_768 if quick else 65_536)
        took: dict[str, list[float]] = {"harvest": [], "features": []}
        for _ in range(1 if quick else 2):
            took["harvest"].append(setting.harvest())
            took["features"].append(setting.features())
        harvest, features = (min(took[name]) for name in ("harvest", "features"))
        peers, note = dashboards(setting, {DEFAULT_BATCH: 2 if quick else 4, TUNED_BATCH: 1 if quick else 2})
    size = f"{setting.n_tokens:,} tokens"
    found: list[dict[str, Any]] = [
        {
            "name": "features/pass-vs-harvest",
            "ours": features,
            "peer": harvest,
            "unit": "s",
            "ratio": features / harvest,
            "goal": HARVEST_GOAL,
            "holds": features / harvest <= HARVEST_GOAL,
            "note": f"{size}; with logits and neighbours of {D_SAE:,} latents, files and rows",
        }
    ]
    for name, batch, goal in (("default", DEFAULT_BATCH, DEFAULT_GOAL), ("tuned", TUNED_BATCH, TUNED_GOAL)):
        ratio = peers[batch] / features
        found.append(
            {
                "name": f"features/vs-saedashboard-{name}",
                "ours": features,
                "peer": peers[batch],
                "unit": "s",
                "ratio": ratio,
                "goal": goal,
                "holds": ratio >= goal,
                "note": f"{size}; {note}",
            }
        )
    found.append(
        {
            "name": "features/list-100k",
            "ours": listed,
            "peer": None,
            "unit": "s",
            "ratio": None,
            "goal": LIST_GOAL,
            "holds": listed <= LIST_GOAL,
            "note": "slowest of seven queries, median of seven runs each",
        }
    )
    return found


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(json.dumps(row))
