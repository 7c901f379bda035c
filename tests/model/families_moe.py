"""Families of experts beside one that all tokens meet, for families_later.py, which has the others after
Llama: what stands in its layers in place of a gated part, and what its files say of that.

experts: how many there are, and a token meets. shared: width of the one for all. sizes: how large
numbers of a kind may be, where not as in SIZES. dense: the first layers, which are a gated part of width dense_F. sums: shares
of those that are chosen sum to 1; factor: what they come times. ahead: layers behind the last, which files
have and nothing reads.
"""
GATED = [("ffn_gate", "gate_proj", "up"), ("ffn_up", "up_proj", "up"), ("ffn_down", "down_proj", "down")]
SIZES = {"choice": 0.25, "router": 1.0, "expert up": 0.25, "expert down": 0.03125, "shared up": 0.25,
         "shared down": 0.0625, "shared gate": 0.5, "dense up": 0.25, "dense down": 0.125, "ahead": 0.25}

FAMILIES = {
    "dots1": dict(
        arch="dots1", kind="dots1", cls="Dots1", modules="dots1", D=64, F=32, H=4, K=4, dim=16, L=3,
        tied=False, eps=1e-6, theta=10000000.0, experts=(8, 3), shared=64, sizes={"router": 0.25}, dense=1,
        dense_F=160, sums=True, factor=2.5,
        more=dict(attention_bias=False, sliding_window=None, max_window_layers=3)),
    "ernie4_5-moe": dict(
        arch="ernie4_5-moe", kind="ernie4_5_moe", cls="Ernie4_5_Moe", modules="granitemoe", D=64, F=32,
        H=4, K=1, dim=32, L=3, tied=True, eps=1e-5, theta=500000.0, experts=(8, 3), shared=64, dense=1,
        dense_F=128, sizes={"choice": 0.125}, more=dict(use_bias=False)),
    "glm4moe": dict(
        arch="glm4moe", kind="glm4_moe", cls="Glm4Moe", modules="glm4moe", D=64, F=32, H=4, K=2, dim=32,
        L=3, tied=False, eps=1e-5, theta=1000000.0, rotary_dim=16, experts=(8, 3), shared=64,
        sizes={"router": 0.25}, dense=1, dense_F=160, sums=True, factor=1.0, ahead=1,
        more=dict(attention_bias=True, use_qk_norm=False)),
    "glm4moe-norm": dict(
        arch="glm4moe", kind="glm4_moe", cls="Glm4Moe", modules="glm4moe-norm", D=96, F=64, H=4, K=1,
        dim=32, L=4, tied=False, eps=1e-5, theta=1000000.0, rotary_dim=8, experts=(8, 3), shared=64,
        sizes={"router": 0.25, "choice": 0.125, "expert down": 0.0078125}, dense=2, dense_F=128, sums=False, factor=2.5, ahead=0,
        more=dict(attention_bias=False, use_qk_norm=True)),
    "granitemoeshared": dict(
        arch="granitemoe", kind="granitemoeshared", cls="GraniteMoeShared", modules="granitemoe", D=64,
        F=32, H=4, K=2, dim=16, L=2, tied=False, eps=1e-4, experts=(6, 2), shared=64,
        multipliers=(2.0, 0.5, 0.125, 4.0)),
    "qwen2moe": dict(
        arch="qwen2moe", kind="qwen2_moe", cls="Qwen2Moe", modules="qwen2moe", D=64, F=32, H=4, K=2,
        dim=16, L=3, tied=False, eps=1e-6, theta=1000000.0, dense_F=160, experts=(8, 3),
        shared=96),
}


