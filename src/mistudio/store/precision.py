"""Reduced precision for stored activations, in numpy: bfloat16 as its bits, int8 in scaled groups.

bfloat16 is the upper half of a float32. numpy has no such type, so its 16 bits are kept as uint16;
`torch.from_numpy(bits).view(torch.bfloat16)` gives the tensor without a copy.
int8 keeps one float32 scale for each group of 64 neighbours in a row: x ≈ scale·q with scale = max|x|/127,
so that one outlier dimension costs precision in its own group only.
"""

from typing import Literal

import numpy as np

from mistudio.store.npy import Array
from mistudio.store.shards import Column

Precision = Literal["float32", "float16", "bfloat16", "int8"]
STORED: dict[str, np.dtype[np.generic]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
}
LARGEST: dict[str, float] = {"float32": 3.4028235e38, "float16": 65504.0, "bfloat16": 3.3895314e38}
GROUP = 64
# Blocks of about this many values stay in the cache while they are converted, checked and written.
BLOCK_VALUES = 1 << 17


def to_bfloat16(values: Array) -> Array:
    """bfloat16 bits (uint16) of float values, rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    if nan.any():
        rounded[nan] = 0x7FC0
    return rounded


def from_bfloat16(bits: Array) -> Array:
    """float32 values of bfloat16 bits (uint16), exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def row_columns(precision: str, d: int) -> dict[str, Column]:
    """The stored parts of rows of `d` values: the values and, for int8, the scales."""
    parts = {"values": Column(STORED[precision], (d,))}
    if precision == "int8":
        parts["scales"] = Column(np.dtype("<f4"), (-(-d // GROUP),))
    return parts


def row_bytes(precision: str, d: int) -> int:
    """Bytes that a stored row of `d` values takes."""
    columns = row_columns(precision, d).values()
    return sum(column.dtype.itemsize * column.row_shape[0] for column in columns)


def encode(rows: Array, precision: str) -> dict[str, Array]:
    """Stored parts of `rows` [n, d]: float32, float16, or uint16 for bfloat16 bits."""
    if rows.dtype == STORED[precision]:
        return {"values": rows}
    if precision == "float16":
        with np.errstate(over="ignore"):
            return {"values": as_float32(rows).astype(np.float16)}
    rows = as_float32(rows)
    if precision == "float32":
        return {"values": rows}
    if precision == "bfloat16":
        return {"values": to_bfloat16(rows)}
    n, d = rows.shape
    groups = -(-d // GROUP)
    if d % GROUP:
        rows = np.pad(rows, ((0, 0), (0, groups * GROUP - d)))
    grouped = rows.reshape(n, groups, GROUP)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        # At least the smallest normal float: a scale below it would lose its own digits.
        scales = np.maximum(np.abs(grouped).max(axis=2) / np.float32(127), np.finfo(np.float32).tiny)
        quantized = np.rint(grouped / scales[:, :, None]).astype(np.int8)
    return {"values": quantized.reshape(n, -1)[:, :d], "scales": scales}


def decode(parts: dict[str, Array], precision: str) -> Array:
    """float32 rows [n, d] (a fresh array) from their stored parts; all stored values are finite."""
    values = parts["values"]
    out = np.empty(values.shape, np.float32)
    step = max(1, BLOCK_VALUES // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        if precision == "float16":
            _decode_float16(values[rows], out[rows])
        elif precision == "bfloat16":
            np.left_shift(values[rows], 16, out=out[rows].view(np.uint32), dtype=np.uint32)
        elif precision == "int8":
            scales = np.repeat(parts["scales"][rows], GROUP, axis=1)[:, : values.shape[1]]
            np.multiply(values[rows], scales, out=out[rows])
        else:
            out[rows] = values[rows]
    return out


def is_finite(parts: dict[str, Array], precision: str) -> bool:
    """Whether no stored value is NaN or infinite."""
    if precision == "int8":
        return bool(np.isfinite(parts["scales"]).all())
    values = parts["values"]
    if not values.size:
        return True
    if precision == "float32":
        return bool(np.isfinite(values).all())
    exponent = 0x7C00 if precision == "float16" else 0x7F80
    return bool((values.view(np.uint16) & np.uint16(0x7FFF)).max() < exponent)


def as_float32(rows: Array) -> Array:
    """float32 values of float32, float16 or bfloat16-bit (uint16) rows."""
    if rows.dtype == np.uint16:
        return from_bfloat16(rows)
    return rows.astype(np.float32, copy=False)


def _decode_float16(values: Array, out: Array) -> None:
    # Shifting exponent and mantissa into place and multiplying by 2^(127-15) is exact for every finite
    # value, subnormals included, and five times as fast as numpy's own conversion.
    bits = out.view(np.int32)
    np.left_shift(values.view(np.int16), 13, out=bits, dtype=np.int32)
    bits &= np.int32(-0x70000001)
    out *= np.float32(2.0**112)
