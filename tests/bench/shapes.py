#!/usr/bin/env python3
"""Writes GGUF files with the shapes of large models and random weights, to measure with.

    tests/bench/shapes.py TOKENIZER.gguf llama-1b|llama-8b|smollm2-135m[-Nlayers].FORMAT.gguf ...
    tests/bench/shapes.py TOKENIZER.gguf OUT.gguf --shape llama-8b --layers 4 --format Q8_0

Shapes are those of Llama 3.2 1B, Llama 3 8B and SmolLM2 135M, and that of Qwen 3 30B A3B as a Mixtral,
the formats as llama.cpp's quantizer mixes them: Q4_1 with a head in Q6_K, Q4_K_M, or all Q8_0 or BF16. The tokenizer is that of another
file, of which the beginning up to its tensors' data is enough, filled up with unused tokens to the
number that the head really has.
"""
import argparse
import collections
import math
import os
import pathlib
import random
import re
import struct
import sys

from gguf_read import FORMAT, Header

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "model"))
from gguf_write import ALIGNMENT, F32, I32, STRING, U32, array, key, text  # noqa: E402

UNUSED = 5  # type of a token that is never there

Shape = collections.namedtuple(
    "Shape", "layers width ffn heads kv_heads head tied vocabulary base experts used",
    defaults=(0, 0))
SHAPES = {
    "llama-1b": Shape(16, 2048, 8192, 32, 8, 64, True, 128256, 500000.0),
    "llama-8b": Shape(32, 4096, 14336, 32, 8, 128, False, 128256, 500000.0),
    "qwen3-30b": Shape(48, 2048, 768, 32, 4, 128, False, 151936, 1000000.0, 128, 8),
    "smollm2-135m": Shape(30, 576, 1536, 9, 3, 64, True, 49152, 100000.0),
}
NUMBER = {name: (kind, values, size) for kind, (name, values, size) in FORMAT.items()}
FORMS = ("Q4_1", "Q8_0", "Q4_K_M", "BF16")
POOL = 16381  # blocks that are made; a prime, so that no two rows are alike


def block(rng, form, deviation):
    """One block whose values are uniform with about this deviation and a mean of 0."""
    if form == "Q8_0":
        return struct.pack("<e", deviation / 74) + rng.randbytes(32)
    if form == "Q4_1":
        scale = deviation / 4.6
        return struct.pack("<ee", scale, -7.5 * scale) + rng.randbytes(16)
    if form == "Q6_K":
        scales = bytes(rng.choice((30, 31, 32, 33, 34)) for _ in range(16))
        return rng.randbytes(192) + scales + struct.pack("<e", deviation / 18.5 / 32)
    if form == "Q4_K":  # all scales and minima 32, in the six bits of each
        scale = deviation / 4.6 / 32
        return (struct.pack("<ee", scale, 7.5 * scale) + b"\xa0" * 8 + bytes(4) +
                rng.randbytes(128))
    if form == "BF16":  # as many bytes as a block of 16
        return b"".join(struct.pack("<f", rng.uniform(-1.73, 1.73) * deviation)[2:]
                        for _ in range(16))
    raise ValueError(f"no random weights in {form}")


def pool(rng, form, width):
    return b"".join(block(rng, form, width ** -0.5) for _ in range(POOL))


def feed_forward(shape):
    up, down = (shape.width, shape.ffn), (shape.ffn, shape.width)
    if not shape.experts:
        return [("ffn_gate", up), ("ffn_up", up), ("ffn_down", down)]
    return [("ffn_gate_inp", (shape.width, shape.experts)), ("ffn_gate_exps", (*up, shape.experts)),
            ("ffn_up_exps", (*up, shape.experts)), ("ffn_down_exps", (*down, shape.experts))]


def tensors(shape, form):
    """(name, shape with the row's length first, format), in the order of the file."""
    width, kv = shape.width, shape.kv_heads * shape.head
    mixed = form == "Q4_K_M"
    most = "Q4_K" if mixed else form
    head = form
    if mixed or form == "Q4_1":
        head = "Q8_0" if width % 256 else "Q6_K"
    found = [("token_embd.weight", (width, shape.vocabulary), head if shape.tied else most),
             ("output_norm.weight", (width,), "F32")]
    if not shape.tied:
        found.append(("output.weight", (width, shape.vocabulary), head))
    for layer in range(shape.layers):
        # Where the quantizer spends more bits: the ends, and every third layer between them.
        eighth = shape.layers // 8
        ends = layer < eighth or layer >= 7 * shape.layers // 8
        more = "Q6_K" if mixed and (ends or (layer - eighth) % 3 == 2) else most
        for name, extent in (
                ("attn_norm", (width,)), ("attn_q", (width, shape.heads * shape.head)),
                ("attn_k", (width, kv)), ("attn_v", (width, kv)),
                ("attn_output", (shape.heads * shape.head, width)), ("ffn_norm", (width,)),
                *feed_forward(shape)):
            kind = more if name.startswith(("attn_v", "ffn_down")) else most
            is_float = len(extent) == 1 or name == "ffn_gate_inp"
            found.append((f"blk.{layer}.{name}.weight", extent, "F32" if is_float else kind))
    return found


