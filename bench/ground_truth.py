"""Who finds more of the true features: our trainers or SAELens', in SAELens' own synthetic world.

Both sides see the same samples, drawn by SAELens' generator (`SyntheticModel`, the settings of SynthSAEBench-16k at an
eighth of its size), batch by batch in turns, so that the machine's noise meets both alike. Sparsity is the same: k for
the kinds that have one, the same L0 for the others. Each side trains with the settings that did best for it in
another world (`docs/decisions/0008-ground-truth.md` tells what was tried).

A full race is long, so it is made of parts, one per architecture and seed; finished parts are kept in
`bench/results/ground-truth.json` and not run again. `python -m bench.ground_truth run` runs what is missing,
`… run KIND SEED` one part, `… run --again` all of them; `… rows` prints the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.ground_truth_plots import draw
from mistudio.sae import SAE, Latents, Trainer, TrainerConfig
from mistudio.sae.ground_truth import GroundTruthScores, Scoring
from mistudio.sae.kernels import decode

N_FEATURES, D, D_SAE, L0 = 2048, 192, 512, 8
"""A quarter as many latents as features, as in SynthSAEBench; the 512 most frequent features have an L0 of 8.3."""
BATCH, SAMPLES, HELD_OUT = 1024, 1_024_000, 102_400
SEEDS = (0, 1, 2)
HELD_OUT_SEED = 1000
WORLD_SEED = 42
PREFIXES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
SCHEDULE = {"warmup_steps": 100, "decay_fraction": 0.2}
DEAD_AFTER_STEPS = 200
KINDS = ("batch_topk", "matryoshka", "jump_relu", "topk", "standard")

OURS: dict[str, dict[str, Any]] = {
    "topk": {"kind": "topk", "k": L0},
    "batch_topk": {"kind": "batch_topk", "k": L0},
    "matryoshka": {"kind": "matryoshka", "k": L0, "prefix_fractions": PREFIXES},
    "jump_relu": {
        "kind": "jump_relu",
        "penalty": "tanh",
        "sparsity_coefficient": 0.187,
        "target_l0": None,
        "bandwidth": 2.0,
        "threshold_init": 0.5,
        "pre_act_coefficient": 3e-6,
    },
    "standard": {"kind": "standard", "l1_coefficient": 2.1, "l1_warmup_steps": 250},
}
OURS_TRAINER: dict[str, Any] = {"learning_rate": 6e-3, "decoder_norm": "free", "decoder_init_norm": 0.3}
OURS_TRAINER_OF: dict[str, dict[str, Any]] = {
    "topk": {"decoder_init_norm": 0.1},
    "jump_relu": {"decoder_init_norm": 0.66, "decoder_bias_init": "zeros", "ema_decay": 0.99},
    "standard": {
        "learning_rate": 1e-2,
        "decoder_init_norm": 0.1,
        "decoder_bias_init": "zeros",
        "ema_decay": 0.99,
    },
}
THEIRS: dict[str, dict[str, Any]] = {
    "topk": {"lr": 6e-3, "k": L0},
    "batch_topk": {"lr": 3e-3, "k": L0},
    "matryoshka": {
        "lr": 6e-3,
        "k": L0,
        "matryoshka_widths": [int(D_SAE * share) for share in (*PREFIXES, 1)],
        "use_matryoshka_aux_loss": True,
    },
    "jump_relu": {
        "lr": 6e-3,
        "jumprelu_sparsity_loss_mode": "tanh",
        "l0_coefficient": 0.197,
        "jumprelu_bandwidth": 2,
        "jumprelu_init_threshold": 0.5,
        "pre_act_loss_coefficient": 3e-6,
        "decoder_init_norm": 0.5,
        "normalize_activations": "expected_average_only_in",
    },
    "standard": {"lr": 6e-3, "l1_coefficient": 3.4, "l1_warm_up_steps": 250},
}
"""JumpReLU's are those of SynthSAEBench's own runs, but for the coefficient and the rate."""

CACHE = Path(__file__).parent / ".cache" / "ground-truth"
RESULTS = Path(__file__).parent / "results" / "ground-truth.json"


def world() -> Any:
    """SAELens' world; drawn once and kept, because its spreading of directions takes a while."""
    from sae_lens.synthetic import (
        FoldedNormalMagnitudeConfig,
        HierarchyConfig,
        LinearMagnitudeConfig,
        LowRankCorrelationConfig,
        OrthogonalizationConfig,
        SyntheticModel,
        SyntheticModelConfig,
        ZipfianFiringProbabilityConfig,
    )

    folder = CACHE / "world"
    if not (folder / "synthetic_model_config.json").exists():
        SyntheticModel(
            SyntheticModelConfig(
                num_features=N_FEATURES,
                hidden_dim=D,
                firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=5e-4),
                hierarchy=HierarchyConfig(
                    total_root_nodes=16,
                    branching_factor=4,
                    max_depth=3,
                    mutually_exclusive_portion=1.0,
                    compensate_probabilities=True,
                    scale_children_by_parent=True,
                ),
                orthogonalization=OrthogonalizationConfig(num_steps=100, lr=3e-4),
                correlation=LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
                mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
                std_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
                bias=0.5,
                seed=WORLD_SEED,
            )
        ).save(folder)
    return SyntheticModel.load_from_disk(folder)


