"""Which sequences to show for each latent, found while tokens go by, without keeping the activations.

For every latent and every sequence in which it fires there is one candidate, its strongest token there. Of these the
`top` strongest are kept, and a uniform random sample of `sample` of them, from which the quantile examples come. Kept
candidates bring the latent's activations around their strongest token with them, so that no second pass is needed.
Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_LOW = 0xFFFF_FFFF
_COMPACT_ABOVE = 1 << 20


@dataclass(frozen=True)
class Excerpts:
    """What was kept, as numpy arrays. Rows are (latent, sequence) pairs, entries their active tokens.

    top [m, top], sample [m, sample] int64: row numbers, -1 where there is none; `top` falls by strength, `sample` is
    in random order. sequence, position [R] int64 and strongest [R] float32: of the row's strongest token;
    offsets [R+1] int64: its entries; entry_position [E] int32, entry_value [E] float32.
    """

    top: Any
    sample: Any
    sequence: Any
    position: Any
    strongest: Any
    offsets: Any
    entry_position: Any
    entry_value: Any


class _Kept:
    """The largest `size` keys per latent, and the row of each: both [m, size] int64, falling, -1 where empty."""

    def __init__(self, d_sae: int, size: int, device: torch.device | str) -> None:
        self.keys = torch.full((d_sae, size), -1, dtype=torch.int64, device=device)
        self.rows = torch.full((d_sae, size), -1, dtype=torch.int64, device=device)

    def admits(self, latents: Tensor, keys: Tensor) -> Tensor:
        """Which candidates [n] would be among the largest of their latents. [n] bool."""
        if not self.keys.shape[1]:
            return torch.zeros_like(latents, dtype=torch.bool)
        return keys > self.keys[latents, -1]

    def merge(self, latents: Tensor, keys: Tensor, rows: Tensor) -> None:
        """Take candidates [n], sorted by latent, in."""
        if not len(latents):
            return
        which, inverse, counts = torch.unique_consecutive(latents, return_inverse=True, return_counts=True)
        starts = counts.cumsum(0) - counts
        place = torch.arange(len(latents), device=latents.device) - starts[inverse]
        shape = (len(which), int(counts.max()))
        new_keys, new_rows = latents.new_full(shape, -1), latents.new_full(shape, -1)
        new_keys[inverse, place] = keys
        new_rows[inverse, place] = rows
        all_keys = torch.cat([self.keys[which], new_keys], 1)
        all_rows = torch.cat([self.rows[which], new_rows], 1)
        best, order = all_keys.topk(self.keys.shape[1], dim=1)
        self.keys[which] = best
        self.rows[which] = all_rows.gather(1, order)


class ExcerptSearch:
    """Finds the excerpts. Give it whole sequences: a sequence that comes in two parts counts as two.

    `reach` is how many tokens to either side of the strongest one are kept. The result depends on the tokens and
    `seed` only, not on their order or batches; equal strengths go to the earlier sequence.
    """

    def __init__(
        self, d_sae: int, *, top: int, sample: int, reach: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.d_sae, self.reach, self.seed = d_sae, reach, seed
        self.top = _Kept(d_sae, top, device)
        self.sample = _Kept(d_sae, sample, device)
        empty = torch.zeros(0, dtype=torch.int64, device=device)
        self._rows: list[dict[str, Tensor]] = [
            {"sequence": empty, "position": empty, "strongest": empty.float(), "length": empty}
        ]
        self._entries: list[dict[str, Tensor]] = [{"position": empty.int(), "value": empty.float()}]
        self._n_rows = self._n_entries = 0
        self._compact_above = _COMPACT_ABOVE

    def add(
        self, indices: Tensor, values: Tensor, tokens: Tensor, sequences: Tensor, positions: Tensor
    ) -> None:
        """Add the active latents of whole sequences.

        indices [nnz] int64, values [nnz] float > 0 and tokens [nnz] int64 (rising) say which latent fires how
        strongly on which of the n tokens; sequences, positions [n] int64 say where those come from, the tokens of a
        sequence one after another.
        """
        if not len(indices):
            return
        names, local = torch.unique_consecutive(sequences, return_inverse=True)
        pair_of_entry = indices * len(names) + local[tokens]
        pair_of_entry, order = pair_of_entry.sort(stable=True)
        values, where = values.float()[order], positions[tokens[order]]
        pairs, inverse, counts = torch.unique_consecutive(
            pair_of_entry, return_inverse=True, return_counts=True
        )
        latents, sequence = pairs // len(names), names[pairs % len(names)]
        ends = counts.cumsum(0)
        offsets = torch.cat([ends.new_zeros(1), ends])
        strongest = torch.segment_reduce(values, "max", offsets=offsets)
        peak = self._first_at(values == strongest[inverse], inverse, where, len(pairs))

        earlier = _LOW - sequence
        top_keys = (strongest.view(torch.int32).long() << 32) | earlier
        sample_keys = (scatter(latents, sequence, self.seed) << 32) | earlier
        for_top = self.top.admits(latents, top_keys)
        for_sample = self.sample.admits(latents, sample_keys)
        kept = for_top | for_sample
        rows = kept.cumsum(0) - 1 + self._n_rows
        self._keep(kept, inverse, where, values, sequence, peak, strongest)
        self.top.merge(latents[for_top], top_keys[for_top], rows[for_top])
        self.sample.merge(latents[for_sample], sample_keys[for_sample], rows[for_sample])
        if self._n_entries > self._compact_above:
            self._compact()
            self._compact_above = max(_COMPACT_ABOVE, 2 * self._n_entries)

    @staticmethod
    def _first_at(chosen: Tensor, group: Tensor, where: Tensor, n_groups: int) -> Tensor:
        """The least position among the chosen entries of each group."""
        first = where.new_full((n_groups,), 1 << 62)
        return first.scatter_reduce_(0, group[chosen], where[chosen], "amin")

    def _keep(
        self,
        kept: Tensor,
        pair_of_entry: Tensor,
        where: Tensor,
        values: Tensor,
        sequence: Tensor,
        peak: Tensor,
        strongest: Tensor,
    ) -> None:
        near = kept[pair_of_entry] & ((where - peak[pair_of_entry]).abs() < self.reach)
        lengths = torch.bincount(pair_of_entry[near], minlength=len(kept))
        self._rows.append(
            {
                "sequence": sequence[kept],
                "position": peak[kept],
                "strongest": strongest[kept],
                "length": lengths[kept],
            }
        )
        self._entries.append({"position": where[near].int(), "value": values[near]})
        self._n_rows += len(self._rows[-1]["length"])
        self._n_entries += len(self._entries[-1]["value"])

    def _compact(self) -> None:
        """Forget the excerpts of candidates that were displaced since."""
        self._rows, self._entries = [_joined(self._rows)], [_joined(self._entries)]
        found = torch.cat([self.top.rows.flatten(), self.sample.rows.flatten()])
        live = found[found >= 0].unique()
        rows, entries = self._rows[0], self._entries[0]
        ends = rows["length"].cumsum(0)
        starts, lengths = (ends - rows["length"])[live], rows["length"][live]
        new_starts = lengths.cumsum(0) - lengths
        picked = torch.arange(int(lengths.sum()), device=live.device) + (
            starts - new_starts
        ).repeat_interleave(lengths)
        self._rows = [{name: column[live] for name, column in rows.items()}]
        self._entries = [{name: column[picked] for name, column in entries.items()}]
        for kept in (self.top, self.sample):
            kept.rows = torch.where(kept.rows >= 0, torch.searchsorted(live, kept.rows.clamp(min=0)), -1)
        self._n_rows, self._n_entries = len(live), len(picked)

    def result(self) -> Excerpts:
        """What was kept so far."""
        self._compact()
        rows, entries = self._rows[0], self._entries[0]
        lengths = rows["length"].cumsum(0)
        return Excerpts(
            top=self.top.rows.cpu().numpy(),
            sample=self.sample.rows.cpu().numpy(),
            sequence=rows["sequence"].cpu().numpy(),
            position=rows["position"].cpu().numpy(),
            strongest=rows["strongest"].cpu().numpy(),
            offsets=torch.cat([lengths.new_zeros(1), lengths]).cpu().numpy(),
            entry_position=entries["position"].cpu().numpy(),
            entry_value=entries["value"].cpu().numpy(),
        )

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, to be given to `restore`."""
        self._compact()
        kept = {"top": self.top, "sample": self.sample}
        return (
            {f"{name}_keys": k.keys for name, k in kept.items()}
            | {f"{name}_rows": k.rows for name, k in kept.items()}
            | {f"row_{name}": column for name, column in self._rows[0].items()}
            | {f"entry_{name}": column for name, column in self._entries[0].items()}
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        device = self.top.keys.device
        for name, kept in (("top", self.top), ("sample", self.sample)):
            kept.keys, kept.rows = state[f"{name}_keys"].to(device), state[f"{name}_rows"].to(device)
        self._rows = [
            {n: state[f"row_{n}"].to(device) for n in ("sequence", "position", "strongest", "length")}
        ]
        self._entries = [{n: state[f"entry_{n}"].to(device) for n in ("position", "value")}]
        self._n_rows, self._n_entries = len(self._rows[0]["length"]), len(self._entries[0]["value"])
        self._compact_above = max(_COMPACT_ABOVE, 2 * self._n_entries)


def scatter(latents: Tensor, sequences: Tensor, seed: int) -> Tensor:
    """A pseudo-random number of 31 bits for each (latent, sequence): [n] int64.

    The finaliser of splitmix64 (Steele et al. 2014); keeping the largest numbers of a stream is a uniform sample of
    it, whatever its order.
    """
    x = (latents + 1) * -0x61C8_8646_80B5_83EB + (sequences + 1) * -0x2E4A_B5CD_2D6E_12FD + seed * 0x5851_F42D
    x = (x ^ _logical_shift(x, 30)) * -0x40A7_B892_E31B_1A47
    x = (x ^ _logical_shift(x, 27)) * -0x6B2F_B644_ECCE_EE15
    return _logical_shift(x ^ _logical_shift(x, 31), 33)


def _logical_shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
