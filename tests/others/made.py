#!/usr/bin/env python3
"""made.py BUILD: what llm-compressor and NVIDIA's ModelOpt write, opened by the engine.

Of llm-compressor's files every number is that of transformers with compressed-tensors, and so are
the logits. ModelOpt has no reader of its own files: their numbers are compared with the definition
of their layout, and with the matrices of the model that it quantized, of which its writer rounds a
few anew. Of gpt-oss's experts, which have not been written by others here, the blocks that tests of
the engine read are those of transformers.
"""
import copy
import json
import os
import pathlib
import shutil
import sys

import datasets
import llmcompressor
import modelopt
import modelopt.torch.quantization as mtq
import models
import torch
import transformers
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.quantization.qtensor import NVFP4QTensor
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "tools"))
import runner
import families_hf  # of tests/model, where models looks too

LENGTH, SAMPLES = 64, 8


def samples():
    """Token ids (SAMPLES, LENGTH) to calibrate with."""
    return torch.randint(0, 256, (SAMPLES, LENGTH), generator=torch.Generator().manual_seed(3))


def opened_as(dtype, folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype,
                                                             attn_implementation="eager").eval()


# ---- llm-compressor


def compress(folder, out, modifier, is_calibrated):
    model = opened_as(torch.bfloat16, folder)
    text = datasets.Dataset.from_dict({"input_ids": samples().tolist(),
                                       "attention_mask": [[1] * LENGTH] * SAMPLES})
    more = {"dataset": text, "max_seq_length": LENGTH, "num_calibration_samples": SAMPLES}
    llmcompressor.oneshot(model=model, recipe=modifier, **(more if is_calibrated else {}))
    model.save_pretrained(out, save_compressed=True)
    models.write_tokenizer(out)


# Scheme: the format here, whether it needs a text.
SCHEMES = {"FP8": ("fp8", True), "FP8_DYNAMIC": ("fp8", False), "FP8_BLOCK": ("fp8_128", False),
           "W8A8": ("int8", False), "W8A16": ("q8_0", False), "W4A16": ("int4_128", False),
           "W4A16_ASYM": ("int4_128", False), "W4AFP8": ("int4_128", False)}


def check_wanted(folder, plain, fmt, wanted, rounding):
    """Its matrices are these numbers, but for that share of each, and the logits those of them."""
    logits, rows, found = models.ours(folder, models.layers_of(plain))
    assert set(found.values()) == {fmt}, found
    for module, want in wanted.items():
        error = ((rows[module] - want).abs() - rounding * want.abs()).max()
        assert error <= 0, f"{module}: {error} from the file's"
        plain.get_submodule(module).weight.data = want
    off = models.off(logits, models.logits_of(plain))
    print(f"  {os.path.basename(folder):28s} logits off by {off:.1e}")
    assert off < models.BOUND, f"{folder}: logits off by {off}"


def check_schemes(work, family, schemes):
    model = models.make_model(family, f"{work}/{family}")
    for name in schemes:
        fmt, is_calibrated = SCHEMES[name]
        modifier = QuantizationModifier(targets="Linear", scheme=name, ignore=["lm_head"])
        compress(f"{work}/{family}", f"{work}/{family}-{name}", modifier, is_calibrated)
        models.check(f"{work}/{family}-{name}", [fmt], models.layers_of(model))


def test_llmcompressor_llama(work):
    check_schemes(work, "llama", SCHEMES)


def test_llmcompressor_qwen2(work):
    check_schemes(work, "qwen2", ["FP8_DYNAMIC", "W4A16_ASYM"])


def test_llmcompressor_qwen3(work):
    check_schemes(work, "qwen3", ["FP8_BLOCK", "W8A8"])


def test_llmcompressor_gptq(work):
    model = models.make_model("llama", f"{work}/llama")
    for name, more in (("plain", {"actorder": None}), ("weight", {"actorder": "static"}),
                       ("asymmetric", {"scheme": "W4A16_ASYM"})):
        modifier = GPTQModifier(targets="Linear", ignore=["lm_head"],
                                **{"scheme": "W4A16", **more})
        compress(f"{work}/llama", f"{work}/{name}", modifier, True)
        models.check(f"{work}/{name}", ["int4_128"], models.layers_of(model))


def test_llmcompressor_head_too(work):
    model = models.make_model("llama", f"{work}/llama")
    modifier = QuantizationModifier(targets="Linear", scheme="W4A16_ASYM", ignore=[])
    compress(f"{work}/llama", f"{work}/out", modifier, False)
    models.check(f"{work}/out", ["int4_128"], models.matrices(model))


# Scheme: the format here, how much it rounds (what compressed-tensors divides scales by is a factor
# here), whether it needs a text.
FLOATS = {"NVFP4A16": ("nvfp4", 2.0 ** -22, False), "NVFP4": ("nvfp4", 2.0 ** -22, True),
          "MXFP4A16": ("mxfp4", 0, False)}


