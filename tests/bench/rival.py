#!/usr/bin/env python3
"""One workload on llama.cpp, through its C functions: one ctypes call for each step.

    tests/bench/rival.py MODEL decode|prefill|parallel|start|commands [key=value ...]
    tests/bench/rival.py IN.gguf quantize out=OUT.gguf ftype=N
    tests/bench/rival.py - about

Workloads and what is printed are those of serve.c; a line of commands may end with settings of
its own ("decode 1 16 64 flash=0"). Runs in a Python that has llama-cpp-python; each run is a
process of its own, so that memory and start count alone.

gpu=1 puts all layers on the machine's card. sample=0 chooses no tokens, as its own benchmarks do:
what it costs to read logits is then not counted. Environment: LLAMA_CPP_LIB_PATH, a folder with
another build's libllama.so; LLAMA_CPP_PYTHON, the folder of the package llama_cpp, where it is
not installed: of it the declarations of C functions alone are read.
"""
import ctypes
import importlib.util
import json
import os
import pathlib
import sys
import time
import types

DEFAULTS = {
    "decode": (1, 16, 128), "prefill": (1, 512, 1), "parallel": (16, 128, 64),
    "start": (1, 16, 128), "commands": (1, 16, 128),
}
SETTINGS = {"threads": 2, "context": 640, "flash": 1, "ubatch": 512, "repack": 1, "unified": 0,
            "gpu": 0, "sample": 1}
BATCH = 2048  # tokens given to it at once
CONTEXTS = 4  # that are kept open, since opening one takes long on a card


