"""What the engines and the store cost beside the computing: plans, runs, lists, a million stages, workers.

    python benchmarks/overhead.py [--parts graph list million pool] [--folder FOLDER] [--json FILE]

The folder decides on the disk that is measured. `docs/benchmarks.md` says what came out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from measured import Measured, Seconds, seconds, table
from overhead_pool import pool_against_inline
from overhead_stages import Trivial, fan

from surpass.engine.graph import outstanding
from surpass.engine.inline import run
from surpass.engine.manifests import manifest_of, versions
from surpass.stages import Stage
from surpass.store import Store

PARTS = ("graph", "list", "million", "pool")
HERE = Path(__file__).parent


def graph_cost(folder: Path, number: int) -> list[Measured]:
    """Planning and running stages that do next to nothing, and finding that nothing is left."""
    store = Store(folder / "graph")

    def is_done(stage: Stage) -> bool:
        return store.find(stage.kind, stage.id, label=stage.label) is not None

    planned = seconds(lambda: outstanding(fan(number), is_done))
    ran = seconds(lambda: run(fan(number), store))
    again = seconds(lambda: run(fan(number), store))
    details = {"all": ran, "per stage": ran.wall / (number + 1), "again, with nothing to do": again}
    details["load before"] = os.getloadavg()[0]
    what = f"{number:,} trivial stages"
    return [
        Measured(f"{what} to plan", planned.wall, 2.0, True, {"all": planned}, "seconds"),
        Measured(f"{what} to run inline", ran.wall, 60.0, True, details, "seconds"),
    ]


def list_cost(folder: Path, number: int, rounds: int) -> list[Measured]:
    """What `surpass list` and `surpass store du` take, each as a new process, of stages that are done."""
    store = Store(folder / "list")
    _publish(store, number)
    found = []
    for command in (("list",), ("store", "du")):
        times = [_command((*command, "--store", str(store.root))) for _ in range(rounds)]
        best = min(times)
        details = {"rounds": times, "without a store": _command(("list", "--store", str(folder / "none")))}
        what = f"{number:,} done: surpass {' '.join(command)}"
        found.append(Measured(what, best.wall, 3.0, True, details, "seconds"))
    return found


def _publish(store: Store, number: int) -> None:
    """Artifacts of trivial stages, as an engine publishes them."""
    before = fan(1)[0].before
    with store.batch:
        for each in range(number):
            stage = Trivial(number=each, before=before)
            with store.draft(stage.kind, stage.id, stage.label) as draft:
                (draft.path / "number.txt").write_bytes(b"%d" % each)
                said = {"seconds": 0.0, "versions": versions(), "said": {"number": each}}
                draft.publish(manifest_of(stage) | said, seconds=0.0)


def _command(arguments: Sequence[str]) -> Seconds:
    """Of a command of Surpass as a process of its own."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "surpass", *arguments], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Seconds(wall, used)


def sweep_cost(number: int) -> list[Measured]:
    """The memory and the time of planning a sweep, each in a process of its own."""
    found = []
    for sweep in ("trivial", "planted"):
        command = [sys.executable, str(HERE / "overhead_sweep.py"), sweep, str(number)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        details = json.loads(done.stdout)
        what = f"{details['stages']:,} stages ({sweep}) to plan"
        found.append(Measured(what, details["peak_gigabytes"], 2.0, True, details, "GB"))
    return found


def main(arguments: Sequence[str] | None = None) -> list[Measured]:
    """Measure, print, and write."""
    options = _options(arguments)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="overhead-", dir=options.folder) as name:
        folder = Path(name)
        parts: dict[str, Callable[[], list[Measured]]] = {
            "graph": lambda: graph_cost(folder, options.stages),
            "list": lambda: list_cost(folder, options.done, options.rounds),
            "million": lambda: sweep_cost(options.sweep),
            "pool": lambda: pool_against_inline(folder, seeds=options.seeds, rounds=options.rounds),
        }
        for part in options.parts:
            measured = parts[part]()
            found += measured
            print(table(measured), flush=True)
    if options.json:
        options.json.write_text(json.dumps([each._asdict() for each in found], indent=1) + "\n")
    return found


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--stages", type=int, default=10_000, help="of the graph that is planned and run")
    parser.add_argument("--done", type=int, default=100_000, help="artifacts that are listed")
    parser.add_argument("--sweep", type=int, default=1_000_000, help="stages of the sweep, at least")
    parser.add_argument("--seeds", type=int, default=20, help="of the study for the pool, three fits each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for temporary files, 1 GB")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
