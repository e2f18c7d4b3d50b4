"""Token stores: round trips, padding, resume after a kill, bad input."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.store import (
    AlreadyThere,
    TokenStore,
    TokenStoreWriter,
    TornFile,
    is_finished,
    sweep_temporaries,
    verify,
)
from tests.store.test_atomic import kill_when_ready, python


def writer(folder: Path, **changes: object) -> TokenStoreWriter:
    settings: dict[str, object] = {
        "context": 8,
        "vocab_size": 50_000,
        "tokenizer": "test",
        "pad_id": 2,
        "shard_sequences": 10,
    }
    return TokenStoreWriter(folder, **(settings | changes))  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.lists(st.integers(0, 69_999), min_size=1, max_size=6), max_size=5), max_size=6),
    st.sampled_from([70_000, 65_536]),
    st.integers(1, 4),
)
def test_sequences_round_trip(appends: list[list[list[int]]], vocab_size: int, shard: int) -> None:
    appends = [[[id % vocab_size for id in sequence] for sequence in block] for block in appends]
    flat = [sequence for block in appends for sequence in block]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tk")
        with writer(path, context=6, vocab_size=vocab_size, shard_sequences=shard) as out:
            start = 0
            for block in appends:
                places = np.arange(start, start + len(block))
                out.append(block, places, places * 7)
                start += len(block)
            assert out.n_sequences == len(flat)
        store = TokenStore(path)
        assert len(store) == store.n_sequences == len(flat)
        assert store.n_tokens == sum(map(len, flat))
        assert [store[place].tolist() for place in range(len(flat))] == flat
        tokens = store.tokens(0, len(flat))
        assert tokens.dtype == (np.uint16 if vocab_size == 65_536 else np.uint32)
        assert tokens.shape == (len(flat), 6)
        lengths = store.lengths(0, len(flat))
        assert all((row[length:] == 2).all() for row, length in zip(tokens, lengths, strict=True))
        assert store.sources(0, len(flat)).row.tolist() == list(range(len(flat)))
        assert store.sources(0, len(flat)).offset.tolist() == [7 * place for place in range(len(flat))]
        order = list(reversed(range(len(flat)))) + list(range(len(flat)))
        taken, taken_lengths = store.take(order)
        np.testing.assert_array_equal(taken, tokens[order])
        np.testing.assert_array_equal(taken_lengths, lengths[order])
        verify(path, deep=True)


def test_what_describes_the_tokens_is_kept(tmp_path: Path) -> None:
    out = writer(tmp_path / "tk", bos_id=1, eos_id=0, settings={"packing": True})
    out.append(np.ones((3, 8), np.int64), [0, 0, 1], [0, 30, 0])
    store = out.finish()
    assert (store.context, store.vocab_size, store.tokenizer) == (8, 50_000, "test")
    assert (store.bos_id, store.eos_id, store.pad_id) == (1, 0, 2)
    assert store.settings == {"packing": True}


def test_reads_within_a_shard_are_views_of_the_file(tmp_path: Path) -> None:
    out = writer(tmp_path / "tk")
    out.append(np.ones((10, 8), np.int64), range(10), range(10))
    out.append(np.ones((10, 8), np.int64), range(10), range(10))
    store = out.finish()
    assert not store.tokens(2, 9).flags.owndata
    assert store.tokens(5, 15).shape == (10, 8)


def test_bad_input_writes_nothing(tmp_path: Path) -> None:
    out = writer(tmp_path / "tk")
    for sequences, rows, offsets, sentence in [
        ([[1, 50_000]], [0], [0], "Token id 50,000 is not in the vocabulary"),
        ([[1, -1]], [0], [0], "Token id -1 is not"),
        ([[]], [0], [0], "must have 1 to 8 tokens"),
        ([[1] * 9], [0], [0], "must have 1 to 8 tokens"),
        ([[1]], [0, 1], [0], "1 sequences came with 2 rows"),
        ([[1]], [-1], [0], "Each row must be"),
        (np.ones((2, 7), np.int64), [0, 1], [0, 1], r"shape \[n, 8\]"),
        (np.ones((1, 8)), [0], [0], r"must hold integers"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            out.append(sequences, rows, offsets)
    out.append([[5]], [0], [0])
    store = out.finish()
    assert (store.n_sequences, store.n_tokens) == (1, 1)
    for changes in ({"context": 0}, {"vocab_size": 0}, {"pad_id": 50_000}, {"shard_sequences": 0}):
        with pytest.raises(ValueError, match=r"must|not in the vocabulary"):
            writer(tmp_path / "other", **changes)
    assert not (tmp_path / "other").exists()


def test_an_unfinished_store_says_so(tmp_path: Path) -> None:
    out = writer(tmp_path / "tk")
    out.append(np.ones((25, 8), np.int64), range(25), range(25))
    out.suspend()
    with pytest.raises(TornFile, match="is not finished"):
        TokenStore(tmp_path / "tk")
    with pytest.raises(AlreadyThere):
        writer(tmp_path / "tk")


def test_a_failing_block_keeps_what_is_whole(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "tk") as out:
        out.append([[1], [2]], [0, 1], [0, 0], state={"row": 2})
        raise ZeroDivisionError
    again = TokenStoreWriter.resume(tmp_path / "tk")
    assert (again.n_sequences, again.state) == (2, {"row": 2})


def test_a_finished_store_is_not_resumed(tmp_path: Path) -> None:
    writer(tmp_path / "tk").finish()
    assert is_finished(tmp_path / "tk")
    assert TokenStore(tmp_path / "tk").tokens(0, 0).shape == (0, 8)
    with pytest.raises(AlreadyThere, match="is finished already"):
        TokenStoreWriter.resume(tmp_path / "tk")


KILLED = """
import sys, time
import numpy as np
from mistudio.store import TokenStoreWriter
out = TokenStoreWriter(sys.argv[1], context=8, vocab_size=1000, tokenizer="test", shard_sequences=10)
for place in range(27):
    out.append(np.full((1, 8), place), [place], [0], state=place + 1)
