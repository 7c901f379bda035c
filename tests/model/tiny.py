#!/usr/bin/env python3
"""Writes a tiny Llama in GGUF: every part of a real model, 2 layers, random weights, a
vocabulary of bytes. For tests that load a model hundreds of times.

    tests/model/tiny.py OUT.gguf
"""
import random
import struct
import sys

from gguf_write import F32, STRING, U32, key, tokenizer_keys, vocabulary, write

D, F, H, K, L, CONTEXT = 64, 128, 4, 2, 2, 8192
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def q8_0(rng, n):
    """n weights of about 1/sqrt(D), as blocks of a half-precision scale and 32 bytes."""
    blocks = []
    for _ in range(n // 32):
        blocks.append(struct.pack("<e", 0.12 / 127))
        blocks.append(bytes(rng.getrandbits(8) for _ in range(32)))
    return b"".join(blocks)


def main():
    rng = random.Random(1)
    tokens, kinds, merges = vocabulary()
    keys = [
        key("general.architecture", STRING, "llama"), key("general.name", STRING, "tiny"),
        key("llama.block_count", U32, L), key("llama.context_length", U32, CONTEXT),
        key("llama.embedding_length", U32, D), key("llama.feed_forward_length", U32, F),
        key("llama.attention.head_count", U32, H), key("llama.attention.head_count_kv", U32, K),
        key("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        key("llama.rope.freq_base", F32, 10000.0),
        *tokenizer_keys("smollm", tokens, kinds, merges),
        key("tokenizer.ggml.bos_token_id", U32, 1), key("tokenizer.ggml.eos_token_id", U32, 2),
        key("tokenizer.chat_template", STRING, TEMPLATE),
    ]
    shapes = [("token_embd.weight", (D, len(tokens))), ("output_norm.weight", (D,))]
    for layer in range(L):
        for name, shape in (("attn_norm", (D,)), ("attn_q", (D, D)), ("attn_k", (D, D // 2)),
                            ("attn_v", (D, D // 2)), ("attn_output", (D, D)), ("ffn_norm", (D,)),
                            ("ffn_gate", (D, F)), ("ffn_up", (D, F)), ("ffn_down", (F, D))):
            shapes.append((f"blk.{layer}.{name}.weight", shape))
    tensors = []
    for name, shape in shapes:
        if len(shape) > 1:
            tensors.append((name, shape, "q8_0", q8_0(rng, shape[0] * shape[1])))
        else:
            tensors.append((name, shape, "f32", struct.pack(f"<{shape[0]}f", *[1.0] * shape[0])))
    write(sys.argv[1], keys, tensors)


if __name__ == "__main__":
    main()
