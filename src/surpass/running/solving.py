"""What stages of solutions run: grading, choosing, and examples, labels and scores of judging them."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surpass import labels as lb
from surpass.active import Candidate, convincing, uniform
from surpass.errors import DataError
from surpass.hashing import unit
from surpass.reasoning.reductions import NEUTRALS, REDUCTIONS, correctness, solution_scores
from surpass.reasoning.solutions import Solution, split_steps
from surpass.running.solution_table import (
    CUT_OFF,
    NO_ANSWER,
    NO_STEP,
    SCHEMA,
    distinct,
    read_solutions,
    solution_of_row,
)
from surpass.tasks.process_table import class_of, step_tables
from surpass.tasks.tables import candidates_column

if TYPE_CHECKING:
    from surpass.stages import Context
    from surpass.stages.outcome import Rate, Synthetic
    from surpass.stages.solutions import Chosen, Graded, Outcomes, Steps, Written


class Grading(NamedTuple):
    """How a text becomes a solution: a grader's name, or "world"."""

    grader: str

    def reference(self, problem: str, truth: str) -> str:
        """The true answer of a problem, of which a right completion is known."""
        if self.grader == "world":
            from surpass.world.checker import truth_of

            return str(truth_of(problem).answer)
        from surpass.reasoning.answers import extract_answer

        return extract_answer(truth) or truth.strip()

    def solution(self, name: str, problem: str, text: str, reference: str, source: str) -> Solution | None:
        """A text cut into steps and graded; None without any step."""
        if self.grader == "world":
            from surpass.world.checker import solution_of

            return solution_of(name, problem, text, source=source)
        from surpass.reasoning.answers import extract_answer
        from surpass.reasoning.graders import grade

        steps = split_steps(text)
        if not steps:
            return None
        answer = extract_answer(text)
        return Solution(
            problem_id=name,
            problem=problem,
            steps=steps,
            answer=answer,
            correct=answer is not None and grade(answer, reference, grader=self.grader),
            reference=reference,
            source=source,
        )


def run_written(stage: Written, context: Context) -> dict[str, Any]:
    """Let authors of the world write."""
    from surpass.world.authors import solve
    from surpass.world.writers import draw_author

    inputs = pq.read_table(context.find(stage.examples).file("inputs.parquet")).to_pylist()
    rows = []
    for row in inputs:
        for number in range(stage.num_samples):
            rng = random.Random(f"written/{stage.seed}/{row['id']}/{number}")
            text = "\n".join(solve(row["prompt"].strip(), draw_author(rng), rng))
            rows.append((row["id"], number, text, len(text) + 1, True))
    names = ("id", "sample", "text", "num_tokens", "ended")
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
    pq.write_table(table, context.out / "samples.parquet")
    return {"num_examples": len(inputs), "num_samples": len(rows)}


def run_graded(stage: Graded, context: Context) -> dict[str, Any]:
    """Cut samples into steps, and grade them."""
    examples = context.find(stage.problems)
    inputs = {row["id"]: row for row in pq.read_table(examples.file("inputs.parquet")).to_pylist()}
    truth = {row["id"]: row["truth"] for row in pq.read_table(examples.file("truth.parquet")).to_pylist()}
    samples = pq.read_table(context.find(stage.samples).file("samples.parquet")).to_pylist()
    grading, notes, rows = Grading(stage.grader), Counter[str](), []
    problems = {name: row["prompt"].strip() for name, row in inputs.items()}
    references = {name: grading.reference(problem, truth[name]) for name, problem in problems.items()}
    for sample in samples:
        name = sample["id"]
        problem = problems[name]
        solution = grading.solution(name, problem, sample["text"], references[name], stage.samples.model)
        if solution is not None and not sample["ended"]:
            solution = replace(solution, answer=None, correct=False)
        notes[NO_STEP] += solution is None
        notes[CUT_OFF] += not sample["ended"]
        notes[NO_ANSWER] += sample["ended"] and (solution is None or solution.answer is None)
        of_problem = {key: inputs[name].get(key) for key in ("family", "level")}
        rows.append(_row(name, problem, sample, solution, references[name]) | of_problem)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), context.out / "solutions.parquet")
    right = sum(bool(row["correct"]) for row in rows)
    said = {"num_solutions": len(rows), "num_problems": len(inputs), "correct": right / max(len(rows), 1)}
    return said | {"notes": {what: count for what, count in notes.items() if count}}


