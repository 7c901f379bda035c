"""Writes quant_vectors.h: two random blocks of each weight format and their values as
the reference implementation of the formats decodes them. Formats that GGUF files have not are
decoded here, with the E4M3 numbers of ml_dtypes; those whose rows have one scale are given as
a row of it and 64 or more values.

Recipe (the result is committed, so this is only run when a format is added):
    pip install gguf ml_dtypes numpy
    python3 tests/unit/quant_vectors.py > tests/unit/quant_vectors.h

All bits are random except the scales, which are halves of ordinary size in the first
block and subnormal ones in the second, so that every value is finite. Values are given
as the bits of a float: the test asks for equality, not for closeness.
"""

import sys

import ml_dtypes
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize

# name, type, values per block, bytes per block, where the halves are
FORMATS = [
    ("f16", T.F16, 1, 2, [0]),
    ("bf16", T.BF16, 1, 2, []),
    ("q4_0", T.Q4_0, 32, 18, [0]),
    ("q4_1", T.Q4_1, 32, 20, [0, 2]),
    ("q5_0", T.Q5_0, 32, 22, [0]),
    ("q5_1", T.Q5_1, 32, 24, [0, 2]),
    ("q8_0", T.Q8_0, 32, 34, [0]),
    ("q4_k", T.Q4_K, 256, 144, [0, 2]),
    ("q5_k", T.Q5_K, 256, 176, [0, 2]),
    ("q6_k", T.Q6_K, 256, 210, [208]),
]


def blocks_of(rng, n_bytes, halves):
    blocks = rng.integers(0, 256, (2, n_bytes), dtype=np.uint8)
    for at in halves:
        ordinary = np.float16(rng.uniform(-0.1, 0.1))
        subnormal = np.uint16(rng.integers(1, 1024)).view(np.float16)
        for block, scale in zip(blocks, (ordinary, subnormal)):
            block[at : at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
    return blocks


def e4m3_of(rng, n):
    """Bytes of which none is 0x7f or 0xff, which are no numbers."""
    q = rng.integers(0, 127, n, dtype=np.uint8) | rng.integers(0, 2, n, dtype=np.uint8) << 7
    return q, q.view(ml_dtypes.float8_e4m3fn).astype(np.float32)


def row_of(rng, name):
    """A scale and 64 values."""
    scale = np.float32(rng.uniform(-0.1, 0.1))
    if name == "fp8":
        q, number = e4m3_of(rng, 64)
    else:
        q = rng.integers(0, 256, 64, dtype=np.uint8)
        number = q.view(np.int8).astype(np.float32)
    return scale.tobytes() + q.tobytes(), scale * number


def two_fp8_128(rng):
    data, values = b"", []
    for _ in range(2):
        scale = np.float32(rng.uniform(-0.1, 0.1))
        q, number = e4m3_of(rng, 128)
        data += scale.tobytes() + q.tobytes()
        values.append(scale * number)
    return data, np.concatenate(values)


def two_int4(rng, n):
    """An asymmetric block and a symmetric one; the even values are in the low nibbles."""
    data, values = b"", []
    for zero in (rng.integers(0, 16), 8):
        d = np.float16(rng.uniform(-0.1, 0.1))
        q = rng.integers(0, 16, n, dtype=np.uint8)
        data += d.tobytes() + bytes([zero]) + (q[0::2] | q[1::2] << 4).tobytes()
        values.append((q.astype(np.float32) - np.float32(zero)) * np.float32(d))
    return data, np.concatenate(values)


def two_mxfp4(rng):
    """The second has the least power of two, and the first one of each code."""
    q = rng.permutation(np.arange(32, dtype=np.uint8) % 16)
    blocks = np.empty((2, 17), np.uint8)
    blocks[0, 0], blocks[1, 0] = rng.integers(110, 130), 0
    blocks[0, 1:] = q[:16] | q[16:] << 4
    blocks[1, 1:] = rng.integers(0, 256, 16, dtype=np.uint8)
    return blocks.tobytes(), dequantize(blocks, T.MXFP4).astype(np.float32).ravel()


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def two_nvfp4(rng):
    """A row of two blocks; the even values are in the low nibbles."""
    scale = np.float32(rng.uniform(0.001, 0.01))
    data, values = scale.tobytes(), []
    for _ in range(2):
        bits = rng.integers(0, 127, 4, dtype=np.uint8)
        q = rng.integers(0, 16, 64, dtype=np.uint8)
        number = np.where(q & 8, -E2M1[q & 7], E2M1[q & 7]) + np.float32(0)  # no zero has a sign
        data += bits.tobytes() + (q[0::2] | q[1::2] << 4).tobytes()
        scales = bits.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
        values.append(np.repeat(scales, 16) * number * scale)
    return data, np.concatenate(values)


def print_array(kind, name, items, per_line):
    print(f"static const {kind} {name}[] = {{")
    for i in range(0, len(items), per_line):
        print("    " + ", ".join(items[i : i + per_line]) + ",")
    print("};")


def main():
    rng = np.random.default_rng(20240229)
    print("/* Two blocks of each format and their values as bits of floats. Made by")
    print(" * quant_vectors.py from the reference implementation; not edited by hand. */")
    print("/* clang-format off */")
    print("#pragma once\n\n#include <stdint.h>\n")
    for name, kind, n, n_bytes, halves in FORMATS:
        blocks = blocks_of(rng, n_bytes, halves)
        if name == "bf16":  # finite, of ordinary size
            blocks[:, 1] = blocks[:, 1] & 0x80 | 0x3E
        values = dequantize(blocks, kind).astype(np.float32).ravel()
        if values.size != 2 * n or not np.isfinite(values).all():
            sys.exit(f"{name}: {values.size} values, all finite: {np.isfinite(values).all()}")
        print_array("uint8_t", f"{name}_bytes", [f"0x{b:02x}" for b in blocks.ravel()], 16)
        print_array("uint32_t", f"{name}_bits", [f"0x{b:08x}" for b in values.view(np.uint32)], 8)
        print()
    others = {name: row_of(rng, name) for name in ("fp8", "int8")}
    others["fp8_128"] = two_fp8_128(rng)
    others.update({f"int4_{n}": two_int4(rng, n) for n in (32, 64, 128)})
    others["mxfp4"] = two_mxfp4(rng)
    others["nvfp4"] = two_nvfp4(rng)
    for name, (data, values) in others.items():
        print_array("uint8_t", f"{name}_bytes", [f"0x{b:02x}" for b in data], 16)
        print_array("uint32_t", f"{name}_bits", [f"0x{b:08x}" for b in values.view(np.uint32)], 8)
        print()
    print("/* clang-format on */")


main()
