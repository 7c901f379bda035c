#!/usr/bin/env python3
"""Trains a small Llama, so that one source of the measurements never had fewer than 16 bits and
rows of whole blocks of every format, those of 256 values too.

    train.py TEXT FOLDER [--minutes 25] [--threads 1] [--seed 1]

Six layers of 256 values, 5.8 million parameters, a vocabulary of 4096 byte-level BPE tokens. The
rate falls linearly to zero over the time that is given, so another machine, or a busier one, trains
another model: all that is compared is made from one of them. Wants torch, tokenizers and numpy."""
import argparse
import os
import pathlib
import sys
import time

import torch
from torch.nn import functional

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/model"))
import hf_write

VOCABULARY, WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 4096, 256, 768, 6, 4, 2
HEAD = WIDTH // HEADS
LENGTH, BATCH = 256, 8
EPS, BASE = 1e-5, 10000.0
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def train_tokenizer(text):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def shapes():
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        yield layer + "self_attn.q_proj", (HEADS * HEAD, WIDTH)
        yield layer + "self_attn.k_proj", (KV_HEADS * HEAD, WIDTH)
        yield layer + "self_attn.v_proj", (KV_HEADS * HEAD, WIDTH)
        yield layer + "self_attn.o_proj", (WIDTH, HEADS * HEAD)
        yield layer + "mlp.gate_proj", (INNER, WIDTH)
        yield layer + "mlp.up_proj", (INNER, WIDTH)
        yield layer + "mlp.down_proj", (WIDTH, INNER)


class Model:
    def __init__(self, seed):
        torch.manual_seed(seed)
        self.matrix = {name: torch.randn(shape) * 0.5 / shape[1] ** 0.5
                       for name, shape in shapes()}
        self.embed = torch.randn(VOCABULARY, WIDTH) * 0.02
        self.norm = {f"model.layers.{i}.{name}": torch.ones(WIDTH) for i in range(LAYERS)
                     for name in ("input_layernorm", "post_attention_layernorm")}
        self.norm["model.norm"] = torch.ones(WIDTH)
        for p in self.parameters():
            p.requires_grad_()
        angle = torch.outer(torch.arange(LENGTH), BASE ** (-torch.arange(0, HEAD, 2) / HEAD))
        self.cos, self.sin = angle.cos(), angle.sin()

    def parameters(self):
        return [*self.matrix.values(), self.embed, *self.norm.values()]

    def rotated(self, x):
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), dim=-1)

    def normed(self, x, name):
        return functional.rms_norm(x, (WIDTH,), self.norm[name], EPS)

    def attention(self, x, layer):
        def heads(name, n):
            return functional.linear(x, self.matrix[f"{layer}self_attn.{name}"]).unflatten(
                -1, (n, HEAD)).transpose(1, 2)
        q, k, v = heads("q_proj", HEADS), heads("k_proj", KV_HEADS), heads("v_proj", KV_HEADS)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, dim=1) for t in (self.rotated(k), v))
        y = functional.scaled_dot_product_attention(self.rotated(q), k, v, is_causal=True)
        return functional.linear(y.transpose(1, 2).flatten(2), self.matrix[layer +
                                                                          "self_attn.o_proj"])

    def mlp(self, x, layer):
        gate, up = (functional.linear(x, self.matrix[f"{layer}mlp.{name}"])
                    for name in ("gate_proj", "up_proj"))
        return functional.linear(functional.silu(gate) * up, self.matrix[layer + "mlp.down_proj"])

    def loss(self, tokens):
        x = functional.embedding(tokens[:, :-1], self.embed)
        for i in range(LAYERS):
            layer = f"model.layers.{i}."
            x = x + self.attention(self.normed(x, layer + "input_layernorm"), layer)
            x = x + self.mlp(self.normed(x, layer + "post_attention_layernorm"), layer)
        logits = functional.linear(self.normed(x, "model.norm"), self.embed)
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def orthogonal(g):
    """About U V^T of g = U S V^T, by five Newton-Schulz steps; source: Muon, Keller Jordan 2024."""
    x = g / (g.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if wide else x.T


class Muon:
    """For matrices of layers; Adam has the rest."""

    def __init__(self, matrices):
        self.matrices = matrices
        self.momentum = [torch.zeros_like(m) for m in matrices]

    @torch.no_grad()
    def step(self, rate):
        for m, momentum in zip(self.matrices, self.momentum):
            momentum.mul_(0.95).add_(m.grad)
            update = orthogonal(m.grad + 0.95 * momentum)
            m.mul_(1 - rate * 0.1).sub_(update, alpha=rate * max(1, m.shape[0] / m.shape[1]) ** 0.5)
            m.grad = None


def train(model, tokens, minutes):
    muon = Muon(list(model.matrix.values()))
    adam = torch.optim.Adam([model.embed, *model.norm.values()], lr=0, betas=(0.9, 0.95))
    began, step, mean = time.monotonic(), 0, 0.0
    order = torch.Generator().manual_seed(0)
    while (gone := (time.monotonic() - began) / (60 * minutes)) < 1:
        rate = min(1, (step + 1) / 20) * (1 - gone)
        at = torch.randint(len(tokens) - LENGTH - 1, (BATCH,), generator=order)
        loss = model.loss(torch.stack([tokens[i:i + LENGTH + 1] for i in at.tolist()]))
        loss.backward()
        muon.step(0.02 * rate)
        adam.param_groups[0]["lr"] = 4e-3 * rate
        adam.step()
        adam.zero_grad()
        step += 1
        mean += (loss.item() - mean) / min(step, 20)
        if step % 20 == 0:
            print(f"step {step}, {step * BATCH * LENGTH} tokens, loss {mean:.3f}, "
                  f"{100 * gone:.0f} % of the time", flush=True)
    return step, mean


def bf16(tensor):
    return tensor.detach().bfloat16().view(torch.int16).numpy().tobytes()


def write(model, tokenizer, folder, note):
    named = {"model.embed_tokens": model.embed, **model.norm, **model.matrix}
    os.makedirs(folder, exist_ok=True)
    hf_write.weights(folder, [(f"{name}.weight", tuple(t.shape), "bf16", bf16(t))
                              for name, t in named.items()], 1)
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    merges = [" ".join(m) for m in tokenizer_merges(tokenizer)]
    hf_write.tokenizer(folder, tokens, [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)),
                       merges)
    hf_write.json_file(f"{folder}/config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": 2048, "rms_norm_eps": EPS,
        "rope_theta": BASE, "vocab_size": VOCABULARY, "tie_word_embeddings": True,
        "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2})
    hf_write.json_file(f"{folder}/training.json", note)


def tokenizer_merges(tokenizer):
    import json
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [m.split(" ") if isinstance(m, str) else m for m in merges]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("folder")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with open(args.text, encoding="utf-8") as f:
        text = f.read()
    tokenizer = train_tokenizer(text)
    tokens = torch.tensor(tokenizer.encode(text).ids)
    print(f"{len(text)} characters, {len(tokens)} tokens", flush=True)
    model = Model(args.seed)
    steps, loss = train(model, tokens, args.minutes)
    write(model, tokenizer, args.folder, {"steps": steps, "tokens": steps * BATCH * LENGTH,
                                          "loss": loss, "minutes": args.minutes})


if __name__ == "__main__":
    main()
