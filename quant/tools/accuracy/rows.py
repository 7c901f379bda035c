"""What is measured: sources, formats, and what must hold."""
import collections

# Folders in that of --work, in the order of measuring.
SOURCES = {
    "small": "29 million parameters, trained with f32 weights, see train.py",
    "rotated": "SmolLM2-135M in full precision: channels turned in pairs, see rotate.py",
    "q4_1": "SmolLM2-135M of its Q4_1 file, decoded: it had 4 bits once",
    "qwen": "Qwen2.5-Coder-1.5B-Instruct of its Q4_K_M file, decoded: it had 4 bits once",
}

# form: as inflight-quantize or llama.cpp calls it. quantize: options of inflight-quantize.
# wants_text: it looks at the calibration text. activations: of inflight-eval; int8 is how the engine
# runs on a CPU where the format allows it, which E4M3 does not: there both are the same.
Row = collections.namedtuple("Row", "form method kind quantize wants_text activations")

FLOAT, BOTH = ("float",), ("float", "int8")


def ours(form, method, *quantize, calibrated=None, activations=FLOAT):
    wants = method not in ("rtn", "") if calibrated is None else calibrated
    return Row(form, method, "ours", quantize, wants, activations)


def int4(group, method, *more, **named):
    form = f"int4 g{group}" + (" symmetric" if "-s" in more else "")
    return ours(form, method, "-r", "int4", "-g", str(group), "-m", method, *more, **named)


def mixed(group, budget):
    """What costs most is kept finer, until this many bits a weight are used."""
    return ours(f"int4 g{group} budget {budget:g}", "gptq", "-r", "int4", "-g", str(group), "-m",
                "gptq", "--budget", f"{budget:g}")


def mixed_fp8(budget):
    return ours(f"fp8 budget {budget:g}", "gptq", "-r", "fp8", "-m", "gptq", "--budget",
                f"{budget:g}")


def rival(form, activations=FLOAT):
    return Row(form, "llama.cpp", "rival", (), False, activations)


def cache(kind):
    return Row(f"bf16, {kind} cache", "", "cache", (kind,), False, FLOAT)


# In the order of measuring: what is compared with one another stands together. Errors of outputs
# of the first are wanted for the plot of layers, so it has the text too.
FOUR_BITS = [
    int4(128, "rtn", calibrated=True), int4(128, "awq"), int4(128, "gptq"),
    int4(64, "rtn"), int4(64, "awq"), int4(64, "gptq"),
    int4(32, "rtn", "-s"), int4(32, "awq", "-s"), int4(32, "gptq", "-s"),
    int4(32, "rtn"), int4(32, "awq"), int4(32, "gptq"),
    mixed(128, 4.5), mixed(128, 4.7), mixed(32, 5.25),
    rival("Q4_0"), rival("Q4_K"), rival("Q4_K_M"),
]
EIGHT_BITS = [
    ours("fp8", "rtn", "-r", "fp8"),
    ours("fp8", "gptq", "-r", "fp8", "-m", "gptq"),
    mixed_fp8(8.5), mixed_fp8(9), mixed_fp8(10),
    ours("fp8-block", "rtn", "-r", "fp8-block"),
    ours("fp8-static", "", "-r", "fp8-static", calibrated=True),
    ours("int8", "rtn", "-r", "int8", activations=BOTH),
    ours("int8", "gptq", "-r", "int8", "-m", "gptq", activations=BOTH),
    ours("int8", "smooth", "-r", "int8", "-m", "smooth", activations=BOTH),
    ours("int8 budget 8.5", "gptq", "-r", "int8", "-m", "gptq", "--budget", "8.5",
         activations=BOTH),
    ours("int8-group", "rtn", "-r", "int8-group", activations=BOTH),
    ours("int8-group", "gptq", "-r", "int8-group", "-m", "gptq", activations=BOTH),
    rival("Q8_0", activations=BOTH),
    cache("fp8"), cache("int8"),
]
ROWS = FOUR_BITS + EIGHT_BITS

# What is not measured of a source. SmolLM2 takes long; its rows of 576 values do not consist of
# groups of 128, and in groups of 64 they are measured as int4 g128. Budgets are as many bits as
# llama.cpp's formats take: of SmolLM2, of which it keeps most in 5 bits, more than elsewhere. Of
# Qwen, which takes minutes a row, it is what 8 bits cost a larger model: in 4 bits it would meet
# its own grid.
LEFT_OUT = {
    "small": ("budget 5.25", "fp8 budget"),
    "rotated": ("g64", "symmetric awq", "budget 4.5", "budget 4.7", "int8 budget"),
    "q4_1": ("g64", "g32", "g128 budget", "int8 budget", "Q4_K", "block", "cache"),
    "qwen": ("int4", "gptq", "block", "static", "Q4"),
}

# Form, and how much larger the perplexity may be than that of bf16.
BARS = [("fp8", 0.005), ("fp8 budget 8.5", 0.005), ("fp8 budget 9", 0.005),
        ("fp8 budget 10", 0.005), ("fp8-static", 0.005), ("int8", 0.01), ("int8-group", 0.01),
        ("bf16, fp8 cache", 0.003), ("bf16, int8 cache", 0.003)]


ON = " on "


def label(source, text):
    return f"{source}{ON}{text}" if text else source


def title(row):
    return f"{row.form} {row.method}".strip()


def file_name(row, activations):
    return f"{title(row).replace(' ', '-').replace(',', '')}.{activations}.json"


def is_precise(row):
    """What costs little takes much text to see."""
    return row in EIGHT_BITS


def of_source(source):
    return [row for row in ROWS if not any(word in title(row) for word in LEFT_OUT[source])]
