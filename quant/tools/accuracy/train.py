#!/usr/bin/env python3
"""Trains a small Llama, so that one source of the measurements never had fewer than 16 bits and
rows of whole blocks of every format, those of 256 values too.

    train.py tokens TEXTS TOKENS     of what texts.py wrote, with a tokenizer: wants tokenizers
    train.py model TOKENS FOLDER     [--minutes 25] [--size small] [--device auto] [--threads N]
                                     [--batch WINDOWS] [--seed 1]

The rate falls linearly to zero over the time that is given, so another machine, or a busier one,
trains another model: all that is compared is made from one of them. On an H100 three minutes are
enough; a CPU, all of whose cores are used unless --threads says how many, sees --size tiny learn
in an hour. Wants torch, on a CPU a compiler, and numpy."""
import argparse
import collections
import json
import os
import pathlib
import re
import sys
import time

BEGAN = time.monotonic()  # loading torch, for ten seconds or more, is of --minutes too
import numpy
import torch
from torch.nn import functional

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/model"))
import hf_write

Size = collections.namedtuple("Size", "layers width inner heads kv_heads")
SIZES = {"small": Size(8, 512, 1536, 8, 4), "tiny": Size(6, 256, 768, 4, 2)}
VOCABULARY, LENGTH = 8192, 512
EPS, BASE = 1e-5, 10000.0
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


# ---- Tokens

def train_tokenizer(lines):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def encode(tokenizer, lines):
    """Lines begin with no space, so that they are the same tokens alone as in the whole text."""
    parts = []
    for i in range(0, len(lines), 20000):
        encoded = tokenizer.encode_batch_fast(lines[i:i + 20000])
        parts += [numpy.array(e.ids, numpy.uint16) for e in encoded]
    return numpy.concatenate(parts)


def make_tokens(texts, folder):
    lines = {}
    for name in ("training", "held-out"):
        text = pathlib.Path(texts, f"{name}.txt").read_text(encoding="utf-8")
        lines[name] = re.findall(r".*\n", text)
    tokenizer = train_tokenizer(lines["training"])
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    tokenizer.save(f"{folder}/tokenizer.json")
    for name, of_text in lines.items():
        tokens = encode(tokenizer, of_text)
        tokens.tofile(f"{folder}/{name}.u16")
        print(f"{name}: {sum(map(len, of_text))} characters, {len(tokens)} tokens", flush=True)


# ---- The model: matrices in f32, products in bf16 where the device has them

def multiplies_bf16(device):
    """By an instruction of its own."""
    return device == "cuda" or torch.cpu._is_avx512_bf16_supported()


