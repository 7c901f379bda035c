"""Rows of the comparison out of the runs, and how they are printed and kept."""
import csv
import dataclasses
import statistics

from builds import BLAS, NATIVE


@dataclasses.dataclass
class Rival:
    """A build of llama.cpp with the best of its settings."""
    values: list
    setting: str
    of: float = 0  # fraction of the ceiling, 0: there is none


@dataclasses.dataclass
class Row:
    workload: str
    unit: str
    ours: list
    own: Rival  # as pip installs it, or for fewer instructions where ours is restricted
    blas: Rival  # compiled with OpenBLAS; None: was not measured
    larger: bool  # is better
    ours_of: float = 0

    def ratio(self, rival):
        """How many times better ours is, of the medians."""
        ratio = statistics.median(self.ours) / statistics.median(rival.values)
        return ratio if self.larger else 1 / ratio


def fraction(case, values, probes, costs):
    """Median of the rounds, each against the ceilings of its own."""
    parts = [(value, costs.ceiling(case, probes[number])) for number, value in values]
    parts = [value / ceiling for value, ceiling in parts if ceiling]
    return statistics.median(parts) if parts else 0


def row(measure, costs, case, key, unit, name, factor=1.0, larger=True):
    mine = measure.series(case, "inflight", key)[""]
    probes = measure.probes()

    def of(values):
        return fraction(case, values, probes, costs) if key == "tokens_s" else 0

    rivals = {}
    for build in measure.builds(case):
        setting, values = measure.best(case, key, larger, build)
        if case.isa == "avx2" and build == NATIVE:
            setting += ", and AVX-512"
        rivals[build] = Rival([v * factor for _, v in values], setting, of(values))
    return Row(name, unit, [v * factor for _, v in mine], rivals[case.build], rivals.get(BLAS),
               larger, of(mine))


def rows(measure, costs, cases, shapes):
    found = []
    for case in cases:
        if case.workload == "start":
            how = "packed file" if case.packed else "packing"
            found += [row(measure, costs, case, "first_token_s", "ms",
                          f"dlopen to first token, {how}", 1e3, False),
                      row(measure, costs, case, "peak_mib", "MiB", f"peak memory, {how}", 1.0,
                          False)]
            continue
        unit, factor = costs.units(case) if shapes else ("tokens/s", 1.0)
        found.append(row(measure, costs, case, "tokens_s", unit, case.name, factor))
    return found


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def spread(values):
    return f"{number(statistics.median(values))} [{number(min(values))}..{number(max(values))}]"


def percent(x):
    return f"{100 * x:.0f} %" if x else "-"


def markdown(table):
    head = ["workload", "unit", "Inflight", "of the ceiling", "llama.cpp", "of the ceiling",
            "ratio", "its settings", "with OpenBLAS", "ratio", "its settings"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for r in table:
        cells = [r.workload, r.unit, spread(r.ours), percent(r.ours_of), spread(r.own.values),
                 percent(r.own.of), f"{r.ratio(r.own):.2f}", r.own.setting]
        cells += ([spread(r.blas.values), f"{r.ratio(r.blas):.2f}", r.blas.setting] if r.blas
                  else ["-"] * 3)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def conditions(measure, versions, costs, cases):
    """What must stand beside the table for it to mean anything."""
    probes = list(measure.probes().values())
    lines = [f"{measure.threads} threads, {len(probes)} rounds, interleaved; "
             f"load {number(statistics.median(r.load for r in measure.runs))}, steal "
             f"{number(statistics.mean(r.steal for r in measure.runs))} % "
             f"(at most {number(max(r.steal for r in measure.runs))} %)."]
    for key, name in (("read_gbs", "Memory GB/s"), ("vnni_gops", "VNNI GOPS"),
                      ("avx2_gops", "AVX2 int8 GOPS"), ("bf16_gops", "BF16 GOPS")):
        values = [p[key] for p in probes if p[key]]
        if values:
            lines.append(f"{name}: {spread(values)}.")
    lines += [f"llama.cpp ({build}): llama-cpp-python {v['version']}, {' '.join(v['has'])}."
              for build, v in versions.items()]
    for model in dict.fromkeys(case.model for case in cases):
        size, layers, head, formats = costs.of(model)
        lines.append(f"{model.name}: {formats}; {size / 1e6:.1f} MB a token, {layers / 1e6:.1f} M "
                     f"products in the layers, {head / 1e6:.1f} M in the head.")
    return "\n".join(lines)


def write_csv(path, table):
    with open(path, "w", newline="") as f:
        out = csv.writer(f)
        names = [name + part for name in ("ours", "llama_cpp", "openblas")
                 for part in ("", "_min", "_max", "_of_ceiling")]
        out.writerow(["workload", "unit", *names, "ratio", "ratio_openblas", "settings",
                      "settings_openblas"])
        for r in table:
            rivals = [r.own, r.blas] if r.blas else [r.own]
            figures = [f(values) for values, of in
                       ((r.ours, r.ours_of), *((v.values, v.of) for v in rivals))
                       for f in (statistics.median, min, max, lambda _, of=of: of)]
            figures += [""] * (len(names) - len(figures))
            ratios = [r.ratio(v) for v in rivals] + [""] * (2 - len(rivals))
            out.writerow([r.workload, r.unit, *(round(x, 3) if x != "" else x
                                                for x in figures + ratios),
                          r.own.setting, r.blas.setting if r.blas else ""])


def write_runs(path, measure):
    """Every process there was, with the load before it and the steal during it."""
    with open(path, "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["round", "workload", "engine", "build", "settings", "metric", "value", "load",
                      "steal_percent"])
        for r in measure.runs:
            for key, value in r.metrics.items():
                out.writerow([r.round + 1, r.case.name if r.case else "ceilings", r.engine,
                              r.build, r.setting, key, value, round(r.load, 2),
                              round(r.steal, 2)])
