"""Families after Llama whose tensors have other names or kinds than its, for families_gguf.py,
families_hf.py and families.py: as families_classic.py has those before it.
"""
import families_moe as moe

# A row per module of a layer: its name in a GGUF file, its name in a folder, what it is, and
# whether it has a bias. "head" and "wide" are norms of each head, and of all of a token; "pair" is
# a gate's rows before those of up.
QKV = [("attn_q", "self_attn.q_proj", "q", False), ("attn_k", "self_attn.k_proj", "k", False),
       ("attn_v", "self_attn.v_proj", "v", False), ("attn_output", "self_attn.o_proj", "o", False)]
GATED = [("ffn_gate", "mlp.gate_proj", "up", False), ("ffn_up", "mlp.up_proj", "up", False),
         ("ffn_down", "mlp.down_proj", "down", False)]
NORMS = [("attn_norm", "input_layernorm", "norm", False),
         ("ffn_norm", "post_attention_layernorm", "norm", False)]
POST_NORMS = [("post_attention_norm", "post_attention_layernorm", "norm", False),
              ("post_ffw_norm", "post_feedforward_layernorm", "norm", False)]
HEADS = [("attn_q_norm", "self_attn.q_norm", "head", False),
         ("attn_k_norm", "self_attn.k_norm", "head", False)]
GLM_MOE = [("attn_norm", "input_layernorm", "norm", False),
           ("post_attention_norm", "post_attention_layernorm", "norm", False)]


def biased(modules, names):
    return [(name, hf, what, name in names) for name, hf, what, _ in modules]


QKV_BIASED = biased(QKV, ("attn_q", "attn_k", "attn_v"))
ALL = ("attn_norm", "ffn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down")
MODULES = {
    "arcee": NORMS + QKV + GATED[1:],
    "cohere": NORMS[:1] + QKV + GATED,
    "ernie4_5": NORMS + QKV + GATED,
    "exaone4": QKV + GATED + POST_NORMS + HEADS,
    "glm4": QKV_BIASED + [
        ("attn_norm", "input_layernorm", "norm", False),
        ("post_attention_norm", "post_self_attn_layernorm", "norm", False),
        ("ffn_norm", "post_attention_layernorm", "norm", False),
        ("post_ffw_norm", "post_mlp_layernorm", "norm", False),
        ("ffn_up", "mlp.gate_up_proj", "pair", False),
        ("ffn_down", "mlp.down_proj", "down", False)],
    "dots1": NORMS + QKV + HEADS,
    "glm4moe": QKV_BIASED + GLM_MOE,
    "glm4moe-norm": QKV + HEADS + GLM_MOE,
    "granite": NORMS + QKV + GATED,
    "nemotron": biased(NORMS, ALL) + QKV + GATED[1:],
    "olmo2": QKV + GATED + POST_NORMS + [
        ("attn_q_norm", "self_attn.q_norm", "wide q", False),
        ("attn_k_norm", "self_attn.k_norm", "wide k", False)],
    "granitemoe": NORMS + QKV,
    "qwen2moe": NORMS + QKV_BIASED,
    "seed_oss": [("attn_norm", "input_layernorm", "norm", False),
                 ("post_attention_norm", "post_attention_layernorm", "norm", False)] +
                QKV_BIASED + GATED,
    "stablelm": biased(NORMS, ALL) + QKV + GATED,
    "starcoder2": biased(NORMS + QKV + [("ffn_up", "mlp.c_fc", "up", True),
                                        ("ffn_down", "mlp.c_proj", "down", True)], ALL),
}
SIZES = {"norm": 0.5, "head": 0.5, "wide q": 0.5, "wide k": 0.5, "q": 0.5, "k": 0.25, "v": 0.25,
         "o": 0.25, "up": 0.25, "pair": 0.25, "down": 0.125}

