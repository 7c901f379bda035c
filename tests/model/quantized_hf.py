#!/usr/bin/env python3
"""Writes one small model as a quantized Hugging Face folder for each way of storing matrices, and
beside it the same weights as plain numbers: what the quantized ones are worth by definition.

    tests/model/quantized_hf.py DIR    DIR/quantized-NAME and DIR/quantized-NAME-plain for each

Scales and codes are the nearest ones; nothing is said about how good they are. Where no format of
ours has all values, as in the order of activations, the plain numbers are the halves next to them.
"""
import bisect
import random
import struct
import sys

import hf_write
from families_gguf import pack, tensors_of
from families_hf import config_of
from gguf_write import vocabulary

FAMILY = "llama3"


def e4m3_number(code):
    exponent, fraction = code >> 3, code & 7
    return fraction * 2.0**-9 if exponent == 0 else (8 + fraction) * 2.0**(exponent - 10)


E4M3 = [e4m3_number(code) for code in range(0x7f)]


def e4m3_code(x):
    """Nearest, an even code in the middle."""
    magnitude = min(abs(x), 448.0)
    i = bisect.bisect_left(E4M3, magnitude)
    if i and (magnitude - E4M3[i - 1], (i - 1) & 1) < (E4M3[i] - magnitude, i & 1):
        i -= 1
    return i | (0x80 if x < 0 else 0)


def stored(scale, form):
    """As the type holds it."""
    if form == "bf16":
        bits = struct.unpack("<I", struct.pack("<f", scale))[0] + 0x8000 & 0xffff0000
        return struct.unpack("<f", struct.pack("<I", bits))[0]
    letter = {"f16": "<e", "f32": "<f"}[form]
    return struct.unpack(letter, struct.pack(letter, scale))[0]


def scale_bytes(scales, form):
    flat = [s for row in scales for s in row]
    if form == "bf16":
        return b"".join(struct.pack("<f", s)[2:] for s in flat)
    return struct.pack(f"<{len(flat)}{'e' if form == 'f16' else 'f'}", *flat)


def words(rows, bits):
    """Each row's codes from the lowest bits of a word on."""
    each, out = 32 // bits, bytearray()
    for row in rows:
        for i in range(0, len(row), each):
            out += struct.pack("<I", sum(c << bits * j for j, c in enumerate(row[i:i + each])))
    return bytes(out)


def transposed(rows):
    return [list(column) for column in zip(*rows)]


