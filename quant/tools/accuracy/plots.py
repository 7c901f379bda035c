"""Divergence against size, and the error of each layer, for each source: kl.png and layers.png."""
import collections
import math
import re

COLOR = {"rtn": "tab:blue", "awq": "tab:green", "gptq": "tab:orange", "smooth": "tab:purple",
         "llama.cpp": "tab:red", "": "tab:gray"}
PANELS = (("4 bits", lambda bits: bits < 7), ("8 bits", lambda bits: bits >= 7))


MARKER = {"": "o", "symmetric": "^", "budget": "D"}


def shown(row):
    return row.form.removeprefix("int4 ")


def kind_of(row):
    """int4: as it is, symmetric, or a mixture by a budget."""
    return next((word for word in MARKER if word and word in row.form), "")


def series(results, within):
    """{(method, kind): [(row, result)]} by size: points that a line connects."""
    lines = collections.defaultdict(list)
    for (row, kind), r in results.items():
        if row.kind != "cache" and kind == "float" and within(r["bits"]):
            lines[row.method, kind_of(row)].append((row, r))
    return {key: sorted(points, key=lambda p: p[1]["bits"]) for key, points in lines.items()}


def draw_panel(axes, results, within):
    for (method, what), points in series(results, within).items():
        is_rival = method == "llama.cpp"
        mean = [r["kl_divergence"]["mean"] for _, r in points]
        axes.errorbar([r["bits"] for _, r in points], mean,
                      [r["kl_divergence"]["error95"] or 0 for _, r in points], capsize=2,
                      color=COLOR[method], label=method or points[0][0].form, markersize=5,
                      fmt="s" if is_rival else MARKER[what],
                      linestyle="-" if len(points) > 1 and points[0][0].form[:4] == "int4" else "")
        for (row, r), y in zip(points, mean):
            if is_rival or what == "budget" or method in ("rtn", ""):
                axes.annotate(shown(row), (r["bits"], y), textcoords="offset points",
                              xytext=(5, 4), fontsize=7)
    axes.set(yscale="log", xlabel="bits a weight")
    axes.margins(x=0.18)
    axes.grid(alpha=0.3, which="both")


def legend(axes):
    """Each method once."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    axes.legend(unique.values(), unique.keys(), fontsize=8)


def draw_kl(pyplot, found, path):
    figure, grid = pyplot.subplots(len(found), 2, figsize=(9, 3.6 * len(found)),
                                   layout="constrained", squeeze=False)
    for line, (source, results) in zip(grid, found.items()):
        for axes, (name, within) in zip(line, PANELS):
            draw_panel(axes, results, within)
            axes.set_title(f"{source}, {name}", fontsize=9)
            legend(axes)
        line[0].set_ylabel("KL divergence from bf16, nat")
    figure.savefig(path, dpi=80)


def by_layer(r):
    """Root mean square, over a layer's matrices, of the relative errors of outputs."""
    squares = collections.defaultdict(list)
    for m in r["matrices"]:
        layer = re.search(r"layers\.(\d+)\.", m["module"])
        if layer and "relative_output_error" in m:
            squares[int(layer[1])].append(m["relative_output_error"] ** 2)
    return {layer: math.sqrt(sum(s) / len(s)) for layer, s in sorted(squares.items())}


def draw_layers(pyplot, found, path):
    styles = {"int4 g128": "-", "int8": ":", "fp8": "--"}
    figure, grid = pyplot.subplots(1, len(found), figsize=(4.5 * len(found), 3.4),
                                   layout="constrained", squeeze=False)
    for axes, (source, results) in zip(grid[0], found.items()):
        for (row, kind), r in results.items():
            layers = by_layer(r) if kind == "float" and "matrices" in r else {}
            if layers and row.form in styles:
                axes.plot(list(layers), list(layers.values()), color=COLOR[row.method],
                          linestyle=styles[row.form], label=f"{row.form} {row.method}")
        axes.set(xlabel="layer", yscale="log", ylabel="relative error of outputs")
        axes.set_title(source, fontsize=9)
        axes.grid(alpha=0.3)
        legend(axes)
    figure.savefig(path, dpi=80)


def draw(found, folder):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    draw_kl(pyplot, found, folder / "kl.png")
    draw_layers(pyplot, found, folder / "layers.png")
