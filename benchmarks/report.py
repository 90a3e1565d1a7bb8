"""Writes the documents' tables and charts from the newest files in benchmarks/results.

    python benchmarks/report.py          # all of them
    python benchmarks/report.py gpu      # that table alone

A bar that is in no file is shown as not measured, and so are the networks. What the CPU shows and
what a GPU shows stand beside each other, from the newest file of each.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cuda_bars
import networks

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
CHART = ROOT / "docs" / "benchmark.png"
NETWORKS_CHART = ROOT / "docs" / "networks.png"
RESULTS = ROOT / "benchmarks" / "results"

Row = dict[str, Any]
Result = dict[str, Any]

#: The case that the README shows: past the caches, one thread.
SHOWN: Row = {
    "device": "cpu",
    "shape": [64, 64, 32, 32],
    "dtype": "float32",
    "layout": "contiguous",
    "threads": 1,
}


def newest(pattern: str, unlike: str = "") -> Result | None:
    """The file of the last date that has the one pattern and not the other."""
    files = set(RESULTS.glob(pattern)).difference(RESULTS.glob(unlike) if unlike else ())
    file = max(sorted(files), key=lambda path: path.stem[-10:], default=None)
    return json.loads(file.read_text()) if file else None


def newest_networks(device: str) -> Result | None:
    """Of that device by what the file says, whichever folder it was written into."""
    paths = [path for folder in ("", "gpu/") for path in RESULTS.glob(f"{folder}networks-*.json")]
    results = [json.loads(path.read_text()) for path in paths]
    of_device = [result for result in results if result["rows"][0]["device"] == device]
    return max(of_device, key=lambda result: result["environment"]["date"], default=None)


def newest_of(kind: str) -> Result:
    result = newest(f"{kind}-*.json")
    if result is None:
        raise SystemExit(f"no {kind}-*.json in {RESULTS}: run make bench first")
    return result


def described(result: Result) -> str:
    facts = result["environment"]
    return f"{facts['device']}, {facts['cpu_capability']}, torch {facts['torch']}, {facts['date']}"


def described_gpu(result: Result) -> str:
    facts = result["environment"]
    return f"{facts['device']}, torch {facts['torch']}, {facts['date']}"


def measured(ratio: float, is_met: bool, digits: int = 2) -> str:
    return f"{ratio:.{digits}f}" + ("" if is_met else " (falls short)")


def shown_rows(result: Result) -> dict[str, dict[str, Row]]:
    """peer -> direction -> row, for the case shown, in the order of the file."""
    table: dict[str, dict[str, Row]] = {}
    for row in result["rows"]:
        if all(row[key] == value for key, value in SHOWN.items()):
            table.setdefault(row["peer"], {})[row["direction"]] = row
    if not table:
        raise SystemExit(f"the speeds of {described(result)} lack the case to show: {SHOWN}")
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
            times = (f"{row['median_s'] * 1e3:.2f} ms", f"{row['of_reference']:.2f}") if row else ()
            cells += times or ("", "")
        saved = directions.get("backward", {}).get("saved_bytes")
        cells.append("" if saved is None else f"{saved / 1e6:.0f} MB")
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
        f"{described(result)}.",
        "",
        "Largest error of the forward over every exponent and, in float32 and float64, for the",
        "worst parameters that a search finds, in units of the last place; in brackets that of",
        "results below the normal numbers, in units of the smallest number.",
        "",
        "| | " + " | ".join(dtypes) + " |",
        "|---" * (len(dtypes) + 1) + "|",
    ]
    for operator in dict.fromkeys(operator for operator, _ in worst):
        cells = ["{:.2f} ({:.2f})".format(*worst[operator, dtype]) for dtype in dtypes]
        lines.append("| " + " | ".join([operator, *cells]) + " |")
    return "\n".join(lines)


def count_of_met(result: Result) -> str:
    return f"{sum(row['is_met'] for row in result['rows'])} of {len(result['rows'])}"


def bars_summary(result: Result) -> str:
    short = [row["name"] for row in result["rows"] if not row["is_met"]]
    missed = f"; these fall short: {'; '.join(short)}" if short else ""
    return (
        f"{count_of_met(result)} bars of `make bench-check` are met ({described(result)}){missed}."
    )


def bars_table(result: Result) -> str:
    lines = [
        f"{count_of_met(result)} bars are met ({described(result)}):",
        "",
        "| our time as a ratio to the reference's | measured | at most |",
        "|---|---|---|",
    ]
    for row in result["rows"]:
        ratio = measured(row["ratio"], row["is_met"], digits=3)
        lines.append(f"| {row['name']} | {ratio} | {row['limit']:.3f} |")
    return "\n".join(lines)


def machines_table() -> str:
    """The bars on other machines and versions of torch, each with a folder of its own."""
    compiled = "forward, 17 MB, of torch.compile"
    step = networks.BARS[0]
    lines = [
        f"| machine | bars met | {compiled} | {step.name} | falls short |",
        "|---|---|---|---|---|",
    ]
    for folder in sorted({path.parent.name for path in RESULTS.glob("*/bars-*.json")}):
        result = newest_of(f"{folder}/bars")
        ratios = {row["name"]: row["ratio"] for row in result["rows"]}
        short = [f"{r['name']} {r['ratio']:.2f}" for r in result["rows"] if not r["is_met"]]
        cells = (
            f"{described(result)} (`benchmarks/results/{folder}`)",
            count_of_met(result),
            f"{ratios[compiled]:.2f}",
            network_bar(step, newest(f"{folder}/networks-*.json")),
            "; ".join(short),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gpu_table() -> str:
    """The worst of each group of bars."""
    result = newest("gpu/*.json", unlike="gpu/networks-*.json")
    lines = [
        f"{described_gpu(result)}:" if result else "No GPU has been measured yet:",
        "",
        "| our time on the GPU as a ratio to the reference's | bars | the worst | at most |",
        "|---|---|---|---|",
    ]
    rows = {row["name"]: row for row in result["rows"]} if result else {}
    for group, bars in cuda_bars.groups().items():
        found = [rows[bar.name] for bar in bars if bar.name in rows]
        worst = "not measured"
        if found:
            row = max(found, key=lambda row: row["ratio"])
            worst = measured(row["ratio"], row["is_met"])
            worst += f", {row['name'].removeprefix(group + ': ')}"
            left = len(bars) - len(found)
            worst += f"; {left} not measured" if left else ""
        lines.append(f"| {group} | {len(bars)} | {worst} | {bars[0].limit:.2f} |")
    return "\n".join(lines)


def by_case(result: Result) -> list[list[Row]]:
    table: dict[tuple[int, str], list[Row]] = {}
    for row in result["rows"]:
        table.setdefault(networks.case_of(row), []).append(row)
    return list(table.values())


def layout_suffix(row: Row) -> str:
    return "" if row["layout"] == "contiguous" else ", channels last"


def networks_table() -> str:
    """The CPU's table, that of a GPU where there is one, and the bars of both."""
    on_cpu, on_gpu = newest_networks("cpu"), newest_networks("cuda")
    lines = ["Not measured yet: `make bench-networks` does it."]
    if on_cpu:
        chart = f"![Time and memory of a training step](docs/{NETWORKS_CHART.name})"
        facts = f"{described(on_cpu)}, {threads(on_cpu['rows'][0])}"
        lines = [chart, "", *steps_table(facts, on_cpu)]
    if on_gpu:
        lines += ["", *steps_table(described_gpu(on_gpu), on_gpu)]
    lines += ["", "| as a ratio | on the CPU | on the GPU | at most |", "|---|---|---|---|"]
    for bar in networks.BARS:
        cells = (bar.name, network_bar(bar, on_cpu), network_bar(bar, on_gpu), f"{bar.limit:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def network_bar(bar: networks.Bar, result: Result | None) -> str:
    found = bar.result(result["rows"]) if result else None
    return measured(found.ratio, found.is_met, digits=3) if found else "not measured"


def steps_table(facts: str, result: Result) -> list[str]:
    lines = [
        f"{facts}; medians.",
        "",
        "| depth, batch | | step | x ReLU | peak memory | x ReLU |",
        "|---|---|---|---|---|---|",
    ]
    for rows in by_case(result):
        relu = next(row for row in rows if row["network"] == networks.RELU)
        for row in rows:
            cells = (
                f"{row['depth']}, {row['batch']}{layout_suffix(row)}",
                row["network"],
                f"{row['median_s'] * 1e3:.0f} ms",
                f"{row['median_s'] / relu['median_s']:.2f}",
                f"{row['peak_bytes'] / 1e6:.0f} MB",
                f"{row['peak_bytes'] / relu['peak_bytes']:.3f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def threads(row: Row) -> str:
    return "one thread" if row["threads"] == 1 else f"{row['threads']} threads"


def pyplot() -> ModuleType:
    import matplotlib  # here, since a machine that measures the GPU may have none

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def draw_networks(result: Result) -> None:
    plt = pyplot()
    table = by_case(result)
    size = (10, 2.2 * len(table))
    figure, axes = plt.subplots(len(table), 2, figsize=size, sharey=True, squeeze=False)
    for rows, (time_axis, memory_axis) in zip(table, axes, strict=True):
        case = f"depth {rows[0]['depth']}, batch {rows[0]['batch']}{layout_suffix(rows[0])}"
        names = [row["network"] for row in rows][::-1]
        colours = ["tab:orange" if name.startswith(networks.OURS) else "tab:grey" for name in names]
        for axis, what, unit, key, scale in (
            (time_axis, "training step", "ms", "median_s", 1e-3),
            (memory_axis, "peak memory", "MB", "peak_bytes", 1e6),
        ):
            bars = axis.barh(names, [row[key] / scale for row in rows][::-1], color=colours)
            axis.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
            axis.margins(x=0.12)
            axis.set_title(f"{case}: {what}, {unit}", fontsize=10)
    figure.suptitle(described(result), fontsize=8)
    figure.tight_layout()
    figure.savefig(NETWORKS_CHART, dpi=110)
    plt.close(figure)


def draw_chart(result: Result) -> None:
    plt = pyplot()
    table = shown_rows(result)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    peers = list(table)[::-1]
    for axis, direction, name in zip(axes, ("forward", "backward"), ("clone", "add"), strict=True):
        found = [peer for peer in peers if direction in table[peer]]
        values = [table[peer][direction]["of_reference"] for peer in found]
        colours = ["tab:orange" if peer.startswith("mpelu") else "tab:grey" for peer in found]
        bars = axis.barh(found, values, color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        axis.set_xscale("log")
        axis.margins(x=0.15)
        axis.set_title(f"{direction}: as a multiple of one torch.{name}")
    figure.suptitle(described(result), fontsize=8)
    figure.tight_layout()
    figure.savefig(CHART, dpi=110)
    plt.close(figure)


WRITERS: dict[str, Callable[[], str]] = {
    "speed": lambda: speed_table(newest_of("speed")),
    "accuracy": lambda: accuracy_table(newest_of("accuracy")),
    "summary": lambda: bars_summary(newest_of("bars")),
    "bars": lambda: bars_table(newest_of("bars")),
    "machines": machines_table,
    "gpu": gpu_table,
    "networks": networks_table,
}


def write_block(table: str, content: str) -> None:
    """Puts a table where a document has its block."""
    block = re.compile(f"(<!-- {table}: begin -->\n).*?(<!-- {table}: end -->)", re.S)
    for document in DOCUMENTS:
        text, count = block.subn(
            lambda match: f"{match[1]}\n{content}\n\n{match[2]}", document.read_text()
        )
        if count:
            document.write_text(text)
            print(f"written: {table} in {document}")
            return
    raise SystemExit(f"no document has a block for {table}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(WRITERS))
    parser.add_argument(
        "--no-charts", action="store_true", help="the tables alone, which need no matplotlib"
    )
    arguments = parser.parse_args()
    tables = arguments.tables or list(WRITERS)
    if unknown := set(tables) - set(WRITERS):
        parser.error(f"there is no table {', '.join(unknown)}")
    for table in tables:
        write_block(table, WRITERS[table]())
    if arguments.no_charts:
        return
    if "speed" in tables:
        draw_chart(newest_of("speed"))
        print(f"written: {CHART}")
    if "networks" in tables and (result := newest_networks("cpu")):
        draw_networks(result)
        print(f"written: {NETWORKS_CHART}")


if __name__ == "__main__":
    main()
