#!/usr/bin/env python3
"""seeing.py BUILD: models that also see, as transformers and llm-compressor write them: their text
models' logits here and there, and what inflight-quantize makes of them, opened there. Small ones with
random weights."""
import os
import sys

import models
import torch
import transformers
from safetensors.torch import load_file

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "tools"))
import runner

TEXT = {"vocab_size": len(models.TOKENS), "hidden_size": 256, "intermediate_size": 384,
        "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
        "max_position_embeddings": 256, "initializer_range": 0.06, "rms_norm_eps": 1e-5,
        "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": None}
VIT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
       "image_size": 28, "patch_size": 14}
QWEN = {"depth": 2, "num_heads": 2, "patch_size": 14, "out_hidden_size": 256}
IDS = {"image_token_id": 258, "video_token_id": 259, "vision_start_token_id": 260,
       "vision_end_token_id": 261}
KINDS = {
    "gemma3": ("Gemma3", {"text_config": {**TEXT, "sliding_window": 16, "query_pre_attn_scalar": 64,
                                          "layer_types": ["sliding_attention", "full_attention"]},
                          "vision_config": VIT, "image_token_index": 258, "boi_token_index": 260,
                          "eoi_token_index": 261, "mm_tokens_per_image": 4}),
    "mistral3": ("Mistral3", {"text_config": {**TEXT, "model_type": "mistral", "sliding_window": None},
                              "vision_config": {**VIT, "model_type": "pixtral", "head_dim": 32},
                              "image_token_index": 258, "tie_word_embeddings": False}),
    "ministral3": ("Mistral3", {"text_config": {**TEXT, "model_type": "ministral3",
                                                "rope_parameters": {
                                    "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0,
                                    "original_max_position_embeddings": 16, "beta_fast": 32.0,
                                    "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                                    "llama_4_scaling_beta": 0.1}},
                                "vision_config": {**VIT, "model_type": "pixtral", "head_dim": 32},
                                "image_token_index": 258, "tie_word_embeddings": True}),
    "qwen2_5_vl": ("Qwen2_5_VL", {"text_config": {**TEXT, "head_dim": 32, "rope_parameters": {
                                      "rope_type": "default", "rope_theta": 1e6,
                                      "mrope_section": [4, 6, 6]}},
                                  "vision_config": {**QWEN, "hidden_size": 64, "intermediate_size": 96,
                                                    "fullatt_block_indexes": [1]},
                                  "tie_word_embeddings": False, **IDS}),
    "qwen3_vl": ("Qwen3VL", {"text_config": {**TEXT, "rope_parameters": {
                                 "rope_type": "default", "rope_theta": 1e6,
                                 "mrope_section": [12, 10, 10], "mrope_interleaved": True}},
                             "vision_config": {**QWEN, "hidden_size": 64, "intermediate_size": 96,
                                               "deepstack_visual_indexes": [0],
                                               "num_position_embeddings": 16},
                             "tie_word_embeddings": True, **IDS}),
}


def make(kind, folder):
    name, keys = KINDS[kind]
    torch.manual_seed(sum(map(ord, kind)))
    config = getattr(transformers, name + "Config")(**keys, attn_implementation="eager")
    model = getattr(transformers, name + "ForConditionalGeneration")(config).eval().bfloat16()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("bias"):
                value.normal_(0, 0.1)
    model.save_pretrained(folder)
    models.write_tokenizer(folder)
    return model


def opened(folder):
    model = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    for t in (*model.parameters(), *model.buffers()):  # not all are where the model has parts
        t.data = t.data.float() if t.dtype == torch.bfloat16 else t.data
    models.logits_of(model)
    return models.as_weights_alone(model)


def shapes_of(kind):
    """Of the layers' matrices, by the names that they have in a text model."""
    text = KINDS[kind][1]["text_config"]
    q, kv = (text[heads] * text["head_dim"] for heads in ("num_attention_heads", "num_key_value_heads"))
    return {f"model.layers.{i}.{name}": shape for i in range(text["num_hidden_layers"])
            for name, shape in (("self_attn.q_proj", (q, 256)), ("self_attn.k_proj", (kv, 256)),
                                ("self_attn.v_proj", (kv, 256)), ("self_attn.o_proj", (256, q)),
                                ("mlp.gate_proj", (384, 256)), ("mlp.up_proj", (384, 256)),
                                ("mlp.down_proj", (256, 384)))}


def check(kind, folder, form, model=None):
    logits, _, found = models.ours(folder, shapes_of(kind))
    assert set(found.values()) == {form}, found
    error = models.off(logits, models.logits_of(model or opened(folder)))
    print(f"  {kind:12s} {form:12s} logits off by {error:.1e}")
    assert error < models.BOUND, f"{folder}: logits off by {error}"


def test_text_models_have_the_logits_of_transformers(work):
    for kind in KINDS:
        make(kind, f"{work}/{kind}")
        check(kind, f"{work}/{kind}", "bf16")


def test_what_is_written_opens_there_with_its_eyes(work):
    for kind in KINDS:
        make(kind, f"{work}/{kind}")
        for recipe, form in (("fp8", "fp8"), ("int4", "int4_128")):
            out = models.quantize(f"{work}/{kind}", f"{work}/{kind}-{recipe}", "-r", recipe)
            check(kind, out, form)


def with_numbers_of(model, file):
    """The model with the matrices of a file of E4M3 and scales of rows: transformers 5.17 does not open
    all that llm-compressor writes of these."""
    tensors, state = load_file(file), model.float().state_dict()
    for name in [name for name in tensors if name.endswith(".weight_scale")]:
        end = name[name.index("layers."):].removesuffix("_scale")
        (key,) = [key for key in state if "language_model" in key and key.endswith(end)]
        codes = tensors[name.removesuffix("_scale")]
        assert codes.dtype == torch.float8_e4m3fn, name
        state[key].copy_(codes.float() * tensors[name].float())
    model.load_state_dict(state)
    return model


def test_what_llmcompressor_writes(work):
    """As its examples have it: eyes stay as they are, by patterns."""
    import llmcompressor
    from llmcompressor.modifiers.quantization import QuantizationModifier
    for kind in KINDS:
        make(kind, f"{work}/{kind}")
        model = transformers.AutoModelForImageTextToText.from_pretrained(
            f"{work}/{kind}", dtype=torch.bfloat16, attn_implementation="eager").eval()
        llmcompressor.oneshot(model=model, recipe=QuantizationModifier(
            targets="Linear", scheme="FP8_DYNAMIC", ignore=[
                "re:.*lm_head", "re:.*vision_tower.*", "re:.*multi_modal_projector.*", "re:.*visual.*"]))
        out = f"{work}/{kind}-fp8"
        model.save_pretrained(out, save_compressed=True)
        models.write_tokenizer(out)
        check(kind, out, "fp8", with_numbers_of(opened(f"{work}/{kind}"), f"{out}/model.safetensors"))


sys.exit(runner.run_tests("seeing", globals(), sys.argv[2:]))
