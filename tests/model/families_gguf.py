#!/usr/bin/env python3
"""Writes one small model per family in GGUF, random but the same everywhere, with every
switch of the family on. families.json has what Hugging Face's code makes of them.

    tests/model/families_gguf.py DIR     DIR/family-NAME-FORMAT.gguf for each

A weight is a number of 23 bits and a sign ("fine", format f32), or of 7 bits and a sign
("coarse", formats f16, bf16 and q8_0, which all hold it exactly), times a power of two.
Vectors are fine in every file. The bits are SHAKE-128 of "FAMILY/TENSOR", with the name
and the order of rows that Hugging Face's code gives the tensor.
"""
import array
import hashlib
import math
import struct
import sys

import families_classic as classic
import families_gemma4 as gemma4
import families_gptoss as gptoss
import families_later as later
from gguf_write import BOOL, F32, I32, STRING, U32, array as list_key, key, tokenizer_keys, vocabulary, \
    write

GRAINS = {"f32": "fine", "f16": "coarse", "bf16": "coarse", "q8_0": "coarse"}
CONTEXT = 2048

# D, F: widths; H, K: query and key heads; dim: width of a head; L: layers. K = H is left out
# of the file, and so is dim = D / H, which is what a reader must assume. near: rotary base of
# layers that see `window` positions, which of Gemma 3 all are but every sixth, and of Gemma 2 every
# other. caps: of scores and logits. experts: how many there are, and a token meets. wide: heads of a
# token are normalised together.
FAMILIES = {
    "gemma": dict(
        arch="gemma", pre="gpt-2", D=64, F=128, H=4, K=1, dim=32, L=2, tied=False, eps=1e-6,
        theta=10000.0),
    "gemma2": dict(
        arch="gemma2", pre="gpt-2", D=96, F=192, H=4, K=2, dim=32, L=4, tied=False, eps=1e-6,
        theta=10000.0, window=10, post_norms=True, caps=(2.0, 3.0)),
    "gemma3": dict(
        arch="gemma3", pre="gpt-2", D=64, F=160, H=4, K=2, dim=32, L=7, tied=False, eps=1e-6,
        theta=1000000.0, near=10000.0, window=12, norms=True, post_norms=True,
        rope=dict(rope_type="linear", factor=8.0)),
    "granitemoe": dict(
        arch="granitemoe", kind="granitemoe", pre="gpt-2", D=64, F=32, H=4, K=2, dim=16, L=2,
        tied=False, eps=1e-4, theta=10000.0, experts=(6, 2), multipliers=(2.0, 0.5, 0.125, 4.0)),
    "llama3": dict(
        arch="llama", pre="llama-bpe", D=128, F=256, H=4, K=2, dim=32, L=2, tied=True, eps=1e-2,
        theta=500000.0, rope=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                  high_freq_factor=4.0, original_max_position_embeddings=256)),
    "llama-linear": dict(
        arch="llama", pre="gpt-2", D=64, F=160, H=4, K=4, dim=16, L=2, tied=False, eps=1e-5,
        theta=10000.0, rope=dict(rope_type="linear", factor=4.0)),
    "mistral": dict(
        arch="llama", pre="tekken", D=96, F=224, H=4, K=2, dim=40, L=3, tied=False, eps=1e-5,
        theta=1000000.0),
    "ministral3": dict(
        arch="mistral3", kind="ministral3", pre="tekken", D=64, F=160, H=4, K=2, dim=32, L=2,
        tied=True, eps=1e-5, theta=1000000.0,
        rope=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16,
                  beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
                  llama_4_scaling_beta=0.5)),
    "mixtral": dict(
        arch="llama", kind="mixtral", pre="gpt-2", D=128, F=96, H=4, K=2, dim=32, L=2, tied=False,
        eps=1e-5, theta=1000000.0, experts=(6, 2)),
    "phi3": dict(
        arch="phi3", pre="gpt-2", D=64, F=128, H=4, K=2, dim=16, L=3, tied=False, eps=1e-5,
        theta=10000.0, window=12),
    "phi3-long": dict(
        arch="phi3", pre="gpt-2", D=96, F=160, H=3, K=1, dim=32, L=2, tied=True, eps=1e-5,
        theta=10000.0, rotary_dim=24,
        rope=dict(rope_type="longrope", original_max_position_embeddings=16,
                  short_factor=[1.0 + i / 16 for i in range(12)],
                  long_factor=[1.0 + i / 4 for i in range(12)])),
    "qwen2": dict(
        arch="qwen2", pre="qwen2", D=64, F=128, H=4, K=2, dim=16, L=3, tied=True, eps=1e-3,
        theta=1000000.0, bias=True),
    "qwen2-far": dict(
        arch="qwen2", pre="qwen2", D=64, F=128, H=4, K=2, dim=16, L=2, tied=False, eps=1e-6,
        theta=1000000.0, bias=True, far=True),
    "qwen2-yarn": dict(
        arch="qwen2", pre="qwen2", D=96, F=192, H=3, K=1, dim=32, L=2, tied=False, eps=1e-6,
        theta=10000.0, bias=True,
        rope=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=512)),
    "qwen3": dict(
        arch="qwen3", pre="qwen2", D=64, F=192, H=4, K=2, dim=32, L=3, tied=False, eps=1e-2,
        theta=1000000.0, norms=True),
    "qwen3-yarn": dict(
        arch="qwen3", pre="qwen2", D=96, F=128, H=4, K=4, dim=48, L=2, tied=True, eps=1e-4,
        theta=1000000.0, norms=True,
        rope=dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=256,
                  beta_fast=16.0, beta_slow=2.0)),
    "qwen3moe": dict(
        arch="qwen3moe", kind="qwen3_moe", pre="qwen2", D=64, F=32, H=4, K=2, dim=32, L=3,
        tied=False, eps=1e-6, theta=1000000.0, norms=True, experts=(10, 3)),
    "olmoe": dict(
        arch="olmoe", kind="olmoe", pre="gpt-2", D=64, F=32, H=4, K=4, dim=16, L=3, tied=False,
        eps=1e-5, theta=10000.0, norms=True, wide=True, experts=(8, 3)),
    "smollm3": dict(
        arch="smollm3", pre="smaug-bpe", D=64, F=128, H=4, K=1, dim=16, L=5, tied=True, eps=1e-6,
        theta=5000000.0),
}
FAMILIES["gptoss"] = gptoss.FAMILY
FAMILIES.update(classic.FAMILIES)
FAMILIES.update(later.FAMILIES)
FAMILIES.update(gemma4.FAMILIES)


