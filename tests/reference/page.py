"""Made-up documents for the page: every part is there, of any size, and equal for equal arguments."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from surpass.ranking import BASELINE
from surpass.rows import METRICS

MODELS = [
    ("chess-1", 1_757, 1.9e11),
    ("chess-2", 4_145, 6.2e11),
    ("chess-3", 15_481, 2.9e12),
    ("chess-4", 40_929, 1.1e13),
    ("chess-5", 105_897, 3.6e13),
    ("chess-6", 617_609, 3.1e14),
]
METHODS = ("naive", "confidence", "bootstrap", "early_stop", "lora", "gce", "product", "easy_to_hard")
ORACLES = frozenset({"easy_to_hard", "early_stop_truth", "saliency"})
PAIRS = tuple((w[0], s[0]) for place, w in enumerate(MODELS) for s in MODELS[place + 1 :])
BOARD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 390 390"><rect width="390" height="390" '
    'fill="#d18b47"/><circle cx="195" cy="195" r="90" fill="#ffce9e"/></svg>'
)
REASON = "the ceiling does not beat the weak supervisor: -1.0 points"


def digest(text: str) -> str:
    """A name as long as those of stages."""
    return hashlib.sha256(text.encode()).hexdigest()


def document(
    *,
    num_studies: int = 1,
    pairs: Sequence[tuple[str, str]] = (("chess-1", "chess-3"), ("chess-3", "chess-5")),
    methods: Sequence[str] = ("naive",),
    num_seeds: int = 3,
    tasks: Sequence[str] = ("chess-puzzles",),
    undefined: bool = False,
    bare: bool = False,
    hostile: str = "",
) -> dict[str, Any]:
    """A document of the form that `surpass.report.document.document_of` makes.

    Args:
        num_studies: Studies, each with the same pairs and methods.
        pairs: Names of weak and strong models, of `MODELS` or others.
        methods: Names; those in `ORACLES` learn from truth.
        num_seeds: Seeds 0, 1, ...
        tasks: The task of each study, repeated where there are more studies.
        undefined: Whether every PGR is undefined.
        bare: Whether curves, calibration, overlap, tables and examples are missing.
        hostile: Text that is put wherever text can be.
    """
    made = _Made(hostile)
    for study in range(num_studies):
        made.study(study, tasks[study % len(tasks)], pairs, methods, num_seeds, undefined=undefined)
        if not bare:
            made.further(study, pairs, methods, num_seeds)
    return made.document


class _Made:
    """The document while it is made."""

    def __init__(self, hostile: str) -> None:
        self.random = random.Random(8)
        self.hostile = hostile
        self.known: dict[tuple[str, str], int] = {}
        models = {
            name: {"name": f"ladder:{name}", "parameters": size, "pretraining_flops": flops}
            for name, size, flops in MODELS
        }
        names = ["summary", "seed", "weak_acc", "student_acc", "ceiling_acc", "pgr", "seconds", *METRICS]
        names += ["weak_stage", "student_stage", "ceiling_stage", "weak_score", "student_score"]
        names += ["ceiling_score", "comparison"]
        self.document: dict[str, Any] = {
            "format": "surpass-report",
            "version": 1,
            "made": {"surpass": "0.1.0", "on": "2026-11-30T00:30:00Z"},
            "answer": f"chess-3 supervising chess-5 recovers 12 % (5 to 20 %) of the gap.{hostile}",
            "studies": [],
            "models": models,
            "summaries": [],
            "rows": {name: [] for name in names},
            **{
                name: []
                for name in ("ranks", "curves", "calibration", "overlap", "tables", "examples", "stages")
            },
            "versions": [{"python": "3.11.9", "torch": "2.4.0+cpu", "surpass": f"0.1.0{hostile}"}],
        }

    def near(self, value: float, spread: float = 0.01) -> float:
        return value + self.random.uniform(-spread, spread)

    def shared(self, kind: str, label: str) -> int:
        """A stage that several rows have in common."""
        if (kind, label) not in self.known:
            self.known[kind, label] = self.stage(kind, label)
        return self.known[kind, label]

    def stage(self, kind: str, label: str, upstream: Sequence[int] = ()) -> int:
        stages = self.document["stages"]
        name = digest(f"{kind} {label}")
        stages.append(
            {
                "id": name,
                "kind": kind,
                "label": label + self.hostile,
                "upstream": list(upstream),
                "fields": {"seed": 0, "epochs": 3, "loss": "xent", "note": f"{kind}{self.hostile}"},
                "outside": {"data": digest(f"data {kind}")},
                "files": {"model.safetensors": digest(f"file {name}")},
                "versions": 0,
                "seconds": self.random.uniform(0.5, 90),
                "created": "2026-11-29T22:10:04Z",
                "command": f"surpass show {name[:8]}{self.hostile}",
            }
        )
        return len(stages) - 1

    def study(self, place, task, pairs, methods, num_seeds, *, undefined: bool) -> None:
        called = ["chess"] + ([f"seeds={num_seeds}"] if place else [])
        self.document["studies"].append(
            {
                "name": f"chess{place or ''}{self.hostile}",
                "id": digest(f"study {place}"),
                "called": called,
                "command": f"surpass run {' '.join(called)}{self.hostile}",
                "answer": self.document["answer"],
                "noun": "test puzzles",
                "task": {"name": task, "about": f"The best move.{self.hostile}", "num_classes": None},
                "labels": "soft",
                "seeds": list(range(num_seeds)),
                "pairs": [list(pair) for pair in pairs],
                "methods": list(methods),
                "settings": [["recipe", f"epochs={3 + place} batch_size=32"], ["test_mix", "source"]],
                "stages": {"asked": 120, "distinct": 64, "seconds": 612.5},
                "footnotes": ([f"(1) {REASON}"] if undefined else []) + [f"a note{self.hostile}"],
                "left_out": [
                    {
                        "weak": pairs[0][0],
                        "strong": pairs[0][1],
                        "method": "two_class",
                        "reason": f"needs two classes{self.hostile}",
                    }
                ],
                "published": None,
            }
        )
        for number, (weak, strong) in enumerate(pairs):
            low, high = 0.42 + 0.02 * (number % 6), 0.62 + 0.02 * (number % 6)
            for rank, method in enumerate(methods):
                share = 0.1 + 0.5 * rank / max(1, len(methods) - 1)
                self.summary(place, task, (weak, strong), method, (low, high, share), num_seeds, undefined)
        self.ranks(place, pairs, methods)

    def summary(self, place, task, pair, method, level, num_seeds, undefined) -> None:
        weak, ceiling = (self.near(value) for value in level[:2])
        if undefined:
            ceiling = weak - 0.01
        student = weak + level[2] * (0.2 if undefined else ceiling - weak) + self.near(0)
        value = None if undefined else (student - weak) / (ceiling - weak)
        index = len(self.document["summaries"])
        metrics = {name: self.near(0.5, 0.3) for name in METRICS}
        estimate = {
            "weak": weak,
            "student": student,
            "ceiling": ceiling,
            "value": value,
            "low": None if value is None else value - self.random.uniform(0.02, 0.08),
            "high": None if value is None else value + self.random.uniform(0.02, 0.08),
            "level": 0.95,
            "valid": not undefined,
            "reason": REASON if undefined else None,
            "note": None,
            "gap": ceiling - weak,
            "gap_low": ceiling - weak - 0.02,
            "gap_high": ceiling - weak + 0.02,
            "undefined_frac": 0.0,
            "num_seeds": num_seeds,
            "num_examples": 6000,
            "num_resamples": 2000,
            "design": "crossed",
        }
        self.document["summaries"].append(
            {
                "study": place,
                "task": task,
                "weak": pair[0],
                "strong": pair[1],
                "method": method,
                "labels": "soft",
                "oracle": method in ORACLES,
                "seconds": 17.2 * num_seeds,
                "estimate": estimate,
                "accuracy": {
                    role: [estimate[role] - 0.008, estimate[role] + 0.008]
                    for role in ("weak", "student", "ceiling")
                },
                "metrics": metrics | {"worst_group": None, "mean_group": None, "auroc": None},
            }
        )
        for seed in range(num_seeds):
            self.row(index, f"{place} {pair[0]} {pair[1]} {method}", seed, estimate)

    def row(self, index: int, name: str, seed: int, estimate: dict[str, Any]) -> None:
        pair = name.rsplit(" ", 1)[0]
        weak = self.shared("fit", f"weak {pair} seed {seed}")
        labels = self.stage("label", f"labels {name} seed {seed}", [weak])
        student = self.stage("fit", f"student {name} seed {seed}", [labels])
        ceiling = self.shared("fit", f"ceiling {pair} seed {seed}")
        scores = [self.stage("score", f"score {name} seed {seed}", [fit]) for fit in (weak, student, ceiling)]
        compared = self.stage("compare", f"compare {name} seed {seed}", scores)
        own = {role: self.near(estimate[role]) for role in ("weak", "student", "ceiling")}
        gap = own["ceiling"] - own["weak"]
        values = {
            "summary": index,
            "seed": seed,
            **{f"{role}_acc": value for role, value in own.items()},
            "pgr": (own["student"] - own["weak"]) / gap if gap > 0 else None,
            "seconds": self.random.uniform(1, 60),
            **{metric: self.near(0.5, 0.4) for metric in METRICS},
            "weak_stage": weak,
            "student_stage": student,
            "ceiling_stage": ceiling,
            "weak_score": scores[0],
            "student_score": scores[1],
            "ceiling_score": scores[2],
            "comparison": compared,
            "auroc": None,
        }
        for column, value in values.items():
            self.document["rows"][column].append(value)

    def ranks(self, place: int, pairs, methods) -> None:
        for number, method in enumerate(methods):
            difference = self.near(0.004 * (number - 3), 0.004)
            compared = {
                "method": method,
                "baseline": BASELINE,
                "accuracy": 0.5 + difference,
                "baseline_accuracy": 0.5,
                "difference": difference,
                "low": difference - 0.006,
                "high": difference + 0.006,
                "level": 0.95,
                "p_value": 0.02,
                "adjusted_p": min(1.0, self.random.random() ** 4),
                "correction": "holm",
                "wilcoxon_p": 0.5,
                "sign_p": 0.5,
                "wins": 1,
                "ties": 0,
                "losses": 0,
                "num_tasks": len(pairs),
                "num_seeds": 3,
                "num_examples": 6000,
            }
            median = {"median": 0.1 + 0.02 * number, "num_valid": len(pairs), "num_invalid": 0}
            self.document["ranks"].append(
                {
                    "study": place,
                    "method": method,
                    "labels": "soft",
                    "oracle": method in ORACLES,
                    "num_pairs": len(pairs),
                    "pgr": median | {"reasons": [], "low": 0.0, "high": 0.3, "coverage": 0.875},
                    "comparison": None if method == BASELINE else compared,
                }
            )

    def further(self, place: int, pairs, methods, num_seeds: int) -> None:
        document, start = self.document, len(pairs) * len(methods) * place
        for number, (weak, strong) in enumerate(pairs):
            first = start + number * len(methods)
            where = {"study": place, "weak": weak, "strong": strong}
            for seed in range(num_seeds):
                document["curves"].append(where | {"seed": seed} | self.curve())
            for summary in range(first, first + len(methods)):
                for role in ("weak", "student", "ceiling") if summary == first else ("student",):
                    document["calibration"].append(
                        {"summary": summary, "role": role, "bins": list(self.bins())}
                    )
            names = ["weak", *methods, "ceiling"]
            kappa = [[1.0] * len(names) for _ in names]
            for a in range(len(names)):
                for b in range(a):
                    kappa[a][b] = kappa[b][a] = self.near(0.4, 0.5)
            document["overlap"].append(where | {"names": names, "kappa": kappa})
            document["examples"] += [self.example(first, kind, n) for n, kind in enumerate(("board", "text"))]
        columns = [("method", "text"), ("worth", "text"), ("share", "percent"), ("kappa", "number")]
        columns += [("labels", "count")]
        document["tables"].append(
            {
                "study": place,
                "title": f"What the labels are worth{self.hostile}",
                "about": "In truth labels, read off the learning curve.",
                "columns": [{"name": name, "kind": kind} for name, kind in columns],
                "rows": [[method + self.hostile, "1,200", 0.123, 0.5, 4000] for method in methods],
            }
        )

    def curve(self) -> dict[str, Any]:
        steps = [20 * step for step in range(1, 13)]
        accuracy = [self.near(0.45 + 0.02 * min(n, 5) - 0.004 * max(0, n - 5), 0.005) for n in range(12)]
        agreement = [self.near(0.5 + 0.02 * n - 0.0012 * n * n, 0.004) for n in range(12)]
        best, stop = accuracy.index(max(accuracy)), agreement.index(max(agreement))

        def point(place: int) -> dict[str, Any]:
            told = {"place": place, "progress": steps[place] / steps[-1], "accuracy": accuracy[place]}
            return told | {"weak_agreement": agreement[place]}

        points = {"best": point(best), "last": point(11), "weak_stopped": point(stop)}
        return {"steps": steps, "accuracy": accuracy, "weak_agreement": agreement, "points": points}

    def bins(self):
        for number in range(3, 10):
            middle = number / 10 + 0.05
            yield {
                "low": number / 10,
                "high": number / 10 + 0.1,
                "confidence": middle,
                "accuracy": self.near(middle, 0.08),
                "count": self.random.randrange(20, 2000),
            }

    def example(self, summary: int, kind: str, number: int) -> dict[str, Any]:
        return {
            "summary": summary,
            "seed": 0,
            "overruled": "rightly" if number % 2 == 0 else "wrongly",
            "id": f"puzzle-{summary}-{number}{self.hostile}",
            "kind": kind,
            "board": {"fen": f"8/8/8/8/8/8/8/K6k w - - 0 1{self.hostile}", "svg": BOARD, "moves": ["e2e4"]}
            if kind == "board"
            else None,
            "text": f"Is it true that the moon is nearer than the sun?{self.hostile}",
            "weak": {"answer": f"Qxe5{self.hostile}", "confidence": 0.41},
            "student": {"answer": "Nf6", "confidence": 0.62},
            "truth": "Nf6",
            "note": "rated 1432",
        }
