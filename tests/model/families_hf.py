#!/usr/bin/env python3
"""Writes the models of families_gguf.py as Hugging Face folders: the same weights, in the order
and with the names that Hugging Face's code gives them.

    tests/model/families_hf.py DIR     DIR/family-NAME-FORMAT for each

f32 is one file with the config.json of transformers 5, f16 one file with that of transformers 4,
bf16 three shards with that of older ones, where Llama's keys that follow from others are missing.
DIR/family-mistral-window is the f32 one of Mistral with a window of 16 positions. Those of SEEING
are in DIR/family-NAME-seeing, too, as text models in such that also see, by the names of files of
transformers 4 and 5; that of Gemma 4 has keys of a layer that shares another's, which is left out.
"""
import math
import struct
import sys

import families_gptoss as gptoss
import hf_write
from families_gguf import CONTEXT, FAMILIES, grains_of, module_of, pack, tensors_of
from gguf_write import vocabulary

FORMS = {"f32": 1, "f16": 1, "bf16": 3, "mxfp4": 2}  # and shards; the last of gpt-oss alone
CLASS = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3",
         "smollm3": "SmolLM3", "gemma": "Gemma", "gemma2": "Gemma2",
         "gemma3_text": "Gemma3", "phi3": "Phi3", "mixtral": "Mixtral", "qwen3_moe": "Qwen3Moe",
         "olmoe": "Olmoe", "granitemoe": "GraniteMoe",
         "ministral3": "Ministral3",
         "gpt_oss": "GptOss"}


# Of a text model in one that also sees: model_type of the whole and of the part, what names begin
# with, and the tensors of its eyes.
SEEING = {
    "gemma3": ("gemma3", "gemma3_text", {"model.": "language_model.model.",
                                         "lm_head.": "language_model.lm_head."},
               {"vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": (4, 4),
                "multi_modal_projector.mm_input_projection_weight": (4, 8)}),
    "gemma4-e2b": ("gemma4", "gemma4_text", {"model.": "model.language_model."},
                   {"model.vision_tower.encoder.layers.0.self_attn.q_proj.linear.weight": (4, 4),
                    "model.audio_tower.output_proj.bias": (4,),
                    "model.language_model.layers.5.self_attn.k_proj.weight": (32, 64),
                    "model.language_model.layers.5.self_attn.k_norm.weight": (16,),
                    "model.embed_vision.embedding_projection.weight": (4, 8)}),
    "qwen3": ("qwen3_vl", "qwen3_vl_text", {"model.": "model.language_model.", "lm_head.": "lm_head."},
              {"model.visual.patch_embed.proj.weight": (4, 3, 2, 2, 2),
               "model.visual.blocks.0.mlp.linear_fc1.weight": (8, 4)}),
}


def rope_keys(f, form):
    rope = f.get("rope", {})
    full = {"rope_theta": f["theta"], "rope_type": "default", **rope}
    if form == "f32" and "near" in f:
        return {"rope_parameters": {"full_attention": full, "sliding_attention":
                                    {"rope_theta": f["near"], "rope_type": "default"}}}
    if form == "f32":
        return {"rope_parameters": full}
    kind = "rope_type" if form == "f16" else "type"
    left_out = ["rope_type"]
    if rope.get("rope_type") == "longrope":  # that it was trained with stands beside it
        left_out.append("original_max_position_embeddings")
    scaling = {kind: rope["rope_type"], **{k: v for k, v in rope.items() if k not in left_out}} \
        if rope else None
    near = {"rope_local_base_freq": f["near"]} if "near" in f else {}
    return {"rope_theta": f["theta"], "rope_scaling": scaling, **near}