def module_of(family):
    """That which knows a family's tensors and keys, or None: they are Llama's."""
    return next((m for m in (classic, later, gemma4) if family in m.FAMILIES), None)


def grains_of(family):
    """Of each format; MXFP4 is of gpt-oss's experts, all else is bf16 there."""
    return {**GRAINS, "mxfp4": "coarse"} if family == "gptoss" else GRAINS


def random_numbers(family, name, n, grain):
    """n multiples of 2^-22 (fine) or 2^-7 in -1 .. 1."""
    bits = array.array("I", hashlib.shake_128(f"{family}/{name}".encode()).digest(4 * n))
    if sys.byteorder == "big":
        bits.byteswap()
    if grain == "fine":
        return [((b >> 9) - (1 << 22)) * 2.0**-22 for b in bits]
    return [max((b >> 24) - 128, -127) * 2.0**-7 for b in bits]


# Of each kind of tensor: its name here, its name there, how large its numbers may be.
MATRICES = [
    ("attn_q", "self_attn.q_proj", 0.5), ("attn_k", "self_attn.k_proj", 0.25),
    ("attn_v", "self_attn.v_proj", 0.25), ("attn_output", "self_attn.o_proj", 0.25),
    ("ffn_gate", "mlp.gate_proj", 0.25), ("ffn_up", "mlp.up_proj", 0.25),
    ("ffn_down", "mlp.down_proj", 0.125)]
FUSED = [("attn_qkv", "self_attn.qkv_proj", 0.25), ("attn_output", "self_attn.o_proj", 0.25),
         ("ffn_up", "mlp.gate_up_proj", 0.25), ("ffn_down", "mlp.down_proj", 0.125)]
# Of a model of experts in place of the last three; those of all experts of a layer are one tensor
# of a file. What they add is small: rounding may choose another expert where two are as good.
EXPERTS = [("ffn_gate_exps", "gate_proj", 0.25), ("ffn_up_exps", "up_proj", 0.25),
           ("ffn_down_exps", "down_proj", 0.03125)]
MIXTRAL = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
NORMS = [("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")]
POST_NORMS = [("attn_norm", "input_layernorm"),
              ("post_attention_norm", "post_attention_layernorm"),
              ("ffn_norm", "pre_feedforward_layernorm"),
              ("post_ffw_norm", "post_feedforward_layernorm")]
HEAD_NORMS = [("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")]


