"""Writes the README's tables and its chart from the newest files in benchmarks/results.

    python benchmarks/report.py          # all of them
    python benchmarks/report.py gpu      # that table alone

A bar of the CUDA kernels that is in no file is shown as not measured.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import cuda_bars

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CHART = ROOT / "docs" / "benchmark.png"
RESULTS = ROOT / "benchmarks" / "results"

#: The case that the README shows: past the caches, one thread.
SHOWN = {"shape": [64, 64, 32, 32], "dtype": "float32", "layout": "contiguous", "threads": 1}

Row = dict[str, object]
Result = dict[str, object]


def newest(pattern: str) -> Result | None:
    files = sorted(RESULTS.glob(pattern), key=lambda path: path.stem[-10:])
    return json.loads(files[-1].read_text()) if files else None


def newest_of(kind: str) -> Result:
    result = newest(f"{kind}-*.json")
    if result is None:
        raise SystemExit(f"no {kind}-*.json in {RESULTS}: run make bench first")
    return result


def described(result: Result) -> str:
    facts = result["environment"]
    return f"{facts['device']}, {facts['cpu_capability']}, torch {facts['torch']}, {facts['date']}"


def shown_rows(result: Result) -> dict[str, dict[str, Row]]:
    """peer -> direction -> row, for the case shown, in the order of the file."""
    table: dict[str, dict[str, Row]] = {}
    for row in result["rows"]:
        if all(row[key] == value for key, value in SHOWN.items()):
            table.setdefault(row["peer"], {})[row["direction"]] = row
    return table


def speed_table(result: Result) -> str:
    shape = "x".join(map(str, SHOWN["shape"]))
    lines = [
        f"{described(result)}: {SHOWN['dtype']} {shape}, {SHOWN['layout']}, one thread; medians.",
        "",
        "| | forward | x clone | backward | x add | saved |",
        "|---|---|---|---|---|---|",
    ]
    for peer, directions in shown_rows(result).items():
        cells = [peer]
        for direction in ("forward", "backward"):
            row = directions.get(direction)
            cells += (
                [f"{row['median_s'] * 1e3:.2f} ms", f"{row['of_limit']:.2f}"] if row else ["", ""]
            )
        saved = directions.get("backward", {}).get("saved_bytes")
        cells.append("" if saved is None else f"{saved / 2**20:.0f} MB")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def accuracy_table(result: Result) -> str:
    worst: dict[tuple[str, str], tuple[float, float]] = {}
    for row in result["rows"]:
        operator = row["operator"]
        if operator == "mpelu.mpelu":
            operator += ", beta < 0" if row["beta"] < 0 else ", beta > 0"
        before = worst.get((operator, row["dtype"]), (0.0, 0.0))
        now = (row["largest_ulp"], row["largest_subnormal_ulp"])
        worst[operator, row["dtype"]] = (max(before[0], now[0]), max(before[1], now[1]))
    dtypes = list(dict.fromkeys(dtype for _, dtype in worst))
    lines = [
        "Largest error of the forward over every exponent, in units of the last place; in brackets",
        "that of results below the normal numbers, in units of the smallest number.",
        "",
        "| | " + " | ".join(dtypes) + " |",
        "|---" * (len(dtypes) + 1) + "|",
    ]
    for operator in dict.fromkeys(operator for operator, _ in worst):
        cells = ["{:.2f} ({:.2f})".format(*worst[operator, dtype]) for dtype in dtypes]
        lines.append("| " + " | ".join([operator, *cells]) + " |")
    return "\n".join(lines)


def bars_table(result: Result) -> str:
    met = sum(row["is_met"] for row in result["rows"])
    lines = [
        f"{met} of {len(result['rows'])} bars of `make bench-check` are met ({described(result)}):",
        "",
        "| time of ours, as a ratio | measured | bar |",
        "|---|---|---|",
    ]
    for row in result["rows"]:
        mark = "" if row["is_met"] else " (falls short)"
        lines.append(f"| {row['name']} | {row['ratio']:.2f}{mark} | {row['limit']:.2f} |")
    return "\n".join(lines)


def gpu_table() -> str:
    """The worst of each group of bars."""
    result = newest("gpu/*.json")
    head = "No GPU has been measured yet:"
    if result:
        facts = result["environment"]
        head = f"{facts['device']}, torch {facts['torch']}, {facts['date']}:"
    lines = [
        head,
        "",
        "| time of ours on the GPU, as a ratio | bars | the worst | is to be at most |",
        "|---|---|---|---|",
    ]
    rows = {row["name"]: row for row in result["rows"]} if result else {}
    for group, bars in cuda_bars.groups().items():
        measured = [rows[bar.name] for bar in bars if bar.name in rows]
        worst = "not measured"
        if measured:
            row = max(measured, key=lambda row: row["ratio"])
            worst = f"{row['ratio']:.2f}, {row['name'].removeprefix(group + ': ')}"
            worst += "" if row["is_met"] else " (falls short)"
            left = len(bars) - len(measured)
            worst += f"; {left} not measured" if left else ""
        lines.append(f"| {group} | {len(bars)} | {worst} | {bars[0].limit:.2f} |")
    return "\n".join(lines)


def draw_chart(result: Result) -> None:
    import matplotlib  # here, since a machine that measures the GPU may have none

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    table = shown_rows(result)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    peers = list(table)[::-1]
    for axis, direction, limit in zip(axes, ("forward", "backward"), ("clone", "add"), strict=True):
        found = [peer for peer in peers if direction in table[peer]]
        values = [table[peer][direction]["of_limit"] for peer in found]
        colours = ["tab:orange" if peer.startswith("mpelu") else "tab:grey" for peer in found]
        bars = axis.barh(found, values, color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        axis.set_xscale("log")
        axis.margins(x=0.15)
        axis.set_title(f"{direction}: time of one torch.{limit}")
    figure.suptitle(described(result), fontsize=8)
    figure.tight_layout()
    figure.savefig(CHART, dpi=110)
    plt.close(figure)


WRITERS: dict[str, Callable[[], str]] = {
    "speed": lambda: speed_table(newest_of("speed")),
    "accuracy": lambda: accuracy_table(newest_of("accuracy")),
    "bars": lambda: bars_table(newest_of("bars")),
    "gpu": gpu_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(WRITERS))
    tables = parser.parse_args().tables or list(WRITERS)
    if unknown := set(tables) - set(WRITERS):
        parser.error(f"there is no table {', '.join(unknown)}")
    text = README.read_text()
    for table in tables:
        block = re.compile(f"(<!-- {table}: begin -->\n).*?(<!-- {table}: end -->)", re.S)
        if not block.search(text):
            raise SystemExit(f"{README} has no block for {table}")
        written = WRITERS[table]()
        text = block.sub(lambda match, new=written: f"{match[1]}\n{new}\n\n{match[2]}", text)
    README.write_text(text)
    print(f"written: {README}")
    if "speed" in tables:
        draw_chart(newest_of("speed"))
        print(f"written: {CHART}")


if __name__ == "__main__":
    main()