def keys(name, shape, tokenizer):
    """Of the model, and of the tokenizer with its list of tokens made longer."""
    tokens = tokenizer.keys["tokenizer.ggml.tokens"]
    kinds = tokenizer.keys["tokenizer.ggml.token_type"]
    more = shape.vocabulary - len(tokens)
    found = [
        key("general.architecture", STRING, "llama"), key("general.name", STRING, name),
        key("llama.block_count", U32, shape.layers), key("llama.context_length", U32, 8192),
        key("llama.embedding_length", U32, shape.width),
        key("llama.feed_forward_length", U32, shape.ffn),
        key("llama.attention.head_count", U32, shape.heads),
        key("llama.attention.head_count_kv", U32, shape.kv_heads),
        key("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        key("llama.rope.freq_base", F32, shape.base),
        key("llama.rope.dimension_count", U32, shape.head),
        key("llama.vocab_size", U32, shape.vocabulary),
        array("tokenizer.ggml.tokens", STRING, tokens + [f"<unused{i}>" for i in range(more)]),
        array("tokenizer.ggml.token_type", I32, kinds + [UNUSED] * more),
    ]
    if shape.head * shape.heads != shape.width:
        found += [key(f"llama.attention.{name}_length", U32, shape.head) for name in ("key", "value")]
    if shape.experts:
        found += [key("llama.expert_count", U32, shape.experts),
                  key("llama.expert_used_count", U32, shape.used)]
    given = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
    return found + [raw for key_name, raw in tokenizer.raw.items()
                    if key_name.startswith("tokenizer.") and key_name not in given]


def size_of(extent, form):
    return math.prod(extent) // NUMBER[form][1] * NUMBER[form][2]


def padding(size):
    return -size % ALIGNMENT


def write_data(f, rng, extent, form, pools):
    size = size_of(extent, form)
    if form == "F32" and len(extent) == 1:
        f.write(struct.pack("<f", 1.0) * extent[0])
    elif form == "F32":  # a router, whose scores are about as far apart as 1
        numbers = [rng.gauss(0, extent[0] ** -0.5) for _ in range(math.prod(extent))]
        f.write(struct.pack(f"<{len(numbers)}f", *numbers))
    else:
        if (form, extent[0]) not in pools:
            pools[form, extent[0]] = pool(rng, form, extent[0])
        blocks = pools[form, extent[0]]
        for at in range(0, size, len(blocks)):
            f.write(blocks[:size - at])
    f.write(bytes(padding(size)))


def write(path, shape, form, tokenizer):
    """Streams, since such a file need not fit in memory; a whole file or none at the end."""
    listed = tensors(shape, form)
    known = keys(path.stem, shape, tokenizer)
    directory, offset = [], 0
    for name, extent, kind in listed:
        directory += [text(name), struct.pack(f"<I{len(extent)}QIQ", len(extent), *extent,
                                              NUMBER[kind][0], offset)]
        size = size_of(extent, kind)
        offset += size + padding(size)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(known)) + b"".join(known + directory)
    rng, pools = random.Random(1), {}
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as f:
        f.write(header + bytes(padding(len(header))))
        for _, extent, kind in listed:
            write_data(f, rng, extent, kind, pools)
    os.replace(part, path)


def wish(args, path):
    """Shape and format: as told, else from the file's name."""
    named = re.fullmatch(r"(\w+-\d+[bm])(?:-(\d+)layers)?\.(\w+)\.gguf", path.name)
    name = args.shape or (named and named[1])
    form = args.format or (named and named[3])
    layers = args.layers or int(named and named[2] or 0)
    if name not in SHAPES or form not in FORMS:
        sys.exit(f"{path.name}: shape one of {', '.join(SHAPES)}, format one of {', '.join(FORMS)}")
    shape = SHAPES[name]
    if form == "Q4_K_M" and shape.width % 256:
        sys.exit(f"{path.name}: blocks of Q4_K are wider than its rows")
    return shape._replace(layers=layers or shape.layers), form


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, nargs="+")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--format", choices=FORMS)
    args = parser.parse_args()
    tokenizer = Header(args.tokenizer)
    for path in args.out:
        write(path, *wish(args, path), tokenizer)


if __name__ == "__main__":
    main()