def is_fused(f):
    return f["arch"] == "phi3"


def shapes(f):
    """Rows and their length of each matrix."""
    q, kv = f["H"] * f["dim"], f["K"] * f["dim"]
    if is_fused(f):
        return {"attn_qkv": (q + 2 * kv, f["D"]), "attn_output": (f["D"], q),
                "ffn_up": (2 * f["F"], f["D"]), "ffn_down": (f["D"], f["F"])}
    return {"attn_q": (q, f["D"]), "attn_k": (kv, f["D"]), "attn_v": (kv, f["D"]),
            "attn_output": (f["D"], q), "ffn_gate": (f["F"], f["D"]), "ffn_up": (f["F"], f["D"]),
            "ffn_down": (f["D"], f["F"]), "ffn_gate_exps": (f["F"], f["D"]),
            "ffn_up_exps": (f["F"], f["D"]), "ffn_down_exps": (f["D"], f["F"])}


class Tensor:
    """name: in the file; hf: there; numbers in the order of Hugging Face's rows. order: of those
    the rows, or values, of a file; across: a folder has it by columns."""

    def __init__(self, family, name, hf, rows, length, size, grain, offset=0.0, order=None,
                 across=False):
        self.name, self.hf, self.rows, self.length, self.size = name, hf, rows, length, size
        self.order, self.across = order, across
        count = (rows or 1) * length
        self.numbers = [offset + size * x for x in random_numbers(family, hf, count, grain)]


def is_gemma(f):
    return f["arch"] in ("gemma", "gemma2", "gemma3")


def is_less_one(f, tensor):
    """Norms are stored less 1 by Hugging Face's code, and whole in GGUF files."""
    return is_gemma(f) or (f.get("less_one") and tensor.name.endswith("norm.weight"))


