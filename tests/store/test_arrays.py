"""Array folders and streamed .npy files: what goes in comes out, and damage is named."""

import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.store import AlreadyThere, ArrayFolder, TornFile, verify, write_arrays
from mistudio.store.checksum import crc32_file
from mistudio.store.npy import NpyWriter, map_npy
from tests.store.test_atomic import python

dtypes = st.sampled_from(["u1", "<u2", "<u4", "<i8", "<f2", "<f4", "<f8", "?"])
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True), arrays, max_size=4))
def test_arrays_round_trip(named: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stored = write_arrays(Path(folder, "x"), named, {"note": [1, "two", None]})
        assert stored.meta == {"note": [1, "two", None]}
        assert set(stored) == set(named)
        for name, array in named.items():
            assert stored[name].dtype == array.dtype
            assert stored[name].shape == array.shape
            assert stored[name].tobytes() == array.tobytes()
        verify(stored.folder, deep=True)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 5), max_size=6),
    dtypes,
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
)
def test_streamed_rows_are_a_plain_npy_file(sizes: list[int], dtype: str, row_shape: tuple[int, ...]) -> None:
    blocks = [np.arange(n * int(np.prod(row_shape))).astype(dtype).reshape(n, *row_shape) for n in sizes]
    expected = np.concatenate([np.empty((0, *row_shape), dtype), *blocks])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        writer = NpyWriter(path, np.dtype(dtype), row_shape)
        for block in blocks:
            writer.append(block)
        entry = writer.close()
        np.testing.assert_array_equal(np.load(path), expected)
        np.testing.assert_array_equal(map_npy(path), expected)
        assert entry == (path.stat().st_size, crc32_file(path))


def test_the_store_never_imports_torch() -> None:
    code = "import sys, mistudio.store; print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    out, err = python(code).communicate(timeout=60)
    assert out.strip() == "[]", err


def test_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    stored = write_arrays(tmp_path / "x", {"a": np.arange(10)})
    with pytest.raises(ValueError, match="read-only"):
        stored["a"][0] = 1
    assert not stored["a"].flags.owndata


def test_strided_arrays_are_stored_right(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(4, 6).T[::2]
    np.testing.assert_array_equal(write_arrays(tmp_path / "x", {"a": array})["a"], array)


def test_objects_and_strange_names_are_refused(tmp_path: Path) -> None:
    for named in ({"a": np.array([{}])}, {"../a": np.arange(2)}, {"": np.arange(2)}, {"a": np.array(3)}):
        with pytest.raises(ValueError, match=r"must be a numeric array|cannot name an array"):
            write_arrays(tmp_path / "x", named)
    assert list(tmp_path.iterdir()) == []


def test_content_is_never_replaced(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x", {"a": np.arange(3)})
    with pytest.raises(AlreadyThere):
        write_arrays(tmp_path / "x", {"a": np.arange(4)})
    assert len(ArrayFolder(tmp_path / "x")["a"]) == 3


def test_an_unknown_name_is_a_key_error(tmp_path: Path) -> None:
    stored = write_arrays(tmp_path / "x", {"a": np.arange(3)})
    assert "b" not in stored
    with pytest.raises(KeyError):
        stored["b"]


def test_a_cut_array_is_named_on_opening(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "x", {"a": np.arange(300)}).folder / "a.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(TornFile, match=r"a\.npy is torn"):
        ArrayFolder(tmp_path / "x")


def test_a_pickle_in_an_npy_file_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(TornFile, match=r"evil\.npy is not a whole"):
        map_npy(tmp_path / "evil.npy")
