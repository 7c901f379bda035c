"""Reads safetensors files and what compressed-tensors keeps of a matrix, with nothing but Python,
each format by its definition alone."""
import json
import math
import struct

CODE = {"F32": "f", "F16": "e", "I8": "b", "U8": "B", "I32": "i", "I64": "q", "BF16": "H",
        "F8_E4M3": "B"}


def bf16(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def e4m3(bits):
    """4 bits of exponent with bias 7, 3 of fraction; 127 and 255 are not numbers."""
    sign = -1.0 if bits & 128 else 1.0
    exponent, fraction = bits >> 3 & 15, bits & 7
    if bits & 127 == 127:
        return math.nan
    if exponent == 0:
        return sign * fraction * 2.0 ** -9
    return sign * (8 + fraction) * 2.0 ** (exponent - 10)


NUMBER = {"BF16": bf16, "F8_E4M3": e4m3}


def read(path):
    """{name: (dtype, shape, values as they stand)}, and the metadata; checks the layout."""
    with open(path, "rb") as f:
        raw = f.read()
    n, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + n])
    meta = header.pop("__metadata__", None)
    assert (8 + n) % 8 == 0, "the data begin at a multiple of 8"
    tensors, end = {}, 0
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = t["data_offsets"]
        code = CODE[t["dtype"]]
        count = math.prod(t["shape"])
        assert first == end and last - first == count * struct.calcsize("<" + code), name
        values = struct.unpack_from(f"<{count}{code}", raw, 8 + n + first)
        number = NUMBER.get(t["dtype"])
        if number and t["dtype"] != "F8_E4M3":
            values = [number(v) for v in values]
        tensors[name] = (t["dtype"], t["shape"], values)
        end = last
    assert 8 + n + end == len(raw), "nothing behind the last tensor"
    return tensors, meta


def nibbles(words, n):
    """n values of 4 bits of 32-bit words, the lowest first."""
    return [(words[i // 8] & 0xffffffff) >> 4 * (i % 8) & 15 for i in range(n)]


def dequantize(tensors, module):
    """Rows of a module's matrix."""
    if f"{module}.weight_packed" in tensors:
        _, (_, words), _ = tensors[f"{module}.weight_packed"]
        _, _, (_, width) = tensors[f"{module}.weight_shape"]
        return (dequantize_int4 if words * 8 == width else dequantize_bytes)(tensors, module)
    dtype, (rows, width), q = tensors[f"{module}.weight"]
    _, shape, scale = tensors[f"{module}.weight_scale"]
    number = e4m3 if dtype == "F8_E4M3" else float
    high, wide, across = 128, 128, shape[1] if len(shape) == 2 else 1
    if len(scale) in (1, rows):
        high, wide, across = rows // len(scale), width, 1
    return [[number(q[r * width + k]) * scale[r // high * across + k // wide]
             for k in range(width)] for r in range(rows)]


def dequantize_int4(tensors, module):
    _, _, (rows, width) = tensors[f"{module}.weight_shape"]
    _, (_, words), packed = tensors[f"{module}.weight_packed"]
    _, (_, groups), scale = tensors[f"{module}.weight_scale"]
    size = width // groups
    zero = [[0] * groups for _ in range(rows)]
    if f"{module}.weight_zero_point" in tensors:
        _, shape, z = tensors[f"{module}.weight_zero_point"]
        assert shape == [(rows + 7) // 8, groups]
        zero = [[(z[r // 8 * groups + g] >> 4 * (r % 8) & 15) - 8 for g in range(groups)]
                for r in range(rows)]
    out = []
    for r in range(rows):
        q = nibbles(packed[r * words:(r + 1) * words], width)
        out.append([(q[k] - 8 - zero[r][k // size]) * scale[r * groups + k // size]
                    for k in range(width)])
    return out


def dequantize_bytes(tensors, module):
    """8 bits in words, four to each, with 128 added to them; a scale a row, or 32 values."""
    _, _, (rows, width) = tensors[f"{module}.weight_shape"]
    _, (_, words), packed = tensors[f"{module}.weight_packed"]
    dtype, (_, groups), scale = tensors[f"{module}.weight_scale"]
    assert words == (width + 3) // 4 and groups in (1, width // 32)
    assert dtype == "F32" if groups == 1 else dtype in ("BF16", "F16")
    return [[((packed[r * words + k // 4] >> k % 4 * 8 & 255) - 128) *
             scale[r * groups + k * groups // width] for k in range(width)] for r in range(rows)]
