#!/usr/bin/env python3
"""Writes a tiny Llama in GGUF: every part of a real model, 2 layers, random weights, a
vocabulary of bytes. For tests that load a model hundreds of times.

    tests/model/tiny.py OUT.gguf
"""
import os
import random
import struct
import sys

D, F, H, K, L, CONTEXT = 64, 128, 4, 2, 2, 8192
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5


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
    return struct.pack({U32: "<I", I32: "<i", F32: "<f"}[kind], v)


def key(name, kind, v):
    return text(name) + struct.pack("<I", kind) + value(kind, v)


def array(name, kind, items):
    head = text(name) + struct.pack("<IIQ", ARRAY, kind, len(items))
    return head + b"".join(value(kind, v) for v in items)


def q8_0(rng, n):
    """n weights of about 1/sqrt(D), as blocks of a half-precision scale and 32 bytes."""
    blocks = []
    for _ in range(n // 32):
        blocks.append(struct.pack("<e", 0.12 / 127))
        blocks.append(bytes(rng.getrandbits(8) for _ in range(32)))
    return b"".join(blocks)


def main():
    rng = random.Random(1)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_alphabet()]
    letters = "etaoinshr"
    merges = [f"{a} {b}" for a in letters for b in letters]
    tokens += [a + b for a in letters for b in letters]
    tokens += [f"<unused{i}>" for i in range(-len(tokens) % 32)]
    kinds = [3] * 3 + [1] * (256 + len(merges))
    kinds += [5] * (len(tokens) - len(kinds))
    V = len(tokens)
    keys = [
        key("general.architecture", STRING, "llama"), key("general.name", STRING, "tiny"),
        key("llama.block_count", U32, L), key("llama.context_length", U32, CONTEXT),
        key("llama.embedding_length", U32, D), key("llama.feed_forward_length", U32, F),
        key("llama.attention.head_count", U32, H), key("llama.attention.head_count_kv", U32, K),
        key("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        key("llama.rope.freq_base", F32, 10000.0),
        key("tokenizer.ggml.model", STRING, "gpt2"), key("tokenizer.ggml.pre", STRING, "smollm"),
        array("tokenizer.ggml.tokens", STRING, tokens),
        array("tokenizer.ggml.token_type", I32, kinds),
        array("tokenizer.ggml.merges", STRING, merges),
        key("tokenizer.ggml.bos_token_id", U32, 1), key("tokenizer.ggml.eos_token_id", U32, 2),
        key("tokenizer.chat_template", STRING, TEMPLATE),
    ]
    tensors = [("token_embd.weight", (D, V)), ("output_norm.weight", (D,))]
    for layer in range(L):
        for name, shape in (("attn_norm", (D,)), ("attn_q", (D, D)), ("attn_k", (D, D // 2)),
                            ("attn_v", (D, D // 2)), ("attn_output", (D, D)), ("ffn_norm", (D,)),
                            ("ffn_gate", (D, F)), ("ffn_up", (D, F)), ("ffn_down", (F, D))):
            tensors.append((f"blk.{layer}.{name}.weight", shape))

    directory, data = b"", b""
    for name, shape in tensors:
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        directory += text(name) + struct.pack("<I", len(shape))
        directory += b"".join(struct.pack("<Q", d) for d in shape)
        directory += struct.pack("<IQ", 8 if len(shape) > 1 else 0, len(data))
        data += q8_0(rng, n) if len(shape) > 1 else struct.pack(f"<{n}f", *[1.0] * n)
        data += bytes(-len(data) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + directory
    header += bytes(-len(header) % 32)

    out = sys.argv[1]
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    with open(out + ".part", "wb") as f:
        f.write(header + data)
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main()
