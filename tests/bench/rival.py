#!/usr/bin/env python3
"""One workload on llama.cpp, through its C functions: one ctypes call for each step.

    tests/bench/rival.py MODEL decode|prefill|parallel|start [key=value ...]
    tests/bench/rival.py IN.gguf quantize out=OUT.gguf ftype=N
    tests/bench/rival.py - about

Workloads and what is printed are those of serve.c. Runs in a Python that has
llama-cpp-python; each run is a process of its own, so that memory and start count alone.
"""
import ctypes
import importlib.util
import json
import os
import pathlib
import sys
import time

DEFAULTS = {
    "decode": (1, 16, 128), "prefill": (1, 512, 1), "parallel": (16, 128, 64),
    "start": (1, 16, 128),
}
SETTINGS = {"threads": 2, "context": 640, "flash": 1, "ubatch": 512, "repack": 1, "unified": 0}
BATCH = 2048  # tokens given to it at once


def status_kib(key):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key):
                return int(line.split()[1])
    return 0


def quiet(c):
    """The callback must live as long as the library may log."""
    c.keep_log = c.llama_log_callback(lambda level, text, user: None)
    c.llama_log_set(c.keep_log, None)


class Rival:
    def __init__(self, c, model, s):
        self.c, self.s = c, s
        c.llama_backend_init()
        params = c.llama_model_default_params()
        params.use_extra_bufts = bool(s["repack"])
        self.model = c.llama_model_load_from_file(model.encode(), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {model}")
        self.vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        params = c.llama_context_default_params()
        params.n_ctx = s["n"] * s["context"]
        params.n_batch = BATCH
        params.n_ubatch = s["ubatch"]
        params.n_seq_max = s["n"]
        params.n_threads = params.n_threads_batch = s["threads"]
        params.flash_attn_type = s["flash"]
        params.kv_unified = bool(s["unified"])
        params.no_perf = True
        self.context = c.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f"llama.cpp cannot open a context with {s}")
        self.batch = c.llama_batch_init(BATCH, 0, 1)

    def forget(self):
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)

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
        if self.c.llama_decode(self.context, batch):
            sys.exit("llama_decode failed")

    def argmax(self, i):
        import numpy
        pointer = self.c.llama_get_logits_ith(self.context, i)
        return int(numpy.ctypeslib.as_array(pointer, (self.vocab,)).argmax())

    def prompts(self, n, length):
        """Prompts of n sequences, as many together as a batch holds; returns their first tokens."""
        token = [0] * n
        together = max(BATCH // length, 1)
        for first in range(0, n, together):
            here = range(first, min(first + together, n))
            self.decode([(1000 + s + i, i, s, i == length - 1) for s in here for i in range(length)])
            for s in here:
                token[s] = self.argmax((s - first) * length + length - 1)
        return token

    def steps(self, token, position, count):
        for step in range(count):
            self.decode([(t, position + step, s, True) for s, t in enumerate(token)])
            token = [self.argmax(s) for s in range(len(token))]

    def rate(self, workload):
        n, prompt, generate = (self.s[key] for key in ("n", "prompt", "generate"))
        self.forget()
        start = time.perf_counter()
        token = self.prompts(n, prompt)
        first = time.perf_counter()
        self.steps(token, prompt, generate - 1)
        end = time.perf_counter()
        return {"prefill": prompt / (first - start), "parallel": n * generate / (end - start),
                "decode": (generate - 1) / max(end - first, 1e-9)}[workload]


def bench(model, workload, s):
    import llama_cpp as c
    quiet(c)
    rival = Rival(c, model, s)
    rival.steps(rival.prompts(1, s["prompt"]), s["prompt"], 7)
    return {"workload": workload, "median": rival.rate(workload)}


def bench_start(model, s):
    """Timed are the loading of its libraries and its own work, not Python's imports; the memory
    that Python took before and for them does not count either."""
    import numpy  # noqa: F401, before the clock starts
    folder = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"
    before = status_kib("VmRSS")
    start = time.perf_counter()
    ctypes.CDLL(str(folder / "libllama.so"))
    libraries = time.perf_counter() - start
    python = status_kib("VmRSS")
    import llama_cpp as c
    before += status_kib("VmRSS") - python
    quiet(c)
    start = time.perf_counter()
    rival = Rival(c, model, s)
    ready = time.perf_counter() - start
    token = rival.prompts(1, s["prompt"])
    first = time.perf_counter() - start
    rival.steps(token, s["prompt"], s["generate"] - 1)
    return {"workload": "start", "load_s": libraries + ready, "first_token_s": libraries + first,
            "peak_mib": (status_kib("VmHWM") - before) / 1024}


def quantize(model, out, ftype):
    import llama_cpp as c
    quiet(c)
    params = c.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = int(ftype), True
    if c.llama_model_quantize(model.encode(), out.encode(), ctypes.byref(params)):
        sys.exit(f"llama.cpp cannot write {out}")
    return {"written": out}


def about():
    import llama_cpp as c
    info = c.llama_print_system_info().decode()
    has = [part.split("=")[0].split(":")[-1].strip() for part in info.split("|") if "= 1" in part]
    return {"version": c.__version__, "has": has}


def main():
    if len(sys.argv) < 3 or any("=" not in part for part in sys.argv[3:]):
        sys.exit(__doc__)
    model, workload = sys.argv[1:3]
    given = dict(part.split("=", 1) for part in sys.argv[3:])
    if workload == "about":
        print(json.dumps(about()))
    elif workload == "quantize":
        print(json.dumps(quantize(model, **given)))
    elif workload in DEFAULTS:
        s = {**SETTINGS, **dict(zip(("n", "prompt", "generate"), DEFAULTS[workload]))}
        for key, value in given.items():
            if key not in s:
                sys.exit(f"no such setting: {key}")
            s[key] = int(value)
        result = bench_start(model, s) if workload == "start" else bench(model, workload, s)
        print(json.dumps(result), flush=True)
    else:
        sys.exit(__doc__)
    os._exit(0)  # what it holds need not be given back


if __name__ == "__main__":
    main()
