#!/usr/bin/env python3
"""inflight-quantize BUILD: what it writes, read by the formats' definitions; what becomes of runs
that are stopped or have no room; what it says of input that it cannot use."""
import json
import math
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "model"))
import hf_write
import runner
import safetensors

PROGRAM = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "build", "bin/inflight-quantize")
WIDTH, INNER, VOCAB = 128, 256, 64
MATRICES = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (40, WIDTH),
            "self_attn.v_proj": (40, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
            "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH),
            "mlp.down_proj": (WIDTH, INNER)}


def bf16_bytes(values):
    """Of floats that are rounded already."""
    return b"".join(struct.pack("<f", v)[2:] for v in values)


def rounded(value):
    bits, = struct.unpack("<I", struct.pack("<f", value))
    return struct.unpack("<f", struct.pack("<I", (bits + 0x8000) & 0xffff0000))[0]


def make_model(folder, layers=1, shards=1, down=INNER, hard=""):
    """A Llama of random weights; returns them by name. hard: the end of the name of a matrix that has
    a few large numbers, which leave coarse integers for the others."""
    random.seed(7)
    os.makedirs(folder)
    weights, tensors = {}, []

    def add(name, shape):
        n = math.prod(shape)
        values = [rounded(random.gauss(0, 0.05)) for _ in range(n)]
        if hard and name.endswith(hard + ".weight"):
            values[5::32] = [rounded(random.choice((-0.6, 0.6))) for _ in values[5::32]]
        weights[name] = values
        tensors.append((name, shape, "bf16", bf16_bytes(values)))

    add("model.embed_tokens.weight", (VOCAB, WIDTH))
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        add(prefix + "input_layernorm.weight", (WIDTH,))
        add(prefix + "post_attention_layernorm.weight", (WIDTH,))
        for name, (rows, width) in MATRICES.items():
            add(f"{prefix}{name}.weight", (rows, down if name == "mlp.down_proj" else width))
    add("model.norm.weight", (WIDTH,))
    add("lm_head.weight", (VOCAB, WIDTH))
    hf_write.weights(folder, tensors, shards)
    hf_write.json_file(f"{folder}/config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH,
        "intermediate_size": down, "num_hidden_layers": layers, "num_attention_heads": 8,
        "num_key_value_heads": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 256, "tie_word_embeddings": False})
    hf_write.json_file(f"{folder}/tokenizer_config.json", {"model_max_length": 256})
    return weights


def run(*arguments, **more):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=120,
                          check=False, **more)


def output_of(folder):
    tensors, meta = safetensors.read(f"{folder}/model.safetensors")
    with open(f"{folder}/config.json", encoding="utf-8") as f:
        return tensors, meta, json.load(f)


def relative_error(rows, values):
    flat = [v for row in rows for v in row]
    assert len(flat) == len(values)
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(flat, values)) /
                     sum(b * b for b in values))


def check_model(folder, weights, bound, head=False, kept=()):
    """Every matrix within the bound, and the error that the report names; the rest as it was."""
    tensors, meta, _ = output_of(folder)
    with open(f"{folder}/inflight-quantize.json", encoding="utf-8") as f:
        report = {m["module"]: m for m in json.load(f)["matrices"]}
    assert meta == {"format": "pt"}
    for name, values in weights.items():
        module = name.removesuffix(".weight")
        is_matrix = module.endswith("_proj") or (head and module == "lm_head")
        if not is_matrix or module in kept:
            assert tensors[name][0] == "BF16" and list(tensors[name][2]) == values, name
            assert module not in report
            continue
        error = relative_error(safetensors.dequantize(tensors, module), values)
        assert error < bound, f"{name}: {error}"
        assert abs(error - report[module]["relative_error"]) < 1e-4 * error, name
    assert not [f for f in os.listdir(folder) if f.endswith(".part") or f.startswith("errors")]
    assert not os.path.exists(folder + ".partial")


# Errors of values of a normal distribution: half a step of E4M3 is 1/16 of a power of two at most;
# 255 and 15 steps over the range.
RECIPES = {
    "fp8": (["-r", "fp8"], 0.03),
    "fp8-block": (["-r", "fp8-block"], 0.03),
    "int8": (["-r", "int8"], 0.012),
    "int8 in groups": (["-r", "int8-group"], 0.007),
    "int4": (["-r", "int4"], 0.13),
    "int4 in groups of 32": (["-r", "int4", "-g", "32"], 0.11),
    "symmetric int4": (["-r", "int4", "-s"], 0.13),
}


