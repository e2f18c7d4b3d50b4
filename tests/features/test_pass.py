"""The streaming pass against a plain dense computation over all activations at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.features import excerpts as excerpts_module
from mistudio.features.excerpts import ExcerptSearch, scatter
from mistudio.features.feature_pass import FeaturePass
from mistudio.features.histogram import BINS, histogram_edges
from mistudio.features.statistics import LatentStatistics
from mistudio.features.streams import whole_sequences
from mistudio.features.windows import choose
from mistudio.sae import SAE, Latents, StandardConfig, TopKConfig

Stream = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def make_stream(seed: int, n_sequences: int, d_sae: int, *, ties: bool = False) -> Stream:
    """Dense latents [n, d_sae] of sequences of 1 to 9 tokens, with sequence and position of each token."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 10, (n_sequences,), generator=generator)
    names = torch.randperm(n_sequences * 3, generator=generator)[:n_sequences]
    sequences = names.repeat_interleave(lengths)
    positions = torch.cat([torch.arange(int(n)) for n in lengths])
    n = len(sequences)
    z = torch.rand(n, d_sae, generator=generator)
    scale = torch.exp(torch.randn(n, 1, generator=generator) * 3)  # maxima keep rising, by factors
    z = torch.round(z * 3) if ties else z * scale
    return z * (torch.rand(n, d_sae, generator=generator) < 0.25), sequences, positions


def feed(stream: Stream, cuts: list[int], *consumers: Any) -> None:
    """Give the stream in batches of whole sequences, cut after about the given numbers of tokens."""
    z, sequences, positions = stream
    start = 0
    for wanted in [*cuts, len(z)]:
        n = whole_sequences(sequences[start:], wanted) if wanted and start < len(z) else 0
        batch = slice(start, start + n)
        latents = Latents.from_dense(z[batch])
        for consumer in consumers:
            if isinstance(consumer, LatentStatistics):
                consumer.add(latents.indices, latents.values, n)
            else:
                consumer.add(
                    latents.indices, latents.values, latents.tokens, sequences[batch], positions[batch]
                )
        start += n
    assert start == len(z)


streams = st.builds(
    make_stream, st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 6), ties=st.booleans()
)
cut_lists = st.lists(st.integers(1, 60), max_size=5)


@settings(max_examples=60, deadline=None)
@given(streams, cut_lists)
def test_statistics_equal_a_dense_computation(stream: Stream, cuts: list[int]) -> None:
    z = stream[0].numpy()
    statistics = LatentStatistics(z.shape[1])
    feed(stream, cuts, statistics)
    columns = statistics.columns()
    assert statistics.n_tokens == len(z)
    np.testing.assert_array_equal(columns["count"], (z > 0).sum(0))
    np.testing.assert_array_equal(columns["maximum"], z.max(0))
    np.testing.assert_allclose(columns["frequency"], (z > 0).mean(0))
    active = np.maximum((z > 0).sum(0), 1)
    np.testing.assert_allclose(columns["mean"], z.astype(np.float64).sum(0) / active, rtol=1e-6)
    for latent in range(z.shape[1]):
        exponent, maximum = int(columns["histogram_exponent"][latent]), float(columns["maximum"][latent])
        counts = columns["histogram"][latent]
        if maximum:
            assert 2.0 ** (exponent - 1) <= maximum < 2.0**exponent
            expected, _ = np.histogram(z[:, latent][z[:, latent] > 0], BINS, (0, 2.0**exponent))
            np.testing.assert_array_equal(counts, expected)
        edges, shown = histogram_edges(exponent, maximum, counts)
        assert len(edges) == len(shown) + 1
        assert sum(shown) == columns["count"][latent]
        assert edges[-1] > maximum >= edges[-2] or maximum == 0


