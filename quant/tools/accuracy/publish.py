#!/usr/bin/env python3
"""Copies the table and the plots of report.py beside this file, into results/, and the main rows of
one source into quant/README.md, between the two comments there.

    publish.py FOLDER"""
import pathlib
import re
import shutil
import sys

import report
import rows

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- accuracy.py publish: begin -->", "<!-- end -->"
SOURCE = "small"
LEFT_OUT = ("source", "MB")               # columns
LEFT_OUT_ROWS = ("g64", "block")


def main_rows(found):
    keep = [i for i, name in enumerate(report.HEAD) if name not in LEFT_OUT]
    results = {(row, kind): r for (row, kind), r in found[SOURCE].items()
               if not any(word in rows.title(row) for word in LEFT_OUT_ROWS)}
    lines = [report.HEAD, ["---"] * len(report.HEAD), *report.lines_of(SOURCE, results)]
    return "\n".join(report.line([cells[i] for i in keep]) for cells in lines)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work = pathlib.Path(sys.argv[1])
    (HERE / "results").mkdir(exist_ok=True)
    for name in ("table.md", "kl.png", "layers.png"):
        shutil.copy(work / name, HERE / "results")
    found = report.read(work)
    if SOURCE not in found:
        sys.exit(f"quant/README.md is as it was: nothing of the source {SOURCE} has been measured")
    text = README.read_text(encoding="utf-8")
    parts = re.split(f"({re.escape(BEGIN)}|{re.escape(END)})", text)
    if len(parts) != 5:
        sys.exit(f"quant/README.md has no place for the table, between {BEGIN} and {END}")
    parts[2] = f"\n{main_rows(found)}\n"
    README.write_text("".join(parts), encoding="utf-8")
    print(f"quant/README.md: rows of {SOURCE}")


if __name__ == "__main__":
    main()
