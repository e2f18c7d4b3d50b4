"""From excerpts to the examples on a page: chosen by group, with tokens and activations around the strongest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mistudio.features.excerpts import Excerpts
from mistudio.store import Examples, TokenStore

QUARTERS = 4
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Chosen:
    """Examples [E], sorted by latent, group and falling strength.

    latent, row (of the excerpts) [E] int64, group [E] uint8. borders [m, 3] float32: the least strengths of q2, q3
    and q4, from the sample of sequences; 0 where the latent never fired.
    """

    latent: Any
    row: Any
    group: Any
    borders: Any


def choose(excerpts: Excerpts, quantile_examples: int) -> Chosen:
    """The strongest examples, and up to `quantile_examples` random others from each quarter of the strengths."""
    n_latents, n_sample = excerpts.sample.shape
    latent, column = np.nonzero(excerpts.top >= 0)
    top_rows = excerpts.top[latent, column]
    parts = [(latent, top_rows, np.zeros(len(latent), np.uint8))]
    borders = np.zeros((n_latents, QUARTERS - 1), np.float32)
    if n_sample:
        found = excerpts.sample >= 0
        strengths = np.full(excerpts.sample.shape, np.inf, np.float32)
        strengths[found] = excerpts.strongest[excerpts.sample[found]]
        order = np.argsort(strengths, axis=1, kind="stable")
        n = found.sum(1)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(n_sample), order.shape), 1)
        quarter = rank * QUARTERS // np.maximum(n, 1)[:, None]
        for border in range(1, QUARTERS):
            first = np.minimum(-(-border * n // QUARTERS), np.maximum(n - 1, 0))
            value = np.take_along_axis(strengths, np.take_along_axis(order, first[:, None], 1), 1)[:, 0]
            borders[:, border - 1] = np.where(n > 0, value, 0)
        is_top = np.zeros(len(excerpts.sequence), bool)
        is_top[top_rows] = True
        others = found.copy()
        others[found] = ~is_top[excerpts.sample[found]]
        latent, column = np.nonzero(others)
        group = (QUARTERS - quarter[latent, column]).astype(np.uint8)
        # The sample's columns are in random order, so the first ones of a group are a random choice.
        by_group = np.lexsort((column, group, latent))
        latent, column, group = latent[by_group], column[by_group], group[by_group]
        wanted = _place_in_run(latent * (QUARTERS + 1) + group) < quantile_examples
        latent, column, group = latent[wanted], column[wanted], group[wanted]
        parts.append((latent, excerpts.sample[latent, column], group))
    latent, row, group = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((excerpts.sequence[row], -excerpts.strongest[row], group, latent))
    return Chosen(latent[order], row[order], group[order], borders)


def _place_in_run(keys: Any) -> Any:
    """For sorted keys [n], the place of each among its equals [n]."""
    if not len(keys):
        return np.zeros(0, np.int64)
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return np.arange(len(keys)) - np.repeat(first, np.diff(np.r_[first, len(keys)]))


def cut_windows(
    excerpts: Excerpts,
    chosen: Chosen,
    tokens: TokenStore,
    window: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Examples:
    """Tokens and activations of each example's window: up to `window` tokens with the strongest in their middle, moved
    inwards at the ends of a sequence. Activations are those of the pass, in float32. Raises `TornFile`."""
    n_latents = len(excerpts.top)
    sequence, position = excerpts.sequence[chosen.row], excerpts.position[chosen.row]
    lengths = _lengths(tokens, sequence)
    start = np.clip(position - window // 2, 0, np.maximum(lengths - window, 0))
    widths = np.minimum(window, lengths - start)
    cuts = np.concatenate([[0], np.cumsum(widths)])
    ids = np.zeros(int(cuts[-1]), np.uint16 if tokens.vocab_size <= 65_536 else np.uint32)
    activations = np.zeros(int(cuts[-1]), np.float32)
    done = 0
    for block, first, ids_here in _by_sequences(tokens, sequence):
        for part in np.array_split(block, -(-len(block) // _BLOCK)):
            inside = _ranges(widths[part])
            owner = np.repeat(part, widths[part])
            ids[cuts[owner] + inside] = ids_here[sequence[owner] - first, start[owner] + inside]
            _fill(activations, excerpts, chosen.row[part], start[part], widths[part], cuts[part])
            done += len(part)
            progress(done, len(sequence))
    return Examples(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(chosen.latent, minlength=n_latents))]),
        sequence=sequence.astype(np.uint32),
        position=position.astype(np.uint32),
        strongest=excerpts.strongest[chosen.row].astype(np.float32),
        group=chosen.group,
        window_start=start.astype(np.uint32),
        window_offsets=cuts,
        tokens=ids,
        activations=activations,
    )


def _fill(out: Any, excerpts: Excerpts, rows: Any, start: Any, widths: Any, cuts: Any) -> None:
    n_entries = excerpts.offsets[rows + 1] - excerpts.offsets[rows]
    entry = np.repeat(excerpts.offsets[rows], n_entries) + _ranges(n_entries)
    owner = np.repeat(np.arange(len(rows)), n_entries)
    place = excerpts.entry_position[entry] - start[owner]
    shown = (place >= 0) & (place < widths[owner])
    out[cuts[owner[shown]] + place[shown]] = excerpts.entry_value[entry[shown]]


def _ranges(lengths: Any) -> Any:
    """0 … lengths[0]-1, 0 … lengths[1]-1, … in one array."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _lengths(tokens: TokenStore, sequence: Any) -> Any:
    out = np.zeros(len(sequence), np.int64)
    for start in range(0, tokens.n_sequences, _BLOCK):
        stop = min(start + _BLOCK, tokens.n_sequences)
        here = (sequence >= start) & (sequence < stop)
        if here.any():
            out[here] = tokens.lengths(start, stop)[sequence[here] - start]
    return out


def _by_sequences(tokens: TokenStore, sequence: Any) -> Any:
    """Examples grouped by runs of sequences: (examples, first sequence of the run, its token ids [n, context])."""
    order = np.argsort(sequence, kind="stable")
    step = max(1, (_BLOCK * 64) // tokens.context)
    runs = sequence[order] // step
    for block in np.split(order, np.flatnonzero(np.diff(runs)) + 1):
        if len(block):
            first = int(sequence[block[0]]) // step * step
            yield block, first, np.asarray(tokens.tokens(first, min(first + step, tokens.n_sequences)))