def bindings():
    """The C functions. Where the package is not installed, its parts that other packages are needed
    for are left out."""
    folder = os.environ.get("LLAMA_CPP_PYTHON")
    if folder:
        package = types.ModuleType("llama_cpp")
        package.__path__ = [folder]
        sys.modules["llama_cpp"] = package
        if not importlib.util.find_spec("typing_extensions"):
            import typing
            sys.modules["typing_extensions"] = typing
    return importlib.import_module("llama_cpp.llama_cpp")


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
        params.n_gpu_layers = 999 if s["gpu"] else 0
        self.model = c.llama_model_load_from_file(model.encode(), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {model}")
        self.vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        self.contexts = {}
        self.make_batch()
        self.use(s)

    def make_batch(self):
        """Its arrays as numpy's, so that filling them costs next to nothing beside a step."""
        import numpy
        self.batch = self.c.llama_batch_init(BATCH, 0, 1)
        self.token, self.position, self.counts, self.logits = (
            numpy.ctypeslib.as_array(pointer, (BATCH,)) for pointer in
            (self.batch.token, self.batch.pos, self.batch.n_seq_id, self.batch.logits))
        self.counts[:] = 1
        self.sequence = numpy.zeros(BATCH, numpy.int32)
        start = self.sequence.ctypes.data
        kind = ctypes.POINTER(ctypes.c_int32)
        self.pointers = (kind * BATCH)(*(ctypes.cast(start + 4 * i, kind) for i in range(BATCH)))
        self.batch.seq_id = ctypes.cast(self.pointers, ctypes.POINTER(kind))

    def use(self, s):
        """Goes on with these settings, in a context of theirs."""
        self.s = s
        wanted = tuple(s[key] for key in ("n", "context", "ubatch", "threads", "flash", "unified"))
        is_new = wanted not in self.contexts
        if is_new and len(self.contexts) == CONTEXTS:
            self.c.llama_free(self.contexts.pop(next(iter(self.contexts))))
        self.context = self.contexts.setdefault(wanted, None) or self.open_context(s)
        self.contexts[wanted] = self.context
        return is_new

    def open_context(self, s):
        params = self.c.llama_context_default_params()
        params.n_ctx = s["n"] * s["context"]
        params.n_batch = BATCH
        params.n_ubatch = s["ubatch"]
        params.n_seq_max = s["n"]
        params.n_threads = params.n_threads_batch = s["threads"]
        params.flash_attn_type = s["flash"]
        params.kv_unified = bool(s["unified"])
        params.no_perf = True
        context = self.c.llama_init_from_model(self.model, params)
        if not context:
            sys.exit(f"llama.cpp cannot open a context with {s}")
        return context

    def forget(self):
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)

    def decode(self, token, position, sequence, logits):
        """Numbers or arrays, for each token or the same for all; waits for the end."""
        n = len(token)
        self.batch.n_tokens = n
        self.token[:n], self.position[:n] = token, position
        self.sequence[:n], self.logits[:n] = sequence, logits
        if self.c.llama_decode(self.context, self.batch):
            sys.exit("llama_decode failed")
        self.c.llama_synchronize(self.context)

    def chosen(self, n):
        """The tokens of the n rows whose logits were asked for."""
        import numpy
        if not self.s["sample"]:
            return numpy.arange(1000, 1000 + n)
        rows = self.c.llama_get_logits(self.context)
        return numpy.ctypeslib.as_array(rows, (n, self.vocab)).argmax(axis=1)

    def prompts(self, n, length):
        """Prompts of n sequences, as many together as a batch holds; returns their first tokens."""
        import numpy
        token = numpy.zeros(n, numpy.int32)
        together = max(BATCH // length, 1)
        for first in range(0, n, together):
            last = min(first + together, n)
            sequence, position = numpy.divmod(numpy.arange((last - first) * length), length)
            sequence += first
            for at in range(0, len(sequence), BATCH):
                part = slice(at, at + BATCH)
                here, there = sequence[part], position[part]
                self.decode(1000 + here + there, there, here, there == length - 1)
            token[first:last] = self.chosen(last - first)
        return token

    def steps(self, token, position, count):
        import numpy
        sequence = numpy.arange(len(token))
        for step in range(count):
            self.decode(token, position + step, sequence, 1)
            token = self.chosen(len(token))

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
    c = bindings()
    quiet(c)
    rival = Rival(c, model, s)
    rival.steps(rival.prompts(1, s["prompt"]), s["prompt"], 7)
    return {"workload": workload, "median": rival.rate(workload)}


def bench_start(model, s):
    """Timed are the loading of its libraries and its own work, not Python's imports; the memory
    that Python took before and for them does not count either."""
    import numpy  # noqa: F401, before the clock starts
    folder = os.environ.get("LLAMA_CPP_LIB_PATH")
    if not folder:
        folder = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"
    before = status_kib("VmRSS")
    start = time.perf_counter()
    ctypes.CDLL(str(pathlib.Path(folder) / "libllama.so"))
    libraries = time.perf_counter() - start
    python = status_kib("VmRSS")
    c = bindings()
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


def bench_commands(model, s):
    """Many short measurements of a model that is loaded once."""
    import numpy  # noqa: F401, before the clock starts
    start = time.perf_counter()
    c = bindings()
    quiet(c)
    rival = Rival(c, model, s)
    print(json.dumps({"workload": "load", "load_s": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        workload, n, prompt, generate, *more = line.split()
        here = {**s, "n": int(n), "prompt": int(prompt), "generate": int(generate)}
        here.update((key, int(value)) for key, value in (part.split("=") for part in more))
        here["context"] = (here["prompt"] + here["generate"] + 127) // 128 * 128
        if rival.use({**here, "generate": min(here["generate"], 4)}):
            rival.rate(workload)  # what comes first in a context takes longer
        rival.use(here)
        print(json.dumps({"workload": workload, "median": rival.rate(workload)}), flush=True)


def quantize(model, out, ftype):
    c = bindings()
    quiet(c)
    params = c.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = int(ftype), True
    if c.llama_model_quantize(model.encode(), out.encode(), ctypes.byref(params)):
        sys.exit(f"llama.cpp cannot write {out}")
    return {"written": out}


def about():
    import llama_cpp
    c = bindings()
    info = c.llama_print_system_info().decode()
    has = [part.split("=")[0].split(":")[-1].strip() for part in info.split("|") if "= 1" in part]
    return {"version": llama_cpp.__version__, "has": has}


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
        if workload == "commands":
            bench_commands(model, s)
        else:
            result = bench_start(model, s) if workload == "start" else bench(model, workload, s)
            print(json.dumps(result), flush=True)
    else:
        sys.exit(__doc__)
    os._exit(0)  # what it holds need not be given back


if __name__ == "__main__":
    main()
