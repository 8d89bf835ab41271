"""Labels of several parts by one fitted model: as stages that leave it loaded, and each from the files."""

from __future__ import annotations

from pathlib import Path

from measured import Measured, Seconds, median, seconds
from tuning_studies import PAIR

from surpass.engine.inline import Settings, run
from surpass.models.kept import nothing_kept
from surpass.stages import TRUTH, Examples, Fit, Label
from surpass.store import Store
from surpass.tasks import find_task
from surpass.train.recipe import Recipe

PARTS = ("weak", "student", "validation", "test")
BOUND = 1.0


def in_one_load(sst2: Path, work: Path, size: int, rounds: int, threads: int, clock: str) -> Measured:
    """Four parts of SST-2, labelled by a fit of the student, in turns; the fit is no part of it."""
    task = find_task(f"sst2(source={sst2})")
    parts = [Examples(task=task, part=part, size=size, seed=0) for part in PARTS]
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=1e-4)
    fit = Fit(
        model=PAIR[1],
        examples=Examples(task=task, part="weak", size=8, seed=1),
        labels=TRUTH,
        recipe=recipe,
        seed=0,
    )
    labels = [Label(source=fit, examples=examples) for examples in parts]
    settings = Settings(threads=threads)
    times: dict[bool, list[Seconds]] = {True: [], False: []}
    for number in range(rounds + 1):
        for kept, taken in times.items():
            store = Store(work / f"labels-{kept}-{number}")
            run([fit, *parts], store, settings=settings)
            if kept:
                taken.append(seconds(lambda store=store: run(labels, store, settings=settings)))
                continue
            with nothing_kept():
                taken.append(seconds(lambda store=store: run(labels, store, settings=settings)))
    ours, plain = median(times[True][1:]), median(times[False][1:])
    ratios = {"wall": plain.wall / ours.wall, "cpu": plain.cpu / ours.cpu}
    details = {"ratios": ratios, "seconds": {"one load": ours, "four loads": plain}, "texts": size}
    name = f"labels of four parts of {size} texts: times as fast as one load each"
    return Measured(name, ratios[clock], BOUND, False, details | {"clock": clock})
