"""Two ranks read the model and train together: the stream and the curves of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mistudio.engine import ModelSource, Run, SettingsRefused, harvest, settings, statistics_of, train_runs
from mistudio.engine.checkpoints import list_checkpoints
from mistudio.lm import LanguageModel
from mistudio.sae import load_sae
from mistudio.sae.distributed import Ranks
from tests.engine import rank
from tests.engine.conftest import some_tokens

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_ranks_give_the_curves_of_one(
    model: LanguageModel, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "tests/engine/rank.py", str(tiny_llama_folder), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    source = ModelSource(model, some_tokens(300), [rank.HOOK], **rank.SOURCE)
    alone = train_runs(source, rank.RUNS, changes=rank.asked())
    assert [round(value, 4) for value in alone[0].history["learning_rate"][5:7]] == [0.003, 0.001]
    assert [round(value) for value in alone[0].history["l0"][5:7]] == [4, 8]
    for split in ("batch", "latents"):
        together = json.loads((tmp_path / split).with_suffix(".json").read_text())
        for ours, one in zip(together, alone, strict=True):
            assert len(ours["loss"]) == 12
            for name, values in ours.items():
                if name == "memory_bytes":
                    continue
                near = pytest.approx(one.history[name], rel=2e-3, abs=1e-4, nan_ok=True)
                assert values == near, (split, one.name, name)
            folder = tmp_path / split / one.name
            assert list_checkpoints(folder)[-1].step == 12
            assert one.sae is not None
            saved = load_sae(folder / "sae")
            torch.testing.assert_close(saved.W_dec, one.sae.W_dec, rtol=1e-2, atol=1e-3)
    caches = [
        harvest(model, some_tokens(300), rank.HOOK, folder, n_tokens=2_000, dtype="float32")
        for folder in (tmp_path / "caches", tmp_path / "alone")
    ]
    assert caches[0].folder.name == caches[1].folder.name
    for ours, theirs in zip(*(cache.tokens(0, 2_000) for cache in caches), strict=True):
        assert (ours == theirs).all()
    rows = [torch.from_numpy(cache.read(rank.HOOK, 0, 2_000)) for cache in caches]
    torch.testing.assert_close(*rows)
    counted = [statistics_of(cache) for cache in caches]
    assert counted[0].tokens_seen == counted[1].tokens_seen


def test_a_rank_without_tokens_is_refused_before_the_start(model: LanguageModel) -> None:
    source = ModelSource(model, some_tokens(50), [rank.HOOK])
    ranks = Ranks()
    ranks.size = 4
    with pytest.raises(SettingsRefused, match="smallest batch of “odd” has 2 tokens, fewer than the 4 ranks"):
        train_runs(
            source, [Run(rank.HOOK, config=settings(rank.CONFIG, total_tokens=258), name="odd")], ranks=ranks
        )
