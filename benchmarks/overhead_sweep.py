"""Plans a sweep of so many stages and prints what that took, as JSON: `overhead.py` runs it as a process.

python benchmarks/overhead_sweep.py trivial|planted STAGES
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence

from overhead_stages import fan

from surpass.engine.agenda import Agenda
from surpass.engine.graph import outstanding
from surpass.memory import highest
from surpass.recipes.planted import planted
from surpass.stages import Stage
from surpass.study import Study, targets


def planted_sweep(number: int) -> Study:
    """The recipe `planted` with as many seeds as give so many stages."""
    few = planted().replace(seeds=(0, 1))
    more = planted().replace(seeds=(0, 1, 2))
    per_seed = len(_plan(_targets(more))) - len(_plan(_targets(few)))
    return planted().replace(seeds=tuple(range(math.ceil(number / per_seed))))


def _targets(study: Study) -> list[Stage]:
    return [stage for row in study.rows() for stage in targets(row)]


def _plan(wanted: Sequence[Stage]) -> dict[str, Stage]:
    """What an engine makes of them before it runs the first."""
    return Agenda(outstanding(wanted, lambda _: False)).left


def main(sweep: str, number: int) -> None:
    """Plan, and print."""
    study = planted_sweep(number) if sweep == "planted" else None
    before = highest()
    wall, cpu = time.perf_counter(), time.process_time()
    wanted: Sequence[Stage] = fan(number) if study is None else _targets(study)
    planned = _plan(wanted)
    found = {
        "stages": len(planned),
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - cpu,
        "gigabytes_before": before / 1e9,
        "peak_gigabytes": highest() / 1e9,  # `getrusage` would count the parent's, too
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