def _row(
    name: str, problem: str, sample: Mapping[str, Any], solution: Solution | None, reference: str
) -> dict[str, Any]:
    return {
        "problem_id": name,
        "sample": sample["sample"],
        "id": None if solution is None else solution.id,
        "problem": problem,
        "steps": [] if solution is None else list(solution.steps),
        "ratings": None if solution is None or solution.ratings is None else list(solution.ratings),
        "answer": None if solution is None else solution.answer,
        "correct": solution is not None and bool(solution.correct),
        "ended": sample["ended"],
        "reference": reference,
    }


def run_chosen(stage: Chosen, context: Context) -> dict[str, Any]:
    """Choose some solutions of each problem."""
    rows = read_solutions(context.find(stage.solutions))
    scores: Mapping[str, float] = {}
    if stage.labels is not None:
        labels = pq.read_table(context.find(stage.labels).file("labels.parquet"))
        scores = {name: row[stage.reduction] for name, row in reduced(step_probs(labels)).items()}
    by_problem: defaultdict[str, dict[str, Candidate]] = defaultdict(dict)
    # Of equal samples the lowest mark counts: what is frequent is likelier to come early.
    for place, row in enumerate(rows):
        if not row["ended"] or row["answer"] is None:
            continue
        name = row["id"]
        if stage.labels is not None and name not in scores:
            raise DataError(f"solution {name} has no labels; label the steps of all solutions (whole=True)")
        mark = unit(f"{row['problem_id']}/{row['sample']}", seed=stage.seed, purpose="choice")
        known = by_problem[row["problem_id"]].get(name)
        if known is None or mark < known.mark:
            candidate = Candidate(place, mark, row["correct"], scores.get(name, 0.0))
            by_problem[row["problem_id"]][name] = candidate
    chosen: list[int] = []
    for name, candidates in by_problem.items():
        if stage.rule == "uniform":
            chosen += uniform(candidates.values(), stage.per_problem)
            continue
        rounding = unit(name, seed=stage.seed, purpose="wrong share") if stage.over_all else 0.5
        found = candidates.values()
        chosen += convincing(found, stage.per_problem, wrong_share=stage.wrong_share, rounding=rounding)
    taken = [rows[place] for place in sorted(chosen)]
    pq.write_table(pa.Table.from_pylist(taken, SCHEMA), context.out / "solutions.parquet")
    right = sum(row["correct"] for row in taken)
    return {
        "num_solutions": len(taken),
        "num_problems": len(by_problem),
        "correct": right / max(len(taken), 1),
        "num_rated_steps": sum(r is not None for row in taken for r in row["ratings"] or ()),
    }


def run_steps(stage: Steps, context: Context) -> dict[str, Any]:
    """Steps as examples."""
    notes = Counter[str]()
    rows = distinct(read_solutions(context.find(stage.solutions)), notes)
    steps, classes = [], []
    for solution in map(solution_of_row, rows):
        ratings = solution.ratings or (None,) * len(solution.steps)
        for step, rating in enumerate(ratings):
            own = class_of(rating, stage.classes, stage.neutral)
            if own is not None or stage.whole:
                steps.append((solution, step))
                classes.append(own)
    if not steps:
        raise DataError(f"no step of {stage.solutions.label} is rated; label them, or ask for whole=True")
    tables = step_tables(steps, classes, num_classes=stage.classes, notes=notes)
    pq.write_table(tables.inputs, context.out / "inputs.parquet")
    pq.write_table(tables.truth, context.out / "truth.parquet")
    return {"num_examples": len(steps), "num_solutions": len(rows), "notes": dict(notes)}


def run_outcomes(stage: Outcomes, context: Context) -> dict[str, Any]:
    """Whole solutions as examples."""
    notes = Counter[str]()
    rows = distinct(read_solutions(context.find(stage.solutions)), notes)
    if not rows:
        raise DataError(f"{stage.solutions.label} has no solution that ended by itself")
    ids = pa.array([row["id"] for row in rows], pa.string())
    inputs = {
        "id": ids,
        "problem": pa.array([row["problem"] for row in rows], pa.string()),
        "steps": pa.array([row["steps"] for row in rows], pa.list_(pa.string())),
        "candidates": candidates_column(len(rows), 2),
    }
    truth = pa.array([int(row["correct"]) for row in rows], pa.int16())
    pq.write_table(pa.table(inputs), context.out / "inputs.parquet")
    pq.write_table(pa.table({"id": ids, "truth": truth}), context.out / "truth.parquet")
    return {"num_examples": len(rows), "notes": dict(notes)}