def test_recipes(work):
    weights = make_model(f"{work}/model")
    for name, (options, bound) in RECIPES.items():
        out = f"{work}/{name}"
        done = run(f"{work}/model", "-o", out, *options)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert "tensors converted" in done.stdout
        check_model(out, weights, bound)
        assert os.path.exists(f"{out}/tokenizer_config.json")


def test_config_names_what_was_done(work):
    make_model(f"{work}/model")
    assert run(f"{work}/model", "-o", f"{work}/out", "-r", "int4", "-g", "64", "-s").returncode == 0
    _, _, config = output_of(f"{work}/out")
    quantization = config["quantization_config"]
    group, = quantization["config_groups"].values()
    assert config["model_type"] == "llama" and config["hidden_size"] == WIDTH
    assert quantization["quant_method"] == "compressed-tensors"
    assert quantization["format"] == "pack-quantized" and quantization["ignore"] == ["lm_head"]
    assert group["targets"] == ["Linear"]
    assert group["weights"]["group_size"] == 64 and group["weights"]["symmetric"] is True
    assert run(f"{work}/model", "-o", f"{work}/bytes", "-r", "int8-group").returncode == 0
    _, _, config = output_of(f"{work}/bytes")
    assert config["quantization_config"]["format"] == "pack-quantized"
    group, = config["quantization_config"]["config_groups"].values()
    assert "input_activations" not in group and group["weights"] == {
        "num_bits": 8, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32,
        "dynamic": False}
    assert run(f"{work}/model", "-o", f"{work}/fp8").returncode == 0
    _, _, config = output_of(f"{work}/fp8")
    group, = config["quantization_config"]["config_groups"].values()
    assert group["weights"]["strategy"] == "channel" and group["weights"]["type"] == "float"
    assert group["input_activations"]["strategy"] == "token"
    assert group["input_activations"]["dynamic"] is True


def test_head_and_kept_modules(work):
    weights = make_model(f"{work}/model")
    done = run(f"{work}/model", "-o", f"{work}/out", "-r", "int8", "--head", "-k", "*.mlp.*")
    assert done.returncode == 0, done.stderr
    kept = [f"model.layers.0.mlp.{n}_proj" for n in ("gate", "up", "down")]
    check_model(f"{work}/out", weights, 0.012, head=True, kept=kept)
    _, _, config = output_of(f"{work}/out")
    assert sorted(config["quantization_config"]["ignore"]) == sorted(kept)


def test_rows_without_whole_groups_get_smaller_ones(work):
    weights = make_model(f"{work}/model", down=224)
    done = run(f"{work}/model", "-o", f"{work}/out", "-r", "int4")
    assert done.returncode == 0, done.stderr
    tensors, _, config = output_of(f"{work}/out")
    assert tensors["model.layers.0.mlp.down_proj.weight_scale"][1] == [WIDTH, 7]
    groups = config["quantization_config"]["config_groups"].values()
    by_size = {g["weights"]["group_size"]: g["targets"] for g in groups}
    assert by_size[32] == [r"re:.*\.down_proj$"] and len(by_size[128]) == 6
    for name, values in weights.items():
        if name.endswith("_proj.weight"):
            rows = safetensors.dequantize(tensors, name.removesuffix(".weight"))
            assert relative_error(rows, values) < 0.13


def test_experts_are_converted_and_routers_are_not(work):
    """Of folders of tests/model/families_hf.py, of which one has all experts of a layer in one tensor:
    these stay."""
    for family, part, n in (("mixtral", "block_sparse_moe", 2 * (4 + 3 * 6)),
                            ("qwen3moe", "mlp", 3 * (4 + 3 * 10)), ("gptoss", "mlp", 4 * 4)):
        done = run(f"build/models/family-{family}-f32", "-o", f"{work}/{family}", "-r", "int8")
        assert done.returncode == 0, done.stderr
        tensors, _, config = output_of(f"{work}/{family}")
        scales = [name for name in tensors if name.endswith(".weight_scale")]
        router = f"model.layers.0.{part}.{'router' if family == 'gptoss' else 'gate'}"
        assert len(scales) == n, f"{family}: {len(scales)} matrices are converted"
        assert tensors[f"{router}.weight"][0] == "F32"
        ignored = config["quantization_config"]["ignore"]
        assert family == "gptoss" or router in ignored, ignored
        assert family != "gptoss" or f"model.layers.0.{part}.experts.down_proj" in tensors


