"""Two processes train what one does: spread over the batch, and over the latents."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mistudio.sae import BatchTopKConfig, SAEError, TopKConfig, TrainerConfig
from mistudio.sae.distributed import ALONE, Ranks, joined
from mistudio.sae.trainer import Trainer
from tests.sae import rank

SPLITS = ["batch", "latents"]
ROOT = Path(__file__).parents[2]


def torchrun(*arguments: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module", params=SPLITS)
def by_two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    done = torchrun("tests/sae/rank.py", str(folder), request.param)
    assert done.returncode == 0, done.stdout + done.stderr
    return request.param, folder


@pytest.mark.slow
@pytest.mark.parametrize("case", rank.CASES)
def test_two_ranks_train_what_one_does(case: str, by_two: tuple[str, Path]) -> None:
    """Curves, resumed half-way, and finished weights, in float64: only the order of sums differs."""
    _, folder = by_two
    alone = rank.trainer(case)
    expected = [alone.step(*x).row() for x in rank.batches(case)]
    for ours, theirs in zip(json.loads((folder / case / "rows.json").read_text()), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-10)
    weights = torch.load(folder / case / "weights.pt", weights_only=True)
    for name, weight in alone.finish().state_dict().items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-6, atol=1e-8, msg=name)
    if "aux_loss" in expected[0] and case != "resampled":
        assert any(row["aux_loss"] > 0 for row in expected), "AuxK was not exercised"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["topk", "batch_topk", "jump_relu", "muon"])
def test_a_checkpoint_of_two_ranks_is_resumed_by_one(case: str, by_two: tuple[str, Path]) -> None:
    _, folder = by_two
    alone = rank.trainer(case)
    data = rank.batches(case)
    for x in data[: rank.STEPS // 2]:
        alone.step(*x)
    resumed, extra = Trainer.resume(folder / case / "checkpoint", dtype=torch.float64)
    assert extra == {"position": 7}
    assert resumed.steps_done == rank.STEPS // 2
    for name, weight in alone.sae.state_dict().items():
        torch.testing.assert_close(resumed.sae.state_dict()[name], weight, rtol=1e-6, atol=1e-8, msg=name)
    row = resumed.step(*data[rank.STEPS // 2]).row()
    assert row == pytest.approx(alone.step(*data[rank.STEPS // 2]).row(), rel=1e-7, abs=1e-10)


class _Two(Ranks):
    size = 2


class _Counting(_Two):
    """Counts what a rank gives away, and stands in for another that gives the same."""

    def __init__(self) -> None:
        self.summed_bytes = self.gathered_bytes = 0

    def sum(self, part: Tensor) -> Tensor:
        self.summed_bytes += part.nbytes
        return part

    def gather(self, part: Tensor) -> list[Tensor]:
        self.gathered_bytes += part.nbytes
        return [part, part]

    def counts(self, mine: int, device: torch.device) -> list[int]:
        return [mine, mine]


@pytest.mark.parametrize("kind", ["topk", "batch_topk"])
@pytest.mark.parametrize("split", SPLITS)
def test_the_bytes_moved_are_those_planned(split: str, kind: str) -> None:
    """The formulae of docs/decisions/0007-distributed.md."""
    n, d, m, k = 256, 64, 2048, 32
    architecture = {"topk": TopKConfig, "batch_topk": BatchTopKConfig}[kind](k=k, aux_coefficient=0)
    config = TrainerConfig(architecture=architecture, d_sae=m, total_tokens=n * 8, batch_size=2 * n)
    ranks = _Counting()
    trainer = Trainer(config, d, ranks=ranks, split=split)  # type: ignore[arg-type]
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    trainer.step(x)
    ranks.summed_bytes = ranks.gathered_bytes = 0
    trainer.step(x)
    weights = 2 * m * d + m + d
    summed = 4 * (weights + d) + 8 * m if split == "batch" else 4 * (n * d + d)
    assert summed <= ranks.summed_bytes < summed + 400
    tokens = n * ranks.size if split == "batch" else n
    winners = {"topk": 4 * n * k if split == "latents" else 0, "batch_topk": 5 * tokens * k // ranks.size}[
        kind
    ]
    assert ranks.gathered_bytes == pytest.approx(winners, rel=0.15, abs=64)


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(SAEError, match="leave 38 to each, fewer than k = 50"):
        Trainer(
            rank.config("topk").model_copy(update={"architecture": rank.TopKConfig(k=50)}),
            rank.D_IN,
            ranks=_Two(),
            split="latents",
        )


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with joined() as place:
        assert place.ranks is ALONE
        assert place.ranks.span(10) == (0, 10)
    assert not torch.distributed.is_initialized()


def test_spans_cover_everything_once() -> None:
    for size in (1, 2, 3, 8):
        edges: list[int] = []
        for r in range(size):
            ranks = Ranks()
            ranks.rank, ranks.size = r, size
            start, stop = ranks.span(77)
            assert not edges or edges[-1] == start
            assert 77 // size <= stop - start <= -(-77 // size)
            edges = [*edges, stop]
        assert edges[-1] == 77
