"""A Llama in numpy, from the definition of the architecture: to tell whether two folders are one
function."""
import numpy as np


def normed(x, gain, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * gain


def rotated(x, base):
    """x (T, heads, D): value i of a head turns with value i + D / 2."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)


def attention(x, w, layer, config):
    def heads(name):
        return (x @ w[f"{layer}self_attn.{name}.weight"].T).reshape(len(x), -1, head)
    head = config["hidden_size"] // config["num_attention_heads"]
    q, k, v = heads("q_proj"), heads("k_proj"), heads("v_proj")
    q, k = rotated(q, config["rope_theta"]), rotated(k, config["rope_theta"])
    group = q.shape[1] // k.shape[1]
    score = np.einsum("ihd,jhd->hij", q, np.repeat(k, group, 1)) / np.sqrt(head)
    score = np.where(np.tri(len(x), dtype=bool), score, -np.inf)
    p = np.exp(score - score.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    y = np.einsum("hij,jhd->ihd", p, np.repeat(v, group, 1)).reshape(len(x), -1)
    return y @ w[f"{layer}self_attn.o_proj.weight"].T


def mlp(x, w, layer):
    gate, up = (x @ w[f"{layer}mlp.{name}.weight"].T for name in ("gate_proj", "up_proj"))
    return gate / (1 + np.exp(-gate)) * up @ w[f"{layer}mlp.down_proj.weight"].T


def logits(w, config, tokens):
    """(T, V), in float64."""
    w = {name: x.astype("f8") for name, x in w.items()}
    eps = config["rms_norm_eps"]
    x = w["model.embed_tokens.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        x = x + attention(normed(x, w[layer + "input_layernorm.weight"], eps), w, layer, config)
        x = x + mlp(normed(x, w[layer + "post_attention_layernorm.weight"], eps), w, layer)
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return normed(x, w["model.norm.weight"], eps) @ head.T
