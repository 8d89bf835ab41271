"""Run a study and gather its results from the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from surpass.analyses.finding import found, known
from surpass.engine.engines import find_engine
from surpass.engine.graph import outstanding
from surpass.engine.progress import Display, Silent
from surpass.engine.work import Settings
from surpass.errors import ConfigError, StoreError
from surpass.models.sources import resolve
from surpass.results import Results
from surpass.rows import METRICS, LeftOut, Row
from surpass.running.scoring import read_correct
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.store.opening import open_store
from surpass.study import RowStages, Study, targets
from surpass.trackers import Tracker, find_trackers
from surpass.trackers.following import following


def run(
    study: Study,
    store: Store | str = "surpass-store",
    *,
    engine: str | None = None,
    workers: int | None = None,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
    track: str | Tracker | Sequence[str | Tracker] = (),
) -> Results:
    """Compute what is missing of a study, and gather its results.

    Args:
        study: What to compare.
        store: Where artifacts are, or its folder or URL.
        engine: A name in `ENGINES`: "inline", one stage after another in this process, "pool", several
            in processes of their own, "auto", one of these two, "ray", on a Ray cluster, or "slurm", in jobs;
            the default is what the settings ask for: "inline" or, with workers, "pool".
        workers: How many stages at a time; the same as `settings.workers`.
        settings: How stages are carried out.
        display: What shows the progress; nothing by default.
        track: Where curves and results are sent too: names in `TRACKERS`, with commas between them, or
            objects that do what a `Tracker` does.

    Returns:
        A row per pair, method and seed, and PGR with its interval per pair and method.

    Raises:
        ConfigError: There is no such engine or tracker, or it has no workers.
        MissingExtraError: The package of a tracker is not installed.
        SurpassError: A stage failed, or the store cannot be used; what was published stays.
    """
    if workers is not None:
        settings = replace(settings, workers=workers)
    compute = find_engine(engine, settings)
    store = open_store(store)
    trackers = find_trackers(track)
    wanted = [stage for row in study.rows() for stage in targets(row)]
    with following(trackers, study, store, settings.named[1:]) as followed:
        shown = display if followed is None else followed.beside(display)
        compute(wanted, store, settings=settings, display=shown)
        results = gather(study, store)
        if followed is not None:
            followed.results(results)
    return results


def stage_of(study: Study, text: str) -> Stage:
    """A stage of a study, or what is run in its place.

    Args:
        study: Whose it is.
        text: How its id begins, or its label.

    Raises:
        ConfigError: None or several are called so.
    """
    whole = outstanding((s for row in study.rows() for s in targets(row)), lambda _: False)
    stages = {stage.id: stage for stage in whole.to_do} | whole.instead
    called = {s.id: s for id, s in stages.items() if s.label == text or (text and id.startswith(text))}
    found = list(called.values())
    if not found:
        raise ConfigError(
            f"{text!r} names no stage of {study.name}; give an id of `surpass plan`, with the same settings"
        )
    if len(found) > 1:
        names = ", ".join(f"{s.id[:12]} ({s.kind} {s.label})" for s in found[:4])
        more = ", ..." if len(found) > 4 else ""
        raise ConfigError(
            f"{text!r} names {len(found)} stages of {study.name}: {names}{more}; give more digits"
        )
    return found[0]


def run_stage(
    stage: Stage,
    store: Store,
    *,
    engine: str | None = None,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> Artifact:
    """Compute one stage, and before it whatever it needs and is not there.

    Raises:
        ConfigError: There is no such engine, or it has no workers.
        SurpassError: It failed, or the store cannot be used.
    """
    find_engine(engine, settings)([stage], store, settings=settings, display=display)
    return found(stage, store)


def gather(study: Study, store: Store) -> Results:
    """The results of a study that is computed.

    Raises:
        StoreError: Some of it is not.
    """
    rows = study.rows()
    scores = {
        score.id: score for row in rows for score in (row.weak_score, row.student_score, row.ceiling_score)
    }
    store.expect((score.kind, score.id) for score in scores.values())
    correct = {id: read_correct(found(score, store)) for id, score in scores.items()}
    left_out = [
        LeftOut(resolve(left.pair[0]).short_name, resolve(left.pair[1]).short_name, *left[1:])
        for left in study.left_out
    ]
    built = Results.build([_row(study, row, store) for row in rows], correct, left_out, notes(study, store))
    return _with_judged(built, study, store) if getattr(study.task, "reads_steps", False) else built


def _with_judged(results: Results, study: Study, store: Store) -> Results:
    """The same with what judges of steps are worth, where their labels are still in the store."""
    from surpass.analyses.step_metrics import by_step

    try:
        return results.with_judged(by_step(study, store))
    except StoreError:
        return results.with_notes(["what judges of steps are worth is left out: their labels are gone"])


def notes(study: Study, store: Store) -> list[str]:
    """What of the data a finished study left out, and which models read only the ends of some examples.

    What is no longer in the store is passed over.
    """

    def said(stage: Stage) -> dict[str, Any]:
        artifact = known(stage, store)
        return {} if artifact is None else artifact.manifest["said"]

    drawn = (study.test_examples, study.setting(study.pairs[0], study.seeds[0]).student_examples)
    dropped: dict[str, int] = {}
    for examples in drawn:
        dropped |= said(examples).get("notes", {})
    lines = [f"left out of {study.task.name}: {count:,} {what}" for what, count in dropped.items()]
    scores = [score for row in study.rows() for score in (row.weak_score, row.ceiling_score)]
    cut: dict[str, str] = {}
    for labels in {score.labels.id: score.labels for score in scores}.values():
        labelled = said(labels)
        if labelled.get("truncated"):
            share = f"{labelled['truncated']:,} of {labelled['num_examples']:,} test examples"
            cut.setdefault(labels.teacher, f"{share} are longer than it reads, and were cut")
    if getattr(study.task, "reads_steps", False):
        lines.append(
            "examples are steps, and the intervals above take them as independent; those of judging steps "
            "are over problems"
        )
        if not study.best_of:
            lines.append(
                "best of n is left out: it takes several solutions of a problem with graded answers; where "
                "there are, say best_of=N"
            )
    return lines + [f"{model}: {what}" for model, what in cut.items()]


def _row(study: Study, row: RowStages, store: Store) -> Row:
    comparison = found(row.comparison, store).manifest["said"]["comparison"]
    score = found(row.student_score, store).manifest["said"]["score"]
    said = {name: (comparison | score).get(name) for name in METRICS}
    fit = known(row.student, store) if isinstance(row.student, Stage) else None
    return Row(
        task=study.task.name,
        weak_model=resolve(row.pair[0]).short_name,
        strong_model=resolve(row.pair[1]).short_name,
        method=row.method,
        labels=study.labels,
        seed=row.seed,
        oracle=row.oracle,
        weak_score_id=row.weak_score.id,
        student_score_id=row.student_score.id,
        ceiling_score_id=row.ceiling_score.id,
        metrics={name: math.nan if value is None else float(value) for name, value in said.items()},
        seconds=float(fit.manifest["seconds"]) if fit is not None else 0.0,
        test_id=study.test_examples.id,
    )
