#!/usr/bin/env python3
"""Decoding of one model in every format of model.quantization beside the model as it is: rounds
interleaved, medians, ratios.

    tests/bench/formats.py LIB MODEL [--words fp8,int8,int4] [--heads] [--threads 2,1]
                           [--device cpu] [--rounds 5] [--csv FILE]

MODEL is a GGUF file or a Hugging Face folder, of 16 bits where the ratios are to say what a format
saves. --heads: each word with model.quantize_head too, since a head of 16 bits may be most of what a
small model reads for a token."""
import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 1)[1])
    parser.add_argument("lib", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--words", default="fp8,int8,int4")
    parser.add_argument("--heads", action="store_true")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=pathlib.Path, help="bin/serve beside the library")
    parser.add_argument("--csv", type=pathlib.Path, help="every run")
    args = parser.parse_args()
    args.serve = args.serve or args.lib.resolve().parent / "bin" / "serve"
    args.threads = [int(n) for n in args.threads.split(",")]
    return args


def tokens_a_second(args, word, head, threads):
    done = subprocess.run(
        [args.serve, args.lib, args.model.resolve(), "decode", f"device={args.device}",
         f"threads={threads}", f"generate={args.generate}", "rounds=1", f"quantization={word}",
         f"head={str(head).lower()}"], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        sys.exit(f"{word}: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])["median"]


def main():
    args = arguments()
    kinds = [("none", False)]
    for word in args.words.split(","):
        kinds += [(word, False), (word, True)] if args.heads else [(word, False)]
    runs = {(*kind, threads): [] for threads in args.threads for kind in kinds}
    for turn in range(args.rounds):
        for key in runs:
            runs[key].append(tokens_a_second(args, *key))
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
    print("| format | head | threads | tokens/s | min .. max | ratio |\n|---|---|---|---|---|---|")
    for (word, head, threads), rates in runs.items():
        middle = statistics.median(rates)
        ratio = middle / statistics.median(runs["none", False, threads])
        print(f"| {word} | {'too' if head else 'as it is'} | {threads} | {middle:.1f} | "
              f"{min(rates):.1f} .. {max(rates):.1f} | {ratio:.2f} |")
    if args.csv:
        with open(args.csv, "w", newline="") as f:
            csv.writer(f).writerows([["format", "head", "threads", "round", "tokens/s"]] + [
                [*key, i, rate] for key, rates in runs.items() for i, rate in enumerate(rates)])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
