"""Test examples on which a student overruled its supervisor: rightly, and wrongly.

Shape suffixes: N test examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surpass.analyses.finding import found
from surpass.boards import board_of, index_move
from surpass.errors import StoreError, SurpassError
from surpass.report.board_svg import board_svg
from surpass.stages import Score
from surpass.store import Store
from surpass.study import RowStages, Study
from surpass.tasks import Task

MOST_OF_A_KIND = 6
MOST_OF_A_STUDY = 48
LONGEST_TEXT = 2000
RIGHTLY, WRONGLY = "rightly", "wrongly"
_SHOWN = ("board", "text", "texts", "prompt")
_BESIDE = ("candidates", "rating", "problem", "before")


class _Answers(NamedTuple):
    """What one model said of each test example; confidence is NaN where it has none."""

    prediction: list[Any]
    correct_N: Any
    confidence_N: Any


class _Shown(NamedTuple):
    """One example to show, and what both said."""

    row: int
    id: str
    seed: int
    overruled: str
    weak: dict[str, Any]
    student: dict[str, Any]


def shown_examples(
    study: Study, store: Store, rows: Sequence[RowStages], *, most: int = MOST_OF_A_KIND
) -> list[dict[str, Any]]:
    """Of one method on one pair the examples of which the student was surest, right ones first.

    Args:
        study: A finished one.
        store: Where its artifacts are. Where the examples are no longer there, none are shown.
        rows: Of the method and pair, one for each seed.
        most: How many of either kind.

    Raises:
        StoreError: A score is not there.
    """
    chosen = [one for kind in (RIGHTLY, WRONGLY) for one in _surest(rows, kind, store, most)]
    if not chosen:
        return []
    if "vision" in study.task.families:  # a picture would cost more than it tells: many gigabytes are read
        names = _class_names(study.task)
        right = [one.student if one.overruled == RIGHTLY else one.weak for one in chosen]
        return [_told(one, {}, both["answer"], names) for one, both in zip(chosen, right, strict=True)]
    try:
        artifact = found(study.test_examples, store)
        inputs, truth = artifact.file("inputs.parquet"), artifact.file("truth.parquet")
    except StoreError:  # of an imported study a record has come, without its examples
        return []
    present = pq.read_schema(inputs).names
    if not set(_SHOWN) & set(present):
        return []
    places = pa.array([one.row for one in chosen], pa.int64())
    columns = [name for name in (*_SHOWN, *_BESIDE) if name in present]
    examples = pq.read_table(inputs, columns=columns).take(places).to_pylist()
    answers = pq.read_table(truth, columns=["truth"]).take(places)["truth"].to_pylist()
    names = () if "board" in present else _class_names(study.task)
    return [
        _told(one, example, answer, names)
        for one, example, answer in zip(chosen, examples, answers, strict=True)
    ]


def _surest(rows: Sequence[RowStages], kind: str, store: Store, most: int) -> list[_Shown]:
    """The examples of one kind, each once, by the student's confidence, then id, then seed."""
    ranked: list[tuple[float, _Shown]] = []
    for row in rows:
        ids, weak, student = _pair(row, store)
        mask_N = (
            student.correct_N & ~weak.correct_N if kind == RIGHTLY else weak.correct_N & ~student.correct_N
        )
        sure_N = np.nan_to_num(student.confidence_N, nan=0.0)
        best = sorted(np.flatnonzero(mask_N).tolist(), key=lambda n: (-float(sure_N[n]), ids[n]))
        for n in best[:most]:
            one = _Shown(n, ids[n], row.seed, kind, _said(weak, n), _said(student, n))
            ranked.append((-float(sure_N[n]), one))
    once: dict[str, _Shown] = {}
    for _, one in sorted(ranked, key=lambda entry: (entry[0], entry[1].id, entry[1].seed)):
        once.setdefault(one.id, one)
    return list(once.values())[:most]


def _pair(row: RowStages, store: Store) -> tuple[list[str], _Answers, _Answers]:
    ids, weak = _answers(row.weak_score, store)
    return ids, weak, _answers(row.student_score, store)[1]


def _answers(score: Score, store: Store) -> tuple[list[str], _Answers]:
    table = pq.ParquetFile(found(score, store).file("examples.parquet")).read(use_threads=False)
    correct_N = table["correct"].to_numpy(zero_copy_only=False)
    none_N = np.full(len(correct_N), np.nan)
    sure = table["confidence"].to_numpy() if "confidence" in table.column_names else none_N
    return table["id"].to_pylist(), _Answers(table["prediction"].to_pylist(), correct_N, sure)


def _said(answers: _Answers, n: int) -> dict[str, Any]:
    sure = float(answers.confidence_N[n])
    return {"answer": answers.prediction[n], "confidence": None if sure != sure else sure}


def _class_names(task: Task) -> Sequence[Any]:
    """What the data call the classes; none where there are none, or the data are gone."""
    try:
        return tuple(getattr(task, "class_names", ()))
    except (SurpassError, OSError):
        return ()


def _told(one: _Shown, example: dict[str, Any], truth: Any, names: Sequence[Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "seed": one.seed,
        "overruled": one.overruled,
        "id": one.id,
        "kind": "text",
        "board": None,
        "text": _cut(_text(example)),
        "weak": one.weak | {"answer": _named(one.weak["answer"], names)},
        "student": one.student | {"answer": _named(one.student["answer"], names)},
        "truth": _named(truth, names),
        "note": "",
    }
    return told | _board(one, example, truth) if "board" in example else told


def _text(example: dict[str, Any]) -> str:
    """What a model read, in the order in which it read it."""
    if "prompt" in example:
        return str(example["prompt"])
    if "texts" in example:
        return "\n\n".join(f"({number}) {text}" for number, text in enumerate(example["texts"], 1))
    parts = [example.get("problem"), *(example.get("before") or ()), example.get("text")]
    return "\n".join(str(part) for part in parts if part)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _named(answer: Any, names: Sequence[Any]) -> str:
    if isinstance(answer, int) and 0 <= answer < len(names):
        return str(names[answer])
    return _cut(str(answer))


def _board(one: _Shown, example: dict[str, Any], truth: int) -> dict[str, Any]:
    """A position, the side to move as White, with the three moves."""
    board = board_of(example["board"])
    places = {"weak": one.weak["answer"], "student": one.student["answer"], "truth": truth}
    moves = {role: index_move(example["candidates"][place], board) for role, place in places.items()}
    san = {role: board.san(move) for role, move in moves.items()}
    title = f"supervisor {san['weak']}, student {san['student']}, solution {san['truth']}"
    return {
        "kind": "board",
        "board": {"fen": board.fen(), "svg": board_svg(board, moves, title=title), "moves": san},
        "text": f"White to move, {board.fen()}: {title}",
        "weak": one.weak | {"answer": san["weak"]},
        "student": one.student | {"answer": san["student"]},
        "truth": san["truth"],
        "note": f"rated {example['rating']}",
    }
