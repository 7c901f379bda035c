"""Writes smollm2_logits.h: what a Llama model answers, computed a second time.

This is the forward pass in float64 and numpy, written from the definition of the
architecture and sharing nothing with the engine: one sequence, no cache, no
quantised activations. Only the file format and the decoding of weights come from a
library, the `gguf` package.

Recipe (the result is committed; it changes only with the prompts or the choice below):
    pip install gguf numpy
    python3 tests/model/reference.py build/models/SmolLM2-135M-Instruct.Q4_1.gguf \\
        > tests/model/smollm2_logits.h
The model is SmolLM2-135M-Instruct in Q4_1 (98,362,432 bytes, 272 tensors).
Takes less than a minute and 0.6 GiB.

Per prompt, three positions are kept: the second, the middle one, the last. Of each, a
fixed subset of the logits: the ids 0, 61, 122, ... The step is odd so that a defect in
one lane of a tile of 16 or 32 rows cannot hide between them. Besides, over all logits:
the largest, its distance to the second, and the L2 norm. All logits of a position share
an offset that means nothing after softmax and is large early in a text; a comparison is
sharpest with the mean of the subset taken from both sides.
"""

import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

STEP = 61

PROMPTS = [
    # "The capital of France is"
    [504, 3575, 282, 4649, 314],
    # The chat template around "Write one sentence about the sea and one about a cold
    # mountain lake.", and the first word of an answer, "The"
    [1, 4093, 198, 19161, 582, 6330, 563, 260, 3426, 284, 582, 563, 253, 4011, 6740, 8690,
     30, 2, 198, 1, 520, 9531, 198, 504],
    # The first 70 ids of a paragraph that begins "A lighthouse keeper counts the ships
    # that pass at night. In the first hour there are seven, in the second hour five,"
    [49, 33059, 40061, 11002, 260, 7761, 338, 1301, 418, 3163, 30, 533, 260, 808, 5353, 665,
     359, 4962, 28, 281, 260, 1796, 5353, 2531, 28, 284, 281, 260, 3464, 5353, 7182, 418,
     511, 30, 909, 9095, 260, 2966, 618, 253, 1863, 351, 253, 4461, 3114, 28, 975, 260,
     28899, 4163, 11421, 327, 601, 897, 3531, 30, 1550, 260, 19998, 2216, 28, 384, 2526, 963,
     260, 7761, 28, 564, 384, 27504],
]  # fmt: skip


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.keys = {name: field.contents() for name, field in reader.fields.items()}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def number(self, key):
        return self.keys["llama." + key]

    def weight(self, name):
        """(outputs, inputs) or (n), as float64 of the exact stored values."""
        tensor = self.tensors[name + ".weight"]
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        return values.reshape(tuple(reversed(tensor.shape.tolist())))


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate(x, base):
    """Rotary embedding of (positions, heads, width), pairs (2i, 2i + 1)."""
    positions, _, width = x.shape
    frequency = base ** (-np.arange(0, width, 2) / width)
    angle = np.arange(positions)[:, None, None] * frequency
    even, odd = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2] = even * np.cos(angle) - odd * np.sin(angle)
    out[..., 1::2] = even * np.sin(angle) + odd * np.cos(angle)
    return out