def bits_of(tensors, weights):
    """Of a weight of the layers' matrices, by the bytes of the file."""
    bytes_of = {"I32": 4, "I8": 1, "F8_E4M3": 1, "BF16": 2, "F32": 4, "I64": 8}
    modules = [n.removesuffix(".weight") for n in weights if n.endswith("_proj.weight")]
    total = sum(bytes_of[dtype] * math.prod(shape) for name, (dtype, shape, _) in tensors.items()
                if name.rsplit(".", 1)[0] in modules)
    return 8 * total / sum(len(weights[m + ".weight"]) for m in modules)


def finer_of(folder):
    with open(f"{folder}/inflight-quantize.json", encoding="utf-8") as f:
        report = json.load(f)
    return report["budget"], {m["module"]: m for m in report["budget"]["finer"]}


def test_a_budget_goes_to_what_is_hard(work):
    """int4 in groups of 32 becomes int8 where that is for the hard matrix alone, and for what is
    multiplied with it; int8 stays as it is."""
    first = "model.layers.0."
    cases = [("self_attn.o_proj", "int4", "5.3", "int8", ["self_attn.o_proj"]),
             ("self_attn.k_proj", "int4", "5.5", "int8",
              [f"self_attn.{n}_proj" for n in "qkv"]),
             ("self_attn.o_proj", "int8", "9.3", "bf16", ["self_attn.o_proj"])]
    for number, (hard, recipe, bits, finer, names) in enumerate(cases):
        model, out = f"{work}/model{number}", f"{work}/out{number}"
        weights = make_model(model, hard=hard)
        dry = run(model, "--dry-run", "-r", recipe, "-g", "32", "--budget", bits)
        done = run(model, "-o", out, "-r", recipe, "-g", "32", "--budget", bits)
        assert done.returncode == 0 and dry.returncode == 0, done.stderr + dry.stderr
        tensors, _, config = output_of(out)
        budget, modules = finer_of(out)
        assert sorted(modules) == sorted(first + n for n in names), (hard, modules)
        assert all(m["is"] == finer and m["cost"] > m["cost_left"] for m in modules.values())
        used = bits_of(tensors, weights)
        assert used <= float(bits) and abs(used - budget["used"]) < 1e-7, (used, budget)
        assert all(f"  {m} " in dry.stdout and f"  {m} " in done.stdout for m in modules)
        ignore = config["quantization_config"]["ignore"]
        for name in modules:
            assert (name in ignore) == (finer == "bf16")
            if finer == "bf16":
                assert list(tensors[name + ".weight"][2]) == weights[name + ".weight"]
            else:
                rows = safetensors.dequantize(tensors, name)
                assert relative_error(rows, weights[name + ".weight"]) < 0.04
    groups = output_of(f"{work}/out0")[2]["quantization_config"]["config_groups"].values()
    by_bits = {g["weights"]["num_bits"]: g for g in groups}
    assert by_bits[8]["targets"] == [r"re:.*\.o_proj$"] and len(by_bits[4]["targets"]) == 6
    assert all(g["format"] == "pack-quantized" and "input_activations" not in g
               for g in groups)


def test_a_small_budget_makes_groups_smaller(work):
    """Which gains more for its bytes than int8 does."""
    weights = make_model(f"{work}/model")
    done = run(f"{work}/model", "-o", f"{work}/out", "-r", "int4", "--budget", "4.5")
    assert done.returncode == 0, done.stderr
    tensors, _, _ = output_of(f"{work}/out")
    budget, modules = finer_of(f"{work}/out")
    assert {m["is"] for m in modules.values()} <= {"int4_64", "int4_32"} and modules
    assert bits_of(tensors, weights) <= 4.5 and budget["used"] > 4.35
    for name, told in modules.items():
        error = relative_error(safetensors.dequantize(tensors, name), weights[name + ".weight"])
        assert abs(error - told["cost_left"]) < 1e-4 * error and error < told["cost"]


