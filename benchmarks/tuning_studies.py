"""Whole experiments of three steps: as a study, and as the rivals of `tuning_rivals` do them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from measured import Measured, Seconds, median, seconds
from probe_studies import all_targets, behind
from tuning_rivals import Data, Learn, Part, Three, one_by_one, three_steps, with_trainer

from surpass.engine.inline import Settings, run
from surpass.experiment import run as run_study
from surpass.results import Results
from surpass.stages import Examples
from surpass.store import Store
from surpass.study import Study
from surpass.tasks import find_task
from surpass.train.recipe import Recipe

PAIR = ("package:minilm-l3", "package:minilm-l6")
METHODS = ("naive", "confidence", "product", "probe(rate_factor=10)", "lp_ft")
"""Of the paper (sections 3 and 4.3, appendices B and D.2) and of its code (product)."""
RIVALS: dict[str, tuple[Learn, float]] = {
    "a Trainer with its defaults": (with_trainer(tuned=False), 2.0),
    "a tuned Trainer": (with_trainer(tuned=True), 1.3),
    "passes of one example": (one_by_one, 5.0),
}
MANY = "a Trainer with its defaults, each run on its own"
MANY_BOUND = 5.0


class Sizes(NamedTuple):
    """Of a study."""

    train: int = 400
    test: int = 400
    epochs: int = 2
    seeds: int = 1


def tuned_study(folder: Path, sizes: Sizes, methods: Sequence[str] = ("naive",)) -> Study:
    """Fine-tuning of all weights on SST-2, as in `text-tuned`, to the last step."""
    return Study(
        name="tuned-text",
        task=find_task(f"sst2(source={folder})"),
        pairs=(PAIR,),
        methods=tuple(methods),
        seeds=tuple(range(sizes.seeds)),
        num_train=sizes.train,
        num_test=sizes.test,
        num_validation=10,
        recipe=Recipe(
            epochs=sizes.epochs, batch_size=32, learning_rate=1e-4, schedule="linear", warmup_frac=0.1
        ),
        early_stopping=False,
    )


def examples_of(study: Study) -> dict[tuple[str, int], Examples]:
    """The examples of a study, by part and seed."""
    return {
        (stage.part, stage.seed): stage
        for stage in behind(all_targets(study)).values()
        if isinstance(stage, Examples)
    }


def data_of(study: Study, store: Store) -> list[Data]:
    """The texts of each seed, with their truth, as the study has them."""
    examples = examples_of(study)
    run(list(examples.values()), store)

    def part(name: str, seed: int) -> Part:
        artifact = store.find("examples", examples[name, seed].id)
        assert artifact is not None
        inputs, truth = (pq.read_table(artifact.file(f"{file}.parquet")) for file in ("inputs", "truth"))
        probs_NC = np.eye(2, dtype=np.float32)[truth["truth"].to_numpy().astype(int)]
        return Part(inputs["text"].to_pylist(), probs_NC)

    (tested,) = {seed for name, seed in examples if name == "test"}
    return [Data(part("weak", seed), part("student", seed), part("test", tested)) for seed in study.seeds]


class Ours:
    """The study itself, from a store that holds its examples alone to its results.

    Rivals are given their texts ready, too: reading a data set is no part of the comparison.
    """

    def __init__(self, study: Study, folder: Path, threads: int) -> None:
        self.study, self._folder, self._settings = study, folder, Settings(threads=threads)
        self.number = 0
        self.results: Results | None = None
        self._store: Store | None = None

    def prepare(self) -> None:
        """Make the store of what runs next."""
        self.number += 1
        self._store = Store(self._folder / f"{self.study.name}-{len(self.study.methods)}-{self.number}")
        run(list(examples_of(self.study).values()), self._store)

    def __call__(self, num_seeds: int | None = None) -> None:
        """Run it for its first seeds, or for all, with whatever its store has of them."""
        if self._store is None:
            self.prepare()
        assert self._store is not None
        study = self.study.replace(seeds=self.study.seeds[:num_seeds])
        self.results = run_study(study, self._store, settings=self._settings)

    def accuracies(self) -> dict[str, list[float]]:
        """Of weak, student by naive, and ceiling, of each seed."""
        assert self.results is not None
        rows = [row for row in self.results.rows() if row["method"] == "naive"]
        return {name: [float(row[f"{name}_acc"]) for row in rows] for name in ("weak", "student", "ceiling")}


class Theirs:
    """A rival's way through all seeds and methods.

    Args:
        learn: How it trains.
        data: Of each seed.
        study: What is to be done.
        apart: Whether each method of each seed is a run of its own, with all three steps.
    """

    def __init__(self, learn: Learn, data: Sequence[Data], study: Study, *, apart: bool = False) -> None:
        self._groups = [[method] for method in study.methods] if apart else [list(study.methods)]
        self._learn, self._data, self._study = learn, data, study
        self.found: list[Three] = []

    def __call__(self) -> None:
        """Do it."""
        self.found = []
        for place in range(len(self._data)):
            self.of_seed(place)

    def of_seed(self, place: int) -> None:
        """Do it for one of the seeds."""
        study = self._study
        for group in self._groups:
            said = three_steps(
                self._learn, study.pairs[0], self._data[place], study.recipe, study.seeds[place], group
            )
            self.found += [said["naive"]] if "naive" in said else []

    def accuracies(self) -> dict[str, list[float]]:
        """As those of the study."""
        return {name: [getattr(each, name) for each in self.found] for name in Three._fields}


def one_seed(folder: Path, sizes: Sizes, work: Path, rounds: int, threads: int, clock: str) -> list[Measured]:
    """The study with one method and one seed against each rival, all in turns."""
    study = tuned_study(folder, sizes)
    data = data_of(study, Store(work / "data"))
    ours = Ours(study, work, threads)
    theirs = {name: Theirs(learn, data, study) for name, (learn, _) in RIVALS.items()}
    _warm(folder, work, threads)
    times: dict[str, list[Seconds]] = {name: [] for name in ("ours", *theirs)}
    for _ in range(rounds):
        ours.prepare()
        for name, go in (("ours", ours), *theirs.items()):
            times[name].append(seconds(go))
    found = []
    for name, (_, bound) in RIVALS.items():
        details = _details(times["ours"], times[name], ours, theirs[name], sizes, clock)
        value = details["ratios"][clock]
        found.append(
            Measured(f"three steps, one seed: times as fast as {name}", value, bound, False, details)
        )
    return found


def many(folder: Path, sizes: Sizes, work: Path, threads: int, clock: str) -> list[Measured]:
    """Five methods and some seeds, seed by seed in turns, against a Trainer without and with sharing."""
    study = tuned_study(folder, sizes, METHODS)
    data = data_of(study, Store(work / "data"))
    ours = Ours(study, work, threads)
    learn = with_trainer(tuned=False)
    _warm(folder, work, threads)
    shared, apart = Theirs(learn, data, study), Theirs(learn, data, study, apart=True)
    ours.prepare()
    turns: list[list[Seconds]] = []
    for place in range(len(study.seeds)):
        goes = (partial(ours, place + 1), partial(shared.of_seed, place), partial(apart.of_seed, place))
        turns.append([seconds(go) for go in goes])
    times = [Seconds(*map(sum, zip(*column, strict=True))) for column in zip(*turns, strict=True)]
    found = []
    for what, go, taken, bound in (
        (MANY, apart, times[2], MANY_BOUND),
        ("one that keeps weak and ceiling", shared, times[1], 2.0),
    ):
        details = _details([times[0]], [taken], ours, go, sizes, clock) | {"turns": turns}
        seeds = "seed" if sizes.seeds == 1 else "seeds"
        name = f"{len(METHODS)} methods, {sizes.seeds} {seeds}: times as fast as {what}"
        found.append(Measured(name, details["ratios"][clock], bound, False, details))
    return found


def _details(
    our_times: list[Seconds], their_times: list[Seconds], ours: Any, theirs: Any, sizes: Sizes, clock: str
) -> dict[str, Any]:
    one, other = median(our_times), median(their_times)
    return {
        "ratios": {"wall": other.wall / one.wall, "cpu": other.cpu / one.cpu},
        "seconds": {"ours": one, "theirs": other},
        "accuracies": {"ours": ours.accuracies(), "theirs": theirs.accuracies()},
        "sizes": sizes._asdict(),
        "clock": clock,
    }


def _warm(folder: Path, work: Path, threads: int) -> None:
    """What is imported, and read for the first time."""
    sizes = Sizes(train=32, test=20, epochs=1)
    study = tuned_study(folder, sizes)
    data = data_of(study, Store(work / "warm-data"))
    goes: list[Callable[[], None]] = [Ours(study, work / "warm", threads)]
    goes += [Theirs(learn, data, study) for learn, _ in RIVALS.values()]
    for go in goes:
        go()
