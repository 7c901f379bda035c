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
    """The labels of points: [(text, place)]."""
    labels = []
    for (method, what), points in series(results, within).items():
        is_rival = method == "llama.cpp"
        mean = [r["kl_divergence"]["mean"] for _, r in points]
        axes.errorbar([r["bits"] for _, r in points], mean,
                      [r["kl_divergence"]["error95"] or 0 for _, r in points], capsize=2,
                      color=COLOR[method], label=method or points[0][0].form, markersize=5,
                      fmt="s" if is_rival else MARKER[what],
                      linestyle="-" if len(points) > 1 and points[0][0].form[:4] == "int4" else "")
        labels += [(shown(row), (r["bits"], y)) for (row, r), y in zip(points, mean)
                   if is_rival or what == "budget" or method in ("rtn", "")]
    axes.set(yscale="log", xlabel="bits a weight")
    axes.margins(x=0.18)
    axes.grid(alpha=0.3, which="both")
    return labels


# Of a label from its point, in points, and which of its sides is there; the first that is free.
PLACES = [((x, y), side) for y in (4, -10, 14, -20, 24, -30) for x, side in ((5, "left"),
                                                                            (-5, "right"))]


def put_labels(axes, labels):
    """Beside one another and the legend, within the axes; the figure has been laid out."""
    taken = [axes.get_legend().get_window_extent()]
    for text, place in labels:
        for offset, side in PLACES:
            label = axes.annotate(text, place, offset, textcoords="offset points", ha=side,
                                  fontsize=7, in_layout=False)
            box = label.get_window_extent()
            is_within = all(axes.bbox.contains(*corner) for corner in (box.min, box.max))
            if is_within and not any(box.overlaps(other) for other in taken):
                break
            label.remove()
        else:
            axes.add_artist(label)
        taken.append(box)


def legend(axes):
    """Each method once."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    axes.legend(unique.values(), unique.keys(), fontsize=8)


def draw_kl(pyplot, found, path):
    figure, grid = pyplot.subplots(len(found), 2, figsize=(9, 3.6 * len(found)),
                                   layout="constrained", squeeze=False)
    panels = []
    for line, (source, results) in zip(grid, found.items()):
        for axes, (name, within) in zip(line, PANELS):
            if not series(results, within):
                axes.set_axis_off()
                continue
            panels.append((axes, draw_panel(axes, results, within)))
            axes.set_title(f"{source}, {name}", fontsize=9)
            axes.set_ylabel("KL divergence from bf16, nat")
            legend(axes)
    figure.draw_without_rendering()
    for axes, labels in panels:
        put_labels(axes, labels)
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
