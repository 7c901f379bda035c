#!/usr/bin/env python3
"""Quantizes a model in every recipe and measures what that costs: a table, JSON, and a plot.

usage: accuracy.py MODEL TEXT [--calibration TEXT] [--bin FOLDER] [--work FOLDER] [--out NAME]
                   [--context N] [--windows N] [--only WORDS]

MODEL is a Hugging Face folder of floats, the reference of all. TEXT is what is read for perplexity,
divergence and agreement; the calibration text, which should be another one, is for the recipes that
want data. NAME.json and, where matplotlib is installed, NAME.png are written."""
import argparse
import json
import os
import shutil
import subprocess
import sys

RECIPES = [
    ("fp8", ["-r", "fp8"], []),
    ("fp8-block", ["-r", "fp8-block"], []),
    ("int8", ["-r", "int8"], []),
    ("int4 g128 rtn", ["-r", "int4"], []),
    ("int4 g32 rtn", ["-r", "int4", "-g", "32"], []),
    ("int4 g128 awq", ["-r", "int4", "--method", "awq"], ["calibration"]),
    ("int4 g32 awq", ["-r", "int4", "-g", "32", "--method", "awq"], ["calibration"]),
    ("int4 g128 gptq", ["-r", "int4", "--method", "gptq"], ["calibration"]),
    ("int4 g128 gptq ordered", ["-r", "int4", "--method", "gptq", "--act-order"], ["calibration"]),
    ("int4 g32 gptq", ["-r", "int4", "-g", "32", "--method", "gptq"], ["calibration"]),
]
CACHES = [("fp8 keys and values", "fp8"), ("int8 keys and values", "int8")]


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("usage: "))
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--calibration")
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--work", default="build/accuracy")
    parser.add_argument("--out", default="accuracy")
    parser.add_argument("--context", default="512")
    parser.add_argument("--windows", default="0")
    parser.add_argument("--only", default="", help="recipes whose names have one of these words")
    return parser.parse_args()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def evaluate(args, model, more=()):
    """activations float: the formats are compared, not what a CPU makes of them."""
    windows = ["-n", args.windows] if args.windows != "0" else []
    return json.loads(run([f"{args.bin}/inflight-eval", model, args.text, "-r", args.model,
                           "-c", args.context, "-a", "float", "--quiet", "-j", "-", *windows,
                           *more]))


def wanted(args, name):
    return not args.only or any(word in name for word in args.only.split(","))


def measure(args):
    os.makedirs(args.work, exist_ok=True)
    for name, options, needs in RECIPES:
        if not wanted(args, name) or (needs and not args.calibration):
            continue
        out = os.path.join(args.work, name.replace(" ", "-"))
        shutil.rmtree(out, ignore_errors=True)
        data = ["--calibration", args.calibration] if needs else []
        run([f"{args.bin}/inflight-quantize", args.model, "-o", out, "--quiet", *options, *data])
        yield name, evaluate(args, out)
    for name, kind in CACHES:
        if wanted(args, name):
            yield name, evaluate(args, args.model, ["-k", kind])


def plus_minus(value, scale=1, digits=4):
    error = value["error95"]
    more = "" if error is None else f" ± {error * scale:.{digits}f}"
    return f"{value['mean'] * scale:.{digits}f}{more}"


def row(name, result):
    ratio = result["perplexity_ratio"]
    interval = ratio.get("interval95")
    within = f" ({interval[0]:.4f} .. {interval[1]:.4f})" if interval else ""
    return (f"| {name} | {result['weight_bytes'] / 1e6:.1f} | {result['perplexity']['value']:.3f} "
            f"| {ratio['value']:.4f}{within} | {plus_minus(result['kl_divergence'])} "
            f"| {plus_minus(result['top1_agreement'], 100, 2)} |")


def plot(results, path):
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, result in results.items():
        if "keys" in name:
            continue
        x, y = result["weight_bytes"] / 1e6, result["kl_divergence"]["mean"]
        axes.plot(x, y, "o", color="tab:blue")
        axes.annotate(name, (x, y), textcoords="offset points", xytext=(6, 3), fontsize=8)
    axes.set_xlabel("weights in memory, MB")
    axes.set_ylabel("KL divergence from the model, nat")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main():
    args = arguments()
    results = {}
    print("| format | weights, MB | perplexity | ratio to the model's | KL divergence, nat "
          "| same best token, % |\n|---|---|---|---|---|---|")
    for name, result in measure(args):
        results[name] = result
        print(row(name, result), flush=True)
    if not results:
        sys.exit("no recipe has one of these words, or a text to calibrate with")
    first = next(iter(results.values()))
    print(f"| the model | | {first['reference_perplexity']['value']:.3f} | 1 | 0 | 100 |")
    with open(args.out + ".json", "w", encoding="utf-8") as f:
        json.dump(results, f, indent=2)
    plot(results, args.out + ".png")


if __name__ == "__main__":
    main()
