"""A made-up document of a report, whose every number is known, for figures and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reference.results import counted, metrics_of
from surpass.ranking import ranking
from surpass.report.terminal import footnotes
from surpass.results import Results
from surpass.rows import METRICS, Row, key_of

LADDER = {"chess-1": 1e11, "chess-2": 1e12, "chess-3": 1e13, "chess-4": 1.2e13}
PAIRS = (("chess-1", "chess-2", 120, 200), ("chess-1", "chess-3", 120, 260), ("chess-2", "chess-3", 180, 260))
METHODS = (("naive", 0.25, False), ("confidence", 0.5, False), ("early_stop_truth", 0.75, True))


def study_rows(
    pairs: Sequence[tuple[str, str, int, int]],
    methods: Sequence[tuple[str, float, bool]],
    *,
    task: str,
    labels: str,
    num_seeds: int,
) -> tuple[list[Row], dict[str, Any]]:
    """Rows of a study and their correctness; in seed s, every model has s more answers right."""
    rows, correct = [], {}
    for weak, strong, weak_right, ceiling_right in pairs:
        for method, share, oracle in methods:
            for seed in range(num_seeds):
                right = weak_right + round(share * (ceiling_right - weak_right))
                ids = [f"{weak}/{seed}", f"{weak}/{strong}/{method}/{seed}", f"ceiling/{strong}/{seed}"]
                for id, count in zip(ids, (weak_right, right, ceiling_right), strict=True):
                    correct[id] = counted(count + seed)
                rows.append(
                    Row(
                        task=task,
                        weak_model=weak,
                        strong_model=strong,
                        method=method,
                        labels=labels,
                        seed=seed,
                        oracle=oracle,
                        weak_score_id=ids[0],
                        student_score_id=ids[1],
                        ceiling_score_id=ids[2],
                        metrics=metrics_of(seed),
                        seconds=1.5,
                    )
                )
    return rows, correct


def document(
    name: str = "chess",
    *,
    pairs: Sequence[tuple[str, str, int, int]] = PAIRS,
    methods: Sequence[tuple[str, float, bool]] = METHODS,
    task: str = "chess-puzzles",
    labels: str = "hard",
    num_seeds: int = 2,
    sizes: dict[str, float] | None = None,
    curves: bool = False,
) -> dict[str, Any]:
    """A document with one study.

    Args:
        name: Of the study.
        pairs: Weak model, strong model, right answers of 400 of the supervisor and of the ceiling.
        methods: Name, PGR, whether it used ground truth.
        task: Its name.
        labels: "hard" or "soft".
        num_seeds: Seeds 0, 1, ...
        sizes: Pretraining compute by model.
        curves: Whether there are overfitting curves.
    """
    rows, correct = study_rows(pairs, methods, task=task, labels=labels, num_seeds=num_seeds)
    results = Results.build(rows, correct)
    keys = {summary.key: place for place, summary in enumerate(results.summary())}
    known = LADDER if sizes is None else sizes
    models = {model: known.get(model) for pair in pairs for model in pair[:2]}
    return {
        "format": "surpass-report",
        "version": 1,
        "made": {"surpass": "0", "on": "2026-11-30T00:00:00Z"},
        "answer": "",
        "studies": [_study(name, task, labels, pairs, methods, results)],
        "models": {m: {"name": m, "parameters": None, "pretraining_flops": f} for m, f in models.items()},
        "summaries": [_summary(summary) for summary in results.summary()],
        "rows": _columns(results, [keys[key_of(row)] for row in rows]),
        "ranks": [_rank(rank) for rank in _ranks(results, rows, correct)],
        "curves": _curves(pairs, num_seeds) if curves else [],
        "calibration": [
            {
                "summary": 0,
                "role": role,
                "bins": [
                    {
                        "low": 0.5,
                        "high": 0.75,
                        "confidence": 0.625,
                        "accuracy": 0.5 + place / 16,
                        "count": 50,
                    },
                    {"low": 0.75, "high": 1.0, "confidence": 0.875, "accuracy": 0.75, "count": 3},
                ],
            }
            for place, role in enumerate(("weak", "student", "ceiling"))
        ],
        "overlap": [
            {
                "study": 0,
                "weak": pairs[0][0],
                "strong": pairs[0][1],
                "names": ["weak", "naive", "ceiling"],
                "kappa": [[1.0, 0.5, None], [0.5, 1.0, -0.25], [None, -0.25, 1.0]],
            }
        ],
        "tables": [],
        "examples": [],
        "stages": [{"id": "0" * 64, "versions": 0, "upstream": []}],
        "versions": [{}],
    }


def joined(*documents: dict[str, Any]) -> dict[str, Any]:
    """Documents of one study each as one of several."""
    whole = {**documents[0], "models": {}}
    for name in ("studies", "summaries", "ranks", "curves", "calibration", "overlap"):
        whole[name] = []
    whole["rows"] = {name: [] for name in documents[0]["rows"]}
    for place, one in enumerate(documents):
        before = len(whole["summaries"])
        for name in ("summaries", "ranks", "curves", "overlap"):
            whole[name] += [entry | {"study": place} for entry in one[name]]
        whole["calibration"] += [e | {"summary": e["summary"] + before} for e in one["calibration"]]
        for name, values in one["rows"].items():
            whole["rows"][name] += [v + before for v in values] if name == "summary" else values
        whole["studies"] += one["studies"]
        whole["models"] |= one["models"]
    return whole


def _bin(low: float, accuracy: float, *, count: int) -> dict[str, float]:
    return {"low": low, "high": low + 0.25, "confidence": low + 0.125, "accuracy": accuracy, "count": count}


def _study(name: str, task: str, labels: str, pairs: Any, methods: Any, results: Results) -> dict[str, Any]:
    return {
        "name": name,
        "id": "0123456789abcdef",
        "called": [name],
        "command": f"surpass run {name}",
        "noun": "test puzzles",
        "task": {"name": task, "about": "", "num_classes": None},
        "labels": labels,
        "seeds": [0, 1],
        "pairs": [list(pair[:2]) for pair in pairs],
        "methods": [method[0] for method in methods],
        "settings": [["num_test", "400"]],
        "footnotes": footnotes(results),
        "left_out": [],
        "published": None,
    }


def _null(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()}


def _summary(summary: Any) -> dict[str, Any]:
    key, estimate = summary.key, summary.estimate
    return {
        "study": 0,
        "task": key.task,
        "weak": key.weak_model,
        "strong": key.strong_model,
        "method": key.method,
        "labels": key.labels,
        "oracle": key.oracle,
        "seconds": summary.seconds,
        "estimate": _null(asdict(estimate)) | {"added_later": 1},
        "accuracy": {
            role: [getattr(estimate, role) - 0.0625, getattr(estimate, role) + 0.03125]
            for role in ("weak", "student", "ceiling")
        },
        "metrics": _null(dict(summary.metrics)),
    }


def _ranks(results: Results, rows: Sequence[Row], correct: dict[str, Any]) -> Any:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)
    return ranking(results.summary(), groups, correct)


def _rank(rank: Any) -> dict[str, Any]:
    comparison = None if rank.comparison is None else _null(asdict(rank.comparison)) | {"added_later": 1}
    return asdict(rank) | {"study": 0, "pgr": _null(rank.pgr._asdict()), "comparison": comparison}


def _columns(results: Results, summaries: list[int]) -> dict[str, list[Any]]:
    rows = results.rows()
    names = ("seed", "weak_acc", "student_acc", "ceiling_acc", "pgr", "seconds", "num_test", *METRICS)
    columns: dict[str, list[Any]] = {name: [_null(row)[name] for row in rows] for name in names}
    roles = [f"{role}_{what}" for role in ("weak", "student", "ceiling") for what in ("stage", "score")]
    stages = {name: [0] * len(rows) for name in roles}
    return {"summary": summaries, **columns, **stages, "comparison": [None] * len(rows)}


def _curves(pairs: Any, num_seeds: int) -> list[dict[str, Any]]:
    return [
        {
            "study": 0,
            "weak": weak,
            "strong": strong,
            "seed": seed,
            "steps": [2, 4, 8],
            "accuracy": [0.5 + seed / 8, 0.625 + seed / 8, 0.5625 + seed / 8],
            "weak_agreement": [0.5, 0.75, 0.875],
            "points": {
                name: {"place": 0, "progress": 0.5, "accuracy": accuracy + seed / 8, "weak_agreement": 0.5}
                for name, accuracy in (("best", 0.625), ("last", 0.5625), ("weak_stopped", 0.5))
            },
        }
        for weak, strong, *_ in pairs
        for seed in range(num_seeds)
    ]
