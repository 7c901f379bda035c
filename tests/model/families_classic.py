"""The families before Llama, for families_gguf.py, families_hf.py and families.py: what their
tensors are called, in which order Hugging Face's code has the rows of fused ones, and the keys of
their configurations.
"""
# A row per module of a layer: its name in a GGUF file, its name in a folder, what it is, and
# whether it has a bias. Norms are of D values, and their size is that of their distance from 1.
NEOX = [("attn_norm", "input_layernorm", "norm", True),
        ("attn_qkv", "attention.query_key_value", "qkv", True),
        ("attn_output", "attention.dense", "o", True),
        ("ffn_norm", "post_attention_layernorm", "norm", True),
        ("ffn_up", "mlp.dense_h_to_4h", "up", True),
        ("ffn_down", "mlp.dense_4h_to_h", "down", True)]
FALCON = [("attn_qkv", "self_attention.query_key_value", "qkv", False),
          ("attn_output", "self_attention.dense", "o", False),
          ("ffn_up", "mlp.dense_h_to_4h", "up", False),
          ("ffn_down", "mlp.dense_4h_to_h", "down", False)]
MODULES = {
    "bloom": [(name, hf.replace("attention.", "self_attention.") if name != "ffn_norm" else hf,
               what, bias) for name, hf, what, bias in NEOX],
    "falcon": [("attn_norm", "input_layernorm", "norm", True), *FALCON],
    "falcon-wide": [("attn_norm_2", "ln_attn", "norm", True),
                    ("attn_norm", "ln_mlp", "norm", True), *FALCON],
    "gpt2": [("attn_norm", "ln_1", "norm", True), ("attn_qkv", "attn.c_attn", "qkv", True),
             ("attn_output", "attn.c_proj", "o", True), ("ffn_norm", "ln_2", "norm", True),
             ("ffn_up", "mlp.c_fc", "up", True), ("ffn_down", "mlp.c_proj", "down", True)],
    "gptj": [("attn_norm", "ln_1", "norm", True), ("attn_q", "attn.q_proj", "q", False),
             ("attn_k", "attn.k_proj", "k", False), ("attn_v", "attn.v_proj", "v", False),
             ("attn_output", "attn.out_proj", "o", False), ("ffn_up", "mlp.fc_in", "up", True),
             ("ffn_down", "mlp.fc_out", "down", True)],
    "gptneox": NEOX,
    "mpt": [("attn_norm", "norm_1", "norm", False), ("attn_qkv", "attn.Wqkv", "qkv", False),
            ("attn_output", "attn.out_proj", "o", False), ("ffn_norm", "norm_2", "norm", False),
            ("ffn_up", "ffn.up_proj", "up", False), ("ffn_down", "ffn.down_proj", "down", False)],
    "phi2": [("attn_norm", "input_layernorm", "norm", True),
             ("attn_q", "self_attn.q_proj", "q", True), ("attn_k", "self_attn.k_proj", "k", True),
             ("attn_v", "self_attn.v_proj", "v", True),
             ("attn_output", "self_attn.dense", "o", True), ("ffn_up", "mlp.fc1", "up", True),
             ("ffn_down", "mlp.fc2", "down", True)],
}
SIZES = {"norm": 0.5, "qkv": 0.25, "q": 0.5, "k": 0.25, "v": 0.25, "o": 0.25, "up": 0.25,
         "down": 0.125}

