"""Training steps of ours and of the peers, set up alike: what `sae_step`, `sae_memory` and `scaling` measure.

TopK and BatchTopK start as each library starts them. JumpReLU and standard get weights, biases and thresholds at
which a token has about L0 active latents, the same for all, since their own start has thousands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

STEPS = 10_000  # what the schedules are told; only a few are taken


@dataclass(frozen=True)
class Setting:
    """One training: `architecture` is one of topk, batch_topk, jump_relu, standard; `l0` is k for the first two."""

    architecture: str
    l0: int = 32
    d_in: int = 576
    d_sae: int = 9216
    batch: int = 4096

    @property
    def own_start(self) -> bool:
        """Whether L0 is set by k, so that every library may start as it likes."""
        return self.architecture in ("topk", "batch_topk")

    def batches(self, number: int) -> list[Tensor]:
        """Random activations [batch, d_in], the same every time."""
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(self.batch, self.d_in, generator=generator) for _ in range(number)]

    def level(self) -> float:
        """What a standard normal number exceeds with probability L0 / d_sae."""
        return math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * self.l0 / self.d_sae)))

    def directions(self) -> Tensor:
        """Random unit rows [d_sae, d_in]: pre-activations of `batches` are standard normal numbers."""
        rows = torch.randn(self.d_sae, self.d_in, generator=torch.Generator().manual_seed(1))
        return rows / rows.norm(dim=1, keepdim=True)


@dataclass(frozen=True)
class Contestant:
    """A step on a batch [N, d_in], and the L0 that it has come to on one."""

    step: Callable[[Tensor], Any]
    l0: Callable[[Tensor], float]


def ours(setting: Setting) -> Contestant:
    """`mistudio.sae.Trainer.step`, with everything on that a training uses."""
    from mistudio.sae import (
        BatchTopKConfig,
        JumpReLUConfig,
        StandardConfig,
        TopKConfig,
        Trainer,
        TrainerConfig,
    )

    architecture = {
        "topk": lambda: TopKConfig(k=setting.l0),
        "batch_topk": lambda: BatchTopKConfig(k=setting.l0),
        "jump_relu": lambda: JumpReLUConfig(target_l0=None),
        "standard": lambda: StandardConfig(),
    }[setting.architecture]()
    config = TrainerConfig(
        architecture=architecture,
        d_sae=setting.d_sae,
        batch_size=setting.batch,
        total_tokens=setting.batch * STEPS,
    )
    trainer = Trainer(config, setting.d_in)
    if not setting.own_start:
        trainer.initialise(setting.batches(1)[0])
        with torch.no_grad():
            sae = trainer.sae
            sae.W_enc.copy_(setting.directions())
            sae.W_dec.copy_(setting.directions())
            sae.b_dec.zero_()
            sae.b_enc.fill_(-setting.level() if setting.architecture == "standard" else 0.0)
            if setting.architecture == "jump_relu":
                sae.get_parameter("threshold").fill_(setting.level())

    def l0(x: Tensor) -> float:
        return trainer.sae.encode(x).values.shape[0] / x.shape[0]

    return Contestant(trainer.step, l0)


def saelens(setting: Setting) -> Contestant:
    """`SAETrainer._train_step` with its defaults (dense activations: the sparse ones do not run on CPU)."""
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    name, extra = {
        "topk": ("TopK", {"k": setting.l0}),
        "batch_topk": ("BatchTopK", {"k": float(setting.l0)}),
        "jump_relu": ("JumpReLU", {"jumprelu_init_threshold": setting.level()}),
        "standard": ("Standard", {}),
    }[setting.architecture]
    made: Any = getattr(sae_lens, f"{name}TrainingSAEConfig")(d_in=setting.d_in, d_sae=setting.d_sae, **extra)
    sae: Any = getattr(sae_lens, f"{name}TrainingSAE")(made)
    if not setting.own_start:
        with torch.no_grad():
            sae.W_enc.copy_(setting.directions().T)
            sae.W_dec.copy_(setting.directions())
            sae.b_dec.zero_()
            sae.b_enc.fill_(-setting.level() if setting.architecture == "standard" else 0.0)
    config = SAETrainerConfig(
        total_training_samples=setting.batch * STEPS,
        train_batch_size_samples=setting.batch,
        lr_end=3e-5,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer: Any = SAETrainer(config, sae, data_provider=iter(()))

    def l0(x: Tensor) -> float:
        with torch.no_grad():
            return float((sae.encode(x) != 0).sum()) / x.shape[0]

    return Contestant(lambda x: trainer._train_step(sae, x), l0)


def dictionary_learning(setting: Setting) -> Contestant:
    """`TopKTrainer.update` or `BatchTopKTrainer.update` with its defaults."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    kind = {"topk": TopKTrainer, "batch_topk": BatchTopKTrainer}[setting.architecture]
    trainer: Any = kind(
        steps=STEPS,
        activation_dim=setting.d_in,
        dict_size=setting.d_sae,
        k=setting.l0,
        layer=0,
        lm_name="none",
        device="cpu",
        seed=0,
    )
    count = iter(range(STEPS))
    return Contestant(lambda x: trainer.update(next(count), x), lambda _: float(setting.l0))


def bound(setting: Setting) -> Contestant:
    """What a dense training cannot do without: the encoder's product in float32 and PyTorch's top-k of it, into
    memory that is there already. TopK ranks each token, BatchTopK the whole batch."""
    W, b = setting.directions(), torch.zeros(setting.d_sae)
    pre = torch.empty(setting.batch, setting.d_sae)

    def step(x: Tensor) -> Any:
        torch.addmm(b, x, W.T, out=pre)
        if setting.architecture == "topk":
            return pre.topk(setting.l0, dim=1, sorted=False)
        return pre.flatten().topk(setting.l0 * setting.batch, sorted=False)

    return Contestant(step, lambda _: float(setting.l0))


CONTESTANTS: dict[str, Callable[[Setting], Contestant]] = {
    "ours": ours,
    "saelens": saelens,
    "dictionary-learning": dictionary_learning,
    "bound": bound,
}
