#!/usr/bin/env python3
"""Makes tests/model/families.json: the logits of the models that families_gguf.py writes, by
Hugging Face's own code (pip install torch transformers; without a GPU will do).

    tests/model/families.py                        rewrites the committed file
    tests/model/families.py --llama-cpp DIR        how far llama.cpp is from it (pip install
                                                   llama-cpp-python), on the files in DIR

Everything runs in double precision; Hugging Face's norms, rotary angles and softmax are
float32 nevertheless. float32_off says how far its float32 is from that, as the test counts:
largest difference over the root mean square of the logits. Per family and grain:

    kept     per position of the prompt the logits of ids (53 position + 44 j) mod vocabulary,
             j in 0 .. 7
    greedy   the tokens that follow the prompt, each the one with the largest logit
    margin   the smallest lead that one of them had, as a share of the same root mean square
"""
import argparse
import json

import families_gptoss as gptoss
from families_gguf import CONTEXT, FAMILIES, GRAINS, module_of, random_numbers, tensors_of, \
    vocabulary

OUT = "tests/model/families.json"
V = len(vocabulary()[0])
N_PROMPT, N_GREEDY, N_KEPT = 40, 24, 8


def prompt():
    return [int(x * 2**22) % V for x in random_numbers("prompt", "ids", N_PROMPT, "fine")]


def kept_ids(position):
    return [(53 * position + 44 * j) % V for j in range(N_KEPT)]


def llama_model(family):
    import transformers
    f = FAMILIES[family]
    name = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3",
            "smollm3": "SmolLM3", "gemma": "Gemma", "gemma2": "Gemma2",
            "gemma3": "Gemma3", "phi3": "Phi3", "mixtral": "Mixtral",
            "qwen3_moe": "Qwen3Moe", "gpt_oss": "GptOss", "olmoe": "Olmoe",
            "granitemoe": "GraniteMoe", "ministral3": "Ministral3"}["mistral" if family == "mistral"
                                     else f.get("kind", f["arch"])]
    more = {"sliding_window": None} if name in ("Mistral", "Mixtral") else {}
    if "experts" in f:
        is_local = name in ("Mixtral", "GraniteMoe")
        more["num_local_experts" if is_local else "num_experts"] = f["experts"][0]
        more["num_experts_per_tok"] = f["experts"][1]
        more["experts_implementation"] = "eager"  # others know no double precision
    if name == "GptOss":
        more.update(num_local_experts=more.pop("num_experts"), swiglu_limit=f["limit"],
                    sliding_window=f["window"])
    if name == "Qwen3Moe":
        more.update(moe_intermediate_size=f["F"], norm_topk_prob=True)
    rope = {"rope_type": "default", "rope_theta": f["theta"], **f.get("rope", {})}
    if "near" in f:
        rope = {"full_attention": rope,
                "sliding_attention": {"rope_type": "default", "rope_theta": f["near"]}}
    if "window" in f and name != "GptOss":
        more = {"sliding_window": f["window"]}
    if name in ("Gemma2", "Gemma3"):
        more["query_pre_attn_scalar"] = f["dim"]
    if name == "Phi3" and "rotary_dim" in f:
        rope["partial_rotary_factor"] = f["rotary_dim"] / f["dim"]
        more["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
    for key, value in zip(("embedding_multiplier", "residual_multiplier", "attention_multiplier",
                           "logits_scaling"), f.get("multipliers", ())):
        more[key] = value
    for key, cap in zip(("attn", "final"), f.get("caps", ())):
        more[f"{key}_logit_softcapping"] = cap
    config = getattr(transformers, name + ("TextConfig" if name == "Gemma3" else "Config"))(
        vocab_size=V, hidden_size=f["D"], intermediate_size=f["F"], num_hidden_layers=f["L"],
        num_attention_heads=f["H"], num_key_value_heads=f["K"], head_dim=f["dim"],
        max_position_embeddings=CONTEXT, rms_norm_eps=f["eps"], tie_word_embeddings=f["tied"],
        rope_parameters=rope, pad_token_id=None, attn_implementation="eager", **more)
    return getattr(transformers, name + "ForCausalLM")(config)


def fuse_experts(weights):
    """As transformers 5 has them in memory: one tensor of all, the gate's rows before those of up."""
    import torch
    parts = {}
    for name in [name for name in weights if ".experts." in name]:
        before, after = name.split(".experts.")
        word = after.split(".")[1]
        word = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}.get(word, word)
        layer = before.replace("block_sparse_moe", "mlp")
        parts.setdefault((layer, word), []).append(weights.pop(name))
    for layer, word in parts:
        if word == "down_proj":
            weights[f"{layer}.experts.down_proj"] = torch.stack(parts[layer, word])
        if word == "gate_proj":
            weights[f"{layer}.experts.gate_up_proj"] = torch.cat(
                [torch.stack(parts[layer, w]) for w in ("gate_proj", "up_proj")], dim=1)
    return {name.replace("block_sparse_moe", "mlp"): x for name, x in weights.items()}


