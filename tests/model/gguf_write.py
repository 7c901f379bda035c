"""Writes GGUF files with nothing but Python, and has the vocabulary of the models that tests
make up: three control tokens, the bytes, 81 pairs of letters and what fills the last 32.
"""
import os
import struct

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
FORMAT = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30, "mxfp4": 39}
ALIGNMENT = 32


def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_in = {b: chr(b) for b in plain}
    for n, b in enumerate(b for b in range(256) if b not in stand_in):
        stand_in[b] = chr(256 + n)
    return [stand_in[b] for b in range(256)]


def text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, v):
    if kind == STRING:
        return text(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def key(name, kind, v):
    return text(name) + struct.pack("<I", kind) + value(kind, v)


def array(name, kind, items):
    head = text(name) + struct.pack("<IIQ", ARRAY, kind, len(items))
    return head + b"".join(value(kind, v) for v in items)


def vocabulary():
    """Tokens, their types and the merge rules."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_alphabet()]
    letters = "etaoinshr"
    merges = [f"{a} {b}" for a in letters for b in letters]
    tokens += [a + b for a in letters for b in letters]
    kinds = [3] * 3 + [1] * (len(tokens) - 3)
    unused = -len(tokens) % 32
    tokens += [f"<unused{i}>" for i in range(unused)]
    return tokens, kinds + [5] * unused, merges


def tokenizer_keys(pre, tokens, kinds, merges):
    return [
        key("tokenizer.ggml.model", STRING, "gpt2"), key("tokenizer.ggml.pre", STRING, pre),
        array("tokenizer.ggml.tokens", STRING, tokens),
        array("tokenizer.ggml.token_type", I32, kinds),
        array("tokenizer.ggml.merges", STRING, merges),
    ]


def write(path, keys, tensors):
    """tensors: (name, shape with the row's length first, format, bytes) each."""
    directory, data = [], bytearray()
    for name, shape, form, raw in tensors:
        directory += [text(name), struct.pack("<I", len(shape)),
                      struct.pack(f"<{len(shape)}Q", *shape),
                      struct.pack("<IQ", FORMAT[form], len(data))]
        data += raw + bytes(-len(raw) % ALIGNMENT)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys + directory)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".part", "wb") as f:
        f.write(header + bytes(-len(header) % ALIGNMENT) + data)
    os.replace(path + ".part", path)