def brute_force_pairs(stream: Stream, latent: int) -> dict[int, tuple[float, int]]:
    """sequence → (strength, position) of the latent's strongest token there, where it fires."""
    z, sequences, positions = stream
    found: dict[int, tuple[float, int]] = {}
    for value, sequence, position in zip(
        z[:, latent].tolist(), sequences.tolist(), positions.tolist(), strict=True
    ):
        if value > 0 and value > found.get(sequence, (0.0, 0))[0]:
            found[sequence] = (value, position)
    return found


def splitmix(latent: int, sequence: int, seed: int) -> int:
    """The reference of `scatter`, in Python integers."""
    mask = 2**64 - 1
    x = (latent + 1) * 0x9E3779B97F4A7C15 + (sequence + 1) * 0xD1B54A32D291ED03 + seed * 0x5851F42D & mask
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
    return (x ^ x >> 31) >> 33


@settings(max_examples=60, deadline=None)
@given(streams, cut_lists, st.integers(1, 4), st.integers(0, 9), st.integers(0, 5), st.integers(1, 6))
def test_examples_equal_a_dense_computation(
    stream: Stream, cuts: list[int], top: int, sample: int, seed: int, reach: int
) -> None:
    z, sequences, positions = stream
    d_sae = z.shape[1]
    search = ExcerptSearch(d_sae, top=top, sample=sample, reach=reach, seed=seed)
    feed(stream, cuts, search)
    found = search.result()
    for latent in range(d_sae):
        pairs = brute_force_pairs(stream, latent)
        strongest = sorted(pairs, key=lambda s: (-pairs[s][0], s))[:top]
        rows = [row for row in found.top[latent].tolist() if row >= 0]
        assert found.sequence[rows].tolist() == strongest
        random = sorted(pairs, key=lambda s: (-splitmix(latent, s, seed), s))[:sample]
        sampled = [row for row in found.sample[latent].tolist() if row >= 0]
        assert found.sequence[sampled].tolist() == random
        for row in {*rows, *sampled}:
            sequence = int(found.sequence[row])
            value, position = pairs[sequence]
            assert (found.strongest[row], found.position[row]) == (np.float32(value), position)
            entries = slice(int(found.offsets[row]), int(found.offsets[row + 1]))
            here = (sequences == sequence) & (z[:, latent] > 0) & ((positions - position).abs() < reach)
            assert found.entry_position[entries].tolist() == positions[here].tolist()
            assert found.entry_value[entries].tolist() == z[here, latent].tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000), cut_lists, cut_lists)
