#!/usr/bin/env python3
"""What quantization costs: every recipe beside llama.cpp's formats, on the same texts, by the same
measure. A table, plots, and whether what must hold holds.

    accuracy.py [prepare|measure|report|publish|all] [options]

prepare  texts, sources and llama.cpp's files: wants apt-get, pip, for the source "small" a Python
         that has torch and tokenizers (--torch), for "qwen" 1.1 GB to fetch, 11 GB of the disk
         and 12 of memory
measure  quantizes and evaluates; goes on where it was stopped, and does again what has changed
report   writes table.md, kl.png and layers.png into the folder of --work
publish  copies them beside this file, into results/, and the main rows into quant/README.md

    --work FOLDER     where everything is made (build/accuracy)
    --bin FOLDER      where the programs are (build/bin)
    --sources NAMES   of rows.py, in the order in which they are measured
    --only WORDS      rows whose titles have one of these words, as in "--only fp8,Q8_0", and not
                      how far llama.cpp's own perplexity is from inflight-eval's
    --windows N       windows of 512 tokens for 8 bits and caches, where differences are small (64:
                      16320 scored tokens)
    --windows4 N      and for 4 bits (24: 6120)
    --samples N       of 512 tokens each, that calibration reads (64)
    --text FILE       what is scored instead of the evaluation text, as texts/prose.txt; its results
                      are kept and shown as those of "SOURCE on NAME". May be given several times:
                      what has been quantized is scored on each
    --quick           the least of everything, to see that it works
    --torch PYTHON    trains the source "small", on a GPU if it sees one, for --minutes (25)
    --size NAME       of the source "small": "small", or "tiny" where there is no GPU
    --device NAME     that calibrates and evaluates (cpu)"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

import measure
import rows
import builds  # of tests/bench, where measure looks too

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
GGUF = ROOT / "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 1)[1])
    parser.add_argument("what", nargs="?", default="all",
                        choices=["prepare", "measure", "report", "publish", "all"])
    parser.add_argument("--work", default=str(ROOT / "build/accuracy"))
    parser.add_argument("--bin", default=str(ROOT / "build/bin"))
    parser.add_argument("--model", default=str(GGUF))
    parser.add_argument("--sources", default=",".join(rows.SOURCES))
    parser.add_argument("--only", default="")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--windows4", type=int, default=24)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--torch")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--size", default="small", choices=["small", "tiny"])
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    args = parser.parse_args()
    args.sources = args.sources.split(",")
    for name in args.sources:
        if name not in rows.SOURCES:
            parser.error(f"--sources {name}: is none of {' '.join(rows.SOURCES)}")
    if min(args.windows, args.windows4) < 2:
        parser.error("an interval wants two windows at least")
    if args.quick:
        args.windows, args.windows4, args.samples = 4, 2, 4
    return args


def say(text):
    print(text, flush=True)


# ---- Preparing

def python_with_llama_cpp():
    """That of make bench-versus, which has matplotlib too, with the package that reads GGUF."""
    python = builds.python_of(builds.NATIVE)
    if not builds.has(python, "gguf"):
        builds.install(builds.NATIVE, python, ["gguf"])
    return python


def script(python, name, *arguments_of_it):
    command = [*measure.NICE, str(python), str(HERE / name), *map(str, arguments_of_it)]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"{name} failed")


def prepare_source(args, bench, python, name):
    path = bench.source(name)
    if (path / "config.json").exists():
        return True
    say(f"making the source {name}: {rows.SOURCES[name]}")
    if name == "q4_1":
        script(python, ROOT / "tests/model/gguf_to_hf.py", args.model, path)
    elif name == "qwen":
        script(python, "qwen.py", bench.gguf(name, "Q4_K_M"))
        script(python, ROOT / "tests/model/gguf_to_hf.py", bench.gguf(name, "Q4_K_M"), path)
    elif name == "rotated":
        prepare_source(args, bench, python, "q4_1")
        script(python, "rotate.py", bench.source("q4_1"), path)
    elif args.torch:
        tokens = bench.work / "tokens"
        script(args.torch, "train.py", "tokens", bench.work / "texts", tokens)
        script(args.torch, "train.py", "model", tokens, path, "--minutes", args.minutes, "--size",
               args.size)
    else:
        say("  left out: training it wants --torch, a Python that has torch and tokenizers")
    return (path / "config.json").exists()


def prepare(args, bench):
    if not all((bench.work / "texts" / name).exists() for name in ("held-out.txt", "prose.txt")):
        script(sys.executable, "texts.py", bench.work / "texts")
    python = python_with_llama_cpp()
    for name in args.sources:
        if not prepare_source(args, bench, python, name):
            continue
        whole = bench.gguf(name, "BF16")
        if not whole.exists():
            script(python, "llamacpp.py", "convert", bench.source(name), whole)
        for form in [row.form for row in rows.of_source(name) if row.kind == "rival"]:
            if not bench.gguf(name, form).exists():
                script(python, "llamacpp.py", "quantize", whole, bench.gguf(name, form), form)


# ---- Measuring

def chosen(args, source):
    words = args.only.split(",")
    return [row for row in rows.of_source(source)
            if any(word in rows.title(row) for word in words)]


AGREEMENT_FORMS = ("BF16", "Q8_0", "Q4_0", "Q4_K_M")
AGREEMENT_WINDOWS = 8


def both_perplexities(bench, model, text, python):
    """By llama.cpp, and by inflight-eval with either kind of activations."""
    n = min(AGREEMENT_WINDOWS, bench.args.windows4)
    theirs = json.loads(measure.run([python, HERE / "llamacpp.py", "perplexity", model, text,
                                     bench.args.context, n]))
    found = {"llama.cpp": theirs}
    for kind in ("float", "int8"):
        found[kind] = json.loads(measure.run(
            [bench.bin / "inflight-eval", model, text, "-c", bench.args.context, "-n", n,
             "-a", kind, "-d", bench.args.device, "--quiet", "-j", "-"]))
        if found[kind]["tokens"] != theirs["tokens"]:
            raise measure.Failed("llama.cpp and inflight-eval do not read the same tokens")
    return found


def agreement(bench, source, text):
    """llama.cpp's own perplexity of formats of each size beside inflight-eval's."""
    path = bench.results(source, text) / "llama.cpp.json"
    models = {form: bench.gguf(source, form) for form in AGREEMENT_FORMS}
    models = {form: model for form, model in models.items() if model.exists()}
    stamp = [measure.digest(bench.bin / "inflight-eval"), measure.digest(text),
             *map(measure.digest, models.values()), bench.args.windows4, bench.args.device]
    if not models or path.exists() and json.loads(path.read_text())["stamp"] == stamp:
        return
    if not builds.is_made(builds.NATIVE):
        return say("llama.cpp is not installed here: its own perplexity is left out")
    found = {}
    for form, model in models.items():
        try:
            found[form] = both_perplexities(bench, model, text, python_with_llama_cpp())
        except measure.Failed as failure:
            return say(f"{source}, perplexity of {form} by llama.cpp: {failure}")
        say(f"{source}, perplexity of {form}: {found[form]['llama.cpp']['perplexity']:.4f} by "
            "llama.cpp, " + ", ".join(f"{found[form][kind]['perplexity']['value']:.4f} with {kind} "
                                      "activations" for kind in ("float", "int8")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"stamp": stamp, "forms": found}, indent=1))


def measure_all(args, bench):
    sources = [name for name in args.sources if (bench.source(name) / "config.json").exists()]
    if not sources:
        sys.exit("there are no sources: prepare them first")
    for source in sources:
        for row in chosen(args, source):
            began = time.monotonic()
            try:
                results = bench.measure(source, row)
            except measure.Failed as failure:
                say(f"{source}, {rows.title(row)}: not measured: {failure}")
                continue
            seconds = time.monotonic() - began
            for (_, kind), r in results.items():
                ratio, kl = r["perplexity_ratio"], r["kl_divergence"]
                say(f"{r['source']}, {rows.title(row)}, {kind}: ratio {ratio['value']:.4f} "
                    f"{ratio['interval95']}, KL {kl['mean']:.6f} +- {kl['error95']:.6f}; "
                    f"{seconds:.0f} s")
        for text in bench.texts if not args.only else ():
            agreement(bench, source, text)


def main():
    args = arguments()
    bench = measure.Bench(args)
    if args.what in ("prepare", "all"):
        prepare(args, bench)
    if args.what in ("measure", "all"):
        measure_all(args, bench)
    if args.what in ("report", "all"):
        script(python_with_llama_cpp(), "report.py", bench.work)
    if args.what == "publish":
        script(sys.executable, "publish.py", bench.work)


if __name__ == "__main__":
    main()
