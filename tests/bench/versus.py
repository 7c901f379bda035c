#!/usr/bin/env python3
"""Ours against llama.cpp on the same file and threads, rounds interleaved, medians.

    tests/bench/versus.py LIB MODEL [--threads 2] [--rounds 5] [--csv FILE]

Installs llama-cpp-python and numpy into build/bench-venv on first use. The rival runs with
flash attention on and off and the better of the two counts, per workload.
"""
import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "build" / "bench-venv"
SERVE = ROOT / "build" / "bin" / "serve"
PARALLEL = (16,)


def in_venv():
    """Runs this script again inside its own environment."""
    python = VENV / "bin" / "python3"
    if not python.exists():
        print("installing llama-cpp-python into build/bench-venv (compiles, some minutes)",
              flush=True)
        venv.create(VENV, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "llama-cpp-python", "numpy"],
                       check=True)
    os.execv(python, [str(python), *sys.argv])


class Rival:
    """llama.cpp through its C functions: no Python work per token but one ctypes call."""

    CONTEXT = 640  # positions of one sequence, enough for every workload

    def __init__(self, model, threads, flash):
        import llama_cpp
        self.threads, self.flash, self.ctx = threads, flash, None
        self.c = llama_cpp
        llama_cpp.llama_backend_init()
        self.log = llama_cpp.llama_log_callback(lambda level, text, user: None)
        llama_cpp.llama_log_set(self.log, None)
        mparams = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_load_model_from_file(model.encode(), mparams)
        self.batch = llama_cpp.llama_batch_init(2048, 0, 1)
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab = llama_cpp.llama_vocab_n_tokens(vocab)

    def open(self, sequences):
        """A fresh context with a stream of its own for each sequence."""
        c = self.c
        self.close_context()
        params = c.llama_context_default_params()
        params.n_ctx = sequences * self.CONTEXT
        params.n_batch = 2048
        params.n_ubatch = 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = self.threads
        if hasattr(params, "flash_attn_type"):
            params.flash_attn_type = 1 if self.flash else 0
        else:
            params.flash_attn = self.flash
        if hasattr(params, "kv_unified"):
            params.kv_unified = False
        self.ctx = c.llama_new_context_with_model(self.model, params)

    def close_context(self):
        if self.ctx:
            self.c.llama_free(self.ctx)
        self.ctx = None

    def close(self):
        self.close_context()
        self.c.llama_batch_free(self.batch)
        self.c.llama_free_model(self.model)

    def decode(self, rows):
        """rows: (token, position, sequence, wants logits)"""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, logits) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = logits
        if self.c.llama_decode(self.ctx, batch):
            raise RuntimeError("llama_decode failed")

    def argmax(self, i):
        import numpy
        pointer = self.c.llama_get_logits_ith(self.ctx, i)
        return int(numpy.ctypeslib.as_array(pointer, (self.vocab,)).argmax())

    def workload(self, name):
        n = int(name.removeprefix("parallel")) if name.startswith("parallel") else 1
        self.open(n)
        if name == "decode":
            self.decode([(1000 + i, i, 0, i == 15) for i in range(16)])
            token = self.argmax(15)
            start = time.perf_counter()
            for i in range(127):
                self.decode([(token, 16 + i, 0, True)])
                token = self.argmax(0)
            return 127 / (time.perf_counter() - start)
        if name == "prefill512":
            start = time.perf_counter()
            self.decode([(1000 + i, i, 0, i == 511) for i in range(512)])
            self.argmax(511)
            return 512 / (time.perf_counter() - start)
        start = time.perf_counter()
        token = [0] * n
        for first in range(0, n, 16):
            last = min(first + 16, n)
            self.decode([(1000 + s + i, i, s, i == 127)
                         for s in range(first, last) for i in range(128)])
            for s in range(first, last):
                token[s] = self.argmax((s - first) * 128 + 127)
        for step in range(63):
            self.decode([(token[s], 128 + step, s, True) for s in range(n)])
            token = [self.argmax(s) for s in range(n)]
        return 64 * n / (time.perf_counter() - start)


def ours(lib, model, threads, what):
    out = subprocess.run([SERVE, lib, model, what, str(threads), "1"], check=True,
                         capture_output=True, text=True).stdout
    return {row["workload"]: row["median"] for row in map(json.loads, out.splitlines())}


def steal():
    fields = [int(x) for x in open("/proc/stat").readline().split()[1:]]
    return fields[7], sum(fields)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lib")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv")
    args = parser.parse_args()
    if pathlib.Path(sys.prefix) != VENV and not os.environ.get("BENCH_NO_VENV"):
        in_venv()

    import llama_cpp
    names = ["decode", "prefill512", *(f"parallel{n}" for n in PARALLEL)]
    us = {name: [] for name in names}
    them = {(name, flash): [] for name in names for flash in (False, True)}
    stolen, total = steal()
    for _ in range(args.rounds):
        for what in ("decode", "prefill", "parallel"):
            for name, value in ours(args.lib, args.model, args.threads, what).items():
                if name in us:
                    us[name].append(value)
        for flash in (False, True):
            rival = Rival(args.model, args.threads, flash)
            for name in names:
                them[name, flash].append(rival.workload(name))
            rival.close()
    stolen2, total2 = steal()

    print(f"llama-cpp-python {llama_cpp.__version__}, {args.threads} threads, {args.rounds} rounds "
          f"interleaved; load {os.getloadavg()[0]:.2f}, steal "
          f"{100 * (stolen2 - stolen) / max(total2 - total, 1):.1f} %")
    print(f"{'tokens/s':12} {'ours':>9} {'min..max':>17} {'llama.cpp':>10} {'min..max':>17} "
          f"{'ratio':>6}")
    rows = []
    for name in names:
        best = max((False, True), key=lambda flash: statistics.median(them[name, flash]))
        mine, theirs = us[name], them[name, best]
        ratio = statistics.median(mine) / statistics.median(theirs)
        print(f"{name:12} {statistics.median(mine):9.1f} {min(mine):8.1f}..{max(mine):<7.1f} "
              f"{statistics.median(theirs):10.1f} {min(theirs):8.1f}..{max(theirs):<7.1f} "
              f"{ratio:6.2f}", flush=True)
        rows.append([name, statistics.median(mine), min(mine), max(mine),
                     statistics.median(theirs), min(theirs), max(theirs), round(ratio, 3)])
    if args.csv:
        with open(args.csv, "w", newline="") as f:
            writer = csv.writer(f)
            writer.writerow(["workload", "ours", "ours_min", "ours_max", "llama_cpp",
                             "llama_cpp_min", "llama_cpp_max", "ratio"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