def attention(q, k, v):
    """Causal, grouped: query head h reads key/value head h // (H / K)."""
    positions, heads, width = q.shape
    group = heads // k.shape[1]
    out = np.empty_like(q)
    hidden = np.triu(np.ones((positions, positions), bool), 1)
    for h in range(heads):
        score = q[:, h] @ k[:, h // group].T / np.sqrt(width)
        score[hidden] = -np.inf
        share = np.exp(score - score.max(axis=-1, keepdims=True))
        share /= share.sum(axis=-1, keepdims=True)
        out[:, h] = share @ v[:, h // group]
    return out.reshape(positions, heads * width)


def layer(model, i, xs):
    """One layer over several sequences, so that its weights are decoded once."""
    eps = model.number("attention.layer_norm_rms_epsilon")
    base = model.number("rope.freq_base")
    heads, kv_heads = model.number("attention.head_count"), model.number("attention.head_count_kv")
    width = model.number("embedding_length") // heads
    w = {
        name: model.weight(f"blk.{i}.{name}")
        for name in ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output")
        + ("ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
    }
    out = []
    for x in xs:
        a = rms_norm(x, w["attn_norm"], eps)
        q = rotate((a @ w["attn_q"].T).reshape(-1, heads, width), base)
        k = rotate((a @ w["attn_k"].T).reshape(-1, kv_heads, width), base)
        v = (a @ w["attn_v"].T).reshape(-1, kv_heads, width)
        x = x + attention(q, k, v) @ w["attn_output"].T
        f = rms_norm(x, w["ffn_norm"], eps)
        gate, up = f @ w["ffn_gate"].T, f @ w["ffn_up"].T
        out.append(x + (gate / (1 + np.exp(-gate)) * up) @ w["ffn_down"].T)
    return out


def forward(model, prompts):
    """Logits (positions, vocabulary) of each prompt."""
    embedding = model.weight("token_embd")
    head = model.weight("output") if "output.weight" in model.tensors else embedding
    xs = [embedding[prompt] for prompt in prompts]
    for i in range(model.number("block_count")):
        xs = layer(model, i, xs)
    eps = model.number("attention.layer_norm_rms_epsilon")
    norm = model.weight("output_norm")
    return [rms_norm(x, norm, eps) @ head.T for x in xs]


def lines_of(items, indent):
    """Items with commas, wrapped at 100 columns."""
    line, out = indent, []
    for item in items:
        if len(line) + len(item) + 2 > 100:
            out.append(line.rstrip())
            line = indent
        line += item + ", "
    return "\n".join(out + [line.rstrip()])


HEAD = """\
/* Logits of SmolLM2-135M-Instruct.Q4_1.gguf by reference.py, an independent forward
 * pass in float64. Not edited by hand; the recipe is in that file. */
/* clang-format off */
#pragma once

#include <stdint.h>

enum { SMOLLM2_STEP = %d, SMOLLM2_KEPT = %d, SMOLLM2_VOCABULARY = %d };

struct smollm2_logits {
    int32_t prompt, position; /* the logits after this position of the prompt */
    int32_t argmax;           /* over all logits */
    float top, margin;        /* the largest, and its distance to the second */
    float norm;               /* L2, over all logits */
    float kept[SMOLLM2_KEPT]; /* of the ids 0, SMOLLM2_STEP, 2 * SMOLLM2_STEP, ... */
};
"""


def print_row(prompt, position, logits):
    order = np.argsort(logits)
    best, second = order[-1], order[-2]
    head = f"{prompt}, {position}, {best}, {logits[best]:#.7g}f"
    head += f", {logits[best] - logits[second]:#.7g}f, {np.linalg.norm(logits):#.7g}f"
    print(f"    {{{head}, {{")
    print(lines_of([f"{x:#.6g}f" for x in logits[::STEP]], "        "))
    print("    }},")


def main():
    model = Model(sys.argv[1])
    answers = forward(model, PROMPTS)
    n_vocabulary = answers[0].shape[1]
    print(HEAD % (STEP, -(-n_vocabulary // STEP), n_vocabulary))
    for i, prompt in enumerate(PROMPTS):
        print(f"static const int32_t smollm2_prompt_{i}[] = {{ /* ({len(prompt)}) */")
        print(lines_of([str(token) for token in prompt], "    "))
        print("};")
    print("\nstatic const struct smollm2_logits smollm2_logits[] = {")
    for i, logits in enumerate(answers):
        for position in (1, len(logits) // 2, len(logits) - 1):
            print_row(i, position, logits[position])
    print("};\n/* clang-format on */")


if __name__ == "__main__":
    main()
