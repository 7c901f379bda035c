#!/usr/bin/env python3
"""real.py BUILD: Gemma 3 270M, a real model of another family than the tests' own, beside llama.cpp,
which runs in the environment of make bench-versus. Without a network both are skipped."""
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
MODEL = f"{BUILD}/models/gemma-3-270m.Q4_K_M.gguf"
TEXT = str(ROOT / "tests/text/constitution.txt")
sys.path += [str(ROOT / "tests/tools"), str(ROOT / "tests/bench"), str(ROOT / "tests/model"),
             str(ROOT / "quant/tools/accuracy")]
import builds
import runner

# Twice as long as what most layers see.
CONTEXT, WINDOWS, N_LOGITS = 1024, 4, 200


def log_softmax(rows):
    import numpy as np
    rows = rows.astype("f8") - rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def test_tokens_and_perplexity(_):
    import llamacpp
    done = subprocess.run([f"{BUILD}/bin/inflight-eval", MODEL, TEXT, "-c", str(CONTEXT), "-n",
                           str(WINDOWS), "-d", "cpu", "--quiet", "-j", "-"], check=True,
                          stdout=subprocess.PIPE)
    ours, theirs = json.loads(done.stdout), llamacpp.perplexity(MODEL, TEXT, CONTEXT, WINDOWS)
    assert ours["tokens"] == theirs["tokens"], (ours["tokens"], theirs["tokens"])
    ratio = ours["perplexity"]["value"] / theirs["perplexity"]
    print(f"  perplexity {ours['perplexity']['value']:.3f}, llama.cpp's {theirs['perplexity']:.3f}")
    assert abs(ratio - 1) < 0.02, ratio


def test_logits(_):
    """Both quantize activations, each in its own way: ours do not here."""
    import llamacpp
    import numpy as np
    reader = llamacpp.Reader(MODEL, 256)
    with open(TEXT, encoding="utf-8") as f:
        ids = np.concatenate(([reader.c.llama_vocab_bos(reader.vocab)],
                              reader.tokens(f.read())))[:N_LOGITS]
    theirs = log_softmax(reader.logits(ids, range(N_LOGITS)))
    done = subprocess.run([f"{BUILD}/tests/others/read", MODEL, ",".join(map(str, ids))],
                          check=True, stdout=subprocess.PIPE)
    ours = log_softmax(np.frombuffer(done.stdout, "<f4", theirs.size).reshape(theirs.shape))
    divergence = (np.exp(ours) * (ours - theirs)).sum(axis=1)
    same = (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
    print(f"  divergence {divergence.mean():.5f}, the same best token {same:.3f}")
    assert divergence.mean() < 0.02 and same > 0.93


def skip(why):
    print(f"skip real: {why}")
    print("real: 0 passed, 0 failed, 2 skipped")
    return 0


def main():
    if len(sys.argv) > 2:
        return runner.run_tests("real", globals())
    if subprocess.run([sys.executable, ROOT / "examples/fetch_model.py", MODEL],
                      check=False).returncode:
        return skip("the model cannot be fetched")
    try:
        python = builds.python_of(builds.NATIVE)
    except SystemExit as error:
        return skip(error)
    return subprocess.run([python, __file__, BUILD, "compare"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