def floats_of(tensors, name):
    """Numbers of a module as compressed-tensors unpacks them, which makes bf16 of them when it opens
    a model."""
    packed, scale = tensors[f"{name}.weight_packed"], tensors[f"{name}.weight_scale"]
    numbers = unpack_fp4_from_uint8(packed, len(packed), 2 * packed.shape[1], torch.float32)
    if scale.dtype == torch.uint8:
        scale = torch.exp2(scale.float() - 127)
    else:
        scale = scale.float() / tensors[f"{name}.weight_global_scale"]
    return numbers * scale.repeat_interleave(numbers.shape[1] // scale.shape[1], 1)


def test_llmcompressor_four_bit_floats(work):
    models.make_model("llama", f"{work}/llama")
    plain = opened_as(torch.float32, f"{work}/llama")
    for name, (fmt, rounding, is_calibrated) in FLOATS.items():
        out = f"{work}/{name}"
        modifier = QuantizationModifier(targets="Linear", scheme=name, ignore=["lm_head"])
        compress(f"{work}/llama", out, modifier, is_calibrated)
        tensors = load_file(f"{out}/model.safetensors")
        wanted = {module: floats_of(tensors, module) for module in models.layers_of(plain)}
        check_wanted(out, plain, fmt, wanted, rounding)


# ---- ModelOpt


def decoded(tensors, name):
    """Numbers of a module by the layout that ModelOpt's writer has."""
    weight, scale = tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"].float()
    if weight.dtype == torch.uint8:  # two rows in a byte, the even one low; two's complement
        nibbles = torch.stack([weight & 15, weight >> 4], 1).flatten(0, 1).to(torch.int8)
        weight = torch.where(nibbles > 7, nibbles - 16, nibbles)
    if scale.dim() == 0:
        return weight.float() * scale
    scale = scale.reshape(scale.shape[0], -1)  # (rows, columns) of blocks
    high = 1 if len(scale) == len(weight) else 128
    scale = scale.repeat_interleave(high, 0)[:len(weight)]
    return weight.float() * scale.repeat_interleave(weight.shape[1] // scale.shape[1], 1)


def quantized(folder, config):
    return mtq.quantize(opened_as(torch.bfloat16, folder), copy.deepcopy(config),
                        lambda m: [m(row[None]) for row in samples()])


def write(model, out):
    export_hf_checkpoint(model, export_dir=out)
    models.write_tokenizer(out)


def export(folder, out, config):
    """Writes it; returns the matrices of the model that was quantized, rounded but as floats."""
    model = quantized(folder, config)
    rounded = copy.deepcopy(model).float()
    write(model, out)
    return {name: module.weight_quantizer(module.weight).detach().float()
            for name, module in rounded.named_modules() if hasattr(module, "weight_quantizer")}


# Configuration: the format here, how much it rounds scales, and the largest step between numbers of
# a matrix as a share of the largest number.
CONFIGS = {"FP8_DEFAULT_CFG": ("fp8", 0, 32 / 448),
           "FP8_PER_CHANNEL_PER_TOKEN_CFG": ("fp8", 0, 32 / 448),
           "FP8_2D_BLOCKWISE_WEIGHT_ONLY_CFG": ("fp8_128", 0, 32 / 448),
           "INT8_DEFAULT_CFG": ("int8", 0, 1 / 127), "INT8_WEIGHT_ONLY_CFG": ("int8", 0, 1 / 127),
           "INT4_BLOCKWISE_WEIGHT_ONLY_CFG": ("int4_128", 2.0 ** -11, 1 / 7)}


def check_numbers(rows, tensors, rounded, rounding, step):
    """Those of the file; and those that were to be written but for some of them, by one step."""
    for module, got in rows.items():
        want = decoded(tensors, module)
        error = ((got - want).abs() / want.abs().clamp(min=1e-30)).max()
        assert error <= rounding, f"{module}: {error} from the file's"
        off, most = (got - rounded[module]).abs(), rounded[module].abs().max()
        moved = (off > 0.01 * step * most).float().mean()
        assert off.max() < 1.02 * step * most and moved < 0.1, \
            f"{module}: {moved} of the numbers moved, by up to {off.max() / (step * most)} steps"


def test_modelopt_four_bit_floats(work):
    """Tensors of its own writer, which quantizes a model to them on a card alone."""
    models.make_model("llama", f"{work}/llama")
    plain = opened_as(torch.float32, f"{work}/llama")
    tensors = load_file(f"{work}/llama/model.safetensors")
    wanted = {}
    for module in models.layers_of(plain):
        packed, scale, factor = NVFP4QTensor.quantize(tensors[f"{module}.weight"].float(), 16)
        wanted[module] = packed.dequantize(torch.float32, scale=scale, double_scale=factor,
                                           block_sizes={-1: 16})
        tensors.update({f"{module}.weight": packed._quantized_data, f"{module}.weight_scale": scale,
                        f"{module}.weight_scale_2": factor})
    shutil.copytree(f"{work}/llama", f"{work}/NVFP4")
    save_file(tensors, f"{work}/NVFP4/model.safetensors")
    pathlib.Path(work, "NVFP4/hf_quant_config.json").write_text(json.dumps(
        {"producer": {"name": "modelopt"}, "quantization": {
            "quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]}}))
    check_wanted(f"{work}/NVFP4", plain, "nvfp4", wanted, 2.0 ** -22)


def check_modelopt(work, name, config, fmt, rounding, step):
    source, out = f"{work}/llama", f"{work}/{name}"
    rounded = export(source, out, config)
    tensors = load_file(f"{out}/model.safetensors")
    plain = opened_as(torch.float32, source)
    logits, rows, found = models.ours(out, models.layers_of(plain))
    assert set(found.values()) == {fmt}, found
    check_numbers(rows, tensors, rounded, rounding, step)
    parameters = dict(plain.named_parameters())
    for module, value in rows.items():
        parameters[f"{module}.weight"].data = value
    for norm in (n for n in parameters if "norm" in n):
        parameters[norm].data = tensors[norm].float()
    off = models.off(logits, models.logits_of(plain))
    print(f"  {name:34s} logits off by {off:.1e}")
    assert off < models.BOUND, f"{name}: logits off by {off}"


def test_modelopt(work):
    models.make_model("llama", f"{work}/llama")
    for name, row in CONFIGS.items():
        check_modelopt(work, name, getattr(mtq, name), *row)


def test_modelopt_with_scales_of_keys_and_values(work):
    models.make_model("llama", f"{work}/llama")
    config = mtq.utils.update_quant_cfg_with_kv_cache_quant(
        copy.deepcopy(mtq.FP8_DEFAULT_CFG), mtq.FP8_KV_CFG["quant_cfg"])
    check_modelopt(work, "kv", config, *CONFIGS["FP8_DEFAULT_CFG"])
    assert any(n.endswith("k_scale") for n in load_file(f"{work}/kv/model.safetensors"))


# Configuration: what matrices become that have no scales of inputs, and how far the logits may be from
# those of the model that was quantized, as root mean squares: without the factors it is 0.333 and 1.2.
# 4 bits alone change these logits by 0.43, and the writer, which moves scales into norms, rounds to 4
# bits anew.
SCALED = {"INT4_AWQ_CFG": ("int4_128", 0.32), "INT8_SMOOTHQUANT_CFG": ("int8", 0.005)}


def check_scaled_inputs(work, name, fmt, bound):
    """Its awq leaves those of the last matrix of each half beside it, its SmoothQuant all."""
    out = f"{work}/{name}"
    model = quantized(f"{work}/llama", getattr(mtq, name))
    for module in model.modules():
        if hasattr(module, "input_quantizer"):
            module.input_quantizer.disable_quant()
    want = models.logits_of(copy.deepcopy(model).float())
    write(model, out)
    tensors = load_file(f"{out}/model.safetensors")
    modules = [n[:-len(".weight_scale")] for n in tensors if n.endswith(".weight_scale")]
    shapes = {n: decoded(tensors, n).shape for n in modules}
    logits, rows, found = models.ours(out, shapes)
    scaled = {n for n in modules if f"{n}.pre_quant_scale" in tensors}
    assert scaled and all(found[n] == ("f16" if n in scaled else fmt) for n in modules), found
    for module, got in rows.items():
        number = decoded(tensors, module)
        if module in scaled:
            number = number * tensors[f"{module}.pre_quant_scale"].float()
        error = ((got - number).abs() - 2.0 ** -25).div(number.abs().clamp(min=1e-30)).max()
        assert error <= 2.0 ** -11, f"{module}: {error} from the file's"
    off = float(((logits - want).square().mean() / want.square().mean()).sqrt())
    print(f"  {name:34s} logits off by {off:.1e} from the quantized model's")
    assert off < bound, f"{name}: logits off by {off}"


def test_modelopt_scales_of_inputs(work):
    models.make_model("llama", f"{work}/llama")
    for name, row in SCALED.items():
        check_scaled_inputs(work, name, *row)


def test_mxfp4_is_what_transformers_makes_of_it(work):
    """Of the folders of tests/model/families_hf.py, whose logits tests/model/families.c compares."""
    families_hf.write_family("gptoss", work)
    tensors = {}
    for form in ("mxfp4", "bf16"):
        shards = pathlib.Path(work, f"family-gptoss-{form}").glob("*.safetensors")
        tensors[form] = {name: x for path in shards for name, x in load_file(path).items()}
    names = [name for name in tensors["bf16"] if name.endswith(("gate_up_proj", "down_proj"))]
    assert len(names) == 8
    for name in names:
        blocks, scales = (tensors["mxfp4"][f"{name}_{part}"] for part in ("blocks", "scales"))
        assert torch.equal(convert_moe_packed_tensors(blocks, scales), tensors["bf16"][name]), name


print(f"llmcompressor {llmcompressor.__version__}, modelopt {modelopt.__version__}, transformers "
      f"{transformers.__version__}, torch {torch.__version__}")
sys.exit(runner.run_tests("made", globals(), sys.argv[2:]))
