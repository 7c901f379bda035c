#!/usr/bin/env python3
"""Ours on a card, and llama.cpp beside it: rounds interleaved, medians, ratios.

    tests/bench/card.py LIB TOKENIZER.gguf [--models NAME.FORMAT ...] [--csv FILE] [--seconds 150]

Models are GGUF files, or names that shapes.py understands (llama-8b.Q4_1), which are written with
random weights into the roomiest of /dev/shm and /tmp and removed at the end. For each model both
engines load it once, in a process each, and take turns at every case. Generated tokens are chosen
by ours, by llama.cpp not at all (--sample: it copies logits and takes the largest).

llama.cpp is what LLAMA_CPP_LIB names, a folder with libllama.so; LLAMA_CPP_PYTHON is the folder of
the Python package llama_cpp where that is not installed. Without LLAMA_CPP_LIB ours runs alone.
Its settings are tried in the first round, and the best of each case goes on; one that it ends with
(a part of its libraries is not there) is not tried again.
"""
import argparse
import csv
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parents[1]

# Name, workload of serve.c and rival.py, sequences, prompt, generated tokens of each.
CASES = (
    ("decode", "decode", 1, 16, 64),
    ("prefill 512", "prefill", 1, 512, 1),
    ("prefill 2048", "prefill", 1, 2048, 1),
    ("8 sequences", "parallel", 8, 64, 48),
    ("32 sequences", "parallel", 32, 64, 48),
    ("64 sequences", "parallel", 64, 64, 48),
    ("128 sequences", "parallel", 128, 64, 48),
)
# What llama.cpp is tried with.
SETTINGS = {
    "decode": ("flash=1", "flash=0"),
    "prefill": ("flash=1 ubatch=512", "flash=1 ubatch=2048", "flash=0 ubatch=512"),
    "parallel": ("flash=1 ubatch=512", "flash=1 ubatch=512 unified=1", "flash=0 ubatch=512"),
}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Engine:
    """A process that answers a line of commands with a line of JSON."""

    def __init__(self, name, command, env=None):
        self.name = name
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self.process.wait()}")
        return json.loads(line)

    def rate(self, case, setting="", generate=0):
        _, workload, n, prompt, usual = case
        self.process.stdin.write(f"{workload} {n} {prompt} {generate or usual} {setting}\n")
        self.process.stdin.flush()
        return self.answer()["median"]

    def end(self):
        try:
            self.process.stdin.close()
        except OSError:  # it has ended by itself
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def context(case):
    return (case[3] + case[4] + 127) // 128 * 128


def start_ours(args, model, cases):
    serve = args.serve or args.lib.resolve().parent / "bin" / "serve"
    tokens = max(case[2] * context(case) for case in cases)
    return Engine("inflight", [
        serve, args.lib, model.resolve(), "commands", f"device={args.device}", f"threads={args.threads}",
        f"n={max(case[2] for case in cases)}", f"context={max(context(case) for case in cases)}",
        f"kv_tokens={tokens}", *([f"step_tokens={args.step_tokens}"] if args.step_tokens else [])])


def start_rival(args, model):
    library = os.environ.get("LLAMA_CPP_LIB")
    if not library:
        return None
    env = {"LLAMA_CPP_LIB_PATH": library,
           "LD_LIBRARY_PATH": ":".join(filter(None, (library, os.environ.get("LD_LIBRARY_PATH"))))}
    return Engine("llama.cpp", [
        sys.executable, BENCH / "rival.py", model, "commands", f"threads={args.threads or 8}",
        f"gpu={int(args.device == 'cuda')}", f"sample={int(args.sample)}"], env)


