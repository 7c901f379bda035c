#!/usr/bin/env python3
"""Writes GGUF files with the shapes of large models and random weights, to measure with.

    tests/bench/shapes.py TOKENIZER.gguf llama-1b|llama-8b|smollm2-135m[-Nlayers].FORMAT.gguf ...
    tests/bench/shapes.py TOKENIZER.gguf OUT.gguf --shape llama-8b --layers 4 --format Q8_0

Shapes are those of Llama 3.2 1B, Llama 3 8B and SmolLM2 135M, that of Qwen 3 30B A3B as a Mixtral, and
gpt-oss 20B, the formats as llama.cpp's quantizer mixes them: Q4_1 with a head in Q6_K, Q4_K_M, or all
Q8_0 or BF16; of gpt-oss MXFP4, which its experts are, with all else in Q8_0. The tokenizer is that of
another file, of which the beginning up to its tensors' data is enough, filled up with unused tokens to
the number that the head really has.
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
    "Shape", "layers width ffn heads kv_heads head tied vocabulary base experts used arch",
    defaults=(0, 0, "llama"))
SHAPES = {
    "llama-1b": Shape(16, 2048, 8192, 32, 8, 64, True, 128256, 500000.0),
    "gptoss-20b": Shape(24, 2880, 2880, 64, 8, 64, False, 201088, 150000.0, 32, 4,
                        "gpt-oss"),
    "llama-8b": Shape(32, 4096, 14336, 32, 8, 128, False, 128256, 500000.0),
    "qwen3-30b": Shape(48, 2048, 768, 32, 4, 128, False, 151936, 1000000.0, 128, 8),
    "smollm2-135m": Shape(30, 576, 1536, 9, 3, 64, True, 49152, 100000.0),
}
NUMBER = {name: (kind, values, size) for kind, (name, values, size) in FORMAT.items()}
FORMS = ("Q4_1", "Q8_0", "Q4_K_M", "BF16", "MXFP4")
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
    if form == "MXFP4":  # codes of all 16 kinds deviate by 2.7
        return bytes([127 + round(math.log2(deviation / 2.7))]) + rng.randbytes(16)
    raise ValueError(f"no random weights in {form}")


def pool(rng, form, width):
    return b"".join(block(rng, form, width ** -0.5) for _ in range(POOL))


def feed_forward(shape):
    up, down = (shape.width, shape.ffn), (shape.ffn, shape.width)
    if not shape.experts:
        return [("ffn_gate", up), ("ffn_up", up), ("ffn_down", down)]
    return [("ffn_gate_inp", (shape.width, shape.experts)), ("ffn_gate_exps", (*up, shape.experts)),
            ("ffn_up_exps", (*up, shape.experts)), ("ffn_down_exps", (*down, shape.experts))]


def vectors(shape):
    """What a layer has beside matrices: of gpt-oss a bias of each, and sinks."""
    kv = shape.kv_heads * shape.head
    norm = [("attn_norm.weight", (shape.width,))]
    if shape.arch != "gpt-oss":
        return norm + [("ffn_norm.weight", (shape.width,))]
    return norm + [("post_attention_norm.weight", (shape.width,))] + [("attn_sinks.weight", (shape.heads,)), ("attn_q.bias", (shape.heads * shape.head,)),
            ("attn_k.bias", (kv,)), ("attn_v.bias", (kv,)), ("attn_output.bias", (shape.width,)),
            ("ffn_gate_inp.bias", (shape.experts,)),
            ("ffn_gate_exps.bias", (shape.ffn, shape.experts)),
            ("ffn_up_exps.bias", (shape.ffn, shape.experts)),
            ("ffn_down_exps.bias", (shape.width, shape.experts))]


def tensors(shape, form):
    """(name, shape with the row's length first, format), in the order of the file."""
    width, kv = shape.width, shape.kv_heads * shape.head
    mixed = form == "Q4_K_M"
    most = "Q4_K" if mixed else "Q8_0" if form == "MXFP4" else form
    head = most
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
                ("attn_q", (width, shape.heads * shape.head)), ("attn_k", (width, kv)),
                ("attn_v", (width, kv)), ("attn_output", (shape.heads * shape.head, width)),
                *feed_forward(shape)):
            kind = more if name.startswith(("attn_v", "ffn_down")) else most
            kind = "MXFP4" if form == "MXFP4" and name.endswith("_exps") else kind
            kind = "F32" if name == "ffn_gate_inp" else kind
            found.append((f"blk.{layer}.{name}.weight", extent, kind))
        found += [(f"blk.{layer}.{name}", extent, "F32") for name, extent in vectors(shape)]
    return found


def keys(name, shape, tokenizer):
    """Of the model, and of the tokenizer with its list of tokens made longer."""
    tokens = tokenizer.keys["tokenizer.ggml.tokens"]
    kinds = tokenizer.keys["tokenizer.ggml.token_type"]
    more = shape.vocabulary - len(tokens)
    arch = shape.arch
    numbers = {
        "block_count": shape.layers, "context_length": 8192, "embedding_length": shape.width,
        "feed_forward_length": shape.ffn, "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads, "rope.dimension_count": shape.head,
        "vocab_size": shape.vocabulary}
    if shape.head * shape.heads != shape.width:
        numbers.update({"attention.key_length": shape.head, "attention.value_length": shape.head})
    if shape.experts:
        numbers.update({"expert_count": shape.experts, "expert_used_count": shape.used})
    if arch == "gpt-oss":
        numbers.update({"expert_feed_forward_length": shape.ffn, "attention.sliding_window": 128,
                        "rope.scaling.original_context_length": 4096})
    found = [
        key("general.architecture", STRING, arch), key("general.name", STRING, name),
        *[key(f"{arch}.{word}", U32, number) for word, number in numbers.items()],
        key(f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-5),
        key(f"{arch}.rope.freq_base", F32, shape.base),
        array("tokenizer.ggml.tokens", STRING, tokens + [f"<unused{i}>" for i in range(more)]),
        array("tokenizer.ggml.token_type", I32, kinds + [UNUSED] * more),
    ]
    if arch == "gpt-oss":
        found += [key(f"{arch}.rope.scaling.type", STRING, "yarn"),
                  key(f"{arch}.rope.scaling.factor", F32, 32.0)]
    given = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
    return found + [raw for key_name, raw in tokenizer.raw.items()
                    if key_name.startswith("tokenizer.") and key_name not in given]


def size_of(extent, form):
    return math.prod(extent) // NUMBER[form][1] * NUMBER[form][2]


def padding(size):
    return -size % ALIGNMENT


def write_data(f, rng, name, extent, form, pools):
    size = size_of(extent, form)
    if form == "F32" and (len(extent) == 1 or name.endswith(".bias")):
        number = 1.0 if name.endswith(".weight") else 0.25
        f.write(struct.pack("<f", number) * math.prod(extent))
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
        for name, extent, kind in listed:
            write_data(f, rng, name, extent, kind, pools)
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
