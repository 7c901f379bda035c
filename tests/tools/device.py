#!/usr/bin/env python3
"""inflight-quantize BUILD, run with a card or tests/gpu/on.sh: calibration on it gives what the
CPU's gives but for its bfloat16; a card that fails."""
import json
import os
import subprocess
import sys

import calibrate
import runner
import safetensors
from calibrate import LENGTH

RECIPES = (["-r", "fp8-static"], ["-r", "int8", "-m", "smooth"],
           ["-r", "int4", "-g", "32", "-m", "gptq"], ["-r", "int4", "-g", "32", "-m", "awq"])


def written(work, out, device, *options):
    """Of the folder `model` there, by what the model writes."""
    return [calibrate.PROGRAM, f"{work}/model", "-o", f"{work}/{out}", "--samples", "4", "--length",
            str(LENGTH), "-d", device, *options]


def command(work, out, device, *options):
    """The folder may be a link: its text is beside it."""
    text = next(t for t in (f"{work}/text", f"{work}/model/text") if os.path.exists(t))
    return written(work, out, device, "-c", text, *options)


def run(arguments, **environment):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=False,
                          env={**os.environ, **environment})


def quantize(work, out, device, *options, by=command, **environment):
    done = run(by(work, out, device, *options), **environment)
    assert done.returncode == 0, done.stderr
    tensors, _ = safetensors.read(f"{work}/{out}/model.safetensors")
    with open(f"{work}/{out}/inflight-quantize.json", encoding="utf-8") as f:
        errors = {m["module"]: m["relative_output_error"] for m in json.load(f)["matrices"]}
    return tensors, errors, done.stdout


def test_outputs_are_as_near_as_those_of_the_cpu(work):
    calibrate.make_model(f"{work}/model", layers=2)
    for number, options in enumerate(RECIPES):
        _, errors, said = quantize(work, f"cpu{number}", "cpu", *options)
        assert ", on cpu\n" in said
        _, of_cuda, said = quantize(work, f"cuda{number}", "cuda", *options)
        assert ", on cuda\n" in said
        assert errors.keys() == of_cuda.keys()
        for module, error in errors.items():
            assert abs(of_cuda[module] - error) < 0.15 * error, (options, module, error,
                                                                 of_cuda[module])
        mean = sum(of_cuda.values()) / sum(errors.values())
        assert abs(mean - 1) < 0.03, (options, mean)


def test_families(work):
    """Whose halves are added together, whose norms and matrices have biases, or who have experts, of
    whom a card may choose others."""
    with open(f"{work}/text", "wb") as f:
        f.write(calibrate.TEXT)
    for family, options in (("gptneox", ["-r", "fp8-static"]), ("bloom", ["-r", "int8", "-m", "smooth"]),
                            ("gptj", ["-r", "int4", "-g", "32", "-m", "gptq"]),
                            ("mixtral", ["-r", "fp8-static"]),
                            ("qwen3moe", ["-r", "int8", "-m", "smooth"])):
        if os.path.exists(f"{work}/model"):
            os.remove(f"{work}/model")
        os.symlink(os.path.abspath(f"build/models/family-{family}-f32"), f"{work}/model")
        _, errors, _ = quantize(work, f"{family}-cpu", "cpu", *options)
        _, of_cuda, _ = quantize(work, f"{family}-cuda", "cuda", *options)
        mean = sum(of_cuda.values()) / sum(errors.values())
        assert errors.keys() == of_cuda.keys() and abs(mean - 1) < 0.03, (family, mean)


def test_scales_are_those_of_the_cpu(work):
    calibrate.make_model(f"{work}/model", layers=2, bias=True)
    one, _, _ = quantize(work, "cpu", "cpu", "-r", "fp8-static")
    other, _, _ = quantize(work, "cuda", "cuda", "-r", "fp8-static")
    scales = [name for name in one if name.endswith("_scale")]
    assert len(scales) == 2 * (7 + 7 + 2)
    for name in scales:
        a, b = one[name][2][0], other[name][2][0]
        assert abs(a - b) < 0.02 * a, (name, a, b)
        assert a == b or not name.endswith("weight_scale"), name


def test_auto_takes_the_card(work):
    calibrate.make_model(f"{work}/model")
    assert ", on cuda\n" in quantize(work, "out", "auto", "-r", "fp8-static")[2]


def test_a_card_without_memory(work):
    calibrate.make_model(f"{work}/model")
    full = {"GPU_FAIL": "alloc:1"}
    done = run(command(work, "out", "cuda", "-r", "fp8-static"), **full)
    assert done.returncode == 1 and "device cuda: " in done.stderr, done.stderr
    assert not os.path.exists(f"{work}/out") and not os.path.exists(f"{work}/out.partial")
    one, _, said = quantize(work, "auto", "auto", "-r", "fp8-static", **full)
    assert ", on cpu\n" in said and one == quantize(work, "cpu", "cpu", "-r", "fp8-static")[0]


def test_what_the_model_writes(work):
    """On the card, and, if that has no memory for it, elsewhere: the samples still run there."""
    calibrate.make_model(f"{work}/model", layers=2)
    gptq = ["-r", "int4", "-g", "32", "-m", "gptq"]
    one, _, said = quantize(work, "one", "cuda", *gptq, by=written)
    assert " that the model wrote, on cuda\n" in said
    assert one == quantize(work, "two", "cuda", *gptq, by=written)[0]
    full = {"GPU_FAIL": "alloc:1"}
    done = run(written(work, "out", "cuda", *gptq), **full)
    assert done.returncode == 1 and "--calibration is a text to use instead" in done.stderr
    assert "CUDA_ERROR_OUT_OF_MEMORY" in done.stderr, done.stderr
    for call, said in (("200", "--calibration is a text"), ("850", "a forward pass over 4 samples has failed")):
        done = run(written(work, "out", "cuda", *gptq), GPU_FAIL=f"lost:{call}")
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert "CUDA_ERROR" in done.stderr, done.stderr
    assert not os.path.exists(f"{work}/out") and not os.path.exists(f"{work}/out.partial")
    said = quantize(work, "auto", "auto", *gptq, by=written, **full)[2]
    assert " that the model wrote, on cuda\n" in said, said


def test_a_card_that_is_lost_meanwhile(work):
    """What is there is not gone on with on the CPU, whose bits differ."""
    calibrate.make_model(f"{work}/model", layers=2)
    for call in range(500, 1500, 200):
        done = run(command(work, "out", "cuda", "-r", "fp8-static"), GPU_FAIL=f"lost:{call}")
        if os.path.exists(f"{work}/out.partial"):
            break
    assert done.returncode == 1 and "inflight-quantize: layer " in done.stderr, done.stderr
    assert ": cuda " in done.stderr and not os.path.exists(f"{work}/out")
    refused = run(command(work, "out", "cpu", "-r", "fp8-static"))
    assert refused.returncode == 1 and "of another run" in refused.stderr, refused.stderr
    one = quantize(work, "out", "cuda", "-r", "fp8-static")[0]
    assert one == quantize(work, "whole", "cuda", "-r", "fp8-static")[0]


if __name__ == "__main__":
    sys.exit(runner.run_tests("device", globals(), sys.argv[2:]))