class Samples:
    """Samples of a seed, drawn by SAELens' generator and kept as sparse rows."""

    def __init__(self, seed: int, n: int) -> None:
        model = world()
        self.directions: Tensor = model.feature_dict.feature_vectors.detach()
        self.bias: Tensor = model.feature_dict.bias.detach()
        file = CACHE / f"seed-{seed}-{n}.safetensors"
        if not file.exists():
            partial = file.with_suffix(".partial")
            save_file(_draw(model.activation_generator, seed, n), partial)
            partial.rename(file)
        rows = load_file(file)
        self._values, self._indices = rows["values"], rows["indices"]
        self._offsets = torch.zeros(n + 1, dtype=torch.int64)
        torch.cumsum(rows["counts"].long(), 0, out=self._offsets[1:])

    def batches(self) -> Iterator[tuple[Tensor, Latents]]:
        """Activations [BATCH, D] and the features that they are made of, in order."""
        for start in range(0, self._offsets.shape[0] - 1, BATCH):
            offsets = self._offsets[start : start + BATCH + 1]
            part = slice(int(offsets[0]), int(offsets[-1]))
            values, indices = self._values[part], self._indices[part].long()
            features = Latents(values, indices, offsets - offsets[0], N_FEATURES)
            yield decode(features, self.directions) + self.bias, features


