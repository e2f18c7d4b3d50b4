import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.sae import StandardConfig, TopKConfig, TornCheckpoint, Trainer
from mistudio.sae import checkpoint as files
from mistudio.sae.config import AdamConfig, SignumConfig
from tests.sae.test_trainer import D_IN, batches, config, train, weights


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("architecture", [TopKConfig(k=4, aux_k=8), StandardConfig(l1_warmup_steps=15)])
def test_resuming_is_exact_to_the_bit(architecture: Any, decoder_norm: str, tmp_path: Path) -> None:
    settings = config(architecture=architecture, decoder_norm=decoder_norm)
    data = batches(20)
    unbroken, broken = Trainer(settings, D_IN), Trainer(settings, D_IN)
    expected = train(unbroken, data)
    train(broken, data[:10])
    broken.save_checkpoint(tmp_path / "at-10", extra={"position": [3, 17]})
    resumed, extra = Trainer.resume(tmp_path / "at-10")
    assert extra == {"position": [3, 17]}
    assert resumed.config == settings
    assert train(resumed, data[10:]) == expected[10:]
    for name, weight in weights(unbroken).items():
        assert torch.equal(weight, weights(resumed)[name]), name
    if architecture.kind == "topk":
        assert any(m.dead_latents for m in expected[10:]), "dead counters were not exercised"


def test_resuming_before_the_first_step_and_loading_over_a_used_trainer(tmp_path: Path) -> None:
    data = batches(6)
    fresh = Trainer(config(), D_IN)
    fresh.initialise(torch.cat(data))
    fresh.save_checkpoint(tmp_path / "start")
    expected = train(fresh, data)
    used = Trainer(config(), D_IN)
    train(used, batches(5, seed=4))
    used.load_checkpoint(tmp_path / "start")
    assert used.steps_done == 0
    assert train(used, data) == expected
    assert torch.equal(weights(used)["W_enc"], weights(fresh)["W_enc"])


def saved(folder: Path) -> Path:
    trainer = Trainer(config(), D_IN)
    train(trainer, batches(2))
    trainer.save_checkpoint(folder)
    return folder


def test_a_newer_checkpoint_replaces_an_older_one_whole(tmp_path: Path) -> None:
    folder = saved(tmp_path / "latest")
    trainer, _ = Trainer.resume(folder)
    trainer.step(batches(1)[0])
    trainer.save_checkpoint(folder)
    assert Trainer.resume(folder)[0].steps_done == 3
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]


@pytest.mark.parametrize("name", [files.STATE_FILE, files.TENSORS_FILE])
@pytest.mark.parametrize("damage", ["missing", "truncated", "emptied", "flipped"])
def test_a_torn_checkpoint_is_noticed_and_named(name: str, damage: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "torn")
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        path.write_bytes(b"")
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(TornCheckpoint) as caught:
        Trainer(config(), D_IN).load_checkpoint(folder)
    assert str(folder) in caught.value.message
    assert name in caught.value.message or name == files.STATE_FILE
    assert caught.value.hint


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(TornCheckpoint, match=r"has no trainer\.json"):
        Trainer.resume(tmp_path / "nowhere")


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "other")
    with pytest.raises(TornCheckpoint, match="other settings: learning_rate, seed"):
        Trainer(config(learning_rate=1e-5, seed=8), D_IN).load_checkpoint(folder)
    with pytest.raises(TornCheckpoint, match=r"d_in \(16, here 17\)"):
        Trainer(config(), 17).load_checkpoint(folder)
    with pytest.raises(TornCheckpoint, match=r"float32.*needs.*float64"):
        Trainer(config(), D_IN, dtype=torch.float64).load_checkpoint(folder)


def test_a_checkpoint_with_flat_adam_settings_is_resumed(tmp_path: Path) -> None:
    """As they were written before there was a choice of optimisers."""
    data = batches(6)
    trainer = Trainer(config(optimizer=AdamConfig(beta1=0.8, weight_decay=0.1)), D_IN)
    train(trainer, data[:3])
    trainer.save_checkpoint(tmp_path / "old")
    path = tmp_path / "old" / files.STATE_FILE
    state = json.loads(path.read_text())
    for name in (
        "optimizer",
        "dead_latents",
        "decay",
        "decoder_init",
        "accumulate",
        "precision",
        "ema_decay",
    ):
        del state["config"][name]
    state["config"] |= {"adam_beta1": 0.8, "adam_beta2": 0.999, "weight_decay": 0.1}
    path.write_text(json.dumps(state))
    resumed, _ = Trainer.resume(tmp_path / "old")
    assert train(resumed, data[3:]) == train(trainer, data[3:])
    with pytest.raises(TornCheckpoint, match="other settings: optimizer"):
        Trainer(config(optimizer=SignumConfig()), D_IN).load_checkpoint(tmp_path / "old")


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "kept")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full_disk)
    with pytest.raises(OSError, match="No space left"):
        Trainer.resume(folder)[0].save_checkpoint(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_killed_between_the_two_renames(tmp_path: Path) -> None:
    """A writer that dies after setting the old checkpoint aside: reading puts it back."""
    folder = saved(tmp_path / "latest")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from mistudio.sae.folders import written_whole\n"
        "rename = Path.rename\n"
        "def once(self, target):\n"
        "    rename(self, target)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = once\n"
        "with written_whole(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'x').write_text('new')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=os.environ, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not folder.exists()
    assert Trainer.resume(folder)[0].steps_done == 2
