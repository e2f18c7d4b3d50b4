"""Example stores: what goes in comes out per latent, quickly, and misfits are refused."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.store import Examples, ExampleStore, TornFile, verify, write_arrays, write_examples


def make(counts: list[int], seed: int = 0, longest: int = 9) -> tuple[Examples, dict[str, np.ndarray]]:
    """Random examples: counts[i] of latent i, with windows of different lengths."""
    generator = np.random.default_rng(seed)
    n = sum(counts)
    lengths = generator.integers(1, longest + 1, n)
    window_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(window_offsets[-1])
    start = generator.integers(0, 100, n)
    examples = Examples(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        sequence=generator.integers(0, 10_000, n).astype(np.uint32),
        position=(start + generator.integers(0, lengths) if n else start).astype(np.uint16),
        strongest=generator.random(n).astype(np.float32),
        group=generator.integers(0, 10, n).astype(np.uint8),
        window_start=start.astype(np.uint32),
        window_offsets=window_offsets,
        tokens=generator.integers(0, 60_000, total).astype(np.uint16),
        activations=generator.random(total).astype(np.float16),
    )
    d_sae = len(counts)
    columns = {
        "frequency": generator.random(d_sae),
        "maximum": generator.random(d_sae).astype(np.float32),
        "histogram": generator.integers(0, 99, (d_sae, 5)).astype(np.uint32),
        "top_ids": generator.integers(0, 99, (d_sae, 3)).astype(np.uint32),
    }
    return examples, columns


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(0, 1_000))
def test_pages_round_trip(counts: list[int], seed: int) -> None:
    examples, columns = make(counts, seed)
    with tempfile.TemporaryDirectory() as folder:
        store = write_examples(Path(folder, "ex"), examples, columns, {"bos": "left out"})
        assert (store.d_sae, store.n_examples) == (len(counts), sum(counts))
        assert store.meta == {"bos": "left out"}
        assert store.counts().tolist() == counts
        assert set(store.columns) == set(columns)
        for latent, count in enumerate(counts):
            page = store.page(latent)
            assert len(page) == count
            first = int(examples.offsets[latent])
            for name, values in columns.items():
                np.testing.assert_array_equal(page.columns[name], values[latent])
            for name in ("sequence", "position", "strongest", "group", "window_start"):
                expected = getattr(examples, name)[first : first + count]
                np.testing.assert_array_equal(getattr(page, name), expected)
            windows = list(page.windows())
            assert len(windows) == count
            for number, (tokens, activations) in enumerate(windows, first):
                window = slice(*examples.window_offsets[number : number + 2])
                np.testing.assert_array_equal(tokens, examples.tokens[window])
                np.testing.assert_array_equal(activations, examples.activations[window])
        np.testing.assert_array_equal(store.column("maximum"), columns["maximum"])
        for wrong in (-1, len(counts)):
            with pytest.raises(IndexError, match="is not in 0 to"):
                store.page(wrong)
        verify(store.folder, deep=True)


def test_misfits_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    examples, columns = make([2, 0, 3])
    for wrong, sentence in [
        (replace(examples, offsets=np.array([0, 2, 1, 5])), "offsets must rise from 0 to 5"),
        (replace(examples, offsets=np.array([0, 2, 4])), "offsets must rise from 0 to 5"),
        (
            replace(examples, position=examples.position[:-1]),
            "position must have one value for each of the 5",
        ),
        (replace(examples, activations=examples.activations[1:]), "one id and one activation"),
        (replace(examples, position=examples.position + np.uint16(500)), "must lie in its window"),
        (replace(examples, window_offsets=examples.window_offsets + 1), "window_offsets must rise"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            write_examples(tmp_path / "ex", wrong, columns)
    with pytest.raises(ValueError, match="lack maximum"):
        write_examples(tmp_path / "ex", examples, {"frequency": columns["frequency"]})
    with pytest.raises(ValueError, match="histogram has 2 rows for 3 latents"):
        write_examples(tmp_path / "ex", examples, columns | {"histogram": columns["histogram"][:2]})
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_no_example_store(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x", {"a": np.arange(3)})
    with pytest.raises(TornFile, match="belongs to no example store"):
        ExampleStore(tmp_path / "x")


def test_a_page_of_a_large_store_takes_under_a_millisecond(tmp_path: Path) -> None:
    examples, columns = make([20] * 5_000, longest=64)
    store = write_examples(tmp_path / "ex", examples, columns)
    store.page(0)
    took = []
    for latent in range(0, 5_000, 50):
        start = time.perf_counter()
        page = store.page(latent)
        page.tokens.sum()
        page.activations.max()
        took.append(time.perf_counter() - start)
    assert np.median(took) < 1e-3
    assert not page.tokens.flags.owndata
