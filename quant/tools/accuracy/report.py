#!/usr/bin/env python3
"""Out of the results of measure.py: the table, whether what must hold holds, and the plots.

    report.py FOLDER     reads FOLDER/results, writes FOLDER/{table.md,kl.png,layers.png}"""
import collections
import json
import math
import pathlib
import statistics
import sys

import plots
import rows

ACTIVATIONS = {"float": "float", "int8": "int8, the default"}


def read(work):
    """{source: {(row, activations): result}}, in the order of rows.py; what was scored on another
    text stands behind its source."""
    found = {}
    for source in rows.SOURCES:
        for folder in (work / "results" / source,
                       *sorted((work / "results").glob(rows.label(source, "*")))):
            for row in rows.ROWS:
                for kind in row.activations:
                    path = folder / rows.file_name(row, kind)
                    if path.exists():
                        found.setdefault(folder.name, {})[row, kind] = json.loads(path.read_text())
    return found


# ---- The table

def cells(source, row, kind, r):
    low, high = r["perplexity_ratio"]["interval95"]
    kl, top = r["kl_divergence"], r["top1_agreement"]
    made = f"{r['bits']:.3f}" if "bits" in r else "16"
    size = f"{r['bytes'] / 1e6:.1f}" if "bytes" in r else ""
    return [source, row.form, row.method, ACTIVATIONS[kind], made, size, str(r["positions"]),
            f"{r['perplexity']['value']:.3f}",
            f"{r['perplexity_ratio']['value']:.4f} [{low:.4f}, {high:.4f}]",
            f"{kl['mean']:.6f} ± {kl['error95']:.6f}",
            f"{100 * top['mean']:.2f} ± {100 * top['error95']:.2f}"]


HEAD = ["source", "format", "method", "activations", "bits a weight", "MB", "scored tokens",
        "perplexity", "ratio [95 %]", "KL divergence, nat", "same best token, %"]


def lines_of(source, results):
    """Before what was scored on other text than the row above it, bf16 on that text."""
    positions = None
    for (row, kind), r in results.items():
        if r["positions"] != positions:
            positions = r["positions"]
            yield [source, "bf16", "", "float", "16", "", str(positions),
                   f"{r['reference_perplexity']['value']:.3f}", "1", "0", "100"]
        yield cells(source, row, kind, r)


def table(found):
    yield HEAD
    yield ["---"] * len(HEAD)
    for source, results in found.items():
        yield from lines_of(source, results)


def line(parts):
    return "| " + " | ".join(parts) + " |"


def conditions(work, found):
    trained = work / "small/training.json"
    if trained.exists():
        note = json.loads(trained.read_text())
        yield (f"small: {note['parameters'] / 1e6:.1f} million parameters, trained on "
               f"{note['tokens']} tokens in {note['minutes']:.3g} minutes of {note['device']}, to "
               f"a held-out loss of {note['held_out_loss']:.2f} nat")
    texts = collections.defaultdict(set)
    for source, results in found.items():
        texts[source.partition(rows.ON)[2] or "evaluation"] |= {r["text_digest"]
                                                               for r in results.values()}
    devices = {r["device"] for results in found.values() for r in results.values()}
    programs = {p for results in found.values() for r in results.values() for p in r["programs"]}
    for name, digests in texts.items():
        yield f"text {name}: SHA-256 begins with {', '.join(sorted(digests))}"
    yield "computed on: " + ", ".join(sorted(devices))
    if len(programs) > 2:
        yield "not all by the same programs: " + ", ".join(sorted(programs))


# ---- What must hold

def verdict(is_true, is_false):
    return "holds" if is_true else "does not hold" if is_false else "not decided by this text"


def bars(found):
    for source, results in found.items():
        for (row, kind), r in results.items():
            for form, most in rows.BARS:
                if row.form != form:
                    continue
                low, high = r["perplexity_ratio"]["interval95"]
                yield (f"{source}: {rows.title(row)}, {ACTIVATIONS[kind]}, "
                       f"within {100 * most:g} %: "
                       f"{verdict(high <= 1 + most, low > 1 + most)} "
                       f"({r['perplexity_ratio']['value']:.4f} [{low:.4f}, {high:.4f}])")