class Quantized:
    """Of rows of K numbers: code[n][k], and scale and zero of each of its blocks."""

    def __init__(self, rows, bits, block, form, asymmetric=False, order=None):
        self.N, self.K, self.bits, self.form = len(rows), len(rows[0]), bits, form
        self.block = (block[0] or self.N, block[1] or self.K)
        self.group = order or [k // self.block[1] for k in range(self.K)]
        self.middle = 1 << (bits - 1) if bits else 0
        n_groups = max(self.group) + 1
        columns = [[k for k in range(self.K) if self.group[k] == g] for g in range(n_groups)]
        self.scale, self.zero = [], []
        for first in range(0, self.N, self.block[0]):
            found = [self.range_of([rows[n][k] for n in range(first, min(first + self.block[0],
                                                                           self.N))
                                    for k in ks], asymmetric) for ks in columns]
            self.scale.append([s for s, _ in found])
            self.zero.append([z for _, z in found])
        self.code = [[self.code_of(rows[n][k], *self.block_of(n, k)) for k in range(self.K)]
                     for n in range(self.N)]
        self.value = [[self.value_of(self.code[n][k], *self.block_of(n, k)) for k in range(self.K)]
                      for n in range(self.N)]

    def block_of(self, n, k):
        row = n // self.block[0]
        return self.scale[row][self.group[k]], self.zero[row][self.group[k]]

    def range_of(self, numbers, asymmetric):
        low, high = min(min(numbers), 0.0), max(max(numbers), 0.0)
        if not self.bits:
            return stored(max(-low, high) / 448, self.form), 0
        if not asymmetric:
            return stored(max(-low, high) / (self.middle - 0.5), self.form), self.middle
        scale = stored((high - low) / (2 * self.middle - 1), self.form)
        return scale, min(max(round(-low / scale), 0), 2 * self.middle - 1)

    def code_of(self, x, scale, zero):
        if not self.bits:
            return e4m3_code(x / scale)
        return min(max(round(x / scale) + zero, 0), 2 * self.middle - 1)

    def value_of(self, code, scale, zero):
        number = code - zero if self.bits else e4m3_number(code & 0x7f) * (-1 if code > 0x7f else 1)
        return stored(scale * number, "f32")

    def scales(self, name):
        rows = self.scale
        return name, (len(rows), len(rows[0])), self.form, scale_bytes(rows, self.form)

    def scales_transposed(self, name):
        rows = transposed(self.scale)
        return name, (len(rows), len(rows[0])), self.form, scale_bytes(rows, self.form)


# ---- What each way makes of a matrix: its tensors, after the module's name


def as_bytes(q):
    flat = [c - q.middle & 255 for row in q.code for c in row]
    return [("weight", (q.N, q.K), "i8" if q.bits else "e4m3", bytes(flat)),
            q.scales("weight_scale")]


def as_blocks(q):
    return [as_bytes(q)[0], q.scales("weight_scale_inv")]


def as_static(q):
    """With a scale of activations, which is of no use to us."""
    name, _, form, raw = q.scales("weight_scale")
    return [as_bytes(q)[0], (name, (), form, raw), ("input_scale", (), "f32", b"\0\0\0\0")]


def as_mistral(q):
    """As Mistral writes its own: the same by other names."""
    name, _, form, raw = q.scales("weight_scale_inv")
    return [as_bytes(q)[0], (name, (), form, raw), ("activation_scale", (), "bf16", b"\0\0")]


def as_pairs(q):
    nibbles = [[(c - 8) & 15 for c in row] for row in q.code]
    raw = bytes(a | b << 4 for even, odd in zip(nibbles[::2], nibbles[1::2])
                for a, b in zip(even, odd))
    return [("weight", (q.N // 2, q.K), "u8", raw), q.scales("weight_scale")]


def as_packed(q, zeros=False):
    each = 32 // q.bits
    out = [("weight_packed", (q.N, (q.K + each - 1) // each), "i32", words(q.code, q.bits)),
           ("weight_shape", (2,), "i64", struct.pack("<2q", q.N, q.K)), q.scales("weight_scale")]
    if zeros:
        rows = words(transposed(q.zero), q.bits)
        n, groups = (q.N + each - 1) // each, len(q.zero[0])
        raw = b"".join(rows[4 * (g * n + i):4 * (g * n + i) + 4] for i in range(n)
                       for g in range(groups))
        out.append(("weight_zero_point", (n, groups), "i32", raw))
    return out


def as_awq(q):
    def permuted(row):
        return [row[i + j] for i in range(0, len(row), 8) for j in (0, 2, 4, 6, 1, 3, 5, 7)]
    codes, zeros = transposed(q.code), transposed(q.zero)
    return [("qweight", (q.K, q.N // 8), "i32", words([permuted(r) for r in codes], 4)),
            ("qzeros", (len(zeros), q.N // 8), "i32", words([permuted(r) for r in zeros], 4)),
            q.scales_transposed("scales")]


def as_gptq(q):
    each = 32 // q.bits
    rows = (q.K + each - 1) // each
    along = words(q.code, q.bits)
    codes = b"".join(along[4 * (n * rows + r):4 * (n * rows + r) + 4] for r in range(rows)
                     for n in range(q.N))
    zeros = transposed(q.zero)
    one = sum(1 << q.bits * i for i in range(each))
    stored_zeros = b"".join(struct.pack("<I", w - one & 0xffffffff)
                            for (w,) in struct.iter_unpack("<I", words(zeros, q.bits)))
    return [("qweight", (rows, q.N), "i32", codes),
            ("qzeros", (len(zeros), (q.N + each - 1) // each), "i32", stored_zeros),
            q.scales_transposed("scales"),
            ("g_idx", (q.K,), "i32", struct.pack(f"<{q.K}i", *q.group))]


def compressed(form, bits, kind, **more):
    weights = {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": False, **more}
    return {"quant_method": "compressed-tensors", "format": form + "-quantized",
            "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                          "input_activations": None}}}


def gptq(bits, group, **more):
    return {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": False,
            "sym": True, "lm_head": False, "checkpoint_format": "gptq", "pack_dtype": "int32",
            **more}


# Name: quantization_config, how a matrix becomes codes, how they are written.
WAYS = {
    "ct-fp8": (compressed("float", 8, "float", strategy="channel"),
               lambda r: Quantized(r, 0, (1, 0), "bf16"), as_bytes),
    "ct-int8": (compressed("int", 8, "int", strategy="channel"),
                lambda r: Quantized(r, 8, (1, 0), "bf16"), as_bytes),
    "ct-w4a16": (compressed("pack", 4, "int", strategy="group", group_size=128),
                 lambda r: Quantized(r, 4, (1, 128), "bf16"), as_packed),
    "ct-w4a16-asym": (compressed("pack", 4, "int", group_size=32, symmetric=False),
                      lambda r: Quantized(r, 4, (1, 32), "bf16", True),
                      lambda q: as_packed(q, True)),
    "ct-w8a16": (compressed("pack", 8, "int", group_size=64),
                 lambda r: Quantized(r, 8, (1, 64), "f16"), as_packed),
    "fp8-block": ({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                   "weight_block_size": [128, 128]},
                  lambda r: Quantized(r, 0, (128, 128), "f32"), as_blocks),
    "fp8-static": ({"quant_method": "fp8", "activation_scheme": "static", "dequantize": False,
                    "weight_block_size": None,
                    "modules_to_not_convert": ["model.vision_tower", "lm_head"]},
                   lambda r: Quantized(r, 0, (0, 0), "bf16"), as_mistral),
    "modelopt-fp8": ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
                      "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}},
                     lambda r: Quantized(r, 0, (0, 0), "f32"), as_static),
    "modelopt-int4": ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 64},
                      lambda r: Quantized(r, 4, (1, 64), "bf16"), as_pairs),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True,
             "version": "gemm", "modules_to_not_convert": None},
            lambda r: Quantized(r, 4, (1, 64), "f16", True), as_awq),
    "gptq": (gptq(4, 128), lambda r: Quantized(r, 4, (1, 128), "f16"), as_gptq),
    "gptq-asym": (gptq(4, 32, sym=False), lambda r: Quantized(r, 4, (1, 32), "f16", True), as_gptq),
    "gptq-int8": (gptq(8, -1), lambda r: Quantized(r, 8, (1, 0), "f16"), as_gptq),
    "gptq-desc-act": (gptq(4, 64, desc_act=True),
                      lambda r: Quantized(r, 4, (1, 64), "f16", order=shuffled(len(r[0]), 64)),
                      as_gptq),
}


def shuffled(K, group):
    order = [k // group for k in range(K)]
    random.Random(K).shuffle(order)
    return order


def write_way(name, folder, tensors):
    config, quantize, layout = WAYS[name]
    quantized, plain = [], []
    for t in tensors:
        if not t.rows:
            both = (t.hf, (t.length,), "f32", pack(t, t.numbers, "f32"))
        elif t.hf in ("model.embed_tokens.weight", "lm_head.weight"):
            both = (t.hf, (t.rows, t.length), "bf16", pack(t, t.numbers, "bf16"))
        else:
            n, module = t.length, t.hf.removesuffix(".weight")
            q = quantize([t.numbers[i:i + n] for i in range(0, len(t.numbers), n)])
            quantized += [(f"{module}.{suffix}", *rest) for suffix, *rest in layout(q)]
            form = "f16" if name == "gptq-desc-act" else "f32"
            plain.append((t.hf, (t.rows, n), form,
                          pack(t, [x for row in q.value for x in row], form)))
            continue
        quantized.append(both)
        plain.append(both)
    if name == "modelopt-fp8":
        quantized.append(("model.layers.0.self_attn.k_proj.k_scale", (), "f32", bytes(4)))
    for path, rows, more in ((f"{folder}/quantized-{name}", quantized,
                              {"quantization_config": config}),
                             (f"{folder}/quantized-{name}-plain", plain, {})):
        hf_write.open_folder(path)
        hf_write.weights(path, rows, 1)
        hf_write.tokenizer(path, *vocabulary())
        hf_write.json_file(f"{path}/config.json", {**config_of(FAMILY, "f32"), **more})


def main():
    tensors = list(tensors_of(FAMILY, "coarse"))
    for name in WAYS:
        write_way(name, sys.argv[1], tensors)


if __name__ == "__main__":
    main()