class Measure:
    """Of one model: rates of each case and engine, and of each setting that was tried."""

    def __init__(self, args, model, end):
        self.args, self.model, self.end = args, model, end
        self.cases = [case for case in CASES if args.only in case[0]]
        self.load, self.ours, self.rival, self.setting = {}, {}, {}, {}
        self.engine = self.other = None
        self.broken = set()  # settings that llama.cpp ended with

    def run(self):
        self.engine = start_ours(self.args, self.model, self.cases)
        self.load["inflight"] = self.engine.answer()["load_s"]
        self.open_rival()
        say(f"{self.model.name}: loaded, " +
            ", ".join(f"{name} {s:.2f} s" for name, s in self.load.items()))
        for case in self.cases:
            self.engine.rate(case, generate=min(case[4], 4))
        for number in range(self.args.rounds):
            for case in self.cases:
                if time.monotonic() > self.end:
                    say("no time is left")
                    return
                self.measure(case, number)
        self.close()

    def open_rival(self):
        self.other = start_rival(self.args, self.model)
        if not self.other:
            return
        try:
            self.load.setdefault("llama.cpp", self.other.answer()["load_s"])
        except RuntimeError as error:
            say(error)
            self.other = None

    def rival_rate(self, case, setting):
        """0 where it cannot."""
        if not self.other or setting in self.broken:
            return 0
        try:
            return self.other.rate(case, setting)
        except (RuntimeError, OSError) as error:
            say(f"  {error}: {case[0]}, {setting}")
            self.broken.add(setting)
            self.open_rival()
            return 0

    def measure(self, case, number):
        name, workload = case[:2]
        mine, ratio = self.engine.rate(case), ""
        self.ours.setdefault(name, []).append(mine)
        if name in self.setting:
            rate = self.rival_rate(case, self.setting[name])
        else:
            tried = {s: self.rival_rate(case, s) for s in SETTINGS[workload]}
            self.setting[name] = max(tried, key=tried.get)
            rate = tried[self.setting[name]]
        if rate:
            self.rival.setdefault(name, []).append(rate)
            ratio = f", llama.cpp {rate:10.1f} ({self.setting[name]}): {mine / rate:.2f}"
        say(f"  {number + 1} {name:14} {mine:10.1f}{ratio}")

    def close(self):
        for engine in filter(None, (self.engine, self.other)):
            engine.end()

    def rows(self):
        """model, case, unit, ours and theirs: median, least, most; their setting; ratio."""
        found = []
        for name, values in self.ours.items():
            theirs = self.rival.get(name)
            found.append([self.model.name, name, "tokens/s", *spread(values),
                          *(spread(theirs) if theirs else [None] * 3),
                          self.setting[name] if theirs else "",
                          statistics.median(values) / statistics.median(theirs) if theirs else None])
        if self.load:
            mine, theirs = self.load.get("inflight"), self.load.get("llama.cpp")
            found.append([self.model.name, "load", "s", *[mine] * 3, *[theirs] * 3, "",
                          theirs / mine if theirs and mine else None])
        return found


def spread(values):
    return [statistics.median(values), min(values), max(values)]


HEAD = ["model", "case", "unit", "inflight", "least", "most", "llama.cpp", "least", "most",
        "its settings", "ratio"]


def number(x):
    if x is None or isinstance(x, str):
        return x or "-"
    return f"{x:.0f}" if x >= 1000 else f"{x:.1f}" if x >= 10 else f"{x:.3f}"


def markdown(rows):
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    return "\n".join(lines + ["| " + " | ".join(number(x) for x in row) + " |" for row in rows])


def write_csv(path, rows):
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows([HEAD] + [[round(x, 4) if isinstance(x, float) else x for x in row]
                                          for row in rows])


def roomiest():
    folders = [pathlib.Path(name) for name in ("/dev/shm", "/tmp") if os.access(name, os.W_OK)]
    return max(folders, key=lambda folder: shutil.disk_usage(folder).free)


def generate(args, folder):
    """The models in their order; those that are only named are written, all at once."""
    found, writers = [], []
    for name in args.models:
        path = pathlib.Path(name)
        if not path.exists():
            path = folder / f"{name}.gguf"
            writers.append((path, subprocess.Popen(
                [sys.executable, BENCH / "shapes.py", args.tokenizer, path])))
        found.append(path)
    for path, writer in writers:
        if writer.wait():
            sys.exit(f"{path.name} could not be written")
    return found, [path for path, _ in writers]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lib", type=pathlib.Path)
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("--models", nargs="+", default=[
        "llama-8b.Q4_1", "llama-8b.Q8_0", "llama-8b.BF16", "smollm2-135m.Q4_1"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=150, help="no case begins later")
    parser.add_argument("--only", default="", metavar="WORD", help="cases with it in their name")
    parser.add_argument("--folder", type=pathlib.Path, help="for files that are written")
    parser.add_argument("--serve", type=pathlib.Path, help="bin/serve beside the library")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--step-tokens", type=int, default=0)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--csv", type=pathlib.Path)
    return parser.parse_args()


def main():
    args = arguments()
    start = time.monotonic()
    folder = args.folder or roomiest()
    models, written = generate(args, folder)
    say(f"files: {time.monotonic() - start:.1f} s")
    rows = []
    try:
        for i, model in enumerate(models):
            # Each model a share of what is left.
            now = time.monotonic()
            share = (start + args.seconds - now) / (len(models) - i)
            measure = Measure(args, model, now + share)
            try:
                measure.run()
            except (RuntimeError, OSError) as error:
                say(f"{model.name}: {error}")
            measure.close()
            rows += measure.rows()
            if args.csv:
                write_csv(args.csv, rows)
    finally:
        for path in written:
            path.unlink(missing_ok=True)
    print(markdown(rows))
    say(f"{time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()