# root, layer: what names begin with; front and back: what is of no layer, "embed" a matrix of
# V rows, "table" one of the positions, "head" a matrix behind no root. groups: rows of qkv stand by
# key/value heads in folders; across: matrices of layers stand by columns there.
FAMILIES = {
    "bloom": dict(
        arch="bloom", kind="bloom", cls="Bloom", modules="bloom", D=64, F=256, H=4, K=4, dim=16,
        L=2, tied=True, eps=1e-5, root="transformer.", layer="h", groups=True,
        front=[("token_embd", "word_embeddings", "embed"),
               ("token_embd_norm", "word_embeddings_layernorm", "norm")],
        back=[("output_norm", "ln_f", "norm")]),
    "falcon": dict(
        arch="falcon", kind="falcon", cls="Falcon", modules="falcon", D=96, F=384, H=6, K=1, dim=16,
        L=2, tied=True, eps=1e-5, root="transformer.", layer="h", groups=True,
        front=[("token_embd", "word_embeddings", "embed")], back=[("output_norm", "ln_f", "norm")]),
    "falcon-wide": dict(
        arch="falcon", kind="falcon", cls="Falcon", modules="falcon-wide", D=64, F=256, H=4, K=2,
        dim=16, L=2, tied=False, eps=1e-5, theta=1000.0, root="transformer.", layer="h",
        groups=True, front=[("token_embd", "word_embeddings", "embed")],
        back=[("output_norm", "ln_f", "norm"), ("output", "lm_head", "head")]),
    "gpt2": dict(
        arch="gpt2", kind="gpt2", cls="GPT2", modules="gpt2", D=64, F=256, H=4, K=4, dim=16, L=3,
        tied=True, eps=1e-5, context=96, root="transformer.", layer="h", across=True,
        front=[("token_embd", "wte", "embed"), ("position_embd", "wpe", "table")],
        back=[("output_norm", "ln_f", "norm")]),
    "gptj": dict(
        arch="gptj", kind="gptj", cls="GPTJ", modules="gptj", D=64, F=192, H=2, K=2, dim=32, L=2,
        tied=False, eps=1e-5, rotary_dim=24, root="transformer.", layer="h",
        front=[("token_embd", "wte", "embed")],
        back=[("output_norm", "ln_f", "norm"), ("output", "lm_head", "biased head")]),
    "gptneox": dict(
        arch="gptneox", kind="gpt_neox", cls="GPTNeoX", modules="gptneox", D=96, F=160, H=3, K=3,
        dim=32, L=2, tied=False, eps=1e-5, rotary_dim=8, parallel=True, root="gpt_neox.",
        layer="layers", groups=True, front=[("token_embd", "embed_in", "embed")],
        back=[("output_norm", "final_layer_norm", "norm"), ("output", "embed_out", "head")]),
    "gptneox-serial": dict(
        arch="gptneox", kind="gpt_neox", cls="GPTNeoX", modules="gptneox", D=64, F=192, H=4, K=4,
        dim=16, L=2, tied=False, eps=1e-3, theta=500.0, rotary_dim=16, parallel=False,
        root="gpt_neox.", layer="layers", groups=True, front=[("token_embd", "embed_in", "embed")],
        back=[("output_norm", "final_layer_norm", "norm"), ("output", "embed_out", "head")]),
    "mpt": dict(
        arch="mpt", kind="mpt", cls="Mpt", modules="mpt", D=96, F=384, H=6, K=6, dim=16, L=2,
        tied=True, eps=1e-5, alibi=8, root="transformer.", layer="blocks", plain_norms=True,
        front=[("token_embd", "wte", "embed")], back=[("output_norm", "norm_f", "norm")]),
    "phi2": dict(
        arch="phi2", kind="phi", cls="Phi", modules="phi2", D=64, F=192, H=2, K=2, dim=32, L=2,
        tied=False, eps=1e-5, rotary_dim=12, root="model.", layer="layers",
        front=[("token_embd", "embed_tokens", "embed")],
        back=[("output_norm", "final_layernorm", "norm"), ("output", "lm_head", "biased head")]),
}