# As in families_gguf.py and families_classic.py. multipliers: of embeddings, of what layers add, of
# scores, and what logits are divided by. more: keys of config.json that are the family's own.
BASE = dict(root="model.", layer="layers", front=[("token_embd", "embed_tokens", "embed")],
            plain_norms=True, theta=10000.0)


def family(**more):
    back = [("output_norm", "norm", "norm")]
    if not more["tied"]:
        back += [("output", "lm_head", "head")]
    return {**BASE, "back": back, **more}


FAMILIES = {
    "arcee": family(
        arch="arcee", kind="arcee", cls="Arcee", modules="arcee", D=64, F=160, H=4, K=2, dim=16,
        L=2, tied=False, eps=1e-5,
        rope=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=256)),
    "cohere": family(
        arch="command-r", kind="cohere", cls="Cohere", modules="cohere", D=64, F=128, H=4, K=2,
        dim=16, L=2, tied=True, eps=1e-5, layer_norm="layer_norm_eps", theta=75000.0,
        logit_scale=0.25, more=dict(use_qk_norm=False)),
    "cohere2": family(
        arch="cohere2", kind="cohere2", cls="Cohere2", modules="cohere", D=96, F=128, H=6, K=2,
        dim=16, L=4, tied=True, eps=1e-5, layer_norm="layer_norm_eps", theta=50000.0,
        logit_scale=0.125, window=12, period=4),
    "ernie4_5": family(
        arch="ernie4_5", kind="ernie4_5", cls="Ernie4_5", modules="ernie4_5", D=64, F=128, H=4, K=1,
        dim=32, L=2, tied=True, eps=1e-5, theta=500000.0, more=dict(use_bias=False)),
    "exaone4": family(
        arch="exaone4", kind="exaone4", cls="Exaone4", modules="exaone4", D=64, F=128, H=4, K=2,
        dim=16, L=5, tied=False, eps=1e-5, theta=1000000.0, window=10, period=4),
    "glm4": family(
        arch="glm4", kind="glm4", cls="Glm4", modules="glm4", D=64, F=128, H=4, K=2, dim=32, L=2,
        tied=False, eps=1.5625e-7, rotary_dim=16, more=dict(attention_bias=True)),
    "granite": family(
        arch="granite", kind="granite", cls="Granite", modules="granite", D=64, F=128, H=4, K=2,
        dim=16, L=3, tied=False, eps=1e-3, theta=5000000.0, multipliers=(2.0, 0.5, 0.125, 4.0)),
    "nemotron": family(
        arch="nemotron", kind="nemotron", cls="Nemotron", modules="nemotron", D=64, F=160, H=4, K=2,
        dim=16, L=2, tied=False, eps=1e-5, layer_norm="norm_eps", plain_norms=False, less_one=True,
        rotary_dim=8),
    "olmo3": family(
        arch="olmo2", kind="olmo3", cls="Olmo3", modules="olmo2", D=64, F=128, H=4, K=2, dim=16,
        L=5, tied=False, eps=1e-6, theta=500000.0, window=12, period=4,
        rope=dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=256,
                  attention_factor=1.2079441541679836, beta_fast=32.0, beta_slow=1.0)),
    "seed_oss": family(
        arch="seed_oss", kind="seed_oss", cls="SeedOss", modules="seed_oss", D=64, F=128, H=4, K=2,
        dim=32, L=2, tied=False, eps=1e-6, theta=10000000.0,
        more=dict(attention_bias=True, attention_out_bias=False, mlp_bias=False)),
    "stablelm": family(
        arch="stablelm", kind="stablelm", cls="StableLm", modules="stablelm", D=64, F=128, H=2, K=2,
        dim=32, L=2, tied=False, eps=1e-5, layer_norm="layer_norm_eps", plain_norms=False,
        rotary_dim=8,
        more=dict(use_qkv_bias=False, qk_layernorm=False, use_parallel_residual=False)),
    "starcoder2": family(
        arch="starcoder2", kind="starcoder2", cls="Starcoder2", modules="starcoder2", D=64, F=192,
        H=4, K=2, dim=16, L=2, tied=True, eps=1e-5, layer_norm="norm_epsilon", plain_norms=False,
        theta=100000.0, more=dict(use_bias=True, hidden_act="gelu_pytorch_tanh")),
}
FAMILIES.update({name: family(**f) for name, f in moe.FAMILIES.items()})


