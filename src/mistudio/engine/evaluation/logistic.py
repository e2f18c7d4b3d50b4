"""Logistic regression with few inputs, to the optimum: what scikit-learn's LogisticRegression approximates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_STEPS = 100
_TOLERANCE = 1e-9


def fit(x: Tensor, y: Tensor, *, balanced: bool = False, strength: float = 1.0) -> tuple[Tensor, float]:
    """Weights [k] and bias for inputs x [N, k] and truths y [N] bool.

    Minimises ½‖w‖² + C·Σ sₙ·(log(1 + exp fₙ) − yₙ·fₙ), fₙ = w·xₙ + b, C = `strength`; sₙ = 1, or with `balanced` N
    over twice the size of n's class (scikit-learn's `C` and `class_weight="balanced"`). Newton's method with halved
    steps, in float64; x and y must hold both classes.
    """
    x = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)
    truth = y.double()
    weight = torch.full_like(truth, strength)
    if balanced:
        share = truth.mean()
        weight = weight * torch.where(y.bool(), 0.5 / share, 0.5 / (1 - share))
    ridge = torch.ones(x.shape[1], dtype=torch.float64)
    ridge[-1] = 0.0  # the bias is free
    w = torch.zeros(x.shape[1], dtype=torch.float64)

    def objective(w: Tensor) -> float:
        f = x @ w
        return float((weight * (functional.softplus(f) - truth * f)).sum() + 0.5 * (ridge * w * w).sum())

    value = objective(w)
    for _ in range(_STEPS):
        p = torch.sigmoid(x @ w)
        gradient = x.T @ (weight * (p - truth)) + ridge * w
        curvature = x.T @ ((weight * p * (1 - p))[:, None] * x) + torch.diag(ridge + 1e-10)
        step = torch.linalg.solve(curvature, gradient)
        size = 1.0
        while (new := objective(w - size * step)) > value and size > 1e-6:
            size /= 2
        gain, value = value - new, min(value, new)
        if gain <= 0:
            break
        w = w - size * step
        if gain < _TOLERANCE * (1 + abs(value)):
            break
    return w[:-1], float(w[-1])


def accuracy(x: Tensor, y: Tensor, weights: Tensor, bias: float) -> float:
    """Share of inputs x [N, k] on whose side of the boundary y [N] says."""
    return float(((x.double() @ weights + bias > 0) == y.bool()).double().mean())


def f1_score(predicted: Tensor, y: Tensor) -> float:
    """2·TP / (2·TP + FP + FN) of two bool [N]; 0 where nothing was found."""
    hits = int((predicted & y).sum())
    return 2 * hits / max(int(predicted.sum()) + int(y.sum()), 1)
