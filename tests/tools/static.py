#!/usr/bin/env python3
"""inflight-quantize BUILD: fp8-static, its scales against a forward pass in Python, in the
conventions of compressed-tensors and of ModelOpt; that both are read as the same model."""
import json
import math
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

import calibrate
import hf_write
import runner
import safetensors
from calibrate import LAYER, LENGTH, SAMPLES, SHAPES, Pass

EVAL = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "build", "bin/inflight-eval")
GROUPS = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.o_proj",),
          ("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))


def command(work, out, *options, recipe="fp8-static"):
    return [f"{work}/model", "-o", f"{work}/{out}", "-r", recipe, "-c", f"{work}/model/text",
            "--samples", str(SAMPLES), "--length", str(LENGTH), "-d", "cpu", *options]


def quantize(work, out, *options, **more):
    done = calibrate.run(*command(work, out, *options, **more))
    assert done.returncode == 0, done.stderr
    tensors, _ = safetensors.read(f"{work}/{out}/model.safetensors")
    return tensors, read_json(f"{work}/{out}/config.json")


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def is_near(value, want, share=2e-3):
    return abs(value - want) <= share * abs(want)


def largest(rows):
    return max(abs(v) for row in rows for v in row)


def number(tensors, name, shape):
    dtype, there, values = tensors[name]
    assert dtype == "F32" and there == shape, (name, dtype, there)
    return values[0]


def peaks_of_cache(seen, W, biases):
    """Of keys after rotation, and values, with the weights W."""
    X = seen.X["self_attn.k_proj"]
    K = calibrate.with_bias(calibrate.times(X, W["self_attn.k_proj"]), biases.get("k"))
    V = calibrate.with_bias(calibrate.times(X, W["self_attn.v_proj"]), biases.get("v"))
    turned = [calibrate.turned(head, t % LENGTH)
              for t, row in enumerate(K) for head in calibrate.heads_of(row)]
    return largest(turned), largest(V)


def check_scales(weights, tensors, biases, shape, cache):
    """shape: of a number; cache: names of the scales of keys and values."""
    W = {name: safetensors.dequantize(tensors, LAYER + name) for name in SHAPES}
    seen = Pass(weights, W, calibrate.norms_of(weights), biases)
    for names in GROUPS:
        most = max(largest(weights[f"{LAYER}{name}.weight"]) for name in names)
        for name in names:
            scale = number(tensors, f"{LAYER}{name}.weight_scale", shape)
            assert is_near(scale, most / 448, 1e-6), (name, scale, most / 448)
            scale = number(tensors, f"{LAYER}{name}.input_scale", shape)
            assert is_near(scale, largest(seen.X[name]) / 448), (name, scale)
            of_model = weights[f"{LAYER}{name}.weight"]
            assert calibrate.relative_error(W[name], of_model) < 0.03, name
    for name, peak in zip(cache, peaks_of_cache(seen, W, biases)):
        scale = number(tensors, LAYER + name, shape)
        assert is_near(scale, peak / 448), (name, scale, peak / 448)


def make_qwen3(folder):
    """The Llama of calibrate.py with a norm of query and key heads, as Qwen 3 has it."""
    weights = calibrate.make_model(folder)
    random.seed(5)
    for n in "qk":
        weights[f"{LAYER}self_attn.{n}_norm.weight"] = \
            [calibrate.single([random.uniform(1, 9) for _ in range(calibrate.DIM)])]
    tensors = []
    for name, rows in weights.items():
        flat = [v for row in rows for v in row]
        shape = (len(flat),) if len(rows) == 1 else (len(rows), len(rows[0]))
        tensors.append((name, shape, "f32", struct.pack(f"<{len(flat)}f", *flat)))
    hf_write.weights(folder, tensors, 1)
    config = read_json(f"{folder}/config.json")
    config.update(architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=calibrate.DIM,
                  attention_bias=False)
    os.remove(f"{folder}/config.json")
    hf_write.json_file(f"{folder}/config.json", config)
    return weights


def test_keys_are_normalised_first(work):
    weights = make_qwen3(f"{work}/model")
    tensors, _ = quantize(work, "out")
    X = calibrate.normalised([weights["model.embed_tokens.weight"][t]
                              for sample in calibrate.samples() for t in sample],
                             calibrate.norms_of(weights)["input_layernorm"])
    K = calibrate.times(X, safetensors.dequantize(tensors, LAYER + "self_attn.k_proj"))
    norm = weights[f"{LAYER}self_attn.k_norm.weight"][0]
    turned = [calibrate.turned(calibrate.normalised([head], norm)[0], t % LENGTH)
              for t, row in enumerate(K) for head in calibrate.heads_of(row)]
    scale = number(tensors, f"{LAYER}self_attn.k_scale", [1])
    assert is_near(scale, largest(turned) / 448), (scale, largest(turned) / 448)


CACHE = {"compressed-tensors": ("self_attn.k_scale", "self_attn.v_scale"),
         "modelopt": ("self_attn.k_proj.k_scale", "self_attn.v_proj.v_scale")}


def test_scales_are_those_of_a_forward_pass(work):
    for bias in (False, True):
        for form, cache in CACHE.items():
            folder = f"{work}/{bias}{form}"
            os.makedirs(folder)
            weights = calibrate.make_model(f"{folder}/model", bias=bias)
            biases = {n: weights[f"{LAYER}self_attn.{n}_proj.bias"][0] for n in "qkv"} \
                if bias else {}
            tensors, _ = quantize(folder, "out", "--format", form)
            check_scales(weights, tensors, biases, [1] if form != "modelopt" else [], cache)


def test_which_device_calibrates_is_said(work):
    """Where auto could not use one, with the reason, but not to whoever wants quiet."""
    calibrate.make_model(f"{work}/model")
    asked = calibrate.run(*command(work, "asked", "-d", "cuda"))
    done, quiet = (calibrate.run(*command(work, out, *more))
                   for out, more in (("auto", ["-d", "auto"]), ("quiet", ["-d", "auto", "--quiet"])))
    assert done.returncode == 0 and quiet.returncode == 0, (done.stderr, quiet.stderr)
    why = asked.stderr.partition("device cuda: ")[2].strip()
    passed = asked.returncode != 0 and why
    said = f"inflight-quantize: calibrating on cpu (cuda: {why[:200]}"
    assert (said in done.stderr) == bool(passed), (done.stderr, asked.stderr)
    assert "calibrating" not in quiet.stderr


def test_what_compressed_tensors_are_said_to_be(work):
    calibrate.make_model(f"{work}/model")
    _, config = quantize(work, "out")
    quantization = config["quantization_config"]
    group, = quantization["config_groups"].values()
    fixed = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor",
             "dynamic": False}
    assert quantization["quant_method"] == "compressed-tensors"
    assert quantization["format"] == group["format"] == "float-quantized"
    assert group["weights"] == group["input_activations"] == fixed
    assert quantization["kv_cache_scheme"] == fixed and quantization["ignore"] == ["lm_head"]
    assert not os.path.exists(f"{work}/out/hf_quant_config.json")


