#!/usr/bin/env python3
"""calibrated.py BUILD: what inflight-quantize says of its calibration, beside transformers' forward
pass of every family.

The error of a matrix's outputs is of the inputs that it has in the model as rounded up to there, so
the finished model has them: transformers' own code computes them anew, with the engine's numbers in
place of its weights.
"""
import json
import math
import os
import subprocess
import sys

import models
import torch

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "tools"))
import runner

SAMPLES, LENGTH = 12, 40
TEXT = ("It was the best of times, it was the worst of times, it was the age of wisdom, it was the "
        "age of foolishness, it was the epoch of belief, it was the epoch of incredulity; ")
TEXT = (TEXT + TEXT.upper() + TEXT[::-1])[:SAMPLES * LENGTH]
# Modules of experts, and those of one: what gates, what that is multiplied by, what follows.
EXPERTS = {"mixtral": ("block_sparse_moe", "w1", "w3", "w2"),
           "qwen2moe": ("mlp", "gate_proj", "up_proj", "down_proj"),
           "qwen3moe": ("mlp", "gate_proj", "up_proj", "down_proj"),
           "glm4moe": ("mlp", "gate_proj", "up_proj", "down_proj")}


def mixtures(family, model):
    """Layers that are experts, and their numbers."""
    return [(i, layer) for i, layer in enumerate(model.model.layers)
            if hasattr(layer.mlp, "experts")] if family in EXPERTS else []


