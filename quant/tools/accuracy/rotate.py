#!/usr/bin/env python3
"""Writes a Llama as another one of the same function whose weights are on no grid.

    rotate.py FOLDER OUT [--seed 1]

A model that was stored in 4 bits is a poor source for measuring 4 bits: its weights stand on a grid
already, which one format may meet and another not. Here the channels of the residual stream are
turned in pairs, random pairs by random angles: x' = x R, with R orthogonal. Embedding and the
matrices that write into the stream are turned with it; the matrices that read from it, and the
output head, turned back. Both values of a pair are from different groups of another grid, so no
group is left on one.

RMS norm knows no directions, but its gains do: they are folded into the matrices behind it, and
after the rotation as many are taken out again as make the columns of these matrices as large, on
average, as they were. Norms keep gains like a trained model's in this way.

Pairs, and not a dense rotation: that would spread the few channels of large values over all, which
makes a model easier to quantize (QuaRot, Ashkboos et al. 2024) and is not what is to be measured.
What it cannot undo: the function is still that of a model whose weights were rounded once.

The logits of 64 tokens must be the same within 1e-3 before the weights are rounded to bf16."""
import argparse
import sys

import numpy as np

import folder
import llama

CHECKED = 64      # tokens
AGREEMENT = 1e-3  # of the root mean square of the logits


class Rotation:
    """R of pairs: channel a and b = partner[a] become c a - s b and c b + s a."""

    def __init__(self, n, seed):
        random = np.random.default_rng(seed)
        order = random.permutation(n)
        first, second = order[:n // 2], order[n // 2:n // 2 * 2]
        angle = random.uniform(0, 2 * np.pi, n // 2)
        self.partner, self.cos, self.sin = np.arange(n), np.ones(n), np.zeros(n)
        self.partner[first], self.partner[second] = second, first
        self.cos[first] = self.cos[second] = np.cos(angle)
        self.sin[first], self.sin[second] = -np.sin(angle), np.sin(angle)

    def turn(self, x):
        """The last axis of x is channels; of a matrix that reads them as well, R being orthogonal:
        (x R) (W R)^T = x W^T."""
        return x * self.cos + x[..., self.partner] * self.sin

    def mean_gain(self, gain):
        return np.sqrt((gain * self.cos) ** 2 + (gain[self.partner] * self.sin) ** 2)


READERS = {"input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
           "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")}
WRITERS = ("self_attn.o_proj", "mlp.down_proj")


def rotate(w, layers, seed):
    """Folds, turns and takes out, in float64."""
    w = {name: x.astype("f8") for name, x in w.items()}
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    r = Rotation(head.shape[1], seed)
    out = {"model.embed_tokens.weight": r.turn(w["model.embed_tokens.weight"])}

    def read(norm, matrices):
        gain = w[norm]
        out[norm] = r.mean_gain(gain)
        for name, matrix in matrices.items():
            out[name] = r.turn(matrix * gain) / out[norm]

    for i in range(layers):
        layer = f"model.layers.{i}."
        for norm, names in READERS.items():
            names = [f"{layer}{name}.weight" for name in names]
            read(f"{layer}{norm}.weight", {name: w[name] for name in names})
        for name in WRITERS:
            out[f"{layer}{name}.weight"] = r.turn(w[f"{layer}{name}.weight"].T).T
    read("model.norm.weight", {"lm_head.weight": head})
    return {name: x.astype("f4") for name, x in out.items()}


def difference(a, b):
    """Of logits, without what all of a position share, which softmax does not see."""
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    return np.abs(a - b).max() / np.sqrt((a * a).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    config, w = folder.config(args.folder), folder.weights(args.folder)
    turned = rotate(w, config["num_hidden_layers"], args.seed)
    tokens = np.random.default_rng(0).integers(3, config["vocab_size"], CHECKED)
    found = difference(llama.logits(w, config, tokens), llama.logits(turned, config, tokens))
    print(f"logits before rounding to bf16: within {found:.2e} of their root mean square")
    if not found < AGREEMENT:
        sys.exit(f"the rotated model is another function: {found:.2e}, at most {AGREEMENT:g}")
    folder.write(args.out, turned, {**config, "tie_word_embeddings": False}, args.folder)


if __name__ == "__main__":
    main()
