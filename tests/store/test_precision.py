"""Reduced precision against its definitions, bit by bit and by error bounds."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.store import from_bfloat16, to_bfloat16
from mistudio.store.precision import GROUP, decode, encode, is_finite, row_columns

any_float = hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32))
rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 150)),
    elements=st.floats(-1000.0, 1000.0, width=32, allow_subnormal=False),
)


@given(any_float)
def test_bfloat16_equals_torch(values: np.ndarray) -> None:
    expected = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(values)), expected)


def test_bfloat16_bits_are_torch_bits() -> None:
    values = np.array([1.0, -2.5, 3.1415926, 1e-40, -0.0], np.float32)
    tensor = torch.from_numpy(to_bfloat16(values)).view(torch.bfloat16)
    assert torch.equal(tensor, torch.from_numpy(values).to(torch.bfloat16))


def test_every_finite_float16_is_decoded_exactly() -> None:
    bits = np.arange(65_536, dtype=np.uint16)
    values = bits[(bits & 0x7C00) != 0x7C00].view(np.float16).reshape(-1, 64)
    decoded = decode({"values": values}, "float16")
    assert decoded.tobytes() == values.astype(np.float32).tobytes()


@settings(deadline=None)
@given(rows, st.sampled_from(["float32", "float16", "bfloat16", "int8"]))
def test_the_error_stays_within_the_precision(values: np.ndarray, precision: str) -> None:
    parts = encode(values, precision)
    assert {name: (p.dtype, p.shape[1:]) for name, p in parts.items()} == {
        name: (spec.dtype, spec.row_shape) for name, spec in row_columns(precision, values.shape[1]).items()
    }
    assert is_finite(parts, precision)
    error = np.abs(decode(parts, precision) - values)
    if precision == "int8":
        for start in range(0, values.shape[1], GROUP):
            part = slice(start, start + GROUP)
            largest = np.abs(values[:, part]).max(axis=1, keepdims=True)
            assert (error[:, part] <= largest / 127 / 2 * 1.001 + 1e-37).all()
    else:
        step = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}[precision]
        assert (error <= np.abs(values) * step + 2.0**-25 * (precision == "float16")).all()


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_noticed(precision: str, bad: float) -> None:
    values = np.ones((3, 70), np.float32)
    assert is_finite(encode(values, precision), precision)
    values[1, 66] = bad
    assert not is_finite(encode(values, precision), precision)


def test_one_outlier_costs_its_own_group_only() -> None:
    values = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    values[:, 3] = 5_000.0
    error = np.abs(decode(encode(values, "int8"), "int8") - values)
    assert error[:, GROUP:].max() < 0.03
    assert error[:, :GROUP].max() > 0.5
