#!/usr/bin/env python3
"""inflight-eval BUILD: measures where the answer is known, and what it says of input that it
cannot use."""
import json
import math
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "model"))
import hf_write
import runner

PROGRAM = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "build", "bin/inflight-eval")
WIDTH, INNER, HEADS = 64, 64, 4
# Bytes alone: each is a token in GPT-2's alphabet.
VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in VISIBLE]
TOKENS = [chr(b) if b in VISIBLE else chr(256 + OTHERS.index(b)) for b in range(256)] + ["<s>"]
VOCAB = len(TOKENS)
TEXT = "The quick brown fox jumps over the lazy dog. " * 40


def make_model(folder, head, seed=1):
    """A Llama of one layer; head(row, column) gives the output head's values."""
    random.seed(seed)
    os.makedirs(folder)
    tensors = []

    def add(name, shape, value=lambda r, c: random.gauss(0, 0.3)):
        rows, width = shape if len(shape) == 2 else (1, shape[0])
        values = [value(r, c) for r in range(rows) for c in range(width)]
        tensors.append((name, shape, "f32", struct.pack(f"<{len(values)}f", *values)))

    one = lambda r, c: 1.0
    add("model.embed_tokens.weight", (VOCAB, WIDTH))
    for name, shape in (("self_attn.q_proj", (WIDTH, WIDTH)), ("self_attn.k_proj", (WIDTH, WIDTH)),
                        ("self_attn.v_proj", (WIDTH, WIDTH)), ("self_attn.o_proj", (WIDTH, WIDTH)),
                        ("mlp.gate_proj", (INNER, WIDTH)), ("mlp.up_proj", (INNER, WIDTH)),
                        ("mlp.down_proj", (WIDTH, INNER))):
        add(f"model.layers.0.{name}.weight", shape)
    for name in ("layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"):
        add(f"model.{name}.weight", (WIDTH,), one)
    add("lm_head.weight", (VOCAB, WIDTH), head)
    hf_write.weights(folder, tensors, 1)
    hf_write.json_file(f"{folder}/config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "tie_word_embeddings": False})
    hf_write.tokenizer(folder, TOKENS, [1] * 256 + [3], [])
    return folder


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=120,
                          check=False)