class Model:
    def __init__(self, size, device, seed):
        torch.manual_seed(seed)
        self.size, self.device, self.head = size, device, size.width // size.heads
        self.dtype = torch.bfloat16 if multiplies_bf16(device) else torch.float32
        kv_width = size.kv_heads * self.head
        shapes = {"self_attn.q_proj": (size.width, size.width),
                  "self_attn.k_proj": (kv_width, size.width),
                  "self_attn.v_proj": (kv_width, size.width),
                  "self_attn.o_proj": (size.width, size.width),
                  "mlp.gate_proj": (size.inner, size.width),
                  "mlp.up_proj": (size.inner, size.width),
                  "mlp.down_proj": (size.width, size.inner)}
        # Those of all layers are one tensor: [layer, row, column].
        self.matrices = {name: torch.randn(size.layers, *shape) * 0.5 / shape[1] ** 0.5
                         for name, shape in shapes.items()}
        self.norms = {name: torch.ones(size.layers, size.width)
                      for name in ("input_layernorm", "post_attention_layernorm")}
        self.norm = torch.ones(size.width)
        self.embed = torch.randn(VOCABULARY, size.width) * 0.02
        angle = torch.outer(torch.arange(LENGTH), BASE ** (-torch.arange(0, self.head, 2) /
                                                           self.head))
        self.cos, self.sin = angle.cos().to(device), angle.sin().to(device)
        for group in (self.matrices, self.norms):
            group.update((name, p.to(device).requires_grad_()) for name, p in group.items())
        self.norm, self.embed = (p.to(device).requires_grad_() for p in (self.norm, self.embed))

    def for_adam(self):
        return [self.embed, self.norm, *self.norms.values()]

    def rotated(self, x):
        a, b = x.chunk(2, dim=-1)
        turned = torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), dim=-1)
        return turned.to(self.dtype)

    def normed(self, x, gain):
        return functional.rms_norm(x, (self.size.width,), gain, EPS).to(self.dtype)

    def attention(self, x, layer):
        def heads(name):
            y = functional.linear(x, layer[f"self_attn.{name}"])
            return y.unflatten(-1, (-1, self.head)).transpose(1, 2)
        q, k, v = self.rotated(heads("q_proj")), self.rotated(heads("k_proj")), heads("v_proj")
        k, v = (t.repeat_interleave(self.size.heads // self.size.kv_heads, dim=1) for t in (k, v))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return functional.linear(y.transpose(1, 2).flatten(2), layer["self_attn.o_proj"])

    def mlp(self, x, layer):
        gate, up = (functional.linear(x, layer[f"mlp.{name}"]) for name in ("gate_proj", "up_proj"))
        return functional.linear(functional.silu(gate) * up, layer["mlp.down_proj"])

    def loss(self, tokens):
        """tokens: [window, LENGTH + 1]"""
        stacks = {name: m.to(self.dtype).unbind() for name, m in self.matrices.items()}
        stacks.update((name, gains.unbind()) for name, gains in self.norms.items())
        x = functional.embedding(tokens[:, :-1], self.embed)
        for i in range(self.size.layers):
            layer = {name: stack[i] for name, stack in stacks.items()}
            x = x + self.attention(self.normed(x, layer["input_layernorm"]), layer)
            x = x + self.mlp(self.normed(x, layer["post_attention_layernorm"]), layer)
        logits = functional.linear(self.normed(x, self.norm), self.embed.to(self.dtype))
        return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


# ---- Training

def orthogonal(g):
    """About U V^T of each g = U S V^T, by five Newton-Schulz steps; source: Muon, Keller Jordan
    2024."""
    x = g / (torch.linalg.matrix_norm(g, keepdim=True) + 1e-7).to(g.dtype)
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if wide else x.mT


class Muon:
    """For matrices of layers, those of one name at once; Adam has the rest."""

    def __init__(self, matrices, dtype):
        self.matrices, self.dtype = matrices, dtype
        self.momentum = [torch.zeros_like(m) for m in matrices]

    @torch.no_grad()
    def step(self, rate):
        for m, momentum in zip(self.matrices, self.momentum):
            momentum.mul_(0.95).add_(m.grad)
            update = orthogonal(m.grad.add(momentum, alpha=0.95).to(self.dtype)).float()
            scale = max(1, m.shape[1] / m.shape[2]) ** 0.5
            m.mul_(1 - rate * 0.1).sub_(update, alpha=rate * scale)
            m.grad = None


WARM_UP = 50  # steps
SAY = 10      # seconds


def windows(tokens, starts):
    """[window, LENGTH + 1], int64, on the device of tokens."""
    starts = starts.to(tokens.device)[:, None]
    return tokens[starts + torch.arange(LENGTH + 1, device=tokens.device)].long()


def train(model, tokens, batch, until):
    muon = Muon(list(model.matrices.values()), model.dtype)
    adam = torch.optim.Adam(model.for_adam(), lr=0, betas=(0.9, 0.95))
    began = said = time.monotonic()
    order, step = torch.Generator().manual_seed(0), 0
    # Half as fast again on a CPU; on a card, which is done in minutes, compiling takes longer.
    loss_of = torch.compile(model.loss) if model.device == "cpu" else model.loss
    while (now := time.monotonic()) < until:
        gone = (now - began) / (until - began)
        rate = min(1, (step + 1) / WARM_UP) * (1 - gone)
        starts = torch.randint(len(tokens) - LENGTH, (batch,), generator=order)
        loss = loss_of(windows(tokens, starts))
        loss.backward()
        muon.step(0.02 * rate)
        adam.param_groups[0]["lr"] = 4e-3 * rate
        adam.step()
        adam.zero_grad()
        step += 1
        if step % 8 == 0 or model.device == "cpu":
            last = loss.item()  # waits, so that the clock is the device's
            if step == 8 or now - said > SAY:
                said = now
                print(f"step {step}, {step * batch * LENGTH} tokens, loss {last:.3f}, "
                      f"{100 * gone:.0f} % of {until - began:.0f} s", flush=True)
    return step


@torch.no_grad()
def held_out_loss(model, tokens, batch):
    """Of at most a quarter of a million tokens, in windows that follow one another."""
    starts = torch.arange(0, min(len(tokens) - LENGTH, 1 << 18), LENGTH)
    if model.device == "cpu":
        starts = starts[::16]
    losses = [model.loss(windows(tokens, part)) * len(part) for part in starts.split(batch)]
    return sum(losses).item() / len(starts)


# ---- The folder

def bf16(tensor):
    return tensor.detach().cpu().bfloat16().view(torch.int16).numpy().tobytes()


def named(model):
    yield "model.embed_tokens", model.embed
    yield "model.norm", model.norm
    for name, stack in {**model.norms, **model.matrices}.items():
        for i, p in enumerate(stack):
            yield f"model.layers.{i}.{name}", p


def write(model, tokens, folder, note):
    with open(f"{tokens}/tokenizer.json", encoding="utf-8") as f:
        bpe = json.load(f)["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]]
    vocabulary = sorted(bpe["vocab"], key=bpe["vocab"].get)
    kinds = [3] * len(SPECIAL) + [1] * (VOCABULARY - len(SPECIAL))
    hf_write.open_folder(folder)
    hf_write.weights(folder, [(f"{name}.weight", tuple(t.shape), "bf16", bf16(t))
                              for name, t in named(model)], 1)
    hf_write.tokenizer(folder, vocabulary, kinds, merges)
    size = model.size
    hf_write.json_file(f"{folder}/training.json", note)
    hf_write.json_file(f"{folder}/config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": size.width,
        "intermediate_size": size.inner, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "num_key_value_heads": size.kv_heads,
        "max_position_embeddings": 2048, "rms_norm_eps": EPS, "rope_theta": BASE,
        "vocab_size": VOCABULARY, "tie_word_embeddings": True, "hidden_act": "silu",
        "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2})


def make_model(args):
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(args.threads)
    on = torch.cuda.get_device_name() if device == "cuda" else f"{args.threads} threads of a CPU"
    batch = args.batch or (64 if device == "cuda" else 4)
    tokens, held_out = (torch.from_numpy(numpy.fromfile(f"{args.tokens}/{name}.u16", numpy.uint16)
                                         .astype(numpy.int32)).to(device)
                        for name in ("training", "held-out"))
    model = Model(SIZES[args.size], device, args.seed)
    parameters = sum(p.numel() for _, p in named(model))
    print(f"{parameters} parameters, {len(tokens)} tokens, on {on}, torch {torch.__version__}, "
          f"after {time.monotonic() - BEGAN:.0f} s", flush=True)
    steps = train(model, tokens, batch, BEGAN + 60 * args.minutes)
    loss = held_out_loss(model, held_out, batch)
    print(f"{steps} steps, {steps * batch * LENGTH} tokens: held-out loss {loss:.4f}", flush=True)
    write(model, args.tokens, args.folder,
          {"parameters": parameters, "steps": steps, "tokens": steps * batch * LENGTH,
           "held_out_loss": loss, "minutes": args.minutes, "device": on})


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 1)[1])
    commands = parser.add_subparsers(dest="what", required=True)
    command = commands.add_parser("tokens")
    command.add_argument("texts")
    command.add_argument("tokens")
    command = commands.add_parser("model")
    command.add_argument("tokens")
    command.add_argument("folder")
    command.add_argument("--minutes", type=float, default=25)
    command.add_argument("--size", choices=SIZES, default="small")
    command.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    command.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    command.add_argument("--batch", type=int)
    command.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.what == "tokens":
        return make_tokens(args.texts, args.tokens)
    return make_model(args)


if __name__ == "__main__":
    main()