def config_of(family, form):
    f = FAMILIES[family]
    if module_of(family):
        return module_of(family).config_of(family, form, len(vocabulary()[0]), CONTEXT)
    kind = {"mistral": "mistral", "gemma3": "gemma3_text"}.get(family, f.get("kind", f["arch"]))
    config = {
        "architectures": [CLASS[kind] + "ForCausalLM"], "model_type": kind,
        "vocab_size": len(vocabulary()[0]), "hidden_size": f["D"], "intermediate_size": f["F"],
        "num_hidden_layers": f["L"], "num_attention_heads": f["H"], "hidden_act": "silu",
        "max_position_embeddings": CONTEXT, "rms_norm_eps": f["eps"],
        "tie_word_embeddings": f["tied"], "bos_token_id": 1, "eos_token_id": 2,
        "torch_dtype" if form != "f32" else "dtype": "float32", **rope_keys(f, form)}
    old = form == "bf16" and kind == "llama"
    if not old or f["K"] != f["H"]:
        config["num_key_value_heads"] = f["K"]
    if not old or f["dim"] != f["D"] // f["H"]:
        config["head_dim"] = f["dim"]
    if kind in ("mistral", "mixtral"):
        config["sliding_window"] = None
    if kind == "gpt_oss":
        config.update(gptoss.config_keys(form))
    elif "experts" in f:
        is_local = kind in ("mixtral", "granitemoe")
        config["num_local_experts" if is_local else "num_experts"] = f["experts"][0]
        config["num_experts_per_tok"] = f["experts"][1]
    for name, value in zip(("embedding_multiplier", "residual_multiplier", "attention_multiplier",
                            "logits_scaling"), f.get("multipliers", ())):
        config[name] = value
    if kind == "olmoe":
        config.update(norm_topk_prob=False, clip_qkv=None)
    if kind == "qwen3_moe":
        config.update(intermediate_size=192, moe_intermediate_size=f["F"], norm_topk_prob=True,
                      decoder_sparse_step=1, mlp_only_layers=[])
    if kind in ("qwen2", "qwen3", "qwen3_moe"):
        config.update(use_sliding_window=False, sliding_window=4096, max_window_layers=1)
    if kind.startswith("gemma"):
        attn, final = f.get("caps", (None, None))
        config.update(hidden_act="gelu", hidden_activation="gelu_pytorch_tanh",
                      attention_bias=False, attn_logit_softcapping=attn,
                      final_logit_softcapping=final)
    if "window" in f:
        config["sliding_window"] = f["window"]
    if kind in ("gemma2", "gemma3_text"):
        config["query_pre_attn_scalar"] = f["dim"]
    if "rotary_dim" in f:
        config["partial_rotary_factor"] = f["rotary_dim"] / f["dim"]
        config["original_max_position_embeddings"] = \
            f["rope"]["original_max_position_embeddings"]
    if kind == "gemma3_text" and form == "f32":
        config["layer_types"] = ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention"
                                 for i in range(f["L"])]
    if kind == "gemma3_text" and form == "f16":
        config["sliding_window_pattern"] = 6
    if kind == "smollm3" and form != "bf16":
        config["no_rope_layers"] = [int((i + 1) % 4 != 0) for i in range(f["L"])]
    return config


def stored(t, form):
    """As a folder has it: name, shape, format, bytes."""
    if not t.rows:
        shape = (1, t.length) if "moe_statics" in t.hf else (t.length,)
        return t.hf, shape, "f32", pack(t, t.numbers, "f32")
    if not t.across:
        return t.hf, (t.rows, t.length), form, pack(t, t.numbers, form)
    columns = [x for k in range(t.length) for x in t.numbers[k::t.length]]
    return t.hf, (t.length, t.rows), form, pack(t, columns, form)


def stacked(rows):
    """Of Granite all experts of a layer are two tensors: of each the rows of its gate and of its up,
    and those of its down. So are those of the one that all tokens meet."""
    kept, parts, shared = [], {}, {}
    for row in rows:
        part, _, word = row[0].removesuffix(".weight").rpartition(".")
        if part.endswith("shared_mlp"):
            shared.setdefault(part, {})[word] = row
            continue
        layer, _, rest = row[0].partition(".experts.")
        if rest:
            parts.setdefault(layer, {}).setdefault(int(rest.split(".")[0]), []).append(row)
        else:
            kept.append(row)
    for layer, experts in parts.items():
        each = [experts[i] for i in sorted(experts)]
        (F, D), form = each[0][0][1], each[0][0][2]
        kept.append((f"{layer}.input_linear.weight", (len(each), 2 * F, D), form,
                     b"".join(gate[3] + up[3] for gate, up, _ in each)))
        kept.append((f"{layer}.output_linear.weight", (len(each), D, F), form,
                     b"".join(down[3] for _, _, down in each)))
    for part, row in shared.items():
        _, (F, D), form, gate = row["gate_proj"]
        kept.append((f"{part}.input_linear.weight", (2 * F, D), form, gate + row["up_proj"][3]))
        kept.append((f"{part}.output_linear.weight", *row["down_proj"][1:]))
    return kept