def put_far(bias, dim):
    """As in Qwen 2.5: the columns of keys that hardly turn are far from zero."""
    bias.numbers = [x * 128 if i % (dim // 2) >= dim // 2 - 2 else x
                    for i, x in enumerate(bias.numbers)]
    return bias


def experts_of(family, layer, grain):
    """The router, and the matrices of each expert."""
    f = FAMILIES[family]
    here, is_mixtral = f"blk.{layer}.", f["kind"] == "mixtral"
    is_sparse = f["kind"] in ("mixtral", "granitemoe")
    there = f"model.layers.{layer}." + ("block_sparse_moe." if is_sparse else "mlp.")
    is_gptoss = family == "gptoss"
    router = {"gpt_oss": "router", "granitemoe": "router.layer"}.get(f["kind"], "gate")
    yield Tensor(family, f"{here}ffn_gate_inp.weight", f"{there}{router}.weight", f["experts"][0],
                 f["D"], 1.0, grain)
    for name, hf, size in gptoss.EXPERTS if is_gptoss else EXPERTS:
        word = MIXTRAL[hf] if is_mixtral else hf
        for i in range(f["experts"][0]):
            t = Tensor(family, f"{here}{name}.weight", f"{there}experts.{i}.{word}.weight",
                       *shapes(f)[name], size, grain)
            yield gptoss.to_e2m1(t) if is_gptoss else t
    if is_gptoss:
        yield from gptoss.biases_of(family, layer, Tensor, shapes(f))


def tensors_of(family, grain, **more):
    """more: of families_later.py."""
    f, n_tokens = FAMILIES[family], len(vocabulary()[0])
    if module_of(family):
        yield from module_of(family).tensors_of(
            family, grain, n_tokens, lambda *given, **keys: Tensor(family, *given, **keys),
            **(more if module_of(family) == later else {}))
        return
    matrix = shapes(f)
    one = 0.0 if is_gemma(f) else 1.0
    yield Tensor(family, "token_embd.weight", "model.embed_tokens.weight", n_tokens, f["D"], 0.25,
                 grain)
    if not f["tied"]:
        yield Tensor(family, "output.weight", "lm_head.weight", n_tokens, f["D"], 0.25, grain)
    yield Tensor(family, "output_norm.weight", "model.norm.weight", None, f["D"], 0.5, "fine", one)
    for layer in range(f["L"]):
        here, there = f"blk.{layer}.", f"model.layers.{layer}."
        norms = POST_NORMS if f.get("post_norms") else POST_NORMS[:2] if "sinks" in f else NORMS
        for name, hf in norms:
            yield Tensor(family, f"{here}{name}.weight", f"{there}{hf}.weight", None, f["D"], 0.5,
                         "fine", one)
        for name, hf in HEAD_NORMS if f.get("norms") else []:
            heads = f["H" if name == "attn_q_norm" else "K"] if f.get("wide") else 1
            yield Tensor(family, f"{here}{name}.weight", f"{there}{hf}.weight", None,
                         heads * f["dim"], 0.5, "fine", one)
        if "experts" in f:
            yield from experts_of(family, layer, grain)
        own = MATRICES[:4] if "experts" in f else MATRICES
        for name, hf, size in FUSED if is_fused(f) else own:
            yield Tensor(family, f"{here}{name}.weight", f"{there}{hf}.weight", *matrix[name], size,
                         grain)
        for name, hf, _ in MATRICES[:3] if f.get("bias") else []:
            bias = Tensor(family, f"{here}{name}.bias", f"{there}{hf}.bias", None, matrix[name][0],
                          1.0, "fine")
            yield put_far(bias, f["dim"]) if name == "attn_k" and f.get("far") else bias


# ---- What a converter does


def interleave(rows, heads):
    """Row i and row i + half of a head become neighbours: Llama's order in GGUF files."""
    dim = len(rows) // heads
    return [rows[h * dim + (i % 2) * (dim // 2) + i // 2] for h in range(heads) for i in range(dim)]


def llama3_factors(f):
    """What each rotary frequency is divided by."""
    rope, factors = f["rope"], []
    original = rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    for i in range(0, f["dim"], 2):
        turns = original / (2 * math.pi * f["theta"] ** (i / f["dim"]))
        smooth = min(max((turns - low) / (high - low), 0), 1)
        factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return factors


def pack_bf16(numbers):
    """Exact: the numbers have no bits in the half that is cut off."""
    raw = struct.pack(f"<{len(numbers)}f", *numbers)
    return b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))


def pack_q8_0(numbers, size):
    scale = struct.pack("<e", size * 2.0**-7)
    quants = [int(x / size * 128) for x in numbers]
    return b"".join(scale + struct.pack("<32b", *quants[i:i + 32])
                    for i in range(0, len(quants), 32))


def pack(tensor, numbers, form):
    if form == "q8_0":
        return pack_q8_0(numbers, tensor.size)
    if form == "bf16":
        return pack_bf16(numbers)
    if form == "mxfp4":
        return gptoss.pack_gguf(tensor)
    return struct.pack(f"<{len(numbers)}{'e' if form == 'f16' else 'f'}", *numbers)


def convert(tensor, f, form):
    """As the file has it: name, shape, format, bytes."""
    numbers, n = tensor.numbers, tensor.length if tensor.rows else 1
    if tensor.order:
        numbers = [x for row in tensor.order for x in numbers[row * n:(row + 1) * n]]
    if not tensor.rows:
        more = 1.0 if is_less_one(f, tensor) else 0.0
        return (tensor.name, (tensor.length,), "f32",
                pack(tensor, [x + more for x in numbers], "f32"))
    if tensor.name.startswith("position") or "ffn_gate_inp" in tensor.name:
        form = "f32"
    if form == "mxfp4" and not gptoss.is_of_expert(tensor):
        form = "bf16"
    heads = {"attn_q": f["H"], "attn_k": f["K"]}.get(tensor.name.split(".")[-2])
    if heads and f["arch"] in ("llama", "mistral3", "smollm3", "granite", "granitemoe", "arcee"):
        rows = interleave([numbers[i:i + n] for i in range(0, len(numbers), n)], heads)
        numbers = [x for row in rows for x in row]
    return tensor.name, (n, tensor.rows), form, pack(tensor, numbers, form)


def stacked(rows):
    """Tensors of one name become one, with a dimension more."""
    names = list(dict.fromkeys(row[0] for row in rows))
    parts = {name: [row for row in rows if row[0] == name] for name in names}
    for name, part in parts.items():
        _, shape, form, _ = part[0]
        more = (len(part),) if len(part) > 1 else ()
        yield name, (*shape, *more), form, b"".join(row[3] for row in part)


def keys_of(family):
    f = FAMILIES[family]
    if module_of(family):
        types = {int: U32, float: F32, bool: BOOL, str: STRING}
        return [key("general.architecture", STRING, f["arch"]), key("general.name", STRING, family),
                *[list_key(f"{f['arch']}.{name}", BOOL if isinstance(value[0], bool) else I32, value)
                  if isinstance(value, list) else
                  key(f"{f['arch']}.{name}", types[type(value)], value)
                  for name, value in module_of(family).gguf_keys(family, CONTEXT).items()],
                *tokenizer_keys("gpt-2", *vocabulary())]
    arch, rope = f["arch"], f.get("rope", {})
    keys = [
        key("general.architecture", STRING, arch), key("general.name", STRING, family),
        key(f"{arch}.block_count", U32, f["L"]), key(f"{arch}.context_length", U32, CONTEXT),
        key(f"{arch}.embedding_length", U32, f["D"]),
        key(f"{arch}.feed_forward_length", U32, 192 if arch == "qwen3moe" else f["F"]),
        key(f"{arch}.attention.head_count", U32, f["H"]),
        key(f"{arch}.attention.layer_norm_rms_epsilon", F32, f["eps"]),
        key(f"{arch}.rope.freq_base", F32, f["theta"])]
    if f["K"] != f["H"]:
        keys.append(key(f"{arch}.attention.head_count_kv", U32, f["K"]))
    if f["dim"] != f["D"] // f["H"]:
        keys += [key(f"{arch}.attention.key_length", U32, f["dim"]),
                 key(f"{arch}.attention.value_length", U32, f["dim"])]
    if arch in ("llama", "smollm3", "phi3"):
        keys.append(key(f"{arch}.rope.dimension_count", U32, f.get("rotary_dim", f["dim"])))
    if "window" in f:
        keys.append(key(f"{arch}.attention.sliding_window", U32, f["window"]))
    if "experts" in f:
        keys += [key(f"{arch}.expert_count", U32, f["experts"][0]),
                 key(f"{arch}.expert_used_count", U32, f["experts"][1])]
    if arch in ("qwen3moe", "gpt-oss", "olmoe"):
        keys.append(key(f"{arch}.expert_feed_forward_length", U32, f["F"]))
    for name, value in zip(("embedding_scale", "residual_scale", "attention.scale", "logit_scale"),
                           f.get("multipliers", ())):
        keys.append(key(f"{arch}.{name}", F32, value))
    for name, cap in zip(("attn", "final"), f.get("caps", ())):
        keys.append(key(f"{arch}.{name}_logit_softcapping", F32, cap))
    if rope.get("rope_type") in ("linear", "yarn"):
        keys += [key(f"{arch}.rope.scaling.type", STRING, rope["rope_type"]),
                 key(f"{arch}.rope.scaling.factor", F32, rope["factor"])]
    if rope.get("rope_type") == "longrope":
        original = rope["original_max_position_embeddings"]
        factor = math.sqrt(1 + math.log(CONTEXT / original) / math.log(original))
        keys += [key(f"{arch}.rope.scaling.original_context_length", U32, original),
                 key(f"{arch}.rope.scaling.attn_factor", F32, factor)]
    if rope.get("rope_type") == "yarn":
        keys.append(key(f"{arch}.rope.scaling.original_context_length", U32,
                        rope["original_max_position_embeddings"]))
        keys += [key(f"{arch}.rope.scaling.yarn_{name}", F32, rope[name])
                 for name in ("beta_fast", "beta_slow") if name in rope]
    if "llama_4_scaling_beta" in rope:
        keys += [key(f"{arch}.rope.scaling.yarn_log_multiplier", F32, rope["mscale_all_dim"]),
                 key(f"{arch}.attention.temperature_scale", F32, rope["llama_4_scaling_beta"])]
    return keys + tokenizer_keys(f["pre"], *vocabulary())


def write_family(family, folder):
    f, tensors = FAMILIES[family], {}
    for form, grain in grains_of(family).items():
        if grain not in tensors:
            tensors[grain] = list(tensors_of(family, grain, is_file=True))
        rows = list(stacked([convert(t, f, form) for t in tensors[grain]]))
        if f.get("rope", {}).get("rope_type") == "llama3":
            factors = llama3_factors(f)
            rows.append(("rope_freqs.weight", (len(factors),), "f32",
                         struct.pack(f"<{len(factors)}f", *factors)))
        if f["arch"] == "gemma4":
            rows += gemma4.gguf_rows(family)
        for length in ("short", "long") if "long_factor" in f.get("rope", {}) else []:
            factors = f["rope"][f"{length}_factor"]
            rows.append((f"rope_factors_{length}.weight", (len(factors),), "f32",
                         struct.pack(f"<{len(factors)}f", *factors)))
        write(f"{folder}/family-{family}-{form}.gguf", keys_of(family), rows)


def main():
    for family in FAMILIES:
        write_family(family, sys.argv[1])


if __name__ == "__main__":
    main()
