"""SafeTensors files written and read without gmat, and what their elements become."""

import json
import struct

import ml_dtypes
import numpy as np

# NumPy's view of every element type.
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
FP4 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float64)


def write(path, tensors):
    """A SafeTensors file with these tensors: name -> (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read(path):
    """All tensors of a SafeTensors file: name -> (dtype, array)."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            array = np.frombuffer(raw[8 + length + start:8 + length + end], DTYPES[entry["dtype"]])
            out[name] = entry["dtype"], array.reshape(entry["shape"])
    return out


def expected(dtype, array, precision):
    """The array in the output, and how many of its values are clamped."""
    if dtype not in FLOATS:
        return array, 0
    with np.errstate(all="ignore"):
        if precision == "float32":
            return array.astype(np.float32), 0
        # Every value is exact in float64, so that rounding to float16 is one step.
        wide = array.astype(np.float64)
        beyond = np.isfinite(wide) & (np.abs(wide) > 65504)
        return np.where(beyond, np.copysign(65504.0, wide), wide).astype(np.float16), int(beyond.sum())


def mxfp4(blocks, scales):
    """Values by the definition, in float64: blocks [..., groups, 16], scales [..., groups]."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:-1], 32)
    factor = np.where(scales == 255, np.nan, np.ldexp(1.0, scales.astype(np.int64) - 127))
    values = FP4[codes] * factor[..., None]
    return values.reshape(*scales.shape[:-1], scales.shape[-1] * 32)


def same(one, other):
    """Whether two arrays agree in type, shape and every bit; NaN is NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    bits = np.dtype(f"u{one.dtype.itemsize}")
    nan = np.isnan(one)
    return np.array_equal(nan, np.isnan(other)) and np.array_equal(
        np.ascontiguousarray(one).view(bits)[~nan] if one.ndim else one.reshape(1).view(bits)[~nan.reshape(1)],
        np.ascontiguousarray(other).view(bits)[~nan] if one.ndim else other.reshape(1).view(bits)[~nan.reshape(1)])
