"""Rows of the comparison out of the runs, and how they are printed and kept."""
import csv
import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    workload: str
    unit: str
    ours: list
    rival: list
    setting: str
    larger: bool  # is better
    ours_of: float = 0  # fraction of the ceiling, 0: there is none
    rival_of: float = 0

    def ratio(self):
        """How many times better ours is, of the medians."""
        ratio = statistics.median(self.ours) / statistics.median(self.rival)
        return ratio if self.larger else 1 / ratio


def fraction(case, values, probes, costs):
    """Median of the rounds, each against the ceilings of its own."""
    parts = [(value, costs.ceiling(case, probes[number])) for number, value in values]
    parts = [value / ceiling for value, ceiling in parts if ceiling]
    return statistics.median(parts) if parts else 0


def row(measure, costs, case, key, unit, name, factor=1.0, larger=True):
    mine = measure.series(case, "inflight", key)[""]
    setting, theirs = measure.best(case, key, larger)
    if case.isa == "avx2" and case.build != "avx2":
        setting += ", and AVX-512"
    probes = measure.probes()
    rate = key == "tokens_s"
    return Row(name, unit, [v * factor for _, v in mine], [v * factor for _, v in theirs], setting,
               larger, fraction(case, mine, probes, costs) if rate else 0,
               fraction(case, theirs, probes, costs) if rate else 0)


def rows(measure, costs, cases, shapes):
    found = []
    for case in cases:
        if case.workload == "start":
            found += [row(measure, costs, case, "first_token_s", "ms", "dlopen to first token", 1e3,
                          False),
                      row(measure, costs, case, "peak_mib", "MiB", "peak memory, decode", 1.0,
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
    lines = ["| workload | unit | Inflight | llama.cpp | ratio | of the ceiling | llama.cpp's | "
             "its settings |", "|---|---|---|---|---|---|---|---|"]
    for r in table:
        lines.append(f"| {r.workload} | {r.unit} | {spread(r.ours)} | {spread(r.rival)} | "
                     f"{r.ratio():.2f} | {percent(r.ours_of)} | {percent(r.rival_of)} | "
                     f"{r.setting} |")
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
        out.writerow(["workload", "unit", "ours", "ours_min", "ours_max", "llama_cpp",
                      "llama_cpp_min", "llama_cpp_max", "ratio", "ours_of_ceiling",
                      "llama_cpp_of_ceiling", "llama_cpp_settings"])
        for r in table:
            out.writerow([r.workload, r.unit, *(round(f(v), 3) for v in (r.ours, r.rival)
                                                for f in (statistics.median, min, max)),
                          round(r.ratio(), 3), round(r.ours_of, 3), round(r.rival_of, 3),
                          r.setting])


def write_runs(path, measure):
    """Every process there was, with the load before it and the steal during it."""
    with open(path, "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["round", "workload", "engine", "settings", "metric", "value", "load",
                      "steal_percent"])
        for r in measure.runs:
            for key, value in r.metrics.items():
                out.writerow([r.round + 1, r.case.name if r.case else "ceilings", r.engine,
                              r.setting, key, value, round(r.load, 2), round(r.steal, 2)])
