#!/usr/bin/env python3
"""Bars of how many times better ours is, from the CSV file of versus.py; thin ones: than
llama.cpp compiled with OpenBLAS.

    tests/bench/plot.py IN.csv OUT.png

No background and middle tones, so that it can be read on a white page and on a black one.
"""
import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402, after the choice of where to draw
from matplotlib.ticker import FuncFormatter  # noqa: E402

TEXT, BAR, WORSE, THIN, LINE = "#808890", "#2f81c7", "#c9702b", "#8f6fc0", "#808890"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], newline="") as f:
        rows = list(csv.DictReader(f))[::-1]
    ratio = [float(row["ratio"]) for row in rows]
    plt.rcParams.update({"text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT,
                         "ytick.color": TEXT, "font.size": 11})
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.45 * len(rows)), layout="constrained")
    bars = axes.barh([row["workload"] for row in rows], ratio, height=0.5,
                     color=[BAR if r >= 1 else WORSE for r in ratio])
    axes.bar_label(bars, [f"{r:.2f}" if r < 10 else f"{r:.1f}" for r in ratio], padding=4)
    thin = [(i - 0.36, float(row["ratio_openblas"])) for i, row in enumerate(rows)
            if row["ratio_openblas"]]
    if thin:
        bars = axes.barh(*zip(*thin), height=0.2, color=THIN, label="the same, llama.cpp with OpenBLAS")
        axes.bar_label(bars, [f"{r:.2f}" for _, r in thin], padding=4, fontsize=8)
        axes.legend(frameon=False)
    axes.axvline(1, color=LINE, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlim(0, max(1, *ratio, *(r for _, r in thin)) * 1.1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}x"))
    axes.set_xlabel("Inflight over llama.cpp with its best settings (1x: equal, right: better)")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(sys.argv[2], dpi=160, transparent=True)


if __name__ == "__main__":
    main()
