"""All benchmarks, their table in `docs/benchmarks.md`, and whether anything has got worse.

    python benchmarks/bench.py --data FOLDER [--only probes overhead ...] [--check]

`make bench DATA=FOLDER` is the same. FOLDER holds `sst2` and `cifar10_images` as published; without it
only what needs no data is measured. What was measured replaces what `benchmarks/measured.json` has of it, and
the table is written anew from that file. With `--check` nothing is written: the ratios measured now are held
against those of the file, and the exit code is 1 if one is worse by more than a fifth. Seconds and bytes
are of one machine, and are not compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from measured import Measured, table

HERE = Path(__file__).parent
KEPT = HERE / "measured.json"
PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: written by benchmarks/bench.py -->", "<!-- end of what was measured -->"
WORSE = 1.2
"""A ratio this much worse than before is a regression; less is what machines do by themselves."""

SUITES: dict[str, tuple[str, tuple[str, ...]]] = {
    "probes": ("frozen features", ("sst2", "cifar10_images")),
    "fine_tuning": ("fine-tuning", ("sst2",)),
    "chess_policies": ("chess policies", ()),
    "overhead": ("engines and store", ()),
    "best_of_n": ("best-of-n", ()),
}
"""Modules with a function `main` that takes arguments and gives what was measured; and the data they read."""


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    } | {name: version(name) for name in ("torch", "transformers", "numpy", "scikit-learn")}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure(suites: Sequence[str], data: Path | None) -> Iterator[dict[str, dict[str, Any]]]:
    """Run suites, one after the other; what each number of a suite is, by what it is called."""
    for suite in suites:
        _, folders = SUITES[suite]
        if folders and data is None:
            print(f"{suite}: left out, it needs --data", file=sys.stderr)
            continue
        on = machine()
        arguments = [str(data / folder) for folder in folders] if data is not None else []
        # A process of its own: what one suite has imported, and holds, is no part of another's time.
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            found = alone.submit(_run, suite, arguments).result()
        yield {each["what"]: each | {"suite": suite, "machine": on} for each in found}


def _run(suite: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    return [each._asdict() for each in import_module(suite).main(arguments)]


def worse(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> list[str]:
    """Ratios that have got worse, in words."""
    lines = []
    for what, entry in now.items():
        if entry["unit"] == "times" and what in before:
            old, new = before[what]["value"], entry["value"]
            if (new / old if entry["most"] else old / new) > WORSE:
                lines.append(f"{what}: {new:.2f}, was {old:.2f}")
    return lines


def page(kept: dict[str, dict[str, Any]]) -> str:
    """The tables as Markdown, a section for each suite and machine."""
    lines = []
    for suite, (title, _) in SUITES.items():
        entries = [entry for entry in kept.values() if entry["suite"] == suite]
        machines = list(dict.fromkeys(json.dumps(entry["machine"]) for entry in entries))
        for number, text in enumerate(machines):
            on = json.loads(text)
            if not number:
                lines += [f"## {title[0].upper()}{title[1:]}", ""]
            packages = ", ".join(
                f"{name} {on[name]}" for name in ("torch", "transformers", "numpy", "scikit-learn")
            )
            lines += [
                f"{on['date']}, {on['cores']} cores of {on['processor']}, load {on['load before']} "
                f"when it began; Python {on['python']}, {packages}.",
                "",
                "| | measured | wanted |",
                "|---|---:|---:|",
            ]
            for entry in entries:
                if json.dumps(entry["machine"]) == text:
                    each = Measured(**{name: entry[name] for name in Measured._fields})
                    value = f"{each.value:.3g}" if each.holds else f"**{each.value:.3g}**"
                    unit = "" if each.unit == "times" else f", {each.unit}"
                    lines.append(f"| {each.what}{unit} | {value} | {each.wanted} |")
            lines.append("")
    return "\n".join(lines)


def write(kept: dict[str, dict[str, Any]]) -> None:
    """Keep the numbers, and put their table into the page."""
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    text = PAGE.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:start]}\n\n{page(kept)}\n{text[end:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; then keep it, or hold it against what is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    before = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    now: dict[str, dict[str, Any]] = {}
    for found in measure(options.only, options.data):
        now |= found
        if not options.check:
            write(before | now)  # after each suite, as all of them take an hour
    if not now:
        return 0
    print(table([Measured(**{name: entry[name] for name in Measured._fields}) for entry in now.values()]))
    if not options.check:
        return 0
    lines = worse(now, before)
    print("\n".join(lines) or "no ratio is worse than before")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