def measure(*arguments):
    done = run(*arguments, "-d", "cpu", "--quiet", "-j", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def text_file(work, text=TEXT):
    path = f"{work}/text.txt"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def some(r, c):
    return random.gauss(0, 0.2)


def test_all_tokens_alike(work):
    """A head of zeros gives each token 1 / V."""
    model = make_model(f"{work}/zero", lambda r, c: 0.0)
    result = measure(model, text_file(work), "-c", "64")
    assert abs(result["perplexity"]["value"] / VOCAB - 1) < 1e-6
    assert result["loss"]["error95"] < 1e-6
    assert result["windows"] == len(TEXT) // 64 and result["positions"] == result["windows"] * 31


def test_a_model_beside_itself(work):
    model = make_model(f"{work}/a", some)
    result = measure(model, text_file(work), "-c", "32", "-n", "5", "-r", model, "-a", "float")
    assert result["windows"] == 5 and result["positions"] == 5 * 15
    assert result["kl_divergence"]["mean"] == 0 and result["largest_kl_divergence"] == 0
    assert result["top1_agreement"]["mean"] == 1
    assert result["perplexity_ratio"] == {"value": 1, "interval95": [1, 1]}
    assert result["perplexity"] == result["reference_perplexity"]


def test_a_reference_has_the_same_tokens(work):
    """Those that only one of them names are none: rows of a head that nothing stands for."""
    model, other = (make_model(f"{work}/{name}", some) for name in "ab")
    hf_write.tokenizer(other, TOKENS, [1] * 256 + [5], [])
    text = text_file(work)
    result = measure(model, text, "-c", "32", "-n", "3", "-r", other, "-a", "float")
    assert result["kl_divergence"]["mean"] == 0
    swapped = [TOKENS[1], TOKENS[0], *TOKENS[2:]]
    hf_write.tokenizer(other, swapped, [1] * 256 + [3], [])
    done = run(model, text, "-d", "cpu", "-c", "32", "-n", "3", "-r", other)
    assert done.returncode and "token 0 is not the same text" in done.stderr, done.stderr


def test_divergence_from_what_is_known(work):
    """p of the model in question is uniform: KL(q || p) = ln V - entropy of q, and the other way
    round the mean of -ln q over the vocabulary, less ln V: both are positive and not alike; the
    excess loss is ln V less the reference's."""
    zero = make_model(f"{work}/zero", lambda r, c: 0.0)
    other = make_model(f"{work}/a", some)
    text = text_file(work)
    a = measure(zero, text, "-c", "64", "-r", other)
    b = measure(other, text, "-c", "64", "-r", zero, "-a", "float")
    assert abs(math.log(a["perplexity_ratio"]["value"]) -
               (math.log(VOCAB) - math.log(b["perplexity"]["value"]))) < 1e-5
    assert abs(a["reference_perplexity"]["value"] / b["perplexity"]["value"] - 1) < 1e-6
    assert a["kl_divergence"]["mean"] > 0.01 and b["kl_divergence"]["mean"] > 0.01
    assert a["kl_divergence"]["mean"] < math.log(VOCAB)


def make_constant(folder, logits):
    """A model that gives these logits whatever it reads: nothing is added to the embedding, which is
    ones, and so is what its norm leaves (but for the epsilon)."""
    make_model(folder, lambda r, c: logits[r] / WIDTH)
    path = f"{folder}/model.safetensors"
    with open(path, "rb") as f:
        raw = bytearray(f.read())
    n, = struct.unpack_from("<Q", raw)
    for name, t in json.loads(raw[8:8 + n]).items():
        value = {"model.embed_tokens.weight": 1.0, "model.layers.0.self_attn.o_proj.weight": 0.0,
                 "model.layers.0.mlp.down_proj.weight": 0.0}.get(name)
        if value is not None:
            first, last = (8 + n + at for at in t["data_offsets"])
            raw[first:last] = struct.pack("<f", value) * ((last - first) // 4)
    with open(path, "wb") as f:
        f.write(raw)
    return folder


def log_softmax(logits):
    most = max(logits)
    total = math.log(sum(math.exp(x - most) for x in logits)) + most
    return [x - total for x in logits]


def test_numbers_are_those_of_their_formulas(work):
    rng = random.Random(5)
    p = [rng.gauss(0, 1.5) for _ in range(VOCAB)]
    q = [x + rng.gauss(0, 0.5) for x in p]
    reference, model = make_constant(f"{work}/p", p), make_constant(f"{work}/q", q)
    result = measure(model, text_file(work), "-c", "64", "-r", reference, "-a", "float")
    log_p, log_q = log_softmax(p), log_softmax(q)
    # Tokens are the text's bytes, in the order of the alphabet; one window like another, but for
    # where it begins.
    ids = [TOKENS.index(c if c != " " else chr(256 + OTHERS.index(32))) for c in TEXT]
    scored = [ids[w * 64 + i + 1] for w in range(result["windows"]) for i in range(32, 63)]
    loss = -sum(log_q[i] for i in scored) / len(scored)
    excess = loss + sum(log_p[i] for i in scored) / len(scored)
    divergence = sum(math.exp(a) * (a - b) for a, b in zip(log_p, log_q))
    assert abs(result["loss"]["mean"] - loss) < 2e-5
    assert abs(math.log(result["perplexity_ratio"]["value"]) - excess) < 4e-5
    assert abs(result["kl_divergence"]["mean"] - divergence) < 2e-5 * (1 + divergence)
    assert result["top1_agreement"]["mean"] == float(p.index(max(p)) == q.index(max(q)))


def test_windows_make_mean_and_interval(work):
    model, reference = make_model(f"{work}/a", some), make_model(f"{work}/b", some, seed=2)
    result = measure(model, text_file(work), "-c", "32", "-n", "6", "-r", reference, "-a", "float")
    kl, of_windows = result["kl_divergence"], result["kl_divergence"]["windows"]
    assert len(of_windows) == 6 and len(set(of_windows)) > 1
    mean = sum(of_windows) / 6
    error = 1.96 * math.sqrt(sum((x - mean) ** 2 for x in of_windows) / 5 / 6)
    assert abs(kl["mean"] - mean) < 1e-7 * mean and abs(kl["error95"] - error) < 1e-6 * error


def test_coarser_weights_diverge_more(work):
    model = make_model(f"{work}/a", some)
    text = text_file(work)
    kl = [measure(model, text, "-c", "64", "-r", model, "-a", "float", "-q", q)
          ["kl_divergence"]["mean"] for q in ("int8", "fp8", "int4_32")]
    assert 0 < kl[0] < kl[1] < kl[2], kl


def test_threads_change_nothing(work):
    model = make_model(f"{work}/a", some)
    results = [measure(model, text_file(work), "-c", "48", "-r", model, "-k", "fp8", "-t", t)
               for t in ("1", "3")]
    for result in results:
        del result["seconds"]
    assert results[0] == results[1]


def test_the_table(work):
    model = make_model(f"{work}/a", some)
    done = run(model, text_file(work), "-c", "64", "-r", model, "-d", "cpu")
    assert done.returncode == 0 and "perplexity, reference" in done.stdout
    assert "same best token" in done.stdout


def test_input_that_cannot_be_used(work):
    model, text = make_model(f"{work}/a", some), text_file(work)
    short = f"{work}/short.txt"
    with open(short, "w", encoding="utf-8") as f:
        f.write("short")
    cases = [
        ([f"{work}/none", text], "none"),
        ([model, f"{work}/none.txt"], "none.txt"),
        ([model, short], "short.txt has 5 tokens, a window needs 64"),
        ([model, text, "-c", "4096"], "contexts of 128 tokens"),
        ([model, text, "-d", "tpu"], "tpu"),
        ([model, text, "-r", f"{work}/none"], "none"),
    ]
    for arguments, expected in cases:
        done = run(*arguments, *([] if "-c" in arguments else ["-c", "64"]))
        assert done.returncode == 1 and expected in done.stderr, (arguments, done.stderr)
    for arguments in (["-q", "int5"], ["-k", "f64"], ["-c", "0"], ["-n", "x"], ["--nonsense"]):
        assert run(model, text, *arguments).returncode == 2, arguments
    assert run(model).returncode == 2 and "usage" in run("--help").stdout
    assert run(model, text, "-c", "64", "-j", f"{work}/none/x.json").returncode == 1


if __name__ == "__main__":
    sys.exit(runner.run_tests("eval", globals(), sys.argv[2:]))
