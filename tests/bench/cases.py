"""What is measured: the cases, the settings that llama.cpp may choose from for each, and what
the machine's ceilings would allow."""
import dataclasses
import pathlib

from builds import BLAS, NATIVE
from gguf_read import Header

FORMS = ("Q8_0", "Q4_K_M")

@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    model: pathlib.Path
    workload: str  # of serve.c and rival.py
    n: int = 1
    prompt: int = 16
    generate: int = 128
    isa: str = "auto"
    build: str = NATIVE
    form: str = ""  # of the model, where that must be made first
    packed: bool = False  # ours maps weights that a load before has kept: model.packed_cache

    def arguments(self, threads):
        return [f"{key}={value}" for key, value in
                (("threads", threads), ("n", self.n), ("prompt", self.prompt),
                 ("generate", self.generate), ("context", self.context()))]

    def context(self):
        return (self.prompt + self.generate + 127) // 128 * 128

    def variations(self, threads, quick, blas):
        """What llama.cpp is tried with after flash attention on and off: each changes the better
        of these two. blas: it has been compiled with OpenBLAS as well, for 32 tokens and more."""
        products = [{"build": BLAS}] if blas and self.build == NATIVE and self.prompt >= 32 else []
        # On a machine with other work, waiting for a thread that does not run costs the most.
        fewer = [{"threads": threads - 1}] if threads > 1 else []
        if quick:
            return fewer + products
        if products and self.workload == "parallel":
            products.append({"build": BLAS, "ubatch": 2048})
        more = {
            "decode": [{"repack": 0}],
            "prefill": [{"repack": 0}, {"ubatch": 128}],
            "parallel": [{"ubatch": 128}, {"ubatch": 2048}],
            "start": [{"repack": 0}, {"ubatch": 32}],
        }[self.workload]
        return fewer + more + products


def of_model(model, isa_builds, quick):
    """The cases of make bench-versus. isa_builds: the llama.cpp to compare our kernels of an
    instruction set with, of those that are measured apart."""
    length = 256 if quick else 512
    decode = {"workload": "decode", "generate": 32 if quick else 128}
    prefill = {"workload": "prefill", "prompt": length, "generate": 1}
    cases = [Case("decode", model, **decode), Case(f"prefill {length}", model, **prefill)]
    for n in (8, 16, 32):
        cases.append(Case(f"{n} sequences", model, "parallel", n, 128, 16 if quick else 64))
    for form in FORMS:
        cases += [Case(f"decode, {form}", model, form=form, **decode),
                  Case(f"prefill {length}, {form}", model, form=form, **prefill)]
    for isa, build in isa_builds.items():
        kind = {"isa": isa, "build": build}
        cases += [Case(f"decode, {isa}", model, **kind, **decode),
                  Case(f"prefill {length}, {isa}", model, **kind, **prefill)]
    start = {"workload": "start", "generate": decode["generate"]}
    return cases + [Case("start", model, **start),
                    Case("start, packed file", model, packed=True, **start)]


def with_file(case, make):
    """The case with the file of its format; make gives the path for a format's name."""
    return dataclasses.replace(case, model=make(case.form), form="") if case.form else case


def of_shapes(models, quick):
    """The cases of make bench-shapes: large matrices, so few tokens."""
    cases = []
    for path in models:
        name = path.stem
        cases += [Case(f"decode, {name}", path, "decode", prompt=16, generate=8 if quick else 24),
                  Case(f"prefill, {name}", path, "prefill", prompt=64 if quick else 256,
                       generate=1)]
    return cases


class Costs:
    """Bytes and products of each model, read once."""

    def __init__(self):
        self.header = {}

    def of(self, model):
        if model not in self.header:
            header = Header(model)
            self.header[model] = (*header.cost(), header.formats())
        return self.header[model]

    def units(self, case):
        """What one token a second is in memory read (decode) or operations (prefill), by 1e9."""
        size, layers, _, _ = self.of(case.model)
        return {"decode": ("GB/s", size * 1e-9), "prefill": ("GOPS", 2e-9 * layers)}[case.workload]

    def ceiling(self, case, probes):
        """Tokens/s if every step took as long as reading the weights once, or as its products of
        8 bits, whichever is longer; None where there is no such ceiling."""
        size, layers, head, _ = self.of(case.model)
        dot = {"avx2": probes["avx2_gops"], "plain": None}.get(
            case.isa, probes["vnni_gops"] or probes["avx2_gops"])
        if not dot or case.workload == "start":
            return None

        def seconds(rows, sampled):
            products = 2e-9 * (layers * rows + head * sampled) / dot
            return max(size * 1e-9 / probes["read_gbs"], products)

        prompt = seconds(case.n * case.prompt, case.n)
        steps = (case.generate - 1) * seconds(case.n, case.n)
        if case.workload == "decode":
            return (case.generate - 1) / steps
        if case.workload == "prefill":
            return case.prompt / prompt
        return case.n * case.generate / (prompt + steps)
