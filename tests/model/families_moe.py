"""Families of experts beside one that all tokens meet, for families_later.py, which has the others after
Llama: what stands in its layers in place of a gated part, and what its files say of that.

experts: how many there are, and a token meets. shared: width of the one for all. router: how large the
numbers of the router may be.
"""
GATED = [("ffn_gate", "gate_proj", "up"), ("ffn_up", "up_proj", "up"), ("ffn_down", "down_proj", "down")]
SIZES = {"router": 1.0, "expert up": 0.25, "expert down": 0.03125, "shared up": 0.25,
         "shared down": 0.0625, "shared gate": 0.5}

FAMILIES = {
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
    shared = {"granitemoe": "shared_mlp", "qwen2moe": "mlp.shared_expert"}[arch]
    rows = [("ffn_gate_inp", f"{there}.{router}", "router", False)]
    rows += [(f"{name}_exps", f"{there}.experts.{i}.{hf}", f"expert {what}", False)
             for name, hf, what in GATED for i in range(f["experts"][0])]
    rows += [(f"{name}_shexp", f"{shared}.{hf}", f"shared {what}", False)
             for name, hf, what in GATED]
    if arch == "qwen2moe":
        rows.append(("ffn_gate_inp_shexp", "mlp.shared_expert_gate", "shared gate", False))
    return rows


def module_shape(f, what):
    return {"router": (f["experts"][0], f["D"]), "expert up": (f["F"], f["D"]),
            "expert down": (f["D"], f["F"]), "shared up": (f["shared"], f["D"]),
            "shared down": (f["D"], f["shared"]), "shared gate": (1, f["D"])}[what]


def size_of(f, what):
    return f.get("router", SIZES[what]) if what == "router" else SIZES[what]


def gguf_keys(f):
    E, U = f["experts"]
    keys = {"expert_count": E, "expert_used_count": U,
            "expert_shared_feed_forward_length": f["shared"]}
    if f["arch"] != "granitemoe":
        keys["expert_feed_forward_length"] = f["F"]
    return keys


def config_of(f):
    E, U = f["experts"]
    if f["arch"] == "granitemoe":
        return {"num_local_experts": E, "num_experts_per_tok": U,
                "shared_intermediate_size": f["shared"]}
    return {"moe_intermediate_size": f["F"], "num_experts": E, "num_experts_per_tok": U,
            "shared_expert_intermediate_size": f["shared"], "norm_topk_prob": False,
            "decoder_sparse_step": 1, "mlp_only_layers": [], "use_sliding_window": False}
