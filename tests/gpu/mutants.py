#!/usr/bin/env python3
"""Bugs put into the kernels one at a time, each of which an operation's test must find.

    tests/gpu/mutants.py [PART OF A NAME]...

Reads mutants*.def; the head of mutants.def says what stands there. Every mutant is a copy of the
kernels with one change; its image takes the place of the real one in a test program, which runs
on the simulated GPU. Before that the tests must pass over images without a change. Needs the
archive and the simulated GPU in BUILD; nothing outside a temporary folder is written. JOBS at a
time.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("BUILD", "build")
CC = os.environ.get("CC", "gcc")
JOBS = int(os.environ.get("JOBS", os.cpu_count() or 1))
SECONDS = 200  # of one compilation or one run, on a busy machine
SKIP = 77

# As the Makefile compiles tests; kernels for the architecture they run on, as PTX, which is what is
# run.
TEST_C = ["-std=c11", "-O1", "-fno-strict-aliasing", "-ffp-contract=off", "-DINFLIGHT_BUILD",
          "-DINFLIGHT_CUDA", "-Itests", "-I."]
NVCC_C = ["-std=c++17", "-O3", "-fatbin", "--compress-mode=none", "-DINFLIGHT_CUDA"]
LIBRARIES = ["-Wl,-Bstatic", "-lyaml", "-ljansson", "-lpcre2-8", "-lutf8proc", "-Wl,-Bdynamic",
             "-lm", "-pthread", "-ldl"]

FAULT = re.compile(r"^gpu: ([^:]+): .*, line \d+: .*; block \(")  # tests/gpu/fault.c
CHECK = re.compile(r"^  \S+:\d+: ")                               # t_fail of tests/t.c


def capability_of(variables):
    return dict(v.split("=") for v in variables.split()).get("GPU_CC", "8.0")


class Mutant:
    """A change of one file, and what must find it: an entry of mutants*.def."""

    def __init__(self, name, place, where):
        where = [part.strip() for part in where.split(";")]
        words = [len(part.split()) for part in where]
        if len(where) not in (3, 4) or words[0] not in (1, 2) or words[1] != 2:
            sys.exit(f"{place}: want FILE [IMAGE]; TEST FILTER; KIND[; VARIABLE=VALUE]")
        self.name = name
        self.file, *image = where[0].split()
        self.image = image[0] if image else self.file.removesuffix(".cu")
        program, test = where[1].split()
        self.kind = where[2]
        self.variables = where[3] if len(where) == 4 else ""
        self.capability = capability_of(self.variables)
        program = program if "/" in program else f"op/op_cuda_{program}"
        self.test = (program, test, self.variables)
        self.old, self.new = [], []

    def apply(self, folder):
        """False: the text does not occur exactly once."""
        path = folder / "kernels" / "cuda" / self.file
        text = "\n" + path.read_text()
        old = "\n" + "".join(self.old)
        if text.count(old) != 1:
            return False
        path.write_text(text.replace(old, "\n" + "".join(self.new))[1:])
        return True


def read_mutants(path):
    mutants = []
    name = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("["):
            name = line.strip("[]")
        elif name:
            mutants.append(Mutant(name, f"{path.name}:{number}", line))
            name = None
        elif line[:1] in (" ", "-", "+") and mutants:
            if line[0] != "+":
                mutants[-1].old.append(line[1:] + "\n")
            if line[0] != "-":
                mutants[-1].new.append(line[1:] + "\n")
        elif line and not line.startswith("#"):
            sys.exit(f"{path.name}:{number}: neither an entry's head nor a line of it")
    return mutants


def command(*words):
    """Runs a compiler in the root; what it says if it fails."""
    done = subprocess.run([str(w) for w in words], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stdout.strip()[-400:]}")


def find_nvcc():
    """nvcc of CUDA 13 or later and the folder of cuda.h, as the Makefile looks for them."""
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
    nvcc = nvcc or next(map(str, pathlib.Path("/usr/local").glob("cuda*/bin/nvcc")), None)
    if not nvcc:
        return None, None
    include = pathlib.Path(nvcc).resolve().parents[1] / "include"
    header = include / "cuda.h"
    known = header.exists() and re.search(r"define CUDA_VERSION 1[3-9]", header.read_text())
    return (nvcc, include) if known else (None, None)


class Bench:
    """What mutants share: a copy of the sources, images without a change, test objects."""

    def __init__(self, folder, nvcc, include):
        self.folder, self.nvcc, self.include = folder, nvcc, include
        self.source = folder / "source"
        for part in ("kernels", "quant", "plugin", "include"):
            shutil.copytree(ROOT / part, self.source / part, ignore=self.uninteresting)
        self.images = sorted(p.stem for p in (self.source / "kernels" / "cuda").glob("*.cu"))

    @staticmethod
    def uninteresting(folder, names):
        return [n for n in names if not (pathlib.Path(folder) / n).is_dir()
                and pathlib.Path(n).suffix not in (".cu", ".cuh", ".h", ".def")]

    def image(self, source, name, out, capabilities):
        archs = [c.replace(".", "") for c in capabilities]
        targets = [w for a in archs for w in ("-gencode", f"arch=compute_{a},code=compute_{a}")]
        command(self.nvcc, *NVCC_C, *targets, source / "kernels" / "cuda" / f"{name}.cu", "-o", out)

    def object(self, path):
        out = self.folder / (pathlib.Path(path).stem + ".o")
        command(CC, *TEST_C, "-isystem", self.include, "-c", path, "-o", out)

    def link(self, folder, program, mutated=None):
        """The test program over the images, one of which may be of the folder."""
        table = ['.section .note.GNU-stack,"",%progbits', ".section .rodata"]
        for name in self.images:
            image = (folder if name == mutated else self.folder) / f"{name}.fatbin"
            table += [".balign 64", f'image_{name}: .incbin "{image}"']
        table += ['.section .data.rel.ro,"aw"', ".balign 8", ".globl cuda_images",
                  ".hidden cuda_images", "cuda_images:"]
        table += [f".quad name_{name}, image_{name}" for name in self.images] + [".quad 0, 0"]
        table += [f'name_{name}: .asciz "{name}"' for name in self.images] + [""]
        (folder / "images.S").write_text("\n".join(table))
        # The archive's own table is not taken, for what it defines is there already.
        out = folder / pathlib.Path(program).name
        command(CC, *(self.folder / f"{o}.o" for o in (out.name, "ref", "t")), folder / "images.S",
                f"{BUILD}/libinflight.a", *LIBRARIES, "-o", out)
        return out


def run(program, test, variables, enough):
    """The test's lines, until enough(lines); the exit status, None if it was not waited for."""
    environment = {**os.environ, "BUILD": BUILD, "GPU_THREADS": "1"}
    environment.update(v.split("=") for v in variables.split())
    command_line = ["tests/gpu/on.sh", capability_of(variables), program, test]
    process = subprocess.Popen(command_line, cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    timer = threading.Timer(SECONDS, process.kill)
    timer.start()
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if enough(lines):
            process.kill()
            process.wait()
            timer.cancel()
            return lines, None
    timer.cancel()
    return lines, process.wait()


def found(lines):
    """How a test found a mutant: the kind of fault, "wrong", or None. What t_fail has printed
    makes the program fail, so that the rest of it need not be waited for."""
    if not any(CHECK.match(line) for line in lines):
        return None
    faults = [match.group(1) for match in map(FAULT.match, lines) if match]
    return faults[0] if faults else "wrong"


def prepare(bench, mutants, pool):
    """Everything without a change; the tests must pass."""
    programs = sorted({m.test[0] for m in mutants})
    capabilities = sorted({m.capability for m in mutants})
    jobs = [pool.submit(bench.image, bench.source, name, bench.folder / f"{name}.fatbin",
                        capabilities)
            for name in bench.images]
    jobs += [pool.submit(bench.object, f"tests/{path}.c") for path in ["t", "op/ref", *programs]]
    for job in jobs:
        job.result()
    for program in programs:
        bench.link(bench.folder, program)
    jobs = {test: pool.submit(run, bench.folder / pathlib.Path(test[0]).name, test[1], test[2],
                              lambda lines: False)
            for test in sorted({m.test for m in mutants})}
    for test, job in jobs.items():
        lines, status = job.result()
        if status or not any(re.search(r": [1-9]\d* passed, 0 failed, 0 skipped$", line)
                             for line in lines):
            raise RuntimeError("\n".join([f"fails without a change: {test}", *lines[-5:]]))


def judge(bench, mutant):
    """None, or what is wrong; and how it was found."""
    folder = bench.folder / re.sub(r"\W", "_", mutant.name)
    shutil.copytree(bench.source, folder)
    if not mutant.apply(folder):
        return f"mutant {mutant.name} no longer applies", None
    bench.image(folder, mutant.image, folder / f"{mutant.image}.fatbin", [mutant.capability])
    program = bench.link(folder, mutant.test[0], mutant.image)
    lines, status = run(program, *mutant.test[1:], found)
    how = found(lines)
    text = next((line for line in lines if FAULT.match(line)), "") or "".join(lines[:1])
    shutil.rmtree(folder)
    if how == mutant.kind:
        return None, text
    if status is not None and status < 0:
        return f"NOT CAUGHT, the test ended by signal {-status}", text
    return ("NOT CAUGHT" if how is None else f"NOT CAUGHT as {mutant.kind}, but {how}"), text


def timed(bench, mutant):
    start = time.monotonic()
    try:
        wrong, text = judge(bench, mutant)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        wrong, text = f"NOT CAUGHT, {error}", None
    return wrong, text, time.monotonic() - start


def report(mutant, wrong, text, seconds):
    print(f"{'FAIL' if wrong else 'ok  '} {mutant.name} ({mutant.image}): "
          f"{wrong or 'caught, ' + mutant.kind}, {seconds:.1f} s", flush=True)
    if text and (wrong or os.environ.get("V")):
        print(f"     {text.strip()}", flush=True)
    return bool(wrong)


def main():
    nvcc, include = find_nvcc()
    if not nvcc:
        print("skip mutants: there is no nvcc of CUDA 13")
        return SKIP
    mutants = [m for path in sorted((ROOT / "tests" / "gpu").glob("mutants*.def"))
               for m in read_mutants(path)
               if len(sys.argv) < 2 or any(part in m.name for part in sys.argv[1:])]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="mutants.") as folder, \
            concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        bench = Bench(pathlib.Path(folder), nvcc, include)
        try:
            prepare(bench, mutants, pool)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"FAIL {error}\nmutants: 0 passed, {len(mutants)} failed, 0 skipped")
            return 1
        jobs = [pool.submit(timed, bench, mutant) for mutant in mutants]
        for mutant, job in zip(mutants, jobs):
            failed += report(mutant, *job.result())
    print(f"mutants: {len(mutants) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
