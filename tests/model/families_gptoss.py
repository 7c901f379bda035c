"""What gpt-oss has that no other family of families_gguf.py has: experts whose matrices can be MXFP4,
biases of theirs, and folders that have all experts of a layer in one tensor, the rows of gate and up
in turn. The numbers of experts are E2M1 in every file, so that all files of a grain are one model.
"""
import struct

FAMILY = dict(
    arch="gpt-oss", kind="gpt_oss", pre="gpt-4o", D=64, F=96, H=4, K=2, dim=32, L=4, tied=False,
    eps=1e-5, theta=150000.0, window=10, bias=True, sinks=True, experts=(6, 2), limit=7.0,
    rope=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=512, beta_fast=32.0,
              beta_slow=1.0, truncate=False))
# As those of families_gguf.py; what a clamped gate lets through is large, so what it adds is less.
EXPERTS = [("ffn_gate_exps", "gate_proj", 0.25), ("ffn_up_exps", "up_proj", 0.25),
           ("ffn_down_exps", "down_proj", 0.0078125)]
NUMBERS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


def to_e2m1(tensor):
    """Of each 32 numbers the codes, times 2^-n of the tensor's size / 8, n of 0 .. 2."""
    codes, powers = [], []
    for at in range(0, len(tensor.numbers), 32):
        block = [x / tensor.size for x in tensor.numbers[at:at + 32]]
        powers.append(int(abs(block[0]) * 64) % 3)
        codes += [int(abs(x) * 128) % 8 | (8 if x < 0 else 0) for x in block]
    tensor.codes, tensor.powers = codes, powers
    tensor.numbers = [(-1 if c & 8 else 1) * NUMBERS[c & 7] * tensor.size / 8 / 2**powers[i // 32]
                      for i, c in enumerate(codes)]
    return tensor


def exponents(tensor):
    """E8M0 of each block: sizes are powers of two."""
    exponent = 0
    while 2.0**exponent > tensor.size / 8:
        exponent -= 1
    return bytes(127 + exponent - n for n in tensor.powers)


def pack_gguf(tensor):
    """Value j of a block shares a byte with value j + 16."""
    out = b""
    for e, at in zip(exponents(tensor), range(0, len(tensor.codes), 32)):
        block = tensor.codes[at:at + 32]
        out += bytes([e]) + bytes(block[j] | block[j + 16] << 4 for j in range(16))
    return out


def biases_of(family, layer, tensor, matrix):
    """Those of gates and of what they are multiplied by reach beyond the limit. Of q, k and v the family
    has them by `bias`."""
    here, there = f"blk.{layer}.", f"model.layers.{layer}."
    f = FAMILY
    yield tensor(family, f"{here}attn_sinks.weight", f"{there}self_attn.sinks", None, f["H"], 1.0,
                 "fine")
    yield tensor(family, f"{here}attn_output.bias", f"{there}self_attn.o_proj.bias", None, f["D"],
                 0.25, "fine")
    yield tensor(family, f"{here}ffn_gate_inp.bias", f"{there}mlp.router.bias", None,
                 f["experts"][0], 0.25, "fine")
    for name, hf, size in EXPERTS:
        for i in range(f["experts"][0]):
            yield tensor(family, f"{here}{name}.bias", f"{there}mlp.experts.{i}.{hf}.bias", None,
                         matrix[name][0], 2 * size if hf == "down_proj" else 10.0, "fine")


def is_of_expert(tensor):
    return ".experts." in tensor.hf


def experts_by_layer(tensors):
    """(layer, "gate_proj.weight" and so on) -> those of all experts."""
    parts = {}
    for t in tensors:
        if is_of_expert(t):
            layer, rest = t.hf.split(".experts.")
            parts.setdefault((layer, rest.split(".", 1)[1]), []).append(t)
    return parts


def in_turn(parts, layer, end):
    """Of each expert the rows of gate and up in turn."""
    for gate, up in zip(parts[layer, f"gate_proj.{end}"], parts[layer, f"up_proj.{end}"]):
        for r in range(gate.rows or gate.length):
            yield gate, r
            yield up, r


def row_of(tensor, r):
    n = tensor.length if tensor.rows else 1
    return tensor.numbers[r * n:(r + 1) * n]


def blocks_of(rows):
    """A folder's bytes of blocks, where neighbours share one, and of scales."""
    blocks, scales = b"", b""
    for tensor, r in rows:
        n = tensor.length
        codes = tensor.codes[r * n:(r + 1) * n]
        blocks += bytes(a | b << 4 for a, b in zip(codes[::2], codes[1::2]))
        scales += exponents(tensor)[r * n // 32:(r + 1) * n // 32]
    return blocks, scales


def columns_of(rows, count):
    """(n, K) of each expert as (K, n), count rows each."""
    numbers, rows = [], [row_of(t, r) for t, r in rows]
    for at in range(0, len(rows), count):
        numbers += [x for column in zip(*rows[at:at + count]) for x in column]
    return numbers


def folder_rows(tensors, form, pack):
    """Tensors of a folder of those of experts: name, shape, format, bytes. pack(numbers)."""
    f, E, parts = FAMILY, FAMILY["experts"][0], experts_by_layer(tensors)
    for layer in dict.fromkeys(layer for layer, _ in parts):
        down = [(t, r) for t in parts[layer, "down_proj.weight"] for r in range(t.rows)]
        for word, rows, n, K in (("gate_up_proj", list(in_turn(parts, layer, "weight")), 2 * f["F"],
                                  f["D"]), ("down_proj", down, f["D"], f["F"])):
            name = f"{layer}.experts.{word}"
            if form == "mxfp4":
                blocks, scales = blocks_of(rows)
                yield f"{name}_blocks", (E, n, K // 32, 16), "u8", blocks
                yield f"{name}_scales", (E, n, K // 32), "u8", scales
            else:
                yield name, (E, K, n), form, pack(columns_of(rows, n))
        gate_up = [x for t, r in in_turn(parts, layer, "bias") for x in row_of(t, r)]
        down = [x for t in parts[layer, "down_proj.bias"] for x in t.numbers]
        for word, numbers, n in (("gate_up_proj", gate_up, 2 * f["F"]), ("down_proj", down, f["D"])):
            yield (f"{layer}.experts.{word}_bias", (E, n), "f32",
                   struct.pack(f"<{len(numbers)}f", *numbers))


def hf_weights(tensors):
    """The same as numbers, for Hugging Face's code: name, shape, numbers."""
    for name, shape, _, raw in folder_rows(tensors, "f64",
                                           lambda x: struct.pack(f"<{len(x)}d", *x)):
        kind = "f" if name.endswith("_bias") else "d"
        yield name, shape, struct.unpack(f"<{len(raw) // struct.calcsize(kind)}{kind}", raw)


def config_keys(form):
    f = FAMILY
    keys = dict(num_local_experts=f["experts"][0], num_experts_per_tok=f["experts"][1],
                swiglu_limit=f["limit"], attention_bias=True, layer_types=[
                    "full_attention" if i % 2 else "sliding_attention" for i in range(f["L"])])
    if form == "mxfp4":
        keys["quantization_config"] = dict(
            quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn",
                                                          "model.layers.*.mlp.router",
                                                          "model.embed_tokens", "lm_head"])
    if form == "f16":
        keys["experts_per_token"] = keys.pop("num_experts_per_tok")
    return keys
