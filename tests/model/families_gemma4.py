"""Gemma 4, whose layers are of two kinds, for families_gguf.py, families_hf.py and families.py: one
model as E2B is, whose last layers have no keys and values, a wider feed-forward part and all an
embedding of their own, and one as 31B is, where values of layers that see all are their keys. Scores are not scaled: norms of
keys are small in their place, as in models that were trained.
"""
import struct

# dim, K: of layers that see all; near_dim, near_K: of those that see `window` positions, "s" of
# types. shared: the last layers, without keys and values. P: width of the layers' own embeddings.
BASE = dict(arch="gemma4", kind="gemma4_text", eps=1e-6, theta=1000000.0, near_theta=10000.0)
FAMILIES = {
    "gemma4-e2b": dict(
        BASE, D=64, F=96, H=4, K=2, dim=32, near_K=2, near_dim=16, L=7, types="ssfsfsf", shared=2,
        P=32, window=10, tied=True, cap=4.0),
    "gemma4-31b": dict(
        BASE, D=96, F=160, H=6, K=2, dim=48, near_K=3, near_dim=16, L=6, types="sssssf", shared=0,
        P=0, window=12, tied=False, cap=None),
}
WAVES = 0.25  # this part of the waves of a head turns, in layers that see all


def is_shared(f, layer):
    return layer >= f["L"] - f["shared"]


def modules_of(f, layer):
    """Names here and there, rows (None of a vector), their length and how large numbers may be."""
    near = f["types"][layer] == "s"
    dim, K = (f["near_dim"], f["near_K"]) if near else (f["dim"], f["K"])
    F = f["F"] * 2 if is_shared(f, layer) else f["F"]
    D, q, kv = f["D"], f["H"] * dim, K * dim
    yield "attn_norm", "input_layernorm", None, D, 0.5
    yield "attn_q", "self_attn.q_proj", q, D, 0.5
    yield "attn_q_norm", "self_attn.q_norm", None, dim, 0.5
    if not is_shared(f, layer):
        yield "attn_k", "self_attn.k_proj", kv, D, 0.25
        yield "attn_k_norm", "self_attn.k_norm", None, dim, 0.125
        if near or f["P"]:
            yield "attn_v", "self_attn.v_proj", kv, D, 0.25
    yield "attn_output", "self_attn.o_proj", D, q, 0.25
    yield "post_attention_norm", "post_attention_layernorm", None, D, 0.5
    yield "ffn_norm", "pre_feedforward_layernorm", None, D, 0.5
    yield "ffn_gate", "mlp.gate_proj", F, D, 0.25
    yield "ffn_up", "mlp.up_proj", F, D, 0.25
    yield "ffn_down", "mlp.down_proj", D, F, 0.125
    yield "post_ffw_norm", "post_feedforward_layernorm", None, D, 0.5
    if f["P"]:
        yield "inp_gate", "per_layer_input_gate", f["P"], D, 0.25
        yield "proj", "per_layer_projection", D, f["P"], 0.25
        yield "post_norm", "post_per_layer_input_norm", None, D, 0.5
    yield "layer_output_scale", "layer_scalar", None, 1, 0.25


def tensors_of(family, grain, n_tokens, tensor):
    """tensor: as of families_classic.py."""
    f = FAMILIES[family]
    D, all_P = f["D"], f["L"] * f["P"]
    yield tensor("token_embd.weight", "model.embed_tokens.weight", n_tokens, D, 0.25, grain)
    if not f["tied"]:
        yield tensor("output.weight", "lm_head.weight", n_tokens, D, 0.25, grain)
    yield tensor("output_norm.weight", "model.norm.weight", None, D, 0.5, "fine", offset=1.0)
    if f["P"]:
        yield tensor("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight", n_tokens,
                     all_P, 0.25, grain)
        yield tensor("per_layer_model_proj.weight", "model.per_layer_model_projection.weight", all_P,
                     D, 0.25, grain)
        yield tensor("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight", None,
                     f["P"], 0.5, "fine", offset=1.0)
    for layer in range(f["L"]):
        for name, hf, rows, length, size in modules_of(f, layer):
            end = "" if hf == "layer_scalar" else ".weight"
            one = 0.0 if rows else 0.25 if name == "attn_k_norm" else 1.0
            yield tensor(f"blk.{layer}.{name}.weight", f"model.layers.{layer}.{hf}{end}", rows,
                         length, size, grain if rows else "fine", offset=one)