def step_probs(labels: pa.Table) -> dict[str, list[list[float]]]:
    """The probabilities of the classes of each step, by solution, in the order of the steps.

    Raises:
        DataError: An id names no step, or a step is missing.
    """
    found: defaultdict[str, dict[int, list[float]]] = defaultdict(dict)
    for name, probs in zip(labels["id"].to_pylist(), lb.rows(labels), strict=True):
        solution, _, step = name.rpartition("#")
        if not solution or not step.isdecimal():
            raise DataError(f"{name!r} names no step of a solution; give labels of steps")
        found[solution][int(step)] = probs.astype(np.float64).tolist()
    for solution, steps in found.items():
        if sorted(steps) != list(range(len(steps))):
            raise DataError(f"labels of solution {solution} lack a step; label all of its steps (whole=True)")
    return {solution: [steps[step] for step in range(len(steps))] for solution, steps in found.items()}


def run_synthetic(stage: Synthetic, context: Context) -> dict[str, Any]:
    """Labels from what a process reward model says of all steps."""
    said = step_probs(pq.read_table(context.find(stage.labels).file("labels.parquet")))
    inputs = pq.read_table(context.find(stage.examples).file("inputs.parquet"))
    wrong = {name: [row[0] > stage.threshold for row in rows] for name, rows in said.items()}
    names: list[str] = inputs["solution" if "step" in inputs.column_names else "id"].to_pylist()
    if lost := next((name for name in names if name not in wrong), None):
        raise DataError(f"solution {lost} has no labels; label the steps of all solutions (whole=True)")
    ids, probs = [], []
    if "step" in inputs.column_names:
        sizes = lb.num_candidates_of(inputs) or []
        places = zip(inputs["id"].to_pylist(), names, inputs["step"].to_pylist(), sizes, strict=True)
        for name, solution, step, size in places:
            if any(wrong[solution][:step]):
                continue
            ids.append(name)
            best = int(np.argmax(said[solution][step][1:])) + 1
            probs.append(_one_hot(0 if wrong[solution][step] else best, size))
    else:
        ids = names
        probs = [_one_hot(0 if any(wrong[name]) else 1, 2) for name in names]
    pq.write_table(lb.label_table(ids, probs), context.out / "labels.parquet")
    return {"num_examples": len(ids), "num_before": len(names)}


def _one_hot(place: int, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    row = np.zeros(size, np.float32)
    row[place] = 1.0
    return row


def run_rate(stage: Rate, context: Context) -> dict[str, Any]:
    """What labels say of each sample."""
    rows = read_solutions(context.find(stage.solutions))
    scores: dict[str, dict[str, float]] = {}
    if stage.labels is not None:
        labels = pq.read_table(context.find(stage.labels).file("labels.parquet"))
        scores = _scores(labels)
    names = list(next(iter(scores.values()))) if scores else []
    columns: dict[str, list[Any]] = {
        key: [row[key] for row in rows]
        for key in ("problem_id", "sample", "id", "answer", "correct", "family", "level")
    }
    columns["num_steps"] = [len(row["steps"]) for row in rows]
    eligible = [bool(row["ended"]) and row["answer"] is not None for row in rows]
    columns["eligible"] = eligible
    for row, fits in zip(rows, eligible, strict=True):
        if scores and fits and row["id"] not in scores:
            raise DataError(f"solution {row['id']} has no labels; label all solutions")
    for name in names:
        columns[name] = [
            scores[row["id"]][name] if fits else None for row, fits in zip(rows, eligible, strict=True)
        ]
    pq.write_table(pa.table(columns), context.out / "ratings.parquet")
    return {"num_solutions": len(rows), "eligible": sum(eligible), "scores": names}


def _scores(labels: pa.Table) -> dict[str, dict[str, float]]:
    """Scores of each solution, of whole ones or from its steps."""
    ids: Sequence[str] = labels["id"].to_pylist()
    if ids and "#" not in ids[0]:
        rows = lb.rows(labels)
        return {name: {"last": float(row[1])} for name, row in zip(ids, rows, strict=True)}
    return reduced(step_probs(labels))


def reduced(steps: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, dict[str, float]]:
    """The scores of each solution by each reduction; of three classes with neutral as right, and as wrong."""
    lengths = [len(rows) for rows in steps.values()]
    probs = np.array([row for rows in steps.values() for row in rows])
    columns = {}
    for neutral in NEUTRALS[: 1 if probs.shape[1] == 2 else 2]:
        behind = "" if neutral == "positive" else "_neutral_wrong"
        correct = correctness(probs, neutral=neutral)
        for name in REDUCTIONS:
            columns[name + behind] = solution_scores(correct, lengths, reduction=name).tolist()
    rows = zip(*columns.values(), strict=True)
    return {name: dict(zip(columns, row, strict=True)) for name, row in zip(steps, rows, strict=True)}