print("ready", flush=True); time.sleep(60)
"""


def test_a_killed_tokenization_goes_on_at_its_last_shard(tmp_path: Path) -> None:
    process = python(KILLED, tmp_path / "tk")
    try:
        kill_when_ready(process)
    finally:
        process.kill()
    out = TokenStoreWriter.resume(tmp_path / "tk")
    assert (out.n_sequences, out.state) == (20, 20)
    assert sweep_temporaries(tmp_path) == []
    for place in range(out.state, 35):
        out.append(np.full((1, 8), place), [place], [0], state=place + 1)
    store = out.finish()
    assert store.tokens(0, 35)[:, 0].tolist() == list(range(35))
    assert store.n_tokens == 35 * 8
    verify(store.folder, deep=True)


def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    out = writer(tmp_path / "tk", shard_sequences=1)
    for place in range(3):
        out.append([[place]], [place], [0])
    out.suspend()
    (tmp_path / "tk" / "shard-000001").rename(tmp_path / "gone")
    with pytest.raises(TornFile, match="shard-000001 is missing"):
        TokenStoreWriter.resume(tmp_path / "tk")


def test_a_torn_shard_is_named(tmp_path: Path) -> None:
    out = writer(tmp_path / "tk")
    out.append(np.ones((25, 8), np.int64), range(25), range(25))
    store = out.finish()
    path = store.folder / "shard-000000" / "tokens.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TornFile, match=r"shard-000000/tokens\.npy has changed"):
        verify(store.folder, deep=True)
    path.write_bytes(content[:-1])
    with pytest.raises(TornFile, match=r"shard-000000/tokens\.npy is torn"):
        TokenStore(store.folder)


def test_another_kind_of_folder_is_refused(tmp_path: Path) -> None:
    from mistudio.store import ActivationCacheWriter

    ActivationCacheWriter(tmp_path / "ac", {"hook": 4}).finish()
    with pytest.raises(TornFile, match="belongs to 'activations', not to 'tokens'"):
        TokenStore(tmp_path / "ac")
