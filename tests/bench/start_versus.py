#!/usr/bin/env python3
"""Time to the first token of a fresh process, ours beside llama.cpp, rounds interleaved.

    tests/bench/start_versus.py LIB MODEL [--threads 2] [--rounds 5] [--more YAML]

The file is in the page cache: every process is started once before it counts. llama.cpp is
driven in a process of its own through llama-cpp-python's C functions; what Python takes to
start and to import is not counted, loading the shared object is. It also runs with one thread:
on a busy machine its threads wait for each other. Milliseconds, medians.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

RIVAL = r"""
import ctypes, json, os, sys, time, importlib.util
import numpy
where = os.path.dirname(importlib.util.find_spec("llama_cpp").origin)
t0 = time.perf_counter()
ctypes.CDLL(os.path.join(where, "lib", "libllama.so"))
t1 = time.perf_counter()
import llama_cpp as c
log = c.llama_log_callback(lambda level, text, user: None)
t2 = time.perf_counter()
c.llama_log_set(log, None)
c.llama_backend_init()
mp = c.llama_model_default_params()
mp.use_mmap = True
model = c.llama_load_model_from_file(sys.argv[1].encode(), mp)
t3 = time.perf_counter()
p = c.llama_context_default_params()
p.n_ctx, p.n_batch, p.n_ubatch = int(sys.argv[3]), 512, 512
p.n_threads = p.n_threads_batch = int(sys.argv[2])
ctx = c.llama_new_context_with_model(model, p)
t4 = time.perf_counter()
batch = c.llama_batch_init(16, 0, 1)
batch.n_tokens = 16
for i in range(16):
    batch.token[i], batch.pos[i], batch.n_seq_id[i] = 1000 + i, i, 1
    batch.seq_id[i][0] = 0
    batch.logits[i] = i == 15
if c.llama_decode(ctx, batch):
    raise RuntimeError("llama_decode failed")
vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))
token = int(numpy.ctypeslib.as_array(c.llama_get_logits_ith(ctx, 15), (vocab,)).argmax())
t5 = time.perf_counter()
ms = lambda a, b: round(1e3 * (b - a), 2)
print(json.dumps({"dlopen": ms(t0, t1), "load": ms(t2, t3), "context": ms(t3, t4),
                  "prefill": ms(t4, t5), "ready": ms(t2, t4),
                  "first": ms(t0, t1) + ms(t2, t5)}))
os._exit(0)
"""


def run(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lib")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, default=8192, help="the rival's")
    parser.add_argument("--more", default="", help="YAML behind model and device")
    parser.add_argument("--also", action="append", default=[], metavar="LIB",
                        help="another build of ours to compare with")
    args = parser.parse_args()

    start = ROOT / "build" / "bin" / "start"
    runs = {f"inflight {lib}": [str(start), lib, args.model, str(args.threads), args.more]
            for lib in [args.lib, *args.also]}
    for threads in sorted({1, args.threads}):
        runs[f"llama.cpp, threads: {threads}"] = [sys.executable, "-c", RIVAL, args.model,
                                                  str(threads), str(args.context)]
    results = {name: [] for name in runs}
    for i in range(args.rounds + 1):
        for name, command in runs.items():
            result = run(command)
            if i:
                results[name].append(result)
    for name, rows in results.items():
        print(name)
        for key in rows[0]:
            values = [row[key] for row in rows]
            print(f"  {key:8} {statistics.median(values):8.1f}  "
                  f"({min(values):.1f} .. {max(values):.1f})")


if __name__ == "__main__":
    main()
