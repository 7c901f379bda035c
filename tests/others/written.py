#!/usr/bin/env python3
"""written.py BUILD: what inflight-quantize writes, opened by transformers with compressed-tensors.

Every dequantized number is that of the engine, bit by bit; the logits without quantized
activations are those of the engine but for the order of sums; with them they are those of the
definition in quant/README.md, computed here.
"""
import os
import sys

import models
import torch
import transformers
from models import quantize

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "tools"))
import runner


# ---- Inputs of matrices as quant/README.md has them, for engines that quantize them


def e4m3(x, scale):
    return (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale


def fp8_token(x):
    return e4m3(x, x.abs().amax(-1, keepdim=True) / 448)


def fp8_group(x):
    return fp8_token(x.unflatten(-1, (-1, 128))).flatten(-2)


def int8_token(x):
    scale = x.abs().amax(-1, keepdim=True) / 127.5
    return (x / scale).round().clamp(-128, 127) * scale


def by_definition(model, shapes, quantized):
    hooks = [model.get_submodule(name).register_forward_pre_hook(
        lambda module, inputs: (quantized(inputs[0]),)) for name in shapes]
    logits = models.logits_of(model)
    for hook in hooks:
        hook.remove()
    return logits


# Name: options, our formats, what becomes of inputs elsewhere.
RECIPES = {
    "fp8": (["-r", "fp8"], ["fp8"], fp8_token),
    "fp8-block": (["-r", "fp8-block"], ["fp8_128"], fp8_group),
    "int8": (["-r", "int8"], ["int8"], int8_token),
    "int8-group": (["-r", "int8-group"], ["q8_0"], None),
    "int4": (["-r", "int4"], ["int4_128"], None),
    "int4-64": (["-r", "int4", "-g", "64"], ["int4_64"], None),
    "int4-32": (["-r", "int4", "-g", "32"], ["int4_32"], None),
    "int4-symmetric": (["-r", "int4", "-s"], ["int4_128"], None),
    "int4-symmetric-32": (["-r", "int4", "-s", "-g", "32"], ["int4_32"], None),
}


def check_recipes(work, family, names, *more, head=False):
    model = models.make_model(family, f"{work}/{family}")
    shapes = models.matrices(model) if head else models.layers_of(model)
    for name in names:
        options, formats, inputs = RECIPES[name]
        out = quantize(f"{work}/{family}", f"{work}/{family}-{name}", *options, *more)
        opened_model, with_activations = models.check(out, formats, shapes)
        alone = models.logits_of(opened_model)
        if not inputs:
            assert torch.equal(with_activations, alone), f"{name}: inputs are not as they are"
            continue
        assert not torch.equal(with_activations, alone), f"{name}: inputs are not quantized"
        off = models.off(by_definition(opened_model, shapes, inputs), with_activations)
        print(f"  {family}-{name}: with quantized activations off by {off:.1e}")
        assert off < models.BOUND, f"{name}: quantized activations are off by {off}"


def test_llama_by_every_recipe(work):
    check_recipes(work, "llama", RECIPES)


def test_qwen2_with_biases_and_a_tied_head(work):
    check_recipes(work, "qwen2", ["fp8", "fp8-block", "int4-64"])


def test_qwen3(work):
    check_recipes(work, "qwen3", ["int8", "int4"])


def test_gemma(work):
    check_recipes(work, "gemma2", ["fp8", "int4-symmetric-32"])
    check_recipes(work, "gemma3", ["int8", "int4"])


def test_phi3_of_which_matrices_are_rows_of_one(work):
    check_recipes(work, "phi3", ["fp8", "int8", "int4"])


def test_families_before_llama(work):
    """Of GPT-NeoX, Falcon and BLOOM matrices whose rows stand by key/value heads. Falcon's code there
    reads .weight itself, which packed integers do not have."""
    check_recipes(work, "gptneox", ["fp8", "int4"])
    check_recipes(work, "falcon", ["fp8", "int8"])
    check_recipes(work, "bloom", ["fp8-block", "int4-symmetric"])
    check_recipes(work, "phi2", ["fp8", "int8-group"])


def test_families_after_llama(work):
    check_recipes(work, "cohere2", ["fp8", "int4"])
    check_recipes(work, "glm4", ["fp8-block", "int8"])
    check_recipes(work, "granite", ["fp8", "int4-symmetric-32"])
    check_recipes(work, "nemotron", ["int8", "int4-64"])
    check_recipes(work, "olmo3", ["fp8", "int4"])
    check_recipes(work, "starcoder2", ["fp8", "int8-group"])


# Modules of experts, and those of one: what gates, what that is multiplied by, what follows.
EXPERTS = {"mixtral": ("block_sparse_moe", "w1", "w3", "w2"),
           "qwen2moe": ("mlp", "gate_proj", "up_proj", "down_proj"),
           "qwen3moe": ("mlp", "gate_proj", "up_proj", "down_proj")}
SHARED = [f"mlp.shared_expert.{word}" for word in EXPERTS["qwen2moe"][1:]]


def test_experts(work):
    """transformers dequantizes them to bf16, all of a layer in one tensor. It has no way to read
    fp8-block, int8 and int4 with zero points of experts."""
    for family, (part, gate, up, down) in EXPERTS.items():
        models.make_model(family, f"{work}/{family}")
        for name in ("fp8", "int4-symmetric", "int8-group"):
            options, formats, _ = RECIPES[name]
            out = quantize(f"{work}/{family}", f"{work}/{family}-{name}", *options)
            theirs = models.opened(out, torch.bfloat16).model.layers
            experts = theirs[0].mlp.experts
            size = experts.down_proj.shape
            shapes = {f"model.layers.{i}.{part}.experts.{e}.{word}":
                      (size[1], size[2]) if word == down else (size[2], size[1])
                      for i in range(len(theirs)) for e in range(size[0])
                      for word in (gate, up, down)}
            shared = {f"model.layers.{i}.{name}": tuple(layer.get_submodule(name).weight.shape)
                      for i, layer in enumerate(theirs) for name in SHARED if family == "qwen2moe"}
            shapes.update(shared)
            _, rows, found = models.ours(out, shapes)
            assert set(found.values()) == set(formats), found
            for module in shared:
                there = theirs.get_submodule(module.removeprefix("model.layers."))
                assert torch.equal(there.weight, rows[module].bfloat16()), module
            for i, layer in enumerate(theirs):
                for e in range(size[0]):
                    ours = [rows[f"model.layers.{i}.{part}.experts.{e}.{word}"].bfloat16()
                            for word in (gate, up, down)]
                    assert torch.equal(layer.mlp.experts.gate_up_proj[e], torch.cat(ours[:2]))
                    assert torch.equal(layer.mlp.experts.down_proj[e], ours[2])
            print(f"  {family}-{name}: {len(shapes)} matrices of experts are the engine's")


def test_heads(work):
    check_recipes(work, "llama", ["fp8", "int8", "int4", "int4-symmetric-32"], "--head", head=True)


def test_kept_modules(work):
    model = models.make_model("llama", f"{work}/llama")
    out = quantize(f"{work}/llama", f"{work}/out", "-r", "int4", "-k", "*.layers.0.*", "-k",
                   "*.up_proj")
    models.check(out, ["int4_128", "bf16"], models.matrices(model))


def test_rows_without_whole_groups(work):
    model = models.make_model("llama", f"{work}/llama", intermediate_size=352)
    out = quantize(f"{work}/llama", f"{work}/out", "-r", "int4")
    models.check(out, ["int4_128", "int4_32"], models.layers_of(model))


def test_calibrated_models(work):
    text = f"{work}/text"
    with open(text, "w", encoding="utf-8") as f:
        f.write("The quick brown fox jumps over the lazy dog. " * 60)
    for family, recipe, form, *options in (
            ("llama", "int4", "int4_128", "-m", "awq"),
            ("llama", "int4", "int4_128", "-m", "gptq", "-s"),
            ("qwen2", "int4", "int4_128", "-m", "gptq", "--no-act-order"),
            ("qwen2", "int4", "int4_128", "-m", "awq", "-s"),
            ("qwen3", "int4", "int4_128", "-m", "awq"),
            ("llama", "fp8", "fp8", "-m", "gptq"),
            ("qwen3", "fp8-block", "fp8_128", "-m", "gptq"),
            ("qwen2", "int8", "int8", "-m", "gptq"),
            ("llama", "int8-group", "q8_0", "-m", "gptq"),
            ("llama", "int8", "int8", "-m", "smooth"),
            ("qwen3", "fp8-static", "fp8"),
            ("phi3", "int4", "int4_128", "-m", "awq"),
            ("phi3", "fp8", "fp8", "-m", "gptq"),
            ("gemma2", "int4", "int4_128", "-m", "awq"),
            ("gemma2", "int4", "int4_128", "-m", "gptq"),
            ("gemma3", "int8", "int8", "-m", "smooth"),
            ("gemma3", "fp8-static", "fp8"),
            ("gptneox", "int4", "int4_128", "-m", "awq"),
            ("gptneox", "fp8-static", "fp8"),
            ("bloom", "int8", "int8", "-m", "smooth"),
            ("bloom", "int4", "int4_128", "-m", "gptq"),
            ("falcon", "fp8", "fp8", "-m", "gptq"),
            ("falcon", "int8", "int8", "-m", "smooth"),
            ("gptj", "int4", "int4_128", "-m", "awq"),
            ("gptj", "fp8-static", "fp8"),
            ("mpt", "int8", "int8", "-m", "smooth"),
            ("phi2", "int4", "int4_128", "-m", "gptq"),
            ("phi2", "int8", "int8", "-m", "smooth"),
            ("cohere2", "int4", "int4_128", "-m", "awq"),
            ("cohere2", "int8", "int8", "-m", "smooth"),
            ("glm4", "int4", "int4_128", "-m", "awq"),
            ("nemotron", "int8", "int8", "-m", "smooth"),
            ("nemotron", "fp8", "fp8", "-m", "gptq"),
            ("olmo3", "int4", "int4_128", "-m", "awq"),
            ("olmo3", "fp8-static", "fp8")):
        name = "".join([family, recipe, *options])
        model = models.make_model(family, f"{work}/{name}")
        out = quantize(f"{work}/{name}", f"{work}/{name}-out", "-r", recipe, "-c", text, "--samples",
                       "8", "--length", "64", *options)
        models.check(out, [form], models.layers_of(model))


def test_as_bf16_scales_are_rounded_there(work):
    """What transformers makes of a folder by default: scales, which are floats here, become bf16,
    as they are in files of llm-compressor. So do the numbers: 2^-8 of each at most."""
    models.make_model("llama", f"{work}/llama")
    for recipe in ("fp8", "fp8-block", "int8"):
        out = quantize(f"{work}/llama", f"{work}/{recipe}", "-r", recipe)
        model = models.opened(out, torch.bfloat16)
        _, rows, _ = models.ours(out, models.layers_of(model))
        for name, want in rows.items():
            got = model.get_submodule(name).weight.detach()
            assert got.dtype == torch.bfloat16
            off = ((got.float() - want).abs() / want.abs().clamp(min=1e-30)).max()
            assert off < 2.0 ** -7 * 1.01, f"{recipe} {name}: {off}"


print(f"transformers {transformers.__version__}, compressed-tensors "
      f"{__import__('compressed_tensors').__version__}, torch {torch.__version__}")
sys.exit(runner.run_tests("written", globals(), sys.argv[2:]))