def quantize(model, out, *options):
    with open(f"{model}/text", "w", encoding="utf-8") as f:
        f.write(TEXT)
    done = subprocess.run([models.QUANTIZE, model, "-o", out, "--quiet", "-c", f"{model}/text",
                           "--samples", str(SAMPLES), "--length", str(LENGTH), *options],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(f"{out}/inflight-quantize.json", encoding="utf-8") as f:
        return {m["module"]: m["relative_output_error"] for m in json.load(f)["matrices"]}


def shapes_of(family, model):
    shapes = models.layers_of(model)
    if family not in EXPERTS:
        return shapes
    part, gate, up, down = EXPERTS[family]
    for i, layer in mixtures(family, model):
        n, D, F = layer.mlp.experts.down_proj.shape
        for e in range(n):
            name = f"model.layers.{i}.{part}.experts.{e}."
            shapes.update({name + gate: (F, D), name + up: (F, D), name + down: (D, F)})
    return shapes


def with_numbers(family, model, rows):
    """The model in float, with those matrices."""
    model = model.float()
    with torch.no_grad():
        for name, row in rows.items():
            if ".experts." not in name:
                model.get_submodule(name).weight.copy_(row)
        for i, layer in mixtures(family, model):
            part, gate, up, down = EXPERTS[family]
            for e in range(len(layer.mlp.experts.down_proj)):
                name = f"model.layers.{i}.{part}.experts.{e}."
                layer.mlp.experts.gate_up_proj[e] = torch.cat([rows[name + gate], rows[name + up]])
                layer.mlp.experts.down_proj[e] = rows[name + down]
    return model


def expert_inputs(family, i, x, layer, rows):
    """Of the matrices of a layer's experts: all tokens of the first two, those who chose it of the
    third, unless a token nearly chose another; whether one did."""
    part, gate, up, down = EXPERTS[family]
    U = layer.mlp.gate.top_k
    best = (x @ layer.mlp.gate.weight.T).topk(U + 1, dim=-1)
    is_near = best.values[:, U - 1] - best.values[:, U] < NEAR
    doubtful = set(best.indices[is_near, U - 1:].flatten().tolist())
    inputs = {}
    for e in range(len(layer.mlp.experts.down_proj)):
        name = f"model.layers.{i}.{part}.experts.{e}."
        its = x[(best.indices[:, :U] == e).any(-1)]
        inputs[name + gate] = inputs[name + up] = x
        if e not in doubtful:
            inputs[name + down] = (torch.nn.functional.silu(its @ rows[name + gate].T) *
                                   (its @ rows[name + up].T))
    return inputs, bool(doubtful)


def inputs_of(family, model, rows):
    """What matrices read, and the first layer in which a token nearly chose another expert."""
    seen, hooks = {}, []
    tokens = torch.tensor(list(TEXT.encode())).reshape(SAMPLES, LENGTH)

    def watch(name, module):
        hooks.append(module.register_forward_pre_hook(
            lambda _, inputs: seen.setdefault(name, []).append(inputs[0].detach())))

    for name in rows:
        if ".experts." not in name:
            watch(name, model.get_submodule(name))
    for i, layer in mixtures(family, model):
        watch(i, layer.mlp)
    with torch.no_grad():
        for sample in tokens:
            model(sample[None])
    for hook in hooks:
        hook.remove()
    inputs = {name: torch.cat([x.flatten(0, -2) for x in parts]) for name, parts in seen.items()}
    doubted = []
    for i, layer in mixtures(family, model):
        more, is_doubtful = expert_inputs(family, i, inputs.pop(i), layer, rows)
        inputs.update(more)
        doubted += [i] * is_doubtful
    return inputs, min(doubted, default=math.inf)


def weights_of(family, model):
    """As the model has them before, in float."""
    weights = {name: model.get_submodule(name).weight.detach().float().clone()
               for name in models.layers_of(model)}
    for i, layer in mixtures(family, model):
        part, gate, up, down = EXPERTS[family]
        for e, (first, second) in enumerate(zip(layer.mlp.experts.gate_up_proj.detach().float(),
                                                layer.mlp.experts.down_proj.detach().float())):
            name = f"model.layers.{i}.{part}.experts.{e}."
            weights[name + gate], weights[name + up] = (h.clone() for h in first.chunk(2))
            weights[name + down] = second.clone()
    return weights


def check_errors(work, family, *options):
    name = "".join([family, *options])
    model = models.make_model(family, f"{work}/{name}")
    before, shapes = weights_of(family, model), shapes_of(family, model)
    told = quantize(f"{work}/{name}", f"{work}/{name}-out", *options)
    assert set(told) == set(shapes), set(told) ^ set(shapes)
    _, rows, _ = models.ours(f"{work}/{name}-out", shapes)
    inputs, doubted = inputs_of(family, with_numbers(family, model, rows), rows)
    most, behind = 0, 0
    assert len(inputs) > 0.7 * len(told), f"{len(inputs)} of {len(told)} are known"
    for module, error in told.items():
        if module not in inputs:
            continue
        X, W = inputs[module].double(), before[module].double()
        if not len(X):
            assert error is None or error < 0, f"{module}: {error} of no tokens"
            continue
        want = float((X @ (W - rows[module].double()).T).norm() / (X @ W.T).norm())
        off, is_behind = abs(error / want - 1), layer_of(module) > doubted
        most, behind = (most, max(behind, off)) if is_behind else (max(most, off), behind)
        assert off < (BOUND_BEHIND if is_behind else BOUND), \
            f"{name} {module}: {error}, and {want} there"
    print(f"  {name:44s} {len(inputs)} errors of outputs are off by {most:.1e} at most" +
          (f", behind layer {doubted} by {behind:.1e}" if behind else ""))


def layer_of(module):
    return int(next(part for part in module.split(".") if part.isdigit()))


# Keys and values are bfloat16 here, and float there. Scores of experts that are nearer may change
# places, and then a token is another one in all layers behind, of 240 that an expert has. Measured:
# 6e-4, and behind such a layer 0.033.
NEAR, BOUND, BOUND_BEHIND = 0.003, 0.002, 0.06


def test_errors_of_outputs_of_every_family(work):
    for family in models.FAMILIES:
        check_errors(work, family, "-r", "int4", "-g", "32", "-m", "gptq", "--correct", "0")


def test_errors_of_outputs_of_static_scales(work):
    for family in ("llama", "gptneox", "phi2", "mixtral", "qwen2moe", "qwen3moe", "glm4moe"):
        check_errors(work, family, "-r", "fp8-static")


sys.exit(runner.run_tests("calibrated", globals(), sys.argv[2:]))