def name_granite(weights):
    """From the names of fuse_experts."""
    import torch
    named = {name.replace(".mlp.", ".block_sparse_moe.").replace("router.layer.", "router."): x
             for name, x in weights.items()}
    for name in [name for name in named if name.endswith("shared_mlp.gate_proj.weight")]:
        part = name.removesuffix("gate_proj.weight")
        named[f"{part}input_linear.weight"] = torch.cat(
            [named.pop(f"{part}{word}_proj.weight") for word in ("gate", "up")])
        named[f"{part}output_linear.weight"] = named.pop(f"{part}down_proj.weight")
    return named


def hf_model(family, grain):
    import torch
    f = FAMILIES[family]
    model = module_of(family).hf_model(family, V, CONTEXT) if module_of(family) else \
        llama_model(family)
    model, weights = model.double().eval(), {}
    tensors = list(tensors_of(family, grain))
    if family == "gptoss":
        for name, shape, numbers in gptoss.hf_weights(tensors):
            weights[name] = torch.tensor(numbers, dtype=torch.float64).reshape(shape)
        tensors = [t for t in tensors if not gptoss.is_of_expert(t)]
    for t in tensors:
        numbers = torch.tensor(t.numbers, dtype=torch.float64)
        numbers = numbers.reshape((t.rows, t.length) if t.rows else (t.length,))
        name = t.hf.replace("embed_out", "lm_head")  # since transformers 5
        weights[name] = numbers.T.contiguous() if t.across else numbers
    fused = weights if family == "gptoss" else fuse_experts(weights)
    if f["arch"] == "granitemoe":
        fused = name_granite(fused)
    for name in [name for name in fused if "moe_statics" in name]:
        fused[name.replace("mlp.moe_statics", "mlp.gate.moe_statics")] = fused.pop(name).unsqueeze(0)
    missing, unexpected = model.load_state_dict(fused, strict=False)
    if unexpected or missing != (["lm_head.weight"] if f["tied"] else []):
        raise SystemExit(f"{family}: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model


def root_mean_square(x):
    return float(x.double().square().mean().sqrt())


def measure(family, grain, ids):
    import torch
    model = hf_model(family, grain)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0]
        size, tokens, margin = root_mean_square(logits), list(ids), float("inf")
        for _ in range(N_GREEDY):
            best = model(torch.tensor([tokens])).logits[0, -1].topk(2)
            margin = min(margin, float(best.values[0] - best.values[1]) / size)
            tokens.append(int(best.indices[0]))
        single = model.float()(torch.tensor([ids])).logits[0].double()
    off = float((single - logits).abs().max()) / size
    print(f"{family:14s} {grain:7s} logits {size:.2f}, float32 off by {off:.1e}, smallest margin "
          f"{margin:.1e}, {len(set(tokens[N_PROMPT:]))} different tokens")
    kept = [[float(f"{float(logits[p, i]):.8g}") for i in kept_ids(p)] for p in range(len(ids))]
    return {"float32_off": float(f"{off:.1e}"), "margin": float(f"{margin:.1e}"),
            "greedy": tokens[N_PROMPT:], "kept": kept}


def make():
    import torch
    import transformers
    ids = prompt()
    rows = [{"name": family,
             "fine": measure(family, "fine", ids), "coarse": measure(family, "coarse", ids)}
            for family in FAMILIES]
    head = {"made_by": f"tests/model/families.py, transformers {transformers.__version__}, "
                       f"torch {torch.__version__}", "vocabulary": V, "prompt": ids}
    with open(OUT, "w", encoding="utf-8") as f:
        f.write(json.dumps(head)[:-1] + ', "families": [\n')
        f.write(",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]}\n")


def compare_llama_cpp(folder):
    from llama_cpp import Llama
    with open(OUT, encoding="utf-8") as f:
        golden = json.load(f)
    for row in golden["families"]:
        # It takes these two from its caller, not from the file.
        rope = FAMILIES[row["name"]].get("rope", {})
        for form, grain in GRAINS.items():
            try:
                model = Llama(f"{folder}/family-{row['name']}-{form}.gguf", n_ctx=256,
                              logits_all=True, flash_attn=False, type_k=0, type_v=0, verbose=False,
                              **{"yarn_" + k: v for k, v in rope.items() if k.startswith("beta")})
            except ValueError:
                print(f"{row['name']:14s} {form:5s} is not loaded")
                continue
            model.eval(golden["prompt"])
            pairs = [(float(model.scores[p][i]), want) for p in range(N_PROMPT)
                     for i, want in zip(kept_ids(p), row[grain]["kept"][p])]
            size = (sum(b * b for _, b in pairs) / len(pairs)) ** 0.5
            print(f"{row['name']:14s} {form:5s} {max(abs(a - b) for a, b in pairs) / size:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", metavar="DIR")
    args = parser.parse_args()
    if args.llama_cpp:
        compare_llama_cpp(args.llama_cpp)
    else:
        make()


if __name__ == "__main__":
    main()