def test_budgets_that_cannot_be_met(work):
    make_model(f"{work}/model")
    cases = [("4", "matrices of int4 have 4.1626 bits a weight, which is the least"),
             ("32", "every matrix would stay as it is")]
    for bits, text in cases:
        done = run(f"{work}/model", "--dry-run", "-r", "int4", "--budget", bits)
        assert done.returncode == 1 and text in done.stderr, done.stderr
    for bits in ("0", "-3", "many", "33", "5 bits", "nan", ""):
        done = run(f"{work}/model", "--dry-run", "-r", "int4", "--budget", bits)
        assert done.returncode == 2 and "is not a number of bits" in done.stderr, done.stderr
    assert run(f"{work}/model", "-o", f"{work}/out", "-r", "int4", "-b", "4").returncode == 1
    assert not os.path.exists(f"{work}/out.partial")


def test_a_budget_beside_kept_modules(work):
    """They are no part of it."""
    weights = make_model(f"{work}/model", layers=2, hard="0.mlp.down_proj")
    done = run(f"{work}/model", "-o", f"{work}/out", "-r", "int4", "-b", "5.5", "-k", "*.mlp.*",
               "-k", "*.k_proj")
    assert done.returncode == 0, done.stderr
    tensors, _, _ = output_of(f"{work}/out")
    budget, modules = finer_of(f"{work}/out")
    left = {n: v for n, v in weights.items() if "_attn" in n and "k_proj" not in n}
    assert budget["used"] <= 5.5 and abs(bits_of(tensors, left) - budget["used"]) < 1e-7
    assert modules and not any(".mlp." in m or "k_proj" in m for m in modules)
    qv = {m for m in modules if m.endswith(("q_proj", "v_proj"))}
    assert len(qv) % 2 == 0, qv


def test_shards_are_read_and_runs_repeat(work):
    make_model(f"{work}/model", shards=3)
    make_model(f"{work}/one")
    for name, model in (("a", "model"), ("b", "one"), ("c", "one")):
        done = run(f"{work}/{model}", "-o", f"{work}/{name}", "-t", "1" if name == "c" else "3")
        assert done.returncode == 0, done.stderr
    read = [safetensors.read(f"{work}/{n}/model.safetensors")[0] for n in "abc"]
    assert read[0] == read[1]
    with open(f"{work}/b/model.safetensors", "rb") as b, \
         open(f"{work}/c/model.safetensors", "rb") as c:
        assert b.read() == c.read(), "threads change nothing"


