"""Accumulation, bfloat16, starting points and the projection: what they promise."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mistudio.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    SAEError,
    StandardConfig,
    TopKConfig,
    Trainer,
)
from tests.sae.test_trainer import D_IN, batches, config, synthetic_world, train, weights

EVERY = [
    TopKConfig(k=4, aux_k=8),
    BatchTopKConfig(k=4, aux_k=8),
    MatryoshkaConfig(k=4, aux_k=8),
    JumpReLUConfig(target_l0=4.0, threshold_init=0.1),
    GatedConfig(l1_coefficient=2.0),
    StandardConfig(l1_coefficient=2.0),
]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 5, 64])
@pytest.mark.parametrize(
    "architecture", [TopKConfig(k=4, aux_coefficient=0), *EVERY[3:]], ids=lambda a: a.kind
)
def test_accumulating_is_the_same_training(architecture: Any, parts: int) -> None:
    """Where the loss is a mean over tokens, the parts of a batch add up to it."""
    whole, divided = (
        Trainer(config(architecture=architecture, accumulate=n), D_IN, dtype=torch.float64)
        for n in (1, parts)
    )
    data = [x.double() for x in batches(8)]
    for a, b in zip(train(whole, data), train(divided, data), strict=True):
        assert a.row() == pytest.approx(b.row(), rel=1e-9)
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weights(divided)[name], weight, rtol=1e-8, atol=1e-10)


def test_batch_topk_chooses_within_each_part() -> None:
    """One half of the tokens is far stronger: alone it would take almost all places."""
    x = batches(1)[0]
    x[32:] *= 10
    fired: dict[int, list[float]] = {}
    for parts in (1, 2):
        trainer = Trainer(
            config(architecture=BatchTopKConfig(k=4), accumulate=parts, normalize_activations="none"), D_IN
        )
        trainer.initialise(batches(1, seed=5)[0])
        before = trainer.sae.activation.gradients

        seen: list[float] = []

        def spy(sae: Any, x: Tensor, y: Tensor, context: Any, before: Any = before, seen: Any = seen) -> Any:
            outcome = before(sae, x, y, context)
            seen.append(float(outcome.l0) * x.shape[0])
            return outcome

        trainer.sae.activation.gradients = spy
        trainer.step(x)
        fired[parts] = seen
    assert fired[1] == [256.0]
    assert fired[2] == [128.0, 128.0]


class _Peak(TorchDispatchMode):
    """The most bytes that tensors made under it held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._storages: dict[int, Any] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import weakref

        out = function(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else [out]:
            if isinstance(t, Tensor) and t.layout == torch.strided:
                storage = t.untyped_storage()
                if storage.data_ptr() not in self._storages:
                    self.alive += storage.nbytes()
                    self.peak = max(self.peak, self.alive)
                    self._storages[storage.data_ptr()] = weakref.finalize(
                        storage, self._gone, storage.data_ptr(), storage.nbytes()
                    )
        return out

    def _gone(self, pointer: int, size: int) -> None:
        if self._storages.pop(pointer, None) is not None:
            self.alive -= size


def test_accumulating_takes_less_memory() -> None:
    peaks: list[int] = []
    x = batches(1, size=8192)[0]
    for parts in (1, 8):
        trainer = Trainer(
            config(accumulate=parts, batch_size=8192, total_tokens=8192 * 9, architecture=TopKConfig(k=8)),
            D_IN,
        )
        trainer.step(x)
        with _Peak() as memory:
            trainer.step(x)
        peaks.append(memory.peak)
    assert peaks[1] < 0.5 * peaks[0], peaks


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
def test_bfloat16_follows_the_curves_of_float32(architecture: Any) -> None:
    _, draw = synthetic_world(48, D_IN, active=3, seed=1)
    data = [draw(256) for _ in range(200)]
    curves: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        settings = config(
            architecture=architecture, precision=precision, batch_size=256, total_tokens=256 * 200, d_sae=96
        )
        trainer = Trainer(settings, D_IN)
        curves[precision] = [m.loss for m in train(trainer, data)]
        assert all(p.dtype == torch.float32 for p in trainer.sae.parameters())
        assert all(t.dtype == torch.float32 for t in trainer.optimizer.state().values())
    for start in range(0, 200, 40):
        low, full = (sum(curves[p][start : start + 40]) / 40 for p in ("bfloat16", "float32"))
        assert low == pytest.approx(full, rel=0.05)
    assert curves["bfloat16"][-1] < 0.7 * curves["bfloat16"][0]


def test_bfloat16_needs_float32_weights() -> None:
    with pytest.raises(SAEError, match="goes with weights in float32"):
        Trainer(config(precision="bfloat16"), D_IN, dtype=torch.float64)


def test_starting_from_data_points_at_tokens() -> None:
    trainer = Trainer(config(decoder_init="data", d_sae=80), D_IN)
    x = batches(1)[0]
    trainer.initialise(x)
    assert trainer.activation_scale is not None
    towards = x * trainer.activation_scale - trainer.sae.b_dec
    cosines = trainer.sae.W_dec @ (towards / towards.norm(dim=1, keepdim=True)).T
    nearest = cosines.max(1)
    torch.testing.assert_close(nearest.values[:64], torch.ones(64), rtol=1e-5, atol=1e-5)
    assert nearest.indices[:64].unique().shape[0] == 64
    assert nearest.values[64:].max() < 0.999
    plain = Trainer(config(d_sae=80), D_IN)
    plain.initialise(x)
    first = {n: t.step(x).fvu for n, t in (("data", trainer), ("random", plain))}
    assert first["data"] < first["random"]


def test_a_transcoder_started_from_data_reads_and_writes_the_same_tokens() -> None:
    x, y = batches(1)[0], batches(1, seed=3)[0][:, :10]
    trainer = Trainer(config(decoder_init="data"), D_IN, d_out=10)
    trainer.initialise(x, y)
    assert trainer.scales is not None
    read, write = x * trainer.scales[0][0], y * trainer.scales[1][0]
    read = read - read.mean(0)
    write = write - trainer.sae.b_dec
    reads = torch.cosine_similarity(trainer.sae.W_enc[:, None], read[None], dim=2).argmax(1)
    writes = torch.cosine_similarity(trainer.sae.W_dec[:, None], write[None], dim=2).argmax(1)
    assert torch.equal(reads, writes)


@pytest.mark.parametrize("n_sites", [1, 2])
def test_unit_decoders_stay_unit_and_projection_keeps_updates_along_the_sphere(n_sites: int) -> None:
    """A crosscoder's norm is the sum of its sites'; only single-site gradients have a component to take off."""
    trainer = Trainer(config(), D_IN, n_sites=n_sites)
    seen: list[dict[str, Tensor]] = []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda gradients, rate: (  # type: ignore[method-assign]
        seen.append({"W_dec": gradients["W_dec"].clone(), "at": trainer.sae.W_dec.clone()}),
        step(gradients, rate),
    )[1]
    train(trainer, batches(5))
    torch.testing.assert_close(trainer.sae.decoder_norms(), torch.ones(64), rtol=1e-5, atol=1e-5)
    along = torch.linalg.vecdot(seen[-1]["W_dec"], seen[-1]["at"]).abs().max()
    size = seen[-1]["W_dec"].norm(dim=1).max()
    assert (along < 1e-5 * size) == (n_sites == 1)