def module_shape(f, what):
    """Rows and their length, None of a vector."""
    if what in moe.SIZES:
        return moe.module_shape(f, what)
    q, kv = f["H"] * f["dim"], f["K"] * f["dim"]
    return {"q": (q, f["D"]), "k": (kv, f["D"]), "v": (kv, f["D"]), "o": (f["D"], q),
            "up": (f["F"], f["D"]), "pair": (2 * f["F"], f["D"]), "down": (f["D"], f["F"]),
            "norm": (None, f["D"]), "head": (None, f["dim"]), "wide q": (None, q),
            "wide k": (None, kv)}[what]


def tensors_of(family, grain, n_tokens, tensor, is_file=False):
    """tensor: as of families_classic.py. is_file: with those that nothing reads."""
    f = FAMILIES[family]
    one = 0.0 if f.get("less_one") else 1.0

    def norm(name, hf, length=f["D"]):
        yield tensor(f"{name}.weight", f"{hf}.weight", None, length, 0.5, "fine", offset=one)

    def bias(name, hf, length, size):
        yield tensor(f"{name}.bias", f"{hf}.bias", None, length, size, "fine")

    for name, hf, what in f["front"] + f["back"]:
        root = "" if what == "head" else f["root"]
        if what != "norm":
            yield tensor(f"{name}.weight", f"{root}{hf}.weight", n_tokens, f["D"], 0.25, grain)
            continue
        yield from norm(name, root + hf)
        if not f["plain_norms"]:
            yield from bias(name, root + hf, f["D"], 0.25)
    for layer in range(f["L"] + (f.get("ahead", 0) if is_file else 0)):
        here, there = f"blk.{layer}.", f"{f['root']}{f['layer']}.{layer}."
        own = moe.modules_of(f, layer) if "experts" in f else []
        for name, hf, what, has_bias in MODULES[f["modules"]] + own:
            rows, length = module_shape(f, what)
            if rows:
                size = moe.size_of(f, what) if what in moe.SIZES else SIZES[what]
                yield tensor(f"{here}{name}.weight", f"{there}{hf}.weight", rows, length, size,
                             grain)
            elif what == "choice":
                yield tensor(f"{here}{name}.bias", there + hf, None, length,
                             moe.size_of(f, what), "fine")
            else:
                yield from norm(here + name, there + hf, length)
            if has_bias:
                yield from bias(here + name, there + hf, rows or length, 0.5 if rows else 0.25)


def gguf_keys(family, context):
    """Name without the architecture, and value, as llama.cpp's converter writes them."""
    f, rope = FAMILIES[family], FAMILIES[family].get("rope", {})
    eps = "layer_norm_epsilon" if "layer_norm" in f else "layer_norm_rms_epsilon"
    keys = {"block_count": f["L"], "context_length": context, "embedding_length": f["D"],
            "feed_forward_length": f.get("dense_F", f["F"]), "attention.head_count": f["H"],
            "attention.head_count_kv": f["K"], f"attention.{eps}": f["eps"],
            "rope.freq_base": f["theta"]}
    if "experts" in f:
        keys.update(moe.gguf_keys(f))
    if f["dim"] != f["D"] // f["H"]:
        keys.update({"attention.key_length": f["dim"], "attention.value_length": f["dim"]})
    if "rotary_dim" in f:
        keys["rope.dimension_count"] = f["rotary_dim"]
    if "window" in f:
        keys["attention.sliding_window"] = f["window"]
    if f["arch"] in ("exaone4", "olmo2"):
        keys["attention.sliding_window_pattern"] = [(i + 1) % 4 != 0 for i in range(f["L"])]
    if "logit_scale" in f:
        keys["logit_scale"] = f["logit_scale"]
    for name, value in zip(("embedding_scale", "residual_scale", "attention.scale", "logit_scale"),
                           f.get("multipliers", ())):
        keys[name] = value
    if rope:
        keys.update({"rope.scaling.type": "yarn", "rope.scaling.factor": rope["factor"],
                     "rope.scaling.original_context_length":
                         rope["original_max_position_embeddings"]})
    for name, key in (("attention_factor", "attn_factor"), ("beta_fast", "beta_fast"),
                      ("beta_slow", "beta_slow")):
        if name in rope:
            keys[f"rope.scaling.yarn_{key}"] = rope[name]
    return keys


