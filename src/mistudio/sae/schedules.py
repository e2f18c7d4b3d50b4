"""How the learning rate changes over a training."""

import math

from mistudio.sae.config import TrainerConfig


def learning_rate(config: TrainerConfig, step: int) -> float:
    """The learning rate of the given step (counted from 0): a linear warm-up, then constant, then the decay.

    With r the share of the decay that is still to come, from 1 to 0: r (linear) or (1 − cos πr)/2 (cosine).
    """
    rate = config.learning_rate
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    steps = config.decay_fraction * config.total_steps
    if config.decay == "constant" or steps == 0:
        return rate
    left = min(1.0, max(0.0, (config.total_steps - step) / steps))
    return rate * (left if config.decay == "linear" else (1 - math.cos(math.pi * left)) / 2)
