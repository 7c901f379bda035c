#!/usr/bin/env python3
"""Makes tests/others/kept by GPTQModel, on the CPU: pip install gptqmodel==7.7.0, then

    tests/others/make_kept.py

Which wants transformers 5.20 and torch 2.14 or newer, and so cannot stand beside llm-compressor's in
one environment.
"""
import hashlib
import json
import os
import sys
import tempfile

import kept

# It divides the processors among pools, and refuses to begin with fewer than it has pools.
os.cpu_count = lambda: 16

import gptqmodel
import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from safetensors.torch import load_file, save_file

sys.path.append(os.path.join(kept.HERE, "..", "model"))
import gguf_write
import hf_write

WAYS = {
    "gptq-asymmetric": {"bits": 4, "group_size": 32, "sym": False},
    "gptq-v2": {"bits": 4, "group_size": 32, "sym": False, "format": "gptq_v2"},
    "gptq-desc-act": {"bits": 4, "group_size": 32, "desc_act": True, "act_group_aware": False},
    "gptq-8-bits": {"bits": 8, "group_size": 32},
    "awq": {"bits": 4, "group_size": 32, "quant_method": "awq", "format": "gemm", "sym": False},
}


def make_model(folder):
    torch.manual_seed(7)
    tensors = [*kept.plain_tensors()]
    for name, shape in kept.SHAPES.items():
        raw = (torch.randn(shape) * 0.06).half().numpy().tobytes()
        tensors.append((f"{kept.LAYER}{name}.weight", shape, "f16", raw))
    os.makedirs(folder)
    hf_write.safetensors(f"{folder}/model.safetensors", tensors)
    hf_write.tokenizer(folder, *gguf_write.vocabulary())
    hf_write.json_file(f"{folder}/config.json", kept.config())


def calibration():
    numbers = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 259, (16, 96), generator=numbers)
    return [{"input_ids": row.tolist(), "attention_mask": [1] * len(row)} for row in ids]


def halves_of(folder):
    """Of each module's numbers as GPTQModel's layer has them, rows first."""
    model = GPTQModel.load(folder, device="cpu", dtype=torch.float16,
                           backend=BACKEND.TORCH).model
    layer, hashes = model.model.layers[0], {}
    for name, shape in kept.SHAPES.items():
        module = layer.get_submodule(name)
        if hasattr(module, "dequantize_weight"):
            value = module.dequantize_weight()
        else:  # awq: what it makes of a matrix with a one in each row
            with torch.no_grad():
                value = module(torch.eye(shape[1], dtype=torch.float16))
        value = value.to(torch.float16).T.contiguous()
        assert tuple(value.shape) == shape, name
        hashes[name] = hashlib.sha256((value + 0.0).numpy().tobytes()).hexdigest()
    return hashes


def main():
    os.makedirs(kept.KEPT, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        make_model(f"{work}/model")
        for way in sys.argv[1:] or WAYS:
            model = GPTQModel.load(f"{work}/model", QuantizeConfig(**WAYS[way]), device="cpu",
                                   dtype=torch.float16)
            model.quantize(calibration(), batch_size=1)
            model.save(f"{work}/{way}")
            with open(f"{work}/{way}/config.json", encoding="utf-8") as f:
                config = json.load(f)
            config["quantization_config"].pop("meta", None)
            tensors = load_file(f"{work}/{way}/model.safetensors")
            save_file({k: v for k, v in tensors.items() if "_proj." in k},
                      f"{kept.KEPT}/{way}.safetensors")
            hf_write.json_file(f"{kept.KEPT}/{way}.json", {
                "made_by": f"GPTQModel {gptqmodel.__version__}, torch {torch.__version__}",
                "halves": halves_of(f"{work}/{way}"), "config": config})
            print("kept", way, flush=True)


if __name__ == "__main__":
    main()