def rope_keys(f, form):
    """As transformers 5 writes it (f32), or as 4 and older did."""
    rope = {"rope_type": "default", "rope_theta": f["theta"], **f.get("rope", {})}
    part = {"partial_rotary_factor": f["rotary_dim"] / f["dim"]} if "rotary_dim" in f else {}
    if form == "f32" and f["kind"] == "olmo3":
        near = {"rope_type": "default", "rope_theta": f["theta"]}
        return {"rope_parameters": {"full_attention": rope, "sliding_attention": near}}
    if form == "f32":
        return {"rope_parameters": {**rope, **part}}
    scaling = {k: v for k, v in rope.items() if k != "rope_theta"} if "rope" in f else None
    return {"rope_theta": f["theta"], "rope_scaling": scaling, **part}


def config_of(family, form, n_tokens, context):
    """Of a folder: as transformers 5 writes it (f32), as 4 did (f16), or as old ones are (bf16)."""
    f = FAMILIES[family]
    config = {
        "architectures": [f["cls"] + "ForCausalLM"], "model_type": f["kind"],
        "vocab_size": n_tokens, "hidden_size": f["D"], "intermediate_size": f.get("dense_F", f["F"]),
        "num_hidden_layers": f["L"], "num_attention_heads": f["H"], "num_key_value_heads": f["K"],
        "max_position_embeddings": context, f.get("layer_norm", "rms_norm_eps"): f["eps"],
        "tie_word_embeddings": f["tied"], "bos_token_id": 1, "eos_token_id": 2,
        "torch_dtype" if form != "f32" else "dtype": "float32", **rope_keys(f, form),
        **f.get("more", {})}
    if "hidden_act" not in config:
        is_plain = f["kind"] in ("arcee", "nemotron")
        config["hidden_act"] = "relu2" if is_plain else "silu"
    if "experts" in f:
        config.update(moe.config_of(f))
    if f["dim"] != f["D"] // f["H"]:
        config["head_dim"] = f["dim"]
    if "window" in f:
        config["sliding_window"] = f["window"]
    if "window" in f and form == "f32":
        config["layer_types"] = ["full_attention" if (i + 1) % f["period"] == 0 else
                                 "sliding_attention" for i in range(f["L"])]
    elif "window" in f and f["kind"] == "exaone4":
        config["sliding_window_pattern"] = "LLLG" if form == "f16" else 4
    if "logit_scale" in f:
        config["logit_scale"] = f["logit_scale"]
    for name, value in zip(("embedding_multiplier", "residual_multiplier", "attention_multiplier",
                            "logits_scaling"), f.get("multipliers", ())):
        config[name] = value
    return config


def hf_model(family, n_tokens, context):
    import transformers
    f = FAMILIES[family]
    config = config_of(family, "f32", n_tokens, context)
    for key in ("architectures", "dtype", "model_type"):
        config.pop(key)
    if "experts" in f:
        config["experts_implementation"] = "eager"  # others know no double precision
    config = getattr(transformers, f["cls"] + "Config")(
        **{**config, "pad_token_id": None}, attn_implementation="eager")
    return getattr(transformers, f["cls"] + "ForCausalLM")(config)
