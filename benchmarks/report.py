"""Writes the README's table and chart from a results file of bench.py.

python benchmarks/report.py benchmarks/results/cpu.json
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CHART = ROOT / "docs" / "benchmark.png"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"

#: The case that the README shows: past the second-level cache, one thread.
SHOWN = {"shape": [64, 64, 32, 32], "dtype": "float32", "memory_format": "contiguous", "threads": 1}

Row = dict[str, object]


def shown_rows(rows: list[Row]) -> dict[str, dict[str, Row]]:
    """peer -> direction -> row, for the case shown, in the order of the file."""
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        if all(row[key] == value for key, value in SHOWN.items()):
            table.setdefault(str(row["peer"]), {})[str(row["direction"])] = row
    if not table:
        raise SystemExit(f"the file has no rows for the case that the README shows, {SHOWN}")
    return table


def cell(row: Row | None) -> str:
    if row is None:
        return "| "
    return f"| {float(row['median_s']) * 1e3:.2f} ms | {float(row['of_limit']):.1f}"


def markdown(environment: dict[str, object], table: dict[str, dict[str, Row]]) -> str:
    shape = "x".join(map(str, SHOWN["shape"]))
    lines = [
        f"{environment['device']}, torch {environment['torch']}, {environment['date']}: "
        f"{SHOWN['dtype']} {shape}, {SHOWN['memory_format']}, one thread; medians.",
        "",
        "| | forward | x clone | backward | x add |",
        "|---|---|---|---|---|",
    ]
    for peer, row in table.items():
        forward, backward = cell(row.get("forward")), cell(row.get("backward"))
        lines.append(f"| {peer} {forward} {backward} |")
    return "\n".join(lines)


def draw(table: dict[str, dict[str, Row]]) -> None:
    names = list(table)
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.35 * len(names) + 1.2), sharey=True)
    for axis, direction in zip(axes, ("forward", "backward"), strict=True):
        rows = [table[name].get(direction) for name in names]
        times = [float(row["median_s"]) * 1e3 if row else 0.0 for row in rows]
        colors = ["#1f77b4" if name.startswith("mpelu") else "#bbbbbb" for name in names]
        bars = axis.barh(names, times, color=colors)
        axis.bar_label(bars, labels=[f"{t:.2f}" if t else "" for t in times], padding=3, fontsize=8)
        axis.set_xscale("symlog", linthresh=0.5)
        axis.set_xlabel(f"{direction}, ms")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    figure.tight_layout()
    CHART.parent.mkdir(exist_ok=True)
    figure.savefig(CHART, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a JSON file that bench.py wrote")
    content = json.loads(parser.parse_args().file.read_text())
    table = shown_rows(content["rows"])
    draw(table)
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    block = f"{BEGIN}\n{markdown(content['environment'], table)}\n{END}"
    text = README.read_text()
    if not pattern.search(text):
        raise SystemExit(f"{README} has no place for the table: {BEGIN} ... {END}")
    README.write_text(pattern.sub(lambda _: block, text))


if __name__ == "__main__":
    main()