def aged(rows, f, form):
    """The oldest files of GPT-2 and BLOOM have no root, and GPT-2's its mask in every layer."""
    if form != "bf16" or f["arch"] not in ("gpt2", "bloom"):
        return rows
    rows = [(name.removeprefix(f["root"]), *more) for name, *more in rows]
    masks = [f"h.{layer}.attn.bias" for layer in range(f["L"]) if f["arch"] == "gpt2"]
    return rows + [(name, (1, 1, 8, 8), "f32", bytes(4 * 64)) for name in masks]


def with_ahead(rows, f):
    """Of ERNIE 4.5 with experts the layers that predict further ahead are no layers by their names."""
    if f["arch"] != "ernie4_5-moe":
        return rows
    return rows + [("model.mtp_emb_norm.0.weight", (f["D"],), "f32", bytes(4 * f["D"])),
                   ("model.mtp_linear_proj.0.weight", (f["D"], 2 * f["D"]), "f32", bytes(8 * f["D"]**2))]


def write_seeing(path, family, tensors, config):
    whole, part, names, eyes = SEEING[family]
    rows = []
    for name, *more in [stored(t, "f32") for t in tensors]:
        first = name.split(".")[0] + "."
        rows.append((names[first] + name.removeprefix(first), *more))
    for name, shape in eyes.items():
        rows.append((name, shape, "f32", struct.pack(f"<{math.prod(shape)}f", *range(math.prod(shape)))))
    text = {**config, "model_type": part}
    text.pop("architectures")
    if whole == "qwen3_vl":
        text["rope_parameters"].update(mrope_section=[6, 5, 5], mrope_interleaved=True)
    hf_write.open_folder(path)
    hf_write.weights(path, rows, 1)
    hf_write.tokenizer(path, *vocabulary())
    hf_write.json_file(f"{path}/config.json", {
        "architectures": ["ForConditionalGeneration"], "model_type": whole, "text_config": text,
        "vision_config": {"model_type": "of_eyes", "hidden_size": 4}})


def write_folder(path, tensors, form, config):
    hf_write.open_folder(path)
    family = path.split("family-")[-1].rsplit("-", 1)[0]
    one = "bf16" if form == "mxfp4" else form
    is_gptoss = family == "gptoss"
    rows = [stored(t, one) for t in tensors if not (is_gptoss and gptoss.is_of_expert(t))]
    if is_gptoss:
        rows += gptoss.folder_rows(tensors, form, lambda numbers: pack(None, numbers, one))
    rows = with_ahead(aged(rows, FAMILIES[family], form), FAMILIES[family])
    rows = stacked(rows) if FAMILIES[family]["arch"] == "granitemoe" else rows
    hf_write.weights(path, rows, FORMS[form])
    hf_write.tokenizer(path, *vocabulary())
    hf_write.json_file(f"{path}/config.json", config)


def write_family(family, folder):
    tensors = {}
    for form in [form for form in FORMS if form in grains_of(family)]:
        grain = grains_of(family)[form]
        if grain not in tensors:
            tensors[grain] = list(tensors_of(family, grain, is_file=True))
        config = config_of(family, form)
        write_folder(f"{folder}/family-{family}-{form}", tensors[grain], form, config)
        if family in SEEING and form == "f32":
            write_seeing(f"{folder}/family-{family}-seeing", family, tensors[grain], config)
        if family == "mistral" and form == "f32":
            write_folder(f"{folder}/family-{family}-window", tensors[grain], form,
                         {**config, "sliding_window": 16})


def main():
    for family in FAMILIES:
        write_family(family, sys.argv[1])


if __name__ == "__main__":
    main()
