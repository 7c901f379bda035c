#!/usr/bin/env python3
"""kept.py BUILD: files that GPTQModel wrote, kept in tests/others/kept by make_kept.py, opened by the
engine: each number is that which GPTQModel's own layer has of it, as a half.

Kept are the tensors of quantized modules, config.json, and of each module the SHA-256 of its numbers
as halves; what else belongs to the folder is made here.
"""
import glob
import hashlib
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "model"))
sys.path.append(os.path.join(HERE, "..", "tools"))
import gguf_write
import hf_write
import runner

KEPT = os.path.join(HERE, "kept")
WIDTH, INNER, HEADS, KV_HEADS, DIM = 64, 128, 4, 2, 32
SHAPES = {"self_attn.q_proj": (HEADS * DIM, WIDTH), "self_attn.k_proj": (KV_HEADS * DIM, WIDTH),
          "self_attn.v_proj": (KV_HEADS * DIM, WIDTH), "self_attn.o_proj": (WIDTH, HEADS * DIM),
          "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH),
          "mlp.down_proj": (WIDTH, INNER)}
LAYER = "model.layers.0."
FORMATS = {"awq": "int4_32", "gptq-8-bits": "q8_0", "gptq-asymmetric": "int4_32",
           "gptq-desc-act": "f16", "gptq-v2": "int4_32"}


def config():
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH,
            "intermediate_size": INNER, "num_hidden_layers": 1, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "head_dim": DIM, "vocab_size": len(gguf_write.vocabulary()[0]),
            "rms_norm_eps": 1e-5, "max_position_embeddings": 256, "tie_word_embeddings": True,
            "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "dtype": "float16"}


def plain_tensors():
    """The embedding and the norms, as hf_write has tensors."""
    rows = [("model.embed_tokens.weight", (config()["vocab_size"], WIDTH), 0.0, 0.3)]
    rows += [(name + ".weight", (WIDTH,), 1.0, 0.2) for name in
             (LAYER + "input_layernorm", LAYER + "post_attention_layernorm", "model.norm")]
    numbers = random.Random(11)
    for name, shape, mean, deviation in rows:
        values = [numbers.gauss(mean, deviation) for _ in range(math.prod(shape))]
        yield name, shape, "f16", struct.pack(f"<{len(values)}e", *values)


def read(path):
    """(name, shape, format, bytes) of each tensor of a safetensors file."""
    form = {dtype: name for name, dtype in hf_write.DTYPE.items()}
    with open(path, "rb") as f:
        raw = f.read()
    n, = struct.unpack_from("<Q", raw)
    for name, t in json.loads(raw[8:8 + n]).items():
        if name != "__metadata__":
            first, last = t["data_offsets"]
            yield name, t["shape"], form[t["dtype"]], raw[8 + n + first:8 + n + last]


def halves_of(build, folder, fmt):
    """SHA-256 of each module's numbers as the engine has them, rounded to halves; it must have them
    in the format."""
    arguments = [str(x) for name, shape in SHAPES.items() for x in (LAYER + name, *shape)]
    done = subprocess.run([f"{build}/tests/others/read", folder, "1,2,3,4", *arguments],
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert set(done.stderr.decode().split()[1::2]) == {fmt}, done.stderr.decode()
    at, hashes = 4 * 4 * config()["vocab_size"], {}
    logits = struct.unpack_from(f"<{at // 4}f", done.stdout)
    assert all(map(math.isfinite, logits)) and max(logits) > 0
    for name, (rows, width) in SHAPES.items():
        numbers = struct.unpack_from(f"<{rows * width}f", done.stdout, at)
        at += 4 * rows * width
        # What is 0 may have either sign.
        halves = struct.pack(f"<{rows * width}e", *(x + 0.0 for x in numbers))
        hashes[name] = hashlib.sha256(halves).hexdigest()
    assert at == len(done.stdout)
    return hashes


def test_numbers_are_those_of_who_wrote_them(work):
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    assert len(glob.glob(f"{KEPT}/*.json")) == len(FORMATS)
    for name, fmt in FORMATS.items():
        folder, path = f"{work}/{name}", f"{KEPT}/{name}.json"
        with open(path, encoding="utf-8") as f:
            kept = json.load(f)
        os.makedirs(folder)
        hf_write.safetensors(f"{folder}/model.safetensors",
                             [*plain_tensors(), *read(path.replace(".json", ".safetensors"))])
        hf_write.tokenizer(folder, *gguf_write.vocabulary())
        hf_write.json_file(f"{folder}/config.json", kept["config"])
        hashes = halves_of(build, folder, fmt)
        differ = [module for module in SHAPES if hashes[module] != kept["halves"][module]]
        assert not differ, f"{name}: {differ}"
        print(f"  {name}: {kept['made_by']}")
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(runner.run_tests("kept", globals(), sys.argv[2:]))
