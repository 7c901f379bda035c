"""Runs both engines, each time in a fresh process, and keeps what each run gave."""
import dataclasses
import json
import mmap
import os
import statistics
import subprocess
import sys

from builds import BENCH, BUILD, python_of, say

# Settings of llama.cpp that go on after the first round, of each build: those this close to
# its best.
CLOSE, MOST = 0.85, 2

START_BYTES = 256 << 20  # that a start takes, at most, beside the model

PACKED = BUILD / "versus.packed"  # what ours keeps of its packed weights


@dataclasses.dataclass
class Run:
    """One process: what it measured, and what the machine was doing meanwhile."""
    round: int
    case: object  # None: the ceilings
    engine: str
    build: str  # of llama.cpp
    setting: str
    metrics: dict
    load: float
    steal: float  # percent


def label(setting):
    return " ".join(f"{key}={value}" for key, value in setting.items() if key != "build")


def processor_time():
    with open("/proc/stat") as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    return fields[7], sum(fields[:8])


def better(case, metrics):
    """Larger is better, whatever was measured."""
    return 1 / metrics["first_token_s"] if case.workload == "start" else metrics["tokens_s"]


def build_of(case, setting):
    return setting.get("build", case.build)


def by_build(case, tried):
    """Of (value, setting), best first."""
    found = {}
    for value, setting in sorted(tried, key=lambda pair: -pair[0]):
        found.setdefault(build_of(case, setting), []).append((value, setting))
    return found


def close_to_best(case, tried):
    """The settings that later rounds are worth."""
    if case.workload == "start":
        return [setting for _, setting in tried]
    return [setting for of_build in by_build(case, tried).values()
            for value, setting in of_build[:MOST] if value >= CLOSE * of_build[0][0]]


def take_back(size):
    """Huge pages that the host of a virtual machine has taken (free page reporting) are the
    machine's again for the engine that is measured next: the host takes 2 ms for each."""
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory[::mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)


class Measure:
    def __init__(self, library, threads):
        self.library, self.threads = library, threads
        self.runs = []

    def child(self, number, case, engine, build, setting, command):
        if case and case.workload == "start":
            take_back(START_BYTES + os.path.getsize(case.model) // mmap.PAGESIZE * mmap.PAGESIZE)
        load, (stolen, total) = os.getloadavg()[0], processor_time()
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it says nothing"]
            what = case.name if case else "the ceilings"
            sys.exit(f"{engine}, {what}: failed with status {done.returncode}: {lines[-1]}")
        after, total_after = processor_time()
        row = json.loads(done.stdout.splitlines()[-1])
        keys = ("first_token_s", "peak_mib", "read_gbs", "vnni_gops", "avx2_gops", "bf16_gops")
        metrics = {key: row[key] for key in keys if key in row}
        if "median" in row:
            metrics["tokens_s"] = row["median"]
        self.runs.append(Run(number, case, engine, build, setting, metrics, load,
                             100 * (after - stolen) / max(total_after - total, 1)))
        return metrics

    def ceilings(self, number):
        command = [BUILD / "bin" / "ceilings", self.threads]
        return self.child(number, None, "ceilings", "", "", command)

    def serve(self, case):
        command = [BUILD / "bin" / "serve", self.library, case.model, case.workload,
                   *case.arguments(self.threads), f"isa={case.isa}"]
        if case.workload != "start":
            # llama.cpp clears its cache before it begins; from then on that has its memory.
            command += ["rounds=1", "prefault=true"]
        if case.workload == "parallel":
            command.append("step_ms=0")  # answers wait for prompts, as llama.cpp's do
        if case.packed:
            command.append(f"packed={PACKED}")
        return [str(part) for part in command]

    def ours(self, number, case):
        return self.child(number, case, "inflight", "", "", self.serve(case))

    def keep_packed(self, cases):
        """The load that writes the file of packed weights, which is not measured."""
        for case in cases:
            if case.packed:
                PACKED.unlink(missing_ok=True)
                subprocess.run(self.serve(case), check=True, stdout=subprocess.DEVNULL)

    def rival(self, number, case, setting):
        given = [f"{key}={value}" for key, value in setting.items() if key != "build"]
        build = build_of(case, setting)
        command = [python_of(build), BENCH / "rival.py", case.model, case.workload,
                   *case.arguments(self.threads), *given]
        return better(case, self.child(number, case, "llama.cpp", build, label(setting), command))

    def try_settings(self, case, quick, blas):
        """The first round of llama.cpp: (value, setting)."""
        tried = [(self.rival(0, case, s), s) for s in ({"flash": 1}, {"flash": 0})]
        base = max(tried, key=lambda pair: pair[0])[1]
        return tried + [(self.rival(0, case, s), s) for s in
                        ({**base, **more} for more in case.variations(self.threads, quick, blas))]

    def rounds(self, cases, count, quick, blas):
        """Every round: the ceilings, then each case on ours and on llama.cpp. The first round
        tries all its settings, later ones those that came close to the best of their build; all
        of them where time and memory may each have a best one."""
        left = {}
        self.keep_packed(cases)
        for number in range(count):
            probes = self.ceilings(number)
            say(f"round {number + 1} of {count}: memory {probes['read_gbs']} GB/s, "
                f"int8 {probes['vnni_gops'] or probes['avx2_gops']} GOPS, "
                f"load {os.getloadavg()[0]:.1f}")
            for case in cases:
                mine = better(case, self.ours(number, case))
                if number == 0:
                    tried = self.try_settings(case, quick, blas)
                    left[case] = close_to_best(case, tried)
                else:
                    tried = [(self.rival(number, case, s), s) for s in left[case]]
                ratios = (f"{mine / max(value for value, _ in of_build):6.2f} x {build}"
                          for build, of_build in by_build(case, tried).items())
                say(f"  {case.name:24} {', '.join(ratios)}; {len(tried)} settings of llama.cpp")

    def series(self, case, engine, key, build=""):
        """Values by setting, in the order of rounds."""
        found = {}
        for run in self.runs:
            if (run.case, run.engine, run.build) == (case, engine, build):
                found.setdefault(run.setting, []).append((run.round, run.metrics[key]))
        return found

    def probes(self):
        return {run.round: run.metrics for run in self.runs if run.engine == "ceilings"}

    def builds(self, case):
        """Those of llama.cpp that ran the case, its own first."""
        return list(dict.fromkeys(run.build for run in self.runs
                                  if run.case == case and run.engine == "llama.cpp"))

    def best(self, case, key, larger, build):
        """llama.cpp's values with the setting of the best median, of those in every round."""
        found = self.series(case, "llama.cpp", key, build)
        most = max(len(values) for values in found.values())
        sign = 1 if larger else -1
        setting = max((s for s in found if len(found[s]) == most),
                      key=lambda s: sign * statistics.median(v for _, v in found[s]))
        return setting, found[setting]
