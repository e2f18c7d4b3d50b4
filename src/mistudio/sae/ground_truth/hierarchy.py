"""Which features can only fire with another, and which never fire together.

Features form trees: a child fires only where its parent does, and of the children of an exclusive parent at
most one does (SynthSAEBench, arXiv 2602.14687, §3).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class HierarchyConfig(BaseModel):
    """A forest of equal trees, numbered breadth first: roots are features 0, 1, …, then their children."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roots: int = Field(default=16, ge=1, title="Trees", description="Number of root features.")
    branching: int = Field(default=4, ge=2, title="Children", description="Children of every parent.")
    depth: int = Field(
        default=3, ge=1, title="Depth", description="Levels below the roots; fewer where features run out."
    )
    exclusive_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        title="Exclusive share",
        description="Share of the parents of whose children at most one fires at a time.",
    )
    compensate_rates: bool = Field(
        default=True,
        title="Compensate rates",
        description="Raise the rates of children so that what parents and siblings take away is, about, "
        "given back.",
    )
    scale_by_parent: bool = Field(
        default=True,
        title="Scale by parent",
        description="Multiply a child's magnitude by its parent's over that parent's mean.",
    )


@dataclass(frozen=True)
class Hierarchy:
    """The forest over n features, as arrays [n]."""

    parent: Ints
    """index of the parent, -1 without one"""
    first_child: Ints
    """index of the first child; children follow one another"""
    n_children: Ints
    exclusive: NDArray[np.bool_]
    """whether siblings never fire together with this feature"""
    scale_by_parent: bool

    @staticmethod
    def grow(config: HierarchyConfig | None, n_features: int, order: NDArray[np.float64]) -> "Hierarchy":
        """The forest of a configuration; `order` [n] (random) decides which parents are exclusive."""
        parent = np.full(n_features, -1, dtype=np.int64)
        if config is None:
            nothing = np.zeros(n_features, dtype=np.int64)
            return Hierarchy(parent, nothing, nothing, nothing > 0, scale_by_parent=False)
        roots = min(config.roots, n_features)
        above, first = np.arange(roots), roots
        for _ in range(config.depth):
            parents = above.repeat(config.branching)[: n_features - first]
            above = np.arange(first, first + parents.shape[0])
            parent[above] = parents
            first += parents.shape[0]
        n_children = np.bincount(parent[parent >= 0], minlength=n_features)
        families = np.flatnonzero(n_children >= 2)
        chosen = families[order[families].argsort(kind="stable")]
        chosen = chosen[: int(len(chosen) * config.exclusive_share)]
        exclusive = (parent >= 0) & np.isin(parent, chosen)
        first_child = roots + n_children.cumsum() - n_children
        return Hierarchy(parent, first_child, n_children, exclusive, config.scale_by_parent)

    def compensated(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rates [n] at which features must be drawn, where their parents fire, so that about `rates` remain.

        A child of parent p is drawn at r/r_p, times 1 + (Σ of its siblings' rates)/r_p where it is
        exclusive: what SynthSAEBench does. Rates stay at most 1.
        """
        child = self.parent >= 0
        above = np.where(child, rates[self.parent], 1.0)
        siblings = np.zeros_like(rates)
        np.add.at(siblings, self.parent[child], rates[child])
        others = np.where(self.exclusive, siblings[self.parent] - rates, 0.0)
        return np.minimum(rates / above * (1 + others / above), 1.0)

    def children(self, features: Ints) -> tuple[Ints, Ints]:
        """All children of `features` [n]: the position of each one's parent in `features`, and its index."""
        counts = self.n_children[features]
        places = np.arange(features.shape[0]).repeat(counts)
        within = np.arange(places.shape[0]) - (counts.cumsum() - counts).repeat(counts)
        return places, self.first_child[features[places]] + within

    def settle(self, rows: Ints, features: Ints, lots: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the children that were drawn stay: of exclusive siblings in one row, that with the lowest lot."""
        stays = np.ones(rows.shape[0], dtype=np.bool_)
        rivals = np.flatnonzero(self.exclusive[features])
        family = rows[rivals] * self.parent.shape[0] + self.parent[features[rivals]]
        order = np.lexsort((lots[rivals], family))
        stays[rivals[order[1:]]] = family[order[1:]] != family[order[:-1]]
        return stays
