#!/usr/bin/env python3
"""inflight-quantize BUILD: int8 by SmoothQuant. Its scales by their formula on inputs of a forward
pass in Python, that they are made up for, and what they are for: inputs that are rounded to 8 bits
with one scale a token."""
import math
import os
import sys

import calibrate
import runner
import safetensors
from calibrate import DIM, HEADS, KV_HEADS, LAYER, LENGTH, SAMPLES, SHAPES, Pass

NORMS = {"input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
         "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")}


def quantize(folder, out, *options):
    done = calibrate.run(f"{folder}/model", "-o", f"{folder}/{out}", "-r", "int8", "-m", "smooth",
                         "-c", f"{folder}/model/text", "--samples", str(SAMPLES), "--length",
                         str(LENGTH), "-d", "cpu", *options)
    assert done.returncode == 0, done.stderr
    tensors, _ = safetensors.read(f"{folder}/{out}/model.safetensors")
    return tensors


def biases_of(weights, tensors=None):
    """Of the model, or of the files."""
    names = {n: f"{LAYER}self_attn.{n}_proj.bias" for n in "qkv"}
    if names["q"] not in weights:
        return {}
    return {n: list(tensors[name][2]) if tensors else weights[name][0] for n, name in names.items()}


def columns(rows):
    """The largest magnitude of each column."""
    return [max(map(abs, column)) for column in zip(*rows)]


def most_of(lists):
    return [max(values) for values in zip(*lists)]


