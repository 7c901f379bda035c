#!/usr/bin/env python3
"""How speed changes with what an engine is given, through the ABI: threads, the length of the
context with each type of KV cache, sequences at once. Rounds are interleaved; medians.

    tests/bench/scaling.py LIB MODEL [--rounds 3]
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess

SERVE = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "serve"
CONTEXTS = (128, 1024, 4096, 8000)
SEQUENCES = (1, 2, 4, 8, 16, 32, 64)


def cases():
    """Row and column of the table, workload and its options."""
    for threads in (1, 2):
        for name, workload in (("decode", "decode"), ("prompt of 512", "prefill")):
            yield name, f"{threads} threads", [workload, f"threads={threads}"]
    for kv in ("bf16", "int8"):
        for n in CONTEXTS:
            yield (f"decode behind {n} tokens", f"KV {kv}",
                   ["decode", f"prompt={n}", "generate=32", f"context={n + 64}", f"kv={kv}"])
    for n in SEQUENCES:
        yield (f"{n} at once", "32 + 64 tokens",
               ["parallel", f"n={n}", "prompt=32", "generate=64", "context=128"])


def rate(lib, model, options):
    done = subprocess.run([SERVE, lib, model, *options, "rounds=1"], check=True, text=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])["median"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lib", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found = {}
    for _ in range(args.rounds):
        for row, column, options in cases():
            found.setdefault((row, column), []).append(rate(args.lib, args.model, options))
    print("| tokens/s | | median | min .. max |")
    print("|---|---|---|---|")
    for (row, column), rates in found.items():
        print(f"| {row} | {column} | {statistics.median(rates):.1f} "
              f"| {min(rates):.1f} .. {max(rates):.1f} |")
    print(f"\n{args.rounds} rounds, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