def test_a_run_that_is_killed_leaves_no_output_and_goes_on(work):
    make_model(f"{work}/model", layers=10)
    kills = 0
    for i in range(14):
        out = f"{work}/out{i}"
        options = ["-r", "int4", "-g", "32", *(["--budget", "6"] if i >= 10 else [])]
        if i in (0, 10):
            shutil.rmtree(f"{work}/whole", ignore_errors=True)
            assert run(f"{work}/model", "-o", f"{work}/whole", *options).returncode == 0
        command = [PROGRAM, f"{work}/model", "-o", out, *options, "-t", "1"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            time.sleep(0.002 + 0.02 * i * random.random())
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        if os.path.exists(out):
            assert os.path.exists(f"{out}/config.json")
        else:
            done = run(*command[1:])
            assert done.returncode == 0, done.stderr
        for name in os.listdir(f"{work}/whole"):
            with open(f"{work}/whole/{name}", "rb") as a, open(f"{out}/{name}", "rb") as b:
                assert a.read() == b.read(), name
        shutil.rmtree(out)
    assert kills > 0, "no run was killed"


def test_another_run_is_not_gone_on_with(work):
    make_model(f"{work}/model", layers=10)
    with subprocess.Popen([PROGRAM, f"{work}/model", "-o", f"{work}/out", "-t", "1"],
                          stdout=subprocess.DEVNULL) as process:
        while not os.path.exists(f"{work}/out.partial/model.safetensors.part"):
            assert process.poll() is None, "it ended too soon"
        process.kill()
    refused = run(f"{work}/model", "-o", f"{work}/out", "-r", "int8")
    assert refused.returncode == 1 and "of another run" in refused.stderr, refused.stderr
    assert run(f"{work}/model", "-o", f"{work}/out", "-r", "int8", "--restart").returncode == 0
    tensors, _, _ = output_of(f"{work}/out")
    assert tensors["model.layers.0.mlp.up_proj.weight"][0] == "I8"


def test_a_model_that_was_changed_meanwhile_is_not_gone_on_with(work):
    """Of the same size, by one bit of one number."""
    make_model(f"{work}/model", layers=10)
    with subprocess.Popen([PROGRAM, f"{work}/model", "-o", f"{work}/out", "-t", "1"],
                          stdout=subprocess.DEVNULL) as process:
        while not os.path.exists(f"{work}/out.partial/model.safetensors.part"):
            assert process.poll() is None, "it ended too soon"
        process.kill()
    with open(f"{work}/model/model.safetensors", "r+b") as f:
        f.seek(-1, os.SEEK_END)
        last = f.read(1)
        f.seek(-1, os.SEEK_END)
        f.write(bytes([last[0] ^ 1]))
    refused = run(f"{work}/model", "-o", f"{work}/out")
    assert refused.returncode == 1 and "of another run" in refused.stderr, refused.stderr


def test_no_room(work):
    """A limit of the file's size stands for a disk that fills up."""
    make_model(f"{work}/model")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
    done = run(f"{work}/model", "-o", f"{work}/out", preexec_fn=limit)
    assert done.returncode == 1 and "cannot be written beyond" in done.stderr, done.stderr
    assert not os.path.exists(f"{work}/out")
    assert not [f for f in os.listdir(f"{work}/out.partial") if f.endswith(".part")]
    assert run(f"{work}/model", "-o", f"{work}/out").returncode == 0


def spoil(work, name, change):
    """A copy of the model whose first tensor of that name end is changed."""
    folder = f"{work}/{len(os.listdir(work))}"
    shutil.copytree(f"{work}/model", folder)
    path = f"{folder}/model.safetensors"
    with open(path, "rb") as f:
        raw = bytearray(f.read())
    n, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + n])
    at = 8 + n + next(t["data_offsets"][0] for k, t in header.items() if k.endswith(name))
    raw[at:at + 2] = change
    with open(path, "wb") as f:
        f.write(raw)
    return folder


def test_input_that_cannot_be_used(work):
    make_model(f"{work}/model")
    assert run(f"{work}/model", "-o", f"{work}/fp8").returncode == 0
    nan = spoil(work, "layers.0.mlp.up_proj.weight", struct.pack("<H", 0x7fc0))
    os.makedirs(f"{work}/mine.partial/own")
    gguf = f"{work}/x.gguf"
    with open(gguf, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    cases = [
        ([f"{work}/nothing", "-o", f"{work}/out"], "nothing"),
        ([f"{work}/model", "-o", f"{work}/fp8"], "is there already"),
        ([f"{work}/fp8", "-o", f"{work}/out"], "quantized already"),
        ([nan, "-o", f"{work}/out"], "model.layers.0.mlp.up_proj.weight has what is not a number"),
        ([gguf, "-o", f"{work}/out"], "not a Hugging Face folder"),
        ([f"{work}/model", "-o", f"{work}/mine"], "not of such a run"),
        ([f"{work}/model", "-o", f"{work}/none/out"], "cannot be made"),
        ([f"{work}/model", "-o", f"{work}/out", "-k", "*"], "no matrix is left"),
        (["build/models/family-gptoss-mxfp4", "-o", f"{work}/out"],
         "config.json: the model is quantized already, by quant_method mxfp4"),
        (["build/models/family-gpt2-f32", "-o", f"{work}/out"],
         'model_type "gpt2": its matrices are stored by columns'),
    ]
    for arguments, text in cases:
        done = run(*arguments)
        assert done.returncode == 1 and text in done.stderr, (arguments, done.stderr)
        assert not os.path.exists(f"{work}/out")
        shutil.rmtree(f"{work}/out.partial", ignore_errors=True)
    for arguments in (["-r", "int5"], ["-g", "100"], ["--threads", "none"], ["--nonsense"], []):
        assert run(f"{work}/model", *arguments).returncode == 2, arguments
    assert "usage" in run("--help").stdout


sys.exit(runner.run_tests("quantize", globals(), sys.argv[2:]))