def modules_of(f, layer):
    """As rows of families_later.py."""
    arch = f["arch"]
    there = "block_sparse_moe" if arch == "granitemoe" else "mlp"
    router = "router.layer" if arch == "granitemoe" else "gate"
    shared = {"granitemoe": "shared_mlp", "qwen2moe": "mlp.shared_expert"}.get(
        arch, "mlp.shared_experts")
    if layer < f.get("dense", 0):
        return [(name, f"mlp.{hf}", f"dense {what}", False) for name, hf, what in GATED]
    rows = [("ffn_gate_inp", f"{there}.{router}", "router", False)]
    rows += [(f"{name}_exps", f"{there}.experts.{i}.{hf}", f"expert {what}", False)
             for name, hf, what in GATED for i in range(f["experts"][0])]
    rows += [(f"{name}_shexp", f"{shared}.{hf}", f"shared {what}", False)
             for name, hf, what in GATED]
    if arch == "qwen2moe":
        rows.append(("ffn_gate_inp_shexp", "mlp.shared_expert_gate", "shared gate", False))
    if arch in ("dots1", "glm4moe"):
        rows.append(("exp_probs_b", "mlp.gate.e_score_correction_bias", "choice", False))
    if arch == "ernie4_5-moe":
        rows.append(("exp_probs_b", "mlp.moe_statics.e_score_correction_bias", "choice", False))
    if layer >= f["L"]:
        rows += [("nextn.eh_proj", "eh_proj", "ahead", False), ("nextn.enorm", "enorm", "norm", False),
                 ("nextn.hnorm", "hnorm", "norm", False),
                 ("nextn.shared_head_norm", "shared_head.norm", "norm", False)]
    return rows


def module_shape(f, what):
    if what.startswith("dense"):
        return (f["D"], f["dense_F"]) if what == "dense down" else (f["dense_F"], f["D"])
    return {"choice": (None, f["experts"][0]), "ahead": (f["D"], 2 * f["D"]),
            "router": (f["experts"][0], f["D"]), "expert up": (f["F"], f["D"]),
            "expert down": (f["D"], f["F"]), "shared up": (f["shared"], f["D"]),
            "shared down": (f["D"], f["shared"]), "shared gate": (1, f["D"])}[what]


def size_of(f, what):
    return f.get("sizes", {}).get(what, SIZES[what])


def gguf_keys(f):
    E, U = f["experts"]
    keys = {"expert_count": E, "expert_used_count": U,
            "expert_shared_feed_forward_length": f["shared"]}
    if f["arch"] != "granitemoe":
        keys["expert_feed_forward_length"] = f["F"]
    if f["arch"] in ("dots1", "glm4moe"):
        keys.pop("expert_shared_feed_forward_length")
        keys.update({"expert_shared_count": f["shared"] // f["F"], "expert_gating_func": 2,
                     "leading_dense_block_count": f["dense"], "expert_weights_scale": f["factor"],
                     "expert_weights_norm": f["sums"]})
    if "ahead" in f:
        keys.update({"block_count": f["L"] + f["ahead"], "nextn_predict_layers": f["ahead"]})
    if f["arch"] == "ernie4_5-moe":
        keys.update({"expert_shared_count": f["shared"] // f["F"],
                     "leading_dense_block_count": f["dense"], "interleave_moe_layer_step": 1})
    return keys


def config_of(f):
    E, U = f["experts"]
    if f["arch"] == "granitemoe":
        return {"num_local_experts": E, "num_experts_per_tok": U,
                "shared_intermediate_size": f["shared"]}
    if f["arch"] in ("dots1", "glm4moe"):
        ahead = {"num_nextn_predict_layers": f["ahead"]} if "ahead" in f else {}
        return {"moe_intermediate_size": f["F"], "n_routed_experts": E, "num_experts_per_tok": U,
                "n_shared_experts": f["shared"] // f["F"], "first_k_dense_replace": f["dense"],
                "routed_scaling_factor": f["factor"], "norm_topk_prob": f["sums"], "n_group": 1,
                "topk_group": 1, **ahead}
    if f["arch"] == "ernie4_5-moe":
        return {"moe_intermediate_size": f["F"], "moe_num_experts": E, "moe_k": U,
                "moe_num_shared_experts": f["shared"] // f["F"], "moe_layer_start_index": f["dense"],
                "moe_layer_end_index": -1, "moe_layer_interval": 1, "num_nextn_predict_layers": 1}
    return {"moe_intermediate_size": f["F"], "num_experts": E, "num_experts_per_tok": U,
            "shared_expert_intermediate_size": f["shared"], "norm_topk_prob": False,
            "decoder_sparse_step": 1, "mlp_only_layers": [], "use_sliding_window": False}