def gguf_rows(family):
    """Tensors that a converter adds: what frequencies are divided by."""
    f = FAMILIES[family]
    turns = int(WAVES * f["dim"] / 2)
    factors = [1.0] * turns + [1e30] * (f["dim"] // 2 - turns)
    yield "rope_freqs.weight", (len(factors),), "f32", struct.pack(f"<{len(factors)}f", *factors)


def gguf_keys(family, context):
    """Name without the architecture, and value, as llama.cpp's converter writes them."""
    f = FAMILIES[family]
    near = [kind == "s" for kind in f["types"]]
    keys = {"block_count": f["L"], "context_length": context, "embedding_length": f["D"],
            "feed_forward_length": f["F"], "attention.head_count": f["H"],
            "attention.head_count_kv": f["K"], "attention.layer_norm_rms_epsilon": f["eps"],
            "rope.freq_base": f["theta"], "rope.freq_base_swa": f["near_theta"],
            "attention.key_length": f["dim"], "attention.value_length": f["dim"],
            "attention.key_length_swa": f["near_dim"], "attention.value_length_swa": f["near_dim"],
            "rope.dimension_count": f["dim"], "rope.dimension_count_swa": f["near_dim"],
            "attention.sliding_window": f["window"], "attention.sliding_window_pattern": near,
            "attention.shared_kv_layers": f["shared"], "embedding_length_per_layer_input": f["P"]}
    if f["shared"]:
        keys["feed_forward_length"] = [f["F"] * (2 if is_shared(f, layer) else 1)
                                       for layer in range(f["L"])]
    if f["near_K"] != f["K"]:
        keys["attention.head_count_kv"] = [f["near_K"] if kind else f["K"] for kind in near]
    if f["cap"]:
        keys["final_logit_softcapping"] = f["cap"]
    return keys


def heads_of(f, form):
    """Where layers differ: by layer since transformers 5.20 (f32), by kind before."""
    own = {"head_dim": f["dim"]}
    if f["near_K"] != f["K"]:
        own["num_key_value_heads"] = f["K"]
    if form == "f32":
        return {"per_layer_config": {str(i): own for i, kind in enumerate(f["types"])
                                     if kind == "f"}}
    return {"global_head_dim": f["dim"],
            "num_global_key_value_heads": own.get("num_key_value_heads")}


def config_of(family, form, n_tokens, context):
    """bf16: what has a default is left out."""
    f = FAMILIES[family]
    full = {"rope_type": "proportional", "rope_theta": f["theta"], "partial_rotary_factor": WAVES}
    near = {"rope_type": "default", "rope_theta": f["near_theta"]}
    config = {
        "architectures": ["Gemma4ForCausalLM"], "model_type": f["kind"], "vocab_size": n_tokens,
        "hidden_size": f["D"], "intermediate_size": f["F"], "num_hidden_layers": f["L"],
        "num_attention_heads": f["H"], "num_key_value_heads": f["near_K"],
        "head_dim": f["near_dim"], "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": context, "rms_norm_eps": f["eps"],
        "tie_word_embeddings": f["tied"], "bos_token_id": 1, "eos_token_id": 2,
        "sliding_window": f["window"], "final_logit_softcapping": f["cap"],
        "attention_k_eq_v": not f["P"], "num_kv_shared_layers": f["shared"],
        "use_double_wide_mlp": f["shared"] > 0, "hidden_size_per_layer_input": f["P"],
        "vocab_size_per_layer_input": n_tokens if f["P"] else 262144, "enable_moe_block": False,
        "use_bidirectional_attention": "vision" if form == "f16" else None,
        "dtype": "float32", **heads_of(f, form)}
    if form != "bf16":
        config["rope_parameters"] = {"full_attention": full, "sliding_attention": near}
    if form != "bf16" or f["types"] != "sssssf":
        config["layer_types"] = ["sliding_attention" if kind == "s" else "full_attention"
                                 for kind in f["types"]]
    return config


def hf_model(family, n_tokens, context):
    import transformers
    config = config_of(family, "f16", n_tokens, context)
    for key in ("architectures", "dtype", "model_type"):
        config.pop(key)
    config = transformers.Gemma4TextConfig(**{**config, "pad_token_id": None},
                                           attn_implementation="eager")
    return transformers.Gemma4ForCausalLM(config)