def ungrouped(f):
    """For each row of q, k and v in that order the row of a folder's fused matrix."""
    per, dim = f["H"] // f["K"], f["dim"]
    group = lambda head, place: (head * (per + 2) + place) * dim  # noqa: E731
    starts = [group(h // per, h % per) for h in range(f["H"])]
    starts += [group(k, per + part) for part in (0, 1) for k in range(f["K"])]
    return [start + i for start in starts for i in range(dim)]


def matrix_shape(f, what):
    """Rows and their length."""
    q, kv = f["H"] * f["dim"], f["K"] * f["dim"]
    return {"qkv": (q + 2 * kv, f["D"]), "q": (q, f["D"]), "k": (kv, f["D"]), "v": (kv, f["D"]),
            "o": (f["D"], q), "up": (f["F"], f["D"]), "down": (f["D"], f["F"])}[what]


def tensors_of(family, grain, n_tokens, tensor):
    """tensor: makes one of a name here, a name there, rows or None, length, size, grain, offset and
    how the rows of a folder stand."""
    f = FAMILIES[family]

    def norm(name, hf):
        yield tensor(f"{name}.weight", f"{hf}.weight", None, f["D"], 0.5, "fine", offset=1.0)
        if not f.get("plain_norms"):
            yield tensor(f"{name}.bias", f"{hf}.bias", None, f["D"], 0.25, "fine")

    for name, hf, what in f["front"] + f["back"]:
        root = "" if "head" in what else f["root"]
        if what == "norm":
            yield from norm(name, root + hf)
            continue
        rows = f["context"] if what == "table" else n_tokens
        yield tensor(f"{name}.weight", f"{root}{hf}.weight", rows, f["D"], 0.25, grain)
        if what == "biased head":
            yield tensor(f"{name}.bias", f"{hf}.bias", None, n_tokens, 0.5, "fine")
    for layer in range(f["L"]):
        here, there = f"blk.{layer}.", f"{f['root']}{f['layer']}.{layer}."
        for name, hf, what, bias in MODULES[f["modules"]]:
            if what == "norm":
                yield from norm(here + name, there + hf)
                continue
            rows, length = matrix_shape(f, what)
            order = ungrouped(f) if what == "qkv" and f.get("groups") else None
            yield tensor(f"{here}{name}.weight", f"{there}{hf}.weight", rows, length, SIZES[what],
                         grain, order=order, across=f.get("across", False))
            if bias:
                yield tensor(f"{here}{name}.bias", f"{there}{hf}.bias", None, rows, 0.5, "fine",
                             order=order)


def gguf_keys(family, context):
    """Name without the architecture, and value, as llama.cpp's converter writes them."""
    f = FAMILIES[family]
    keys = {"block_count": f["L"], "context_length": f.get("context", context),
            "embedding_length": f["D"], "feed_forward_length": f["F"],
            "attention.head_count": f["H"], "attention.layer_norm_epsilon": f["eps"]}
    if f["arch"] in ("falcon", "bloom", "phi2"):
        keys["attention.head_count_kv"] = f["K"]
    if "rotary_dim" in f:
        keys["rope.dimension_count"] = f["rotary_dim"]
    if "theta" in f:
        keys["rope.freq_base"] = f["theta"]
    if "parallel" in f:
        keys["use_parallel_residual"] = f["parallel"]
    if "alibi" in f:
        keys["attention.max_alibi_bias"] = float(f["alibi"])
    return keys


def config_of(family, form, n_tokens, context):
    """Of a folder: as transformers 5 writes it (f32), as 4 did (f16), or as old ones are (bf16)."""
    f = FAMILIES[family]
    kind = f["kind"]
    config = {"model_type": kind, "vocab_size": n_tokens, "tie_word_embeddings": f["tied"],
              "bos_token_id": 1, "eos_token_id": 2,
              "torch_dtype" if form != "f32" else "dtype": "float32",
              "architectures": [f["cls"] + ("LMHeadModel" if kind == "gpt2" else "ForCausalLM")]}
    if kind in ("gpt2", "gptj"):
        config.update(n_layer=f["L"], n_embd=f["D"], n_head=f["H"],
                      n_positions=f.get("context", context), layer_norm_epsilon=f["eps"],
                      activation_function="gelu_new",
                      n_inner=None if f["F"] == 4 * f["D"] else f["F"])
    if kind == "gptj":
        config["rotary_dim"] = f["rotary_dim"]
    if kind == "gpt_neox":
        config.update(rotary_pct=f["rotary_dim"] / f["dim"], use_parallel_residual=f["parallel"],
                      attention_bias=True, layer_norm_eps=f["eps"], hidden_act="gelu",
                      rotary_emb_base=f.get("theta", 10000.0))
    if kind == "phi":
        config.update(partial_rotary_factor=f["rotary_dim"] / f["dim"], qk_layernorm=False,
                      layer_norm_eps=f["eps"], hidden_act="gelu_new",
                      num_key_value_heads=f["K"])
    if kind in ("gpt_neox", "phi"):
        config.update(num_hidden_layers=f["L"], hidden_size=f["D"], num_attention_heads=f["H"],
                      intermediate_size=f["F"], max_position_embeddings=context)
    if kind == "falcon":
        wide = f["modules"] == "falcon-wide"
        config.update(num_hidden_layers=f["L"], hidden_size=f["D"], num_attention_heads=f["H"],
                      alibi=False, bias=False, parallel_attn=True, multi_query=not wide,
                      new_decoder_architecture=wide, layer_norm_epsilon=f["eps"],
                      num_kv_heads=f["K"] if wide else f["H"], max_position_embeddings=context)
        if "theta" in f:
            config["rope_theta"] = f["theta"]
    if kind == "bloom":
        config.update(n_layer=f["L"], n_embed=f["D"], num_attention_heads=f["H"],
                      layer_norm_epsilon=f["eps"], seq_length=context,
                      apply_residual_connection_post_layernorm=False, offset_alibi=100)
    if kind == "bloom" and form != "bf16":
        config.update(hidden_size=config.pop("n_embed"), n_head=config.pop("num_attention_heads"))
    if kind == "mpt":
        config.update(n_layers=f["L"], d_model=f["D"], n_heads=f["H"], max_seq_len=context,
                      expansion_ratio=f["F"] // f["D"], no_bias=True, logit_scale=None,
                      attn_config={"alibi": True, "alibi_bias_max": f["alibi"], "clip_qkv": None,
                                   "attn_type": "multihead_attention", "qk_ln": False,
                                   "prefix_lm": False, "softmax_scale": None})
    if form == "f32" and kind in ("gpt_neox", "phi", "falcon"):
        part = {"partial_rotary_factor": f["rotary_dim"] / f["dim"]} if "rotary_dim" in f else {}
        config["rope_parameters"] = {"rope_type": "default",
                                     "rope_theta": f.get("theta", 10000.0), **part}
        for key in ("rotary_pct", "rotary_emb_base", "rope_theta", "partial_rotary_factor"):
            config.pop(key, None)
    return config


def hf_model(family, n_tokens, context):
    """Hugging Face's code of it, with what configurations of today have."""
    import transformers
    f = FAMILIES[family]
    config = config_of(family, "f16", n_tokens, context)
    for key in ("architectures", "torch_dtype", "model_type"):
        config.pop(key)
    if f["kind"] == "mpt":
        config["attn_config"] = {"alibi": True, "alibi_bias_max": f["alibi"]}
    config = getattr(transformers, f["cls"] + "Config")(
        **config, pad_token_id=None, attn_implementation="eager")
    end = "LMHeadModel" if f["kind"] == "gpt2" else "ForCausalLM"
    return getattr(transformers, f["cls"] + end)(config)