def ends(r):
    kl = r["kl_divergence"]
    return kl["mean"] - kl["error95"], kl["mean"] + kl["error95"]


def kl_of(r):
    return r["kl_divergence"]["mean"]


def compared(a, b):
    """Whether a is nearer to bf16 than b: by the differences in each window, which vary less than
    the windows do. Of results without them, by intervals that do not meet, which asks for more."""
    mine, theirs = (r["kl_divergence"].get("windows", []) for r in (a, b))
    if len(mine) < 2 or len(mine) != len(theirs):
        return verdict(ends(a)[1] < ends(b)[0], ends(a)[0] > ends(b)[1])
    off = [x - y for x, y in zip(mine, theirs)]
    mean, error = statistics.mean(off), 1.96 * statistics.stdev(off) / math.sqrt(len(off))
    return (f"{verdict(mean + error < 0, mean - error > 0)}, window by window "
            f"{mean:+.6f} ± {error:.6f}")


def calibrated_beats_rounding(found):
    for source, results in found.items():
        plain = {row.form: r for (row, kind), r in results.items()
                 if row.method == "rtn" and kind == "float"}
        for (row, kind), r in results.items():
            if row.kind == "ours" and row.method not in ("rtn", "") and kind == "float" \
                    and row.form in plain:
                less = 100 * (1 - kl_of(r) / kl_of(plain[row.form]))
                yield (f"{source}: {rows.title(row)} better than rtn: "
                       f"{compared(r, plain[row.form])} (KL {less:.0f} % lower)")


SLACK = 0.005  # bits a weight: what a matrix's shape takes


def beside_rivals(found):
    """Each format of llama.cpp beside the best of ours that takes no more bits, on the same
    windows; beside all others that take as many; and what of ours takes more and is further off."""
    for source, results in found.items():
        for (rival, kind), theirs in results.items():
            if rival.kind != "rival":
                continue
            mine = [(row, r) for (row, other), r in results.items() if row.kind == "ours" and
                    other == kind and r["windows"] == theirs["windows"]]
            what = (f"{source}: {rival.form}, {ACTIVATIONS[kind]} ({theirs['bits']:.3f} bits, "
                    f"KL {kl_of(theirs):.6f})")
            within = [(row, r) for row, r in mine if r["bits"] < theirs["bits"] + SLACK]
            best = min(within, key=lambda pair: kl_of(pair[1]))[0] if within else None
            for row, r in mine:
                more = r["bits"] - theirs["bits"]
                mark, said = f"({r['bits']:.3f} bits, KL {kl_of(r):.6f})", compared(r, theirs)
                if row == best or abs(more) < SLACK:
                    yield f"{what}: better is {rows.title(row)} {mark}: {said}"
                elif more > 0 and said.startswith("does not hold"):
                    yield f"{what}: worse is {rows.title(row)} {mark}"


def evaluators(work, found):
    for source in found:
        path = work / "results" / source / "llama.cpp.json"
        if not path.exists():
            continue
        for form, r in json.loads(path.read_text())["forms"].items():
            theirs = r["llama.cpp"]["perplexity"]
            mine = ", ".join(f"{r[kind]['perplexity']['value']:.4f} "
                             f"({100 * (r[kind]['perplexity']['value'] / theirs - 1):+.2f} %) "
                             f"with {kind} activations" for kind in ("float", "int8"))
            yield f"{source}: {form}: {theirs:.4f} by llama.cpp; inflight-eval {mine}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work = pathlib.Path(sys.argv[1])
    found = read(work)
    if not found:
        sys.exit(f"{work}: nothing has been measured")
    said = [line(parts) for parts in table(found)]
    said += ["", *conditions(work, found)]
    for head, lines in (("Beside bf16", bars(found)), ("Methods", calibrated_beats_rounding(found)),
                        ("Beside llama.cpp", beside_rivals(found)),
                        ("Evaluators", evaluators(work, found))):
        said += ["", f"{head}:", *(f"* {text}" for text in lines)]
    (work / "table.md").write_text("\n".join(said) + "\n", encoding="utf-8")
    print("\n".join(said))
    plots.draw({source: results for source, results in found.items() if source in rows.SOURCES},
               work)


if __name__ == "__main__":
    main()