def _draw(generator: Any, seed: int, n: int) -> dict[str, Tensor]:
    torch.manual_seed(10_000 + seed)
    values, indices, counts = [], [], []
    for _ in range(n // BATCH):
        part = Latents.from_dense(generator.sample(BATCH))
        values.append(part.values)
        indices.append(part.indices.short())
        counts.append(part.offsets.diff().short())
    return {"values": torch.cat(values), "indices": torch.cat(indices), "counts": torch.cat(counts)}


def ours(kind: str, seed: int, changes: dict[str, Any], samples: int = SAMPLES) -> Trainer:
    """Our trainer with the settings of the race, but for `changes`."""
    architecture = {**OURS[kind], **changes.get("architecture", {})}
    settings = {
        "d_sae": D_SAE,
        "batch_size": BATCH,
        "total_tokens": samples,
        "seed": seed,
        "dead_latent_window": DEAD_AFTER_STEPS * BATCH,
        **SCHEDULE,
        **OURS_TRAINER,
        **OURS_TRAINER_OF.get(kind, {}),
        **changes,
    }
    return Trainer(TrainerConfig.model_validate({**settings, "architecture": architecture}), D)


def theirs(kind: str, seed: int, changes: dict[str, Any], samples: int = SAMPLES) -> Any:
    """SAELens' trainer with the settings of the race, but for `changes`."""
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    name = {
        "topk": "TopK",
        "batch_topk": "BatchTopK",
        "matryoshka": "MatryoshkaBatchTopK",
        "jump_relu": "JumpReLU",
        "standard": "Standard",
    }[kind]
    settings = {**THEIRS[kind], **changes}
    rate = settings.pop("lr")
    torch.manual_seed(seed)
    sae = getattr(sae_lens, f"{name}TrainingSAE")(
        getattr(sae_lens, f"{name}TrainingSAEConfig")(d_in=D, d_sae=D_SAE, **settings)
    )
    steps = samples // BATCH
    return SAETrainer(
        SAETrainerConfig(
            total_training_samples=samples,
            train_batch_size_samples=BATCH,
            lr=rate,
            lr_end=0.0,
            lr_warm_up_steps=SCHEDULE["warmup_steps"],
            lr_decay_steps=int(steps * SCHEDULE["decay_fraction"]),
            dead_feature_window=DEAD_AFTER_STEPS,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        data_provider=iter(()),
    )


def start_theirs(trainer: Any, x: Tensor) -> None:
    """What `SAETrainer.fit` does before its first step: the normalisation factor, where one is asked for."""
    if trainer.sae.cfg.normalize_activations == "expected_average_only_in":
        trainer.activation_scaler.scaling_factor = D**0.5 / float(x.norm(dim=1).mean())


def step_theirs(trainer: Any, x: Tensor) -> None:
    """One step as in the loop of `SAETrainer.fit`."""
    trainer.step(x)
    trainer.n_training_steps += 1


def score_ours(trainer: Trainer, held_out: Samples) -> GroundTruthScores:
    """Scores of our trained dictionary in its inference form."""
    sae: SAE = trainer.finish()
    return _score(held_out, sae.W_dec, sae.encode, sae.decode)


@torch.no_grad()
def score_theirs(trainer: Any, held_out: Samples) -> GroundTruthScores:
    """Scores of theirs, encoded as their own evaluation does it (`sae.eval()`, batches of BATCH)."""
    sae = trainer.sae
    if trainer.activation_scaler.scaling_factor is not None:
        sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
        trainer.activation_scaler.scaling_factor = None
    sae.eval()
    latents: list[Tensor] = []

    def encode(x: Tensor) -> Latents:
        latents[:] = [sae.encode(x)]
        return Latents.from_dense(latents[0])

    return _score(held_out, sae.W_dec, encode, lambda _: sae.decode(latents[0]))


def _score(
    held_out: Samples,
    directions: Tensor,
    encode: Callable[[Tensor], Latents],
    decode_latents: Callable[[Latents], Tensor],
) -> GroundTruthScores:
    scoring = Scoring(directions, held_out.directions)
    for x, features in held_out.batches():
        latents = encode(x)
        scoring.update(x, decode_latents(latents), latents, features)
    return scoring.result()


def race(kind: str, seed: int) -> dict[str, Any]:
    """One part: both sides trained on the same samples, in turns, and scored on the same held-out ones."""
    data, held_out = Samples(seed, SAMPLES), Samples(HELD_OUT_SEED, HELD_OUT)
    mine, peer = ours(kind, seed, {}), theirs(kind, seed, {})
    seconds: list[tuple[float, float]] = []
    for number, (x, _) in enumerate(data.batches()):
        if number == 0:
            start_theirs(peer, x)
        turns: tuple[Callable[[], Any], Callable[[], Any]] = (
            lambda x=x: mine.step(x),
            lambda x=x: step_theirs(peer, x),
        )
        taken = [0.0, 0.0]
        for side in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            turns[side]()
            taken[side] = time.perf_counter() - began
        seconds.append((taken[0], taken[1]))
    return {
        "kind": kind,
        "seed": seed,
        "samples": SAMPLES,
        "threads": torch.get_num_threads(),
        "ours": asdict(score_ours(mine, held_out)),
        "theirs": asdict(score_theirs(peer, held_out)),
        "seconds_per_step": [statistics.median(side) for side in zip(*seconds, strict=True)],
        "time_ratio": statistics.median(b / a for a, b in seconds),
        "settings": {
            "ours": mine.config.model_dump(mode="json"),
            "theirs": THEIRS[kind],
        },
    }


def records() -> dict[tuple[str, int], dict[str, Any]]:
    """Parts run so far, by kind and seed."""
    parts = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []
    return {(part["kind"], part["seed"]): part for part in parts}


def run_missing(kinds: Sequence[str] = KINDS, seeds: Sequence[int] = SEEDS, *, again: bool = False) -> None:
    """Run the parts that are missing (or all that are named), seed by seed; each is kept as soon as it is done."""
    for seed in seeds:
        for kind in kinds:
            if (kind, seed) in records() and not again:
                continue
            print(f"ground-truth: {kind}, seed {seed} …", file=sys.stderr, flush=True)
            part = race(kind, seed)
            done = {**records(), (kind, seed): part}
            partial = RESULTS.with_suffix(".partial")
            partial.write_text(json.dumps([done[key] for key in sorted(done)], indent=1) + "\n")
            partial.rename(RESULTS)


def rows(quick: bool) -> list[dict[str, Any]]:
    """Rows for the bench table, running what is missing: one seed when quick, else all."""
    run_missing(seeds=SEEDS[:1] if quick else SEEDS)
    title = (
        f"SAELens' synthetic world: {N_FEATURES} features in {D} dimensions, {D_SAE} latents, L0 {L0}, "
        f"{SAMPLES / 1e6:.1f} million samples"
    )
    draw(list(records().values()), KINDS, title, RESULTS.with_suffix(".png"))
    out: list[dict[str, Any]] = []
    for kind in KINDS:
        parts = [part for (name, _), part in sorted(records().items()) if name == kind]
        reached = " against ".join(f"{mean_of(parts, side, 'l0')[0]:.2f}" for side in ("ours", "theirs"))
        for score in ("f1", "mcc"):
            (mine, spread), (peer, peer_spread) = (mean_of(parts, side, score) for side in ("ours", "theirs"))
            note = f"±{spread:.3f} and ±{peer_spread:.3f} over {len(parts)} seed(s), at L0 {reached}"
            out.append(_row(f"{kind}/{score}", mine, peer, score.upper(), mine / peer, note))
        times = [statistics.mean(part["seconds_per_step"][side] for part in parts) for side in (0, 1)]
        ratio = statistics.median(part["time_ratio"] for part in parts)
        threads = parts[0]["threads"]
        out.append(
            _row(
                f"{kind}/time",
                times[0],
                times[1],
                "s/step",
                ratio,
                f"batches of {BATCH}, {threads} thread(s)",
            )
        )
    return out


def mean_of(parts: list[dict[str, Any]], side: str, score: str) -> tuple[float, float]:
    """Mean over seeds and standard deviation (0 with one seed)."""
    values = [part[side][score] for part in parts]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _row(name: str, mine: float, peer: float, unit: str, ratio: float, note: str) -> dict[str, Any]:
    return {
        "name": f"ground-truth/{name}",
        "ours": mine,
        "peer": peer,
        "unit": unit,
        "ratio": ratio,
        "goal": 1.0,
        "holds": ratio >= 1.0,
        "note": note,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "rows"))
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("seed", nargs="?", type=int, choices=SEEDS)
    parser.add_argument("--again", action="store_true", help="run parts that are done, too")
    chosen = parser.parse_args()
    if chosen.what == "run":
        run_missing(
            [chosen.kind] if chosen.kind else KINDS,
            SEEDS if chosen.seed is None else [chosen.seed],
            again=chosen.again,
        )
    else:
        for row in rows(quick=False):
            print(json.dumps(row))
