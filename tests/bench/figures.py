#!/usr/bin/env python3
"""Figures that do not drift with the machine, against those of the last commit.

    tests/bench/figures.py BUILD        (make figures)

Counts instructions under valgrind, barriers, bytes, allocations, and what the object
exports, and compares with tests/bench/figures.txt: worse by more than 2 % is a failure,
and so is any increase of a number below 1000. INFLIGHT_FIGURES=1 writes the table anew.
Instructions and sizes hold for one compiler; with another they are shown and not judged.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "bench" / "figures.txt"
TOLERANCE = 0.02
EXACT_BELOW = 1000
DECODED, FILLED, ANSWER = 4, 64, 100  # as in figures.c
SKIP = 77


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def callgrind(program, mode, model, *options):
    """Totals of the profiles it leaves behind, by the last part of their names."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", *options,
                        f"--callgrind-out-file={folder}/out", program, mode, model],
                       check=True, stdout=subprocess.DEVNULL)
        totals = {p.name: re.search(r"^totals: (\d+)", p.read_text(), re.M)
                  for p in pathlib.Path(folder).iterdir()}
        return {name: int(total.group(1)) for name, total in totals.items() if total}


def measure(build):
    program = build / "tests" / "bench" / "figures"
    model = build / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    tiny = build / "models" / "tiny.gguf"
    library = build / "libinflight.so.1"
    steps = callgrind(program, "steps", model)
    # The second thread is the engine's; the first only waits for it.
    engine = callgrind(program, "engine", tiny, "--separate-threads=yes")
    size = output("size", library).splitlines()[1].split()
    # The kernels of cards are as large as there are architectures, and are there with nvcc alone.
    images = [line.split()[1] for line in output("size", "-A", library).splitlines()
              if line.startswith(".cuda_images")]
    exports = [line for line in output("nm", "-D", "--defined-only", library).splitlines()
               if line.split()[1] != "A"]
    figures = {
        "instructions of a decoded token": steps["out.1"] // DECODED,
        "instructions of a prefilled token": steps["out.2"] // FILLED,
        "instructions of a token, engine around a small model": engine["out-02"] // ANSWER,
        "bytes of code": int(size[0]) - sum(map(int, images)),
        "bytes of data": int(size[1]) + int(size[2]),
        "exported symbols": len(exports),
    }
    for line in output(program, "counts", model).splitlines():
        name, value = line.rsplit(" ", 1)
        figures[name] = int(value)
    return figures


def compiler():
    cc = os.environ.get("CC", "gcc")
    return output(cc, "--version").splitlines()[0]


def by_compiler(name):
    return name.startswith(("instructions", "bytes of code", "bytes of data"))


def write(figures):
    lines = [f"{name}: {value}" for name, value in figures.items()]
    TABLE.write_text(f"compiler: {compiler()}\n" + "\n".join(lines) + "\n")
    print(f"{TABLE.relative_to(ROOT)} is written anew")


def compare(figures):
    table = dict(line.split(": ", 1) for line in TABLE.read_text().splitlines())
    same = table.pop("compiler") == compiler()
    failed = 0
    for name in sorted(table.keys() | figures.keys()):
        was, now = int(table.get(name, 0)), figures.get(name, 0)
        judged = same or not by_compiler(name)
        margin = was * TOLERANCE if was >= EXACT_BELOW else 0
        worse = judged and (now > was + margin or name not in table or name not in figures)
        better = judged and now < was - margin and not worse
        change = f"{100 * (now - was) / was:+.2f} %" if was else "new"
        verdict = "WORSE" if worse else "better, write it down" if better else ""
        print(f"{name:54} {was:12} {now:12} {change if judged else '(other compiler)':>9}  {verdict}")
        failed += worse
    if failed:
        print(f"{failed} figures are worse. If that is meant: INFLIGHT_FIGURES=1 make figures")
    return failed


def main():
    if not shutil.which("valgrind"):
        print("skip: no valgrind")
        return SKIP
    figures = measure(pathlib.Path(sys.argv[1]).resolve())
    if os.environ.get("INFLIGHT_FIGURES"):
        write(figures)
        return 0
    return 1 if compare(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