def shared(most):
    """Of columns of o: one for all query heads of a key/value head."""
    share = HEADS // KV_HEADS
    return [max(most[(c // DIM // share * share + h) * DIM + c % DIM] for h in range(share))
            for c in range(len(most))]


def scale_of(x, w, alpha):
    return x ** alpha / w ** (1 - alpha)


def all_near(values, wants, share):
    return all(abs(v - w) <= share * abs(w) for v, w in zip(values, wants))


def scales_of_norms(weights, tensors):
    there = calibrate.norms_of(tensors)
    return {n: [a / b for a, b in zip(of_model, there[n])]
            for n, of_model in calibrate.norms_of(weights).items()}


def check_first_scales(weights, W, after, s, alpha):
    for norm, names in NORMS.items():
        x = [m * scale for m, scale in zip(columns(after.X[names[0]]), s[norm])]
        w = most_of(columns(W[name]) for name in names)
        want = [scale_of(a, b, alpha) for a, b in zip(x, w)]
        assert all_near(s[norm], want, 2e-3), (norm, alpha)


def check_second_scales(W, rounded, before, s, alpha):
    """Rows of v and up are divided by what columns of o and down are multiplied by. It is found from
    the weights as they are, by least squares."""
    for giver, second in (("self_attn.v_proj", "self_attn.o_proj"),
                          ("mlp.up_proj", "mlp.down_proj")):
        x, w = columns(before.X[second]), columns(W[second])
        if giver == "self_attn.v_proj":
            x, w = shared(x), shared(w)
        for c, pair in enumerate(zip(zip(*rounded[second]), zip(*W[second]))):
            t = sum(a * b for a, b in zip(*pair)) / sum(b * b for b in pair[1])
            want = scale_of(x[c], w[c], alpha)
            assert abs(t - want) < 0.03 * want, (second, alpha, c, t, want)


def test_scales_are_by_the_formula(work):
    for number, (shape, alpha) in enumerate((({}, 0.5), ({"bias": True}, 0.8), ({}, 0.25))):
        folder = f"{work}/{number}"
        os.makedirs(folder)
        weights = calibrate.make_model(f"{folder}/model", **shape)
        tensors = quantize(folder, "out", "--alpha", str(alpha))
        W, rounded = calibrate.matrices_of(weights), calibrate.rounded_of(tensors)
        s = scales_of_norms(weights, tensors)
        after = Pass(weights, rounded, calibrate.norms_of(tensors), biases_of(weights, tensors))
        before = Pass(weights, W, calibrate.norms_of(weights), biases_of(weights))
        check_first_scales(weights, W, after, s, alpha)
        check_second_scales(W, rounded, before, s, alpha)


def part(seen, weights):
    """What the layer adds to the embedding."""
    x = [weights["model.embed_tokens.weight"][t] for sample in calibrate.samples() for t in sample]
    return [[a - b for a, b in zip(rows, others)] for rows, others in zip(seen.out, x)]


def test_scales_are_made_up_for(work):
    for number, shape in enumerate(({}, {"bias": True}, {"heads": HEADS, "bias": True})):
        folder = f"{work}/{number}"
        os.makedirs(folder)
        weights = calibrate.make_model(f"{folder}/model", **shape)
        tensors = quantize(folder, "out")
        after = Pass(weights, calibrate.rounded_of(tensors), calibrate.norms_of(tensors),
                     biases_of(weights, tensors))
        before = Pass(weights, calibrate.matrices_of(weights), calibrate.norms_of(weights),
                      biases_of(weights))
        error = calibrate.relative_error(part(after, weights), part(before, weights))
        assert 0 < error < 0.02, (shape, error)


def in_8_bits(rows):
    """Each token with a scale of its own."""
    out = []
    for row in rows:
        scale = max(map(abs, row)) / 127 or 1
        out.append([round(v / scale) * scale for v in row])
    return out


def test_inputs_of_tokens_become_easier_to_round(work):
    """Columns of the model's inputs differ by more than ten times in size."""
    weights = calibrate.make_model(f"{work}/model")
    done = calibrate.run(f"{work}/model", "-o", f"{work}/rtn", "-r", "int8")
    assert done.returncode == 0, done.stderr
    errors = {}
    for name, tensors in (("rtn", safetensors.read(f"{work}/rtn/model.safetensors")[0]),
                          ("smooth", quantize(work, "smooth"))):
        rounded = calibrate.rounded_of(tensors)
        seen = Pass(weights, rounded, calibrate.norms_of(tensors))
        plain = Pass(weights, calibrate.matrices_of(weights), calibrate.norms_of(weights))
        errors[name] = [calibrate.relative_error(
            calibrate.times(in_8_bits(seen.X[m]), rounded[m]),
            calibrate.times(plain.X[m], weights[f"{LAYER}{m}.weight"]))
            for m in ("self_attn.q_proj", "self_attn.k_proj")]
    assert all(s < 0.8 * r for r, s in zip(errors["rtn"], errors["smooth"])), errors


def test_kept_modules_take_no_scale(work):
    weights = calibrate.make_model(f"{work}/model")
    tensors = quantize(work, "out", "-k", "*.k_proj", "-k", "*.down_proj")
    norms, there = calibrate.norms_of(weights), calibrate.norms_of(tensors)
    assert there["input_layernorm"] == norms["input_layernorm"]
    assert there["post_attention_layernorm"] != norms["post_attention_layernorm"]
    up = safetensors.dequantize(tensors, LAYER + "mlp.up_proj")
    s = scales_of_norms(weights, tensors)["post_attention_layernorm"]
    want = [[v * c for v, c in zip(row, s)] for row in weights[f"{LAYER}mlp.up_proj.weight"]]
    assert calibrate.relative_error(up, want) < 0.02, "rows of up are not divided"


def test_columns_without_inputs_or_weights(work):
    weights = calibrate.make_model(f"{work}/model")
    calibrate.spoil(f"{work}/model", f"{LAYER}input_layernorm.weight", {0: 0.0, 9: 0.0})
    width = len(weights[f"{LAYER}mlp.down_proj.weight"][0])
    calibrate.spoil(f"{work}/model", f"{LAYER}mlp.down_proj.weight",
                    {r * width + 5: 0.0 for r in range(calibrate.D)})
    tensors = quantize(work, "out")
    for name in SHAPES:
        rows = safetensors.dequantize(tensors, LAYER + name)
        assert all(math.isfinite(v) for row in rows for v in row), name
    down = safetensors.dequantize(tensors, LAYER + "mlp.down_proj")
    assert all(row[5] == 0 for row in down)


def test_threads_change_nothing(work):
    calibrate.make_model(f"{work}/model", layers=2)
    assert quantize(work, "one", "-t", "1") == quantize(work, "three", "-t", "3")


def test_what_cannot_be_used(work):
    calibrate.make_model(f"{work}/model")
    plain = [f"{work}/model", "-o", f"{work}/out", "-m", "smooth"]
    text = ["-c", f"{work}/model/text", "--length", str(LENGTH)]
    for more, said in ((["-r", "int4", *text], "--method smooth is not for this recipe"),
                       (["-r", "fp8", *text], "--method smooth is not for this recipe"),
                       (["-r", "int8", "--alpha", "1.5", *text], "--alpha 1.5: is not a number"),
                       (["-r", "int8", "--alpha", "nan", *text], "--alpha nan: is not a number"),
                       (["-r", "int8", "--alpha", "", *text], "is not a number from 0 to 1"),
                       (["-r", "int8", "-m", "rtn", "--alpha", "0.4"], "has no --alpha")):
        done = calibrate.run(*plain, *more)
        assert done.returncode == 2 and said in done.stderr, (more, done.stderr)
    calibrate.spoil(f"{work}/model", f"{LAYER}mlp.gate_proj.weight", {7: math.inf})
    done = calibrate.run(*plain, "-r", "int8", *text)
    assert done.returncode == 1 and "layer 0: model.layers.0.mlp.gate_proj" in done.stderr
    assert not os.path.exists(f"{work}/out")


if __name__ == "__main__":
    sys.exit(runner.run_tests("smooth", globals(), sys.argv[2:]))