def test_what_modelopt_files_are_said_to_be(work):
    calibrate.make_model(f"{work}/model")
    _, config = quantize(work, "out", "-f", "modelopt", "-k", "*.down_proj")
    numbers = {"dynamic": False, "num_bits": 8, "type": "float"}
    kept = [f"{LAYER}mlp.down_proj", "lm_head"]
    said = config["quantization_config"]
    assert said["quant_method"] == "modelopt" and said["quant_algo"] == "FP8"
    assert said["kv_cache_scheme"] == numbers and said["ignore"] == kept
    group, = said["config_groups"].values()
    assert group == {"weights": numbers, "input_activations": numbers, "targets": ["Linear"]}
    said = read_json(f"{work}/out/hf_quant_config.json")
    assert said["producer"]["name"] == "modelopt"
    assert said["quantization"] == {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8",
                                    "exclude_modules": kept}


def test_fp8_by_modelopt_has_a_scale_a_row(work):
    calibrate.make_model(f"{work}/model")
    tensors = {}
    for form in CACHE:
        done = calibrate.run(f"{work}/model", "-o", f"{work}/{form}", "-r", "fp8", "-f", form)
        assert done.returncode == 0, done.stderr
        tensors[form], _ = safetensors.read(f"{work}/{form}/model.safetensors")
    for name, (rows, _) in SHAPES.items():
        dtype, shape, values = tensors["modelopt"][f"{LAYER}{name}.weight_scale"]
        other = tensors["compressed-tensors"][f"{LAYER}{name}.weight_scale"]
        assert (dtype, shape) == ("F32", [rows]) and other[1] == [rows, 1]
        assert list(values) == list(other[2])
        assert tensors["modelopt"][f"{LAYER}{name}.weight"] == \
            tensors["compressed-tensors"][f"{LAYER}{name}.weight"]
    assert not any(name.endswith("input_scale") for name in tensors["modelopt"])
    said = read_json(f"{work}/modelopt/hf_quant_config.json")["quantization"]
    assert said["quant_algo"] == "FP8_PER_CHANNEL_PER_TOKEN"
    assert said["kv_cache_quant_algo"] is None