def test_the_result_does_not_depend_on_batches_or_a_restart(
    seed: int, cuts: list[int], other_cuts: list[int]
) -> None:
    stream = make_stream(seed, 30, 5)
    z, sequences, _ = stream
    half = whole_sequences(sequences, max(1, len(z) // 2))
    first, second = [tuple(t[part] for t in stream) for part in (slice(half), slice(half, None))]

    def fresh() -> tuple[LatentStatistics, ExcerptSearch]:
        return LatentStatistics(5), ExcerptSearch(5, top=3, sample=4, reach=4, seed=1)

    statistics, search = fresh()
    feed(stream, cuts, statistics, search)
    broken = fresh()
    feed(first, other_cuts, *broken)  # type: ignore[arg-type]
    resumed = fresh()
    for old, new in zip(broken, resumed, strict=True):
        new.restore({name: t.clone() for name, t in old.state().items()})
    if len(second[0]):
        feed(second, other_cuts, *resumed)  # type: ignore[arg-type]
    for name, values in statistics.columns().items():
        np.testing.assert_allclose(resumed[0].columns()[name], values, rtol=1e-6)
    ours, theirs = search.result(), resumed[1].result()
    for rows, other_rows in ((ours.top, theirs.top), (ours.sample, theirs.sample)):
        np.testing.assert_array_equal(rows >= 0, other_rows >= 0)
        kept, other_kept = rows[rows >= 0], other_rows[other_rows >= 0]
        np.testing.assert_array_equal(ours.sequence[kept], theirs.sequence[other_kept])
        np.testing.assert_array_equal(ours.strongest[kept], theirs.strongest[other_kept])


def test_memory_stays_bounded_while_tokens_go_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Displaced excerpts are forgotten: what is kept depends on latents and examples, not on the tokens seen."""
    monkeypatch.setattr(excerpts_module, "_COMPACT_ABOVE", 1_000)
    search = ExcerptSearch(8, top=5, sample=8, reach=32, seed=0)
    search._compact_above = 1_000
    largest = 0
    for number in range(300):
        z, sequences, positions = make_stream(number, 20, 8)
        latents = Latents.from_dense(z * (1 + number))  # each batch displaces the strongest so far
        search.add(latents.indices, latents.values, latents.tokens, sequences + 100 * number, positions)
        largest = max(largest, search._n_entries)
    assert largest < 4_000
    assert len(search.result().sequence) <= 8 * (5 + 8)


def test_sampling_is_uniform() -> None:
    latents, sequences = torch.zeros(40_000, dtype=torch.int64), torch.arange(40_000)
    numbers = scatter(latents, sequences, 0).double() / 2**31
    counts = torch.histc(numbers.float(), 20, 0, 1)
    assert float(counts.min()) > 1_800 and float(counts.max()) < 2_200
    assert not torch.equal(scatter(latents, sequences, 0), scatter(latents, sequences, 1))


@settings(max_examples=40, deadline=None)
@given(streams, st.integers(1, 4), st.integers(0, 4))
def test_groups_are_the_top_and_random_ones_of_each_quarter(stream: Stream, top: int, wanted: int) -> None:
    d_sae = stream[0].shape[1]
    search = ExcerptSearch(d_sae, top=top, sample=4 * wanted * 2, reach=8, seed=0)
    feed(stream, [], search)
    found = search.result()
    chosen = choose(found, wanted)
    for latent in range(d_sae):
        here = chosen.latent == latent
        rows, groups = chosen.row[here], chosen.group[here]
        assert len(set(rows.tolist())) == len(rows)
        assert groups.tolist() == sorted(groups.tolist())
        tops = found.top[latent][found.top[latent] >= 0]
        assert rows[groups == 0].tolist() == tops.tolist()
        sampled = found.sample[latent][found.sample[latent] >= 0]
        strengths = np.sort(found.strongest[sampled])
        for group in range(1, 5):
            members = found.strongest[rows[groups == group]]
            assert len(members) <= wanted
            assert (np.diff(members) <= 0).all()
            quarter = 4 - group
            low, high = (-(-q * len(strengths) // 4) for q in (quarter, quarter + 1))
            assert set(members.tolist()) <= set(strengths[low:high].tolist())
        others = [row for row in sampled.tolist() if row not in set(tops.tolist())]
        assert len(others) == 0 or wanted == 0 or (groups > 0).any()


@pytest.mark.parametrize("architecture", [TopKConfig(k=4), StandardConfig()])
@pytest.mark.parametrize("decoder_norm", ["raw", "folded"])
def test_a_pass_of_a_dictionary(architecture: Any, decoder_norm: Any) -> None:
    torch.manual_seed(0)
    sae = SAE(architecture, 12, 40)
    for parameter in sae.parameters():
        parameter.copy_(torch.randn_like(parameter) * (1 if parameter.ndim == 2 else 0.1))
    x = torch.randn(600, 12)
    sequences, positions = torch.arange(600) // 20, torch.arange(600) % 20
    run = FeaturePass(sae, top_examples=3, quantile_examples=2, window=8, decoder_norm=decoder_norm)
    run.update(x[:200], sequences[:200], positions[:200])
    again = FeaturePass(sae, top_examples=3, quantile_examples=2, window=8, decoder_norm=decoder_norm)
    again.restore(run.state())
    again.update(x[200:], sequences[200:], positions[200:])
    columns, _ = again.result()
    z = sae.encode_dense(x).detach()
    if decoder_norm == "folded":
        z = z * sae.W_dec.norm(dim=1)
    np.testing.assert_array_equal(columns["count"], (z > 0).sum(0))
    np.testing.assert_allclose(columns["maximum"], z.amax(0), rtol=1e-5)
