"""Runs both engines, each time in a fresh process, and keeps what each run gave."""
import dataclasses
import json
import os
import statistics
import subprocess
import sys

from builds import BENCH, BUILD, python_of, say

# Settings of llama.cpp that go on after the first round: those this close to its best.
CLOSE, MOST = 0.85, 3


@dataclasses.dataclass
class Run:
    """One process: what it measured, and what the machine was doing meanwhile."""
    round: int
    case: object  # None: the ceilings
    engine: str
    setting: str
    metrics: dict
    load: float
    steal: float  # percent


def label(setting):
    return " ".join(f"{key}={value}" for key, value in setting.items())


def processor_time():
    with open("/proc/stat") as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    return fields[7], sum(fields[:8])


def better(case, metrics):
    """Larger is better, whatever was measured."""
    return 1 / metrics["first_token_s"] if case.workload == "start" else metrics["tokens_s"]


class Measure:
    def __init__(self, library, threads):
        self.library, self.threads = library, threads
        self.runs = []

    def child(self, number, case, engine, setting, command):
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
        self.runs.append(Run(number, case, engine, setting, metrics, load,
                             100 * (after - stolen) / max(total_after - total, 1)))
        return metrics

    def ceilings(self, number):
        return self.child(number, None, "ceilings", "", [BUILD / "bin" / "ceilings", self.threads])

    def ours(self, number, case):
        command = [BUILD / "bin" / "serve", self.library, case.model, case.workload,
                   *case.arguments(self.threads), f"isa={case.isa}"]
        if case.workload != "start":
            command.append("rounds=1")
        return self.child(number, case, "inflight", "", command)

    def rival(self, number, case, setting):
        given = [f"{key}={value}" for key, value in setting.items() if key != "build"]
        command = [python_of(setting.get("build", case.build)), BENCH / "rival.py", case.model,
                   case.workload, *case.arguments(self.threads), *given]
        return better(case, self.child(number, case, "llama.cpp", label(setting), command))

    def try_settings(self, case, quick, blas):
        """The first round of llama.cpp: (value, setting), best first."""
        tried = [(self.rival(0, case, s), s) for s in ({"flash": 1}, {"flash": 0})]
        base = max(tried, key=lambda pair: pair[0])[1]
        tried += [(self.rival(0, case, s), s) for s in
                  ({**base, **more} for more in case.variations(self.threads, quick, blas))]
        return sorted(tried, key=lambda pair: -pair[0])

    def rounds(self, cases, count, quick, blas):
        """Every round: the ceilings, then each case on ours and on llama.cpp. The first round
        tries all its settings, later ones those that came close to the best; all of them where
        time and memory may each have a best one."""
        left = {}
        for number in range(count):
            probes = self.ceilings(number)
            say(f"round {number + 1} of {count}: memory {probes['read_gbs']} GB/s, "
                f"int8 {probes['vnni_gops'] or probes['avx2_gops']} GOPS, "
                f"load {os.getloadavg()[0]:.1f}")
            for case in cases:
                mine = better(case, self.ours(number, case))
                if number == 0:
                    tried = self.try_settings(case, quick, blas)
                    enough = 0 if case.workload == "start" else CLOSE * tried[0][0]
                    most = len(tried) if case.workload == "start" else MOST
                    left[case] = [s for value, s in tried[:most] if value >= enough]
                else:
                    tried = [(self.rival(number, case, s), s) for s in left[case]]
                say(f"  {case.name:24} {mine / max(value for value, _ in tried):6.2f} x the best "
                    f"of {len(tried)} settings of llama.cpp")

    def series(self, case, engine, key):
        """Values by setting, in the order of rounds."""
        found = {}
        for run in self.runs:
            if run.case == case and run.engine == engine:
                found.setdefault(run.setting, []).append((run.round, run.metrics[key]))
        return found

    def probes(self):
        return {run.round: run.metrics for run in self.runs if run.engine == "ceilings"}

    def best(self, case, key, larger):
        """llama.cpp's values with the setting of the best median, of those in every round."""
        found = self.series(case, "llama.cpp", key)
        most = max(len(values) for values in found.values())
        sign = 1 if larger else -1
        setting = max((s for s in found if len(found[s]) == most),
                      key=lambda s: sign * statistics.median(v for _, v in found[s]))
        return setting, found[setting]
