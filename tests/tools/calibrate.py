#!/usr/bin/env python3
"""inflight-quantize --calibration BUILD, beside a forward pass of its own in double precision: errors
of outputs, reported and real; budgets; AWQ's scales; unusable texts."""
import json
import math
import os
import random
import struct
import subprocess
import sys
from operator import mul

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "model"))
import hf_write
import runner
import safetensors

PROGRAM = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "build", "bin/inflight-quantize")
D, F, HEADS, KV_HEADS, DIM, EPS, THETA = 64, 224, 4, 2, 16, 1e-5, 10000.0
GROUP, SAMPLES, LENGTH = 32, 8, 48
# Bytes alone: each is a token in GPT-2's alphabet.
VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in VISIBLE]
TOKENS = [chr(b) if b in VISIBLE else chr(256 + OTHERS.index(b)) for b in range(256)]
SHAPES = {"self_attn.q_proj": (HEADS * DIM, D), "self_attn.k_proj": (KV_HEADS * DIM, D),
          "self_attn.v_proj": (KV_HEADS * DIM, D), "self_attn.o_proj": (D, HEADS * DIM),
          "mlp.gate_proj": (F, D), "mlp.up_proj": (F, D), "mlp.down_proj": (D, F)}
LAYER = "model.layers.0."
NORMS = ("input_layernorm", "post_attention_layernorm")
GEMMA_NORMS = (*NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
WINDOW, CAP = 20, 5.0  # of Gemma 2's first layer


def random_text(n):
    """Words of few letters, so that inputs depend on one another."""
    random.seed(3)
    words = ["".join(random.choice("abcdefghijklmnop") for _ in range(random.randint(2, 7)))
             for _ in range(60)]
    return " ".join(random.choice(words) for _ in range(n))


TEXT = random_text(400).encode()


def single(values):
    """Rounded to single precision."""
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def make_model(folder, layers=1, bias=False, heads=KV_HEADS, buffer=None, vocab=0, gemma=False):
    """A Llama, Qwen 2 with biases or Gemma 2, whose inputs are correlated and of columns that differ
    much in size; with a head of its own if there is a vocab. Returns its tensors as lists of rows."""
    random.seed(11)
    os.makedirs(folder)
    weights, tensors = {}, []

    def add(name, rows):
        rows = [single(r) for r in rows]
        weights[name] = rows
        flat = [v for r in rows for v in r]
        shape = (len(rows[0]),) if len(rows) == 1 else (len(rows), len(rows[0]))
        tensors.append((name, shape, "f32", struct.pack(f"<{len(flat)}f", *flat)))

    size = [math.exp(random.gauss(0, 0.8)) for _ in range(D)]
    basis = [[random.gauss(0, 1) for _ in range(D)] for _ in range(6)]

    def embedding():
        parts = [random.gauss(0, 1) for _ in basis]
        return [size[i] * (sum(p * b[i] for p, b in zip(parts, basis)) + random.gauss(0, 0.3))
                for i in range(D)]

    add("model.embed_tokens.weight", [embedding() for _ in range(vocab or len(TOKENS))])
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for norm in GEMMA_NORMS if gemma else NORMS:
            add(f"{prefix}{norm}.weight",
                [[random.uniform(0.5, 1.5) - gemma for _ in range(D)]])
        for name, (rows, width) in SHAPES.items():
            if name in ("self_attn.k_proj", "self_attn.v_proj"):
                rows = heads * DIM
            add(f"{prefix}{name}.weight",
                [[random.gauss(0, 0.15) for _ in range(width)] for _ in range(rows)])
            if bias and name[:11] in ("self_attn.q", "self_attn.k", "self_attn.v"):
                add(f"{prefix}{name}.bias", [[random.gauss(0, 0.2) for _ in range(rows)]])
    add("model.norm.weight", [[1.0 - gemma] * D if not vocab else
                              [random.uniform(0.5, 1.5) - gemma for _ in range(D)]])
    if vocab:
        add("lm_head.weight", [[random.gauss(0, 0.15) for _ in range(D)] for _ in range(vocab)])
    if buffer:
        add(buffer, [[1.0] * (DIM // 2)])
    hf_write.weights(folder, tensors, 1)
    kind = "gemma2" if gemma else "qwen2" if bias else "llama"
    hf_write.json_file(f"{folder}/config.json", {
        "architectures": [{"qwen2": "Qwen2", "gemma2": "Gemma2", "llama": "Llama"}[kind] +
                          "ForCausalLM"],
        "model_type": kind, "hidden_size": D, "intermediate_size": F, "head_dim": DIM,
        **({"sliding_window": WINDOW, "attn_logit_softcapping": CAP, "final_logit_softcapping": 9,
            "query_pre_attn_scalar": DIM} if gemma else {}),
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": heads,
        "vocab_size": vocab or len(TOKENS), "rms_norm_eps": EPS, "rope_theta": THETA,
        "max_position_embeddings": 256, "tie_word_embeddings": not vocab})
    hf_write.tokenizer(folder, TOKENS, [1] * len(TOKENS), [])
    with open(f"{folder}/text", "wb") as f:
        f.write(TEXT)
    return weights


def fuse(folder, out):
    """The same Llama as a Phi 3: q, k and v are rows of one matrix, and so are gate and up."""
    os.makedirs(out)
    tensors, _ = safetensors.read(f"{folder}/model.safetensors")
    with open(f"{folder}/config.json", encoding="utf-8") as f:
        config = json.load(f)
    rows = []
    for name, (_, shape, values) in tensors.items():
        stem = name.removesuffix("q_proj.weight").removesuffix("gate_proj.weight")
        if stem == name and not any(w in name for w in ("k_proj", "v_proj", "up_proj")):
            rows.append((name, shape, list(values)))
        elif stem != name:
            words = ("q", "k", "v") if name.endswith("q_proj.weight") else ("gate", "up")
            parts = [tensors[f"{stem}{w}_proj.weight"] for w in words]
            together = "qkv" if len(words) == 3 else "gate_up"
            rows.append((f"{stem}{together}_proj.weight",
                         (sum(p[1][0] for p in parts), shape[1]), sum((list(p[2]) for p in parts), [])))
    hf_write.weights(out, [(n, s, "f32", struct.pack(f"<{len(v)}f", *v)) for n, s, v in rows], 1)
    hf_write.json_file(f"{out}/config.json", {**config, "model_type": "phi3",
                                              "architectures": ["Phi3ForCausalLM"]})
    for name in ("tokenizer.json", "tokenizer_config.json", "text"):
        os.symlink(os.path.abspath(f"{folder}/{name}"), f"{out}/{name}")


def spoil(folder, name, change):
    """Numbers of a tensor of the model, {index: value}."""
    path = f"{folder}/model.safetensors"
    with open(path, "rb") as f:
        raw = bytearray(f.read())
    n, = struct.unpack_from("<Q", raw)
    at = 8 + n + json.loads(raw[8:8 + n])[name]["data_offsets"][0]
    for i, value in change.items():
        struct.pack_into("<f", raw, at + 4 * i, value)
    with open(path, "wb") as f:
        f.write(raw)


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300,
                          check=False)


def quantize(work, out, method, *options):
    """int4, unless options have another recipe."""
    done = run(f"{work}/model", "-o", f"{work}/{out}", "-r", "int4", "-g", str(GROUP), "-m", method,
               "-c", f"{work}/text" if os.path.exists(f"{work}/text") else f"{work}/model/text",
               "--samples", str(SAMPLES), "--length", str(LENGTH), *options)
    assert done.returncode == 0, done.stderr
    tensors, _ = safetensors.read(f"{work}/{out}/model.safetensors")
    with open(f"{work}/{out}/inflight-quantize.json", encoding="utf-8") as f:
        report = {m["module"]: m for m in json.load(f)["matrices"]}
    return tensors, report


# ---- A forward pass, by its definition

def bf16(value):
    bits, = struct.unpack("<I", struct.pack("<f", value))
    bits += 0x7fff + (bits >> 16 & 1)
    return struct.unpack("<f", struct.pack("<I", bits & 0xffff0000))[0]


def times(X, W):
    return [[sum(map(mul, x, w)) for w in W] for x in X]


def normalised(X, weight, more=0):
    out = []
    for x in X:
        scale = 1 / math.sqrt(sum(v * v for v in x) / len(x) + EPS)
        out.append([v * scale * (w + more) for v, w in zip(x, weight)])
    return out


def silu(x):
    return x / (1 + math.exp(-x))


def gelu(x):
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def turned(head, position):
    half = DIM // 2
    out = list(head)
    for i in range(half):
        angle = position * THETA ** (-2 * i / DIM)
        a, b, c, s = head[i], head[i + half], math.cos(angle), math.sin(angle)
        out[i], out[i + half] = a * c - b * s, b * c + a * s
    return out


def heads_of(row):
    return [row[i:i + DIM] for i in range(0, len(row), DIM)]


def attention(Q, K, V, window=LENGTH, cap=None):
    """Of one sample; keys and values are kept as bfloat16."""
    keys = [[[bf16(v) for v in turned(h, t)] for h in heads_of(k)] for t, k in enumerate(K)]
    values = [[[bf16(x) for x in h] for h in heads_of(v)] for v in V]
    share = HEADS // len(keys[0])
    out = []
    for t, q in enumerate(Q):
        row = []
        for h, head in enumerate(heads_of(q)):
            head = turned(head, t)
            seen = range(max(0, t + 1 - window), t + 1)
            score = [sum(map(mul, head, keys[j][h // share])) / math.sqrt(DIM) for j in seen]
            score = [cap * math.tanh(s / cap) for s in score] if cap else score
            most = max(score)
            weight = [math.exp(s - most) for s in score]
            total = sum(weight)
            row += [sum(w * values[j][h // share][i] for j, w in zip(seen, weight)) / total
                    for i in range(DIM)]
        out.append(row)
    return out


def samples():
    there = len(TEXT) // LENGTH
    n = min(SAMPLES, there)
    return [TEXT[i * there // n * LENGTH:][:LENGTH] for i in range(n)]


def with_bias(rows, bias):
    return [list(map(sum, zip(r, bias))) for r in rows] if bias else rows


class Pass:
    """Inputs of all matrices of the first layer, and what it gives, for weights W by name. Of Gemma
    2 if there are as many norms."""

    def __init__(self, weights, W, norms, biases=None):
        b, gemma = biases or {}, len(norms) == len(GEMMA_NORMS)
        before = NORMS[1] if not gemma else GEMMA_NORMS[2]
        act = gelu if gemma else silu
        added = lambda rows, norm: normalised(rows, norms[norm], 1) if gemma else rows
        self.X, out, middle = {}, [], []
        collected = {"qkv": [], "o": [], "gate_up": [], "down": []}
        for sample in samples():
            x = embedded(weights, sample, gemma)
            X = normalised(x, norms["input_layernorm"], gemma)
            collected["qkv"] += X
            q, k, v = (with_bias(times(X, W[f"self_attn.{n}_proj"]), b.get(n)) for n in "qkv")
            attn = attention(q, k, v, *((WINDOW, CAP) if gemma else ()))
            collected["o"] += attn
            x = [list(map(sum, zip(a, c)))
                 for a, c in zip(x, added(times(attn, W["self_attn.o_proj"]), GEMMA_NORMS[1]))]
            middle += x
            X = normalised(x, norms[before], gemma)
            collected["gate_up"] += X
            ffn = [[act(g) * u for g, u in zip(a, c)]
                   for a, c in zip(times(X, W["mlp.gate_proj"]), times(X, W["mlp.up_proj"]))]
            collected["down"] += ffn
            out += [list(map(sum, zip(a, c)))
                    for a, c in zip(x, added(times(ffn, W["mlp.down_proj"]), GEMMA_NORMS[3]))]
        for name in SHAPES:
            word = name.split(".")[1][:-5]
            self.X[name] = collected[{"q": "qkv", "k": "qkv", "v": "qkv", "gate": "gate_up",
                                      "up": "gate_up"}.get(word, word)]
        self.middle, self.out = middle, out


def embedded(weights, tokens, gemma=False):
    rows = [weights["model.embed_tokens.weight"][t] for t in tokens]
    return [[v * math.sqrt(D) for v in row] for row in rows] if gemma else rows


def matrices_of(weights):
    return {name: weights[f"{LAYER}{name}.weight"] for name in SHAPES}


def rounded_of(tensors):
    return {name: safetensors.dequantize(tensors, LAYER + name) for name in SHAPES}


def norms_of(tensors):
    """From the files, or as they were made."""
    read = lambda t: list(t[2]) if isinstance(t, tuple) else t[0]
    return {n: read(tensors[f"{LAYER}{n}.weight"])
            for n in GEMMA_NORMS if f"{LAYER}{n}.weight" in tensors}


def relative_error(rows, others):
    off = sum((a - b) ** 2 for r, o in zip(rows, others) for a, b in zip(r, o))
    return math.sqrt(off / sum(b * b for o in others for b in o))


# ---- What a text is for


def test_outputs_are_nearer_than_by_rounding_alone(work):
    for name, gemma in (("llama", False), ("gemma", True)):
        os.makedirs(f"{work}/{name}")
        check_outputs(f"{work}/{name}", gemma)


def check_outputs(work, gemma):
    make_model(f"{work}/model", layers=2, gemma=gemma)
    _, plain = quantize(work, "rtn", "rtn")
    mean = lambda report: math.exp(sum(math.log(m["relative_output_error"])
                                       for m in report.values()) / len(report))
    for method, most, options in (("gptq", 0.4, ["--no-act-order"]), ("gptq", 0.25, []),
                                  ("awq", 0.75, [])):
        _, report = quantize(work, method + "".join(options), method, *options)
        assert len(report) == len(plain) == 14
        ratio = mean(report) / mean(plain)
        assert ratio < most, f"{work} {method} {options}: {ratio}"


def test_plain_rounding_only_measures(work):
    make_model(f"{work}/model")
    tensors, report = quantize(work, "measured", "rtn")
    assert run(f"{work}/model", "-o", f"{work}/plain", "-r", "int4", "-g",
               str(GROUP)).returncode == 0
    assert safetensors.read(f"{work}/plain/model.safetensors")[0] == tensors
    assert all(m["relative_output_error"] > 0 for m in report.values())


def test_a_budget_by_a_text_has_the_costs_that_are_defined(work):
    """The error of outputs times what the half of the layer adds to the hidden state, as parts."""
    weights = make_model(f"{work}/model", layers=2)
    _, report = quantize(work, "out", "gptq", "--budget", "7")
    with open(f"{work}/out/inflight-quantize.json", encoding="utf-8") as f:
        budget = json.load(f)["budget"]
    assert budget["cost_of"] == "hidden states" and budget["used"] <= 7
    finer = {m["module"]: m for m in budget["finer"] if m["module"].startswith(LAYER)}
    assert len(finer) >= 4 and all(report[m]["to"] == "int8" for m in finer)
    W = matrices_of(weights)
    seen = Pass(weights, W, norms_of(weights))
    plain = rounded_of(quantize(work, "rtn", "rtn")[0])
    start = [weights["model.embed_tokens.weight"][t] for s in samples() for t in s]
    change = lambda before, after: math.sqrt(sum(
        sum((b - a) ** 2 for a, b in zip(x, y)) / sum(b * b for b in y)
        for x, y in zip(before, after)) / len(after))
    added = {"self_attn": change(start, seen.middle), "mlp": change(seen.middle, seen.out)}
    for module, told in finer.items():
        name = module.removeprefix(LAYER)
        error = relative_error(times(seen.X[name], plain[name]), times(seen.X[name], W[name]))
        want = error * added[name.split(".")[0]]
        assert abs(told["cost"] - want) < 0.02 * want, f"{name}: {told}, is {want}"


def test_threads_change_nothing(work):
    make_model(f"{work}/model", layers=2)
    for method, options in (("gptq", []), ("gptq", ["--no-act-order"]), ("awq", []),
                            ("gptq", ["-r", "fp8"])):
        made = [quantize(work, f"{method}{t}{options}", method, "-t", t, *options)
                for t in ("1", "2", "5")]
        assert made[0] == made[1] == made[2], (method, options)


def smoothed(work, **shape):
    """The outputs of the first layer of a model by AWQ, and of the model."""
    weights = make_model(f"{work}/model", **shape)
    tensors, report = quantize(work, "awq", "awq")
    biases = {n: weights[f"{LAYER}self_attn.{n}_proj.bias"][0] for n in "qkv"} \
        if shape.get("bias") else {}
    changed = {n: list(tensors[f"{LAYER}self_attn.{n}_proj.bias"][2]) for n in biases}
    before = Pass(weights, matrices_of(weights), norms_of(weights), biases)
    after = Pass(weights, rounded_of(tensors), norms_of(tensors), changed)
    return weights, tensors, report, biases, changed, before, after


def test_scales_of_awq_are_made_up_for(work):
    for number, shape in enumerate(({}, {"bias": True}, {"heads": HEADS, "bias": True},
                                    {"gemma": True})):
        more = 1 if shape.get("gemma") else 0
        os.makedirs(f"{work}/{number}")
        weights, tensors, report, biases, changed, before, after = \
            smoothed(f"{work}/{number}", **shape)
        assert norms_of(tensors) != norms_of(weights), "columns are scaled"
        assert not biases or (changed["q"] == biases["q"] and changed["v"] != biases["v"])
        # What q, k and v give, by the files alone.
        for name in ("self_attn.q_proj", "self_attn.k_proj"):
            W = weights[f"{LAYER}{name}.weight"]
            error = relative_error(
                times(after.X[name], safetensors.dequantize(tensors, LAYER + name)),
                times(before.X[name], W))
            told = report[LAYER + name]["relative_output_error"]
            assert abs(error - told) < 0.02 * error, f"{shape} {name}: {told}, is {error}"
        # What all of the layer gives: through the scales of v and o, up and down.
        W = matrices_of(weights)
        rtn, _ = quantize(f"{work}/{number}", "rtn", "rtn")
        plain = Pass(weights, rounded_of(rtn), norms_of(weights), biases)
        x = embedded(weights, [t for s in samples() for t in s], more)
        part = lambda p: [list(map(lambda a, b: a - b, o, e)) for o, e in zip(p.out, x)]
        error, of_rtn = (relative_error(part(p), part(before)) for p in (after, plain))
        assert error < 0.8 * of_rtn, f"{shape}: {error}, rounding alone {of_rtn}"
        # Folding alone: matrices of the files, and of the model by the same scales.
        s = [(a + more) / (b + more) for a, b in zip(norms_of(weights)["input_layernorm"],
                                                     norms_of(tensors)["input_layernorm"])]
        q = safetensors.dequantize(tensors, LAYER + "self_attn.q_proj")
        undone = [[v / c for v, c in zip(row, s)] for row in q]
        told = report[f"{LAYER}self_attn.q_proj"]["relative_error"]
        assert abs(relative_error(undone, W["self_attn.q_proj"]) - told) < 1e-3 * told


def test_rows_of_one_matrix_become_what_they_are_alone(work):
    for name in ("apart", "fused"):
        os.makedirs(f"{work}/{name}")
    make_model(f"{work}/apart/model", layers=2)
    fuse(f"{work}/apart/model", f"{work}/fused/model")
    for n in ("apart", "fused"):
        done = run(f"{work}/{n}/model", "-o", f"{work}/{n}/static", "-r", "fp8-static", "-c",
                   f"{work}/apart/model/text", "--samples", str(SAMPLES), "--length", str(LENGTH))
        assert done.returncode == 0, done.stderr
    apart, fused = (safetensors.read(f"{work}/{n}/static/model.safetensors")[0]
                    for n in ("apart", "fused"))
    for name in ("k_scale", "v_scale"):
        assert fused[f"{LAYER}self_attn.{name}"] == apart[f"{LAYER}self_attn.{name}"], name
    for method, options in (("rtn", []), ("gptq", []), ("awq", []),
                            ("smooth", ["-r", "int8"])):
        apart, fused = (quantize(f"{work}/{n}", method, method, *options)[0]
                        for n in ("apart", "fused"))
        for layer in ("model.layers.0.", "model.layers.1."):
            for together, words in (("self_attn.qkv_proj", ("q", "k", "v")),
                                    ("mlp.gate_up_proj", ("gate", "up"))):
                stem = layer + together.split(".")[0]
                got = safetensors.dequantize(fused, layer + together)
                want = [row for w in words
                        for row in safetensors.dequantize(apart, f"{stem}.{w}_proj")]
                assert relative_error(got, want) < 1e-3, (method, layer, together)
            for one in ("self_attn.o_proj", "mlp.down_proj"):
                error = relative_error(safetensors.dequantize(fused, layer + one),
                                       safetensors.dequantize(apart, layer + one))
                assert error < 1e-3, (method, layer, one, error)


def test_kept_modules_take_no_scale(work):
    weights = make_model(f"{work}/model")
    tensors, report = quantize(work, "out", "awq", "-k", "*.k_proj", "-k", "*.down_proj")
    assert len(report) == 5
    assert norms_of(tensors)["input_layernorm"] == norms_of(weights)["input_layernorm"]
    assert norms_of(tensors)["post_attention_layernorm"] != \
        norms_of(weights)["post_attention_layernorm"]
    for name in ("self_attn.k_proj", "mlp.down_proj"):
        flat = [v for row in weights[f"{LAYER}{name}.weight"] for v in row]
        assert list(tensors[f"{LAYER}{name}.weight"][2]) == flat, name


def test_what_a_budget_makes_finer_takes_no_scale(work):
    weights = make_model(f"{work}/model")
    tensors, report = quantize(work, "out", "awq", "--budget", "6.3")
    plain, _ = quantize(work, "int8", "rtn", "-r", "int8")
    finer = [n for n in SHAPES if report[LAYER + n]["to"] == "int8"]
    assert 0 < len(finer) < len(SHAPES), finer
    for name in finer:
        assert safetensors.dequantize(tensors, LAYER + name) == \
            safetensors.dequantize(plain, LAYER + name), name
    before = Pass(weights, matrices_of(weights), norms_of(weights))
    after = Pass(weights, rounded_of(tensors), norms_of(tensors))
    rtn = Pass(weights, rounded_of(quantize(work, "rtn", "rtn")[0]), norms_of(weights))
    assert relative_error(after.out, before.out) < 0.8 * relative_error(rtn.out, before.out)


def test_what_cannot_be_used(work):
    make_model(f"{work}/model")
    texts = {"empty": b"", "short": TEXT[:LENGTH - 1], "binary": TEXT[:300] + b"\xff" + TEXT}
    for name, raw in texts.items():
        with open(f"{work}/{name}", "wb") as f:
            f.write(raw)
    options = ["-o", f"{work}/out", "-r", "int4", "-m", "gptq", "--length", str(LENGTH)]
    cases = [
        (["-c", f"{work}/empty"], "empty: is empty"),
        (["-c", f"{work}/short"], "short has 47 tokens, a sample needs 48"),
        (["-c", f"{work}/binary"], "binary: byte 300 is not UTF-8"),
        (["-c", f"{work}/none"], "none"),
        (["-c", f"{work}/model/text", "--length", "512"], "samples of 512 tokens"),
    ]
    for more, text in cases:
        done = run(f"{work}/model", *options, *more)
        assert done.returncode == 1 and text in done.stderr, (more, done.stderr)
        assert not os.path.exists(f"{work}/out") and not os.path.exists(f"{work}/out.partial")
    for more in (["-r", "fp8", "-m", "awq", "-c", "text"], ["--samples", "0"], ["--length", "3"],
                 ["-m", "best"], ["-m", "awq", "--act-order", "-c", "text"],
                 ["-m", "rtn", "--no-act-order"], ["-c", "text", "--correct", "1.5"],
                 ["-m", "awq", "-c", "text", "--correct", "0.5"]):
        done = run(f"{work}/model", *options, *more)
        assert done.returncode == 2 and "inflight-quantize: --" in done.stderr, (more, done.stderr)


def test_what_cannot_be_written(work):
    """By a model, to be calibrated by."""
    make_model(f"{work}/model")
    options = ["-o", f"{work}/out", "-r", "int4", "-g", "32", "-m", "gptq"]
    done = run(f"{work}/model", *options, "--length", "512")
    assert done.returncode == 1 and "samples of 512 tokens" in done.stderr, done.stderr
    spoil(f"{work}/model", "model.norm.weight", {i: math.nan for i in range(D)})
    done = run(f"{work}/model", *options, "--length", str(LENGTH))
    assert done.returncode == 1 and "is no number" in done.stderr, done.stderr
    hf_write.json_file(f"{work}/model/tokenizer_config.json", {})
    done = run(f"{work}/model", *options, "--length", str(LENGTH))
    assert done.returncode == 1 and "no token that a text begins with" in done.stderr, done.stderr
    os.remove(f"{work}/model/tokenizer.json")
    done = run(f"{work}/model", *options, "--length", str(LENGTH))
    assert done.returncode == 1 and "--calibration is a text to use instead" in done.stderr
    assert not os.path.exists(f"{work}/out") and not os.path.exists(f"{work}/out.partial")


def test_weights_that_cannot_be_used(work):
    cases = [("mlp.up_proj.weight", {5: math.nan}, "layer 0: model.layers.0.mlp.up_proj.weight has"),
             ("mlp.down_proj.weight", {3: math.inf}, "layer 0: model.layers.0.mlp.down_proj"),
             ("post_attention_layernorm.weight", {9: 1e30}, f"layer 0: {LAYER}mlp.gate_proj.weight: input 9 is not")]
    for number, (name, change, text) in enumerate(cases):
        folder = f"{work}/{number}"
        make_model(folder)
        spoil(folder, LAYER + name, change)
        for method in ("gptq", "awq"):
            done = run(folder, "-o", f"{work}/out", "-r", "int4", "-g", "32", "-m", method, "-c",
                       f"{folder}/text", "--length", str(LENGTH), "--restart")
            assert done.returncode == 1 and text in done.stderr, (name, method, done.stderr)
            assert not os.path.exists(f"{work}/out")


def test_heads_that_cannot_be_used(work):
    cases = [("lm_head.weight", {5 * D + 3: math.nan},
              "lm_head.weight has what is not a number, or is too large, in row 5"),
             ("model.norm.weight", {9: 1e30}, "lm_head: input 9 is not finite")]
    for number, (name, change, text) in enumerate(cases):
        folder = f"{work}/{number}"
        make_model(folder, vocab=256)
        spoil(folder, name, change)
        done = run(folder, "-o", f"{work}/out", "-r", "fp8", "-m", "gptq", "-c", f"{folder}/text",
                   "--length", str(LENGTH), "--head", "--restart")
        assert done.returncode == 1 and text in done.stderr, (name, done.stderr)
        assert not os.path.exists(f"{work}/out")


def test_buffers_of_layers_that_there_are_not(work):
    name = "model.layers.900.self_attn.rotary_emb.inv_freq"
    make_model(f"{work}/model", buffer=name)
    tensors, _ = quantize(work, "out", "gptq")
    assert list(tensors[name][2]) == [1.0] * (DIM // 2)


def test_inputs_that_say_nothing(work):
    """Columns of zeros, and fewer tokens than columns: H is singular but for the damping."""
    weights = make_model(f"{work}/model")
    dead = [0, 7, 40]
    spoil(f"{work}/model", f"{LAYER}input_layernorm.weight", {i: 0.0 for i in dead})
    for method in ("gptq", "awq"):
        tensors, report = quantize(work, method, method, "--samples", "1")
        assert all(math.isfinite(m["relative_output_error"]) for m in report.values())
        q = safetensors.dequantize(tensors, f"{LAYER}self_attn.q_proj")
        W = weights[f"{LAYER}self_attn.q_proj.weight"]
        error = relative_error([[r[i] for i in dead] for r in q], [[r[i] for i in dead] for r in W])
        assert method == "awq" or error < 0.12, f"{method}: columns without inputs are rounded as they stand, {error}"


if __name__ == "__main__":
    sys.exit(runner.run_tests("calibrate", globals(), sys.argv[2:]))