def divergence(model, reference, text):
    done = subprocess.run([EVAL, model, text, "-r", reference, "-a", "float", "-d", "cpu", "-c",
                           "64", "--quiet", "-j", "-"], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_both_are_read_as_the_same_model(work):
    calibrate.make_model(f"{work}/model", layers=2)
    for recipe in ("fp8-static", "fp8"):
        for form in CACHE:
            out = f"{recipe}{form}"
            if recipe == "fp8":
                calibrate.run(f"{work}/model", "-o", f"{work}/{out}", "-r", "fp8", "-f", form)
            else:
                quantize(work, out, "-f", form)
        one, other = (f"{work}/{recipe}{form}" for form in CACHE)
        text = f"{work}/model/text"
        assert divergence(other, one, text)["kl_divergence"]["mean"] == 0
        # By hf_quant_config.json alone.
        config = read_json(f"{other}/config.json")
        del config["quantization_config"]
        with open(f"{other}/config.json", "w", encoding="utf-8") as f:
            json.dump(config, f)
        assert divergence(other, one, text)["kl_divergence"]["mean"] == 0
        of_model = divergence(one, f"{work}/model", text)
        assert of_model["kl_divergence"]["mean"] > 0 and of_model["top1_agreement"]["mean"] > 0.95


def test_kept_modules_have_no_scale_but_that_of_the_cache(work):
    weights = calibrate.make_model(f"{work}/model")
    tensors, config = quantize(work, "out", "-k", "*.k_proj", "-k", "*.down_proj")
    names = [name.removeprefix(LAYER) for name in tensors]
    for name in ("self_attn.k_proj", "mlp.down_proj"):
        assert [n for n in names if n.startswith(name)] == [f"{name}.weight"]
        flat = [v for row in weights[f"{LAYER}{name}.weight"] for v in row]
        assert list(tensors[f"{LAYER}{name}.weight"][2]) == flat
    assert {"self_attn.k_scale", "self_attn.v_scale"} < set(names)
    most = max(largest(weights[f"{LAYER}self_attn.{n}_proj.weight"]) for n in "qv")
    for n in "qv":
        scale = number(tensors, f"{LAYER}self_attn.{n}_proj.weight_scale", [1])
        assert is_near(scale, most / 448, 1e-6)
    assert f"{LAYER}mlp.down_proj" in config["quantization_config"]["ignore"]


def test_inputs_of_zeros_have_a_scale(work):
    calibrate.make_model(f"{work}/model")
    calibrate.spoil(f"{work}/model", f"{LAYER}post_attention_layernorm.weight",
                    {i: 0.0 for i in range(calibrate.D)})
    tensors, _ = quantize(work, "out")
    for name in ("gate", "up", "down"):
        assert number(tensors, f"{LAYER}mlp.{name}_proj.input_scale", [1]) == 1


def test_threads_change_nothing(work):
    calibrate.make_model(f"{work}/model", layers=2)
    made = [quantize(work, f"out{t}", "-t", t)[0] for t in ("1", "3")]
    assert made[0] == made[1]


def test_a_run_that_is_killed_goes_on(work):
    calibrate.make_model(f"{work}/model", layers=4)
    kills = 0
    for form in CACHE:
        whole = f"{work}/whole{form}"
        assert calibrate.run(*command(work, f"whole{form}", "-f", form)).returncode == 0
        for i in range(4):
            out = f"{work}/out{i}{form}"
            arguments = command(work, f"out{i}{form}", "-f", form, "-t", "1")
            with subprocess.Popen([calibrate.PROGRAM, *arguments],
                                  stdout=subprocess.DEVNULL) as process:
                time.sleep(0.005 + 0.05 * i * random.random())
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
            if not os.path.exists(out):
                done = calibrate.run(*arguments)
                assert done.returncode == 0, done.stderr
            assert sorted(os.listdir(out)) == sorted(os.listdir(whole))
            for name in os.listdir(whole):
                with open(f"{whole}/{name}", "rb") as a, open(f"{out}/{name}", "rb") as b:
                    assert a.read() == b.read(), name
            shutil.rmtree(out)
    assert kills > 0, "no run was killed"


def test_what_cannot_be_used(work):
    calibrate.make_model(f"{work}/model")
    with open(f"{work}/short", "wb") as f:
        f.write(calibrate.TEXT[:LENGTH - 1])
    plain = [f"{work}/model", "-o", f"{work}/out"]
    text = ["-c", f"{work}/model/text"]
    for more, said in (
            (["-r", "fp8-static", "-m", "gptq", *text], "--method gptq is not for this recipe"),
            (["-r", "fp8-static", "--head", *text], "has no --head"),
            (["-r", "fp8-static", "--budget", "9", *text], "has no --budget"),
            (["-r", "int8", "-f", "modelopt"], "has no --format modelopt"),
            (["-r", "fp8-block", "-f", "modelopt"], "has no --format modelopt"),
            (["-f", "gguf"], "--format gguf: is not compressed-tensors or modelopt"),
            (["-d", "tpu"], "--device tpu: is not")):
        done = calibrate.run(*plain, *more)
        assert done.returncode == 2 and said in done.stderr, (more, done.stderr)
    done = calibrate.run(*plain, "-r", "fp8-static", "-c", f"{work}/short", "--length", str(LENGTH))
    assert done.returncode == 1 and "a sample needs 48" in done.stderr, done.stderr
    assert not os.path.exists(f"{work}/out") and not os.path.exists(f"{work}/out.partial")


def test_weights_that_cannot_be_used(work):
    cases = [("mlp.up_proj.weight", math.nan, "layer 0: model.layers.0.mlp.up_proj.weight has"),
             ("input_layernorm.weight", math.nan, f"layer 0: {LAYER}self_attn.q_proj.weight: input 3 is"),
             ("self_attn.k_proj.bias", math.inf, "layer 0: keys are not all finite"),
             ("self_attn.v_proj.bias", math.inf, "layer 0: values are not all finite")]
    for number_of, (name, value, said) in enumerate(cases):
        folder = f"{work}/{number_of}"
        os.makedirs(folder)
        calibrate.make_model(f"{folder}/model", bias=True)
        calibrate.spoil(f"{folder}/model", LAYER + name, {3: value})
        done = calibrate.run(*command(folder, "out"))
        assert done.returncode == 1 and said in done.stderr, (name, done.stderr)
        assert not os.path.exists(f"{folder}/out")


if __name__ == "__main__":
    sys.exit(runner.run_tests("static", globals(), sys.argv[2:]))
