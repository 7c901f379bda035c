#!/usr/bin/env python3
"""Ours against llama.cpp on the same files and threads: rounds interleaved, medians, fractions
of what the machine could do in the same round.

    tests/bench/versus.py LIB MODEL              the cases of make bench-versus
    tests/bench/versus.py LIB --shapes FILE...   those of make bench-shapes

llama-cpp-python is compiled into build/bench-venv on first use (BENCH_NO_VENV=1: that of this
Python). For each case llama.cpp may choose its settings: the first round tries flash attention
on and off, repacked weights or not, sizes of a step, one thread less; those within 15 % of the
best go on, and the best median counts. Compiled with OpenBLAS, if it has been, it stands in
columns of its own.
"""
import argparse
import os
import pathlib
import subprocess
import sys

import builds
import cases as workloads
import measure as measuring
import report


def physical_cores():
    """Of those that this process may use, as the engine counts them."""
    cores = set()
    for cpu in os.sched_getaffinity(0):
        place = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            cores.add(tuple((place / name).read_text()
                            for name in ("physical_package_id", "core_id")))
        except OSError:
            cores.add(cpu)
    return len(cores)


def has_avx512():
    with open("/proc/cpuinfo") as f:
        return " avx512f " in f.read().replace("\n", " ")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lib", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path, nargs="?")
    parser.add_argument("--shapes", type=pathlib.Path, nargs="+", metavar="FILE")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="WORD", default="", help="cases with it in their name")
    parser.add_argument("--quick", action="store_true", help="shorter cases, fewer settings")
    parser.add_argument("--csv", type=pathlib.Path, help="the table; NAME-runs.csv: every run")
    parser.add_argument("--plot", type=pathlib.Path, help="PNG of the ratios; needs --csv")
    parser.add_argument("--avx2-rival", action="store_true",
                        help="compile llama.cpp for AVX2 alone as well, once")
    parser.add_argument("--plain-rival", action="store_true",
                        help="compile it for plain x86-64 as well, once")
    parser.add_argument("--blas-rival", action="store_true",
                        help="compile it with OpenBLAS as well, once")
    args = parser.parse_args()
    if bool(args.model) == bool(args.shapes):
        parser.error("either MODEL or --shapes")
    if args.plot and not args.csv:
        parser.error("--plot needs --csv")
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads begin at 1")
    for path in (args.lib, *([args.model] if args.model else args.shapes)):
        if not path.exists():
            parser.error(f"{path} is not there")
    return args


def choose(args, python):
    if args.shapes:
        found = workloads.of_shapes(args.shapes, args.quick)
    else:
        made = {}
        if has_avx512():
            wanted = args.avx2_rival or builds.is_made(builds.AVX2)
            made["avx2"] = builds.AVX2 if wanted else builds.NATIVE
        if args.plain_rival or builds.is_made(builds.PLAIN):
            made["plain"] = builds.PLAIN
        found = workloads.of_model(args.model, made, args.quick)
    found = [case for case in found if args.only.lower() in case.name.lower()]
    if not found:
        sys.exit(f"no case has {args.only} in its name")
    # Only now, so that a file is made for cases that are run.
    return [workloads.with_file(case, lambda form: builds.quantized(python, case.model, form))
            for case in found]


def plot(python, table, out):
    if not builds.has(python, "matplotlib"):
        print("no plot: this Python has no matplotlib", file=sys.stderr)
        return
    done = subprocess.run([python, builds.BENCH / "plot.py", table, out], capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(f"no plot: {done.stderr.strip().splitlines()[-1]}")


def main():
    args = arguments()
    native = builds.python_of(builds.NATIVE)
    cases = choose(args, native)
    blas = args.blas_rival or builds.is_made(builds.BLAS)
    if not blas:
        builds.say("llama.cpp is without OpenBLAS here; with it (--blas-rival) its prompts are faster")
    made = dict.fromkeys([builds.NATIVE, *(case.build for case in cases),
                          *([builds.BLAS] if blas else [])])
    versions = {build: builds.about(builds.python_of(build)) for build in made}
    if os.getloadavg()[0] > 0.5:
        builds.say(f"load is {os.getloadavg()[0]:.1f}: others run here. llama.cpp, whose threads "
                   "spin at barriers, loses far more by that than Inflight; ratios will be too good")
    measure = measuring.Measure(args.lib, args.threads)
    measure.rounds(cases, args.rounds, args.quick, blas)
    costs = workloads.Costs()
    table = report.rows(measure, costs, cases, bool(args.shapes))
    print(report.markdown(table))
    print()
    print(report.conditions(measure, versions, costs, cases))
    if args.csv:
        report.write_csv(args.csv, table)
        report.write_runs(args.csv.with_name(args.csv.stem + "-runs.csv"), measure)
    if args.plot:
        plot(native, args.csv, args.plot)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
