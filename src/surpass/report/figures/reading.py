"""The document of a report as figures read it: one student at a time, sizes of models, medians over tasks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from surpass.errors import DataError
from surpass.report.figures.picture import Value
from surpass.report.figures.sizes import Sizes, number, sizes_of
from surpass.report.methods import ORACLE_MARK
from surpass.stats import median_interval

FORMAT, VERSION = "surpass-report", 1
_OF_THE_TEST = ("task", "num_test", "test_mix", "test_part")
ACCURACIES = ("weak", "student", "ceiling")


class Variant(NamedTuple):
    """A way to train students: the method, and where needed labels and study that tell it from others.

    `labels` and `study` are "" where a pair and task have the method once.
    """

    method: str
    labels: str
    oracle: bool
    study: str

    def named(self, *, with_labels: bool) -> str:
        """What it is called in a figure."""
        labels = f" ({self.labels})" if with_labels else ""
        study = f" [{self.study}]" if self.study else ""
        return f"{self.method}{labels}{study}{ORACLE_MARK if self.oracle else ''}"


@dataclass(frozen=True, kw_only=True)
class Student:
    """One summary: a method on a pair and a task, over its seeds."""

    index: int
    study: int
    task: str
    weak: str
    strong: str
    variant: Variant
    entry: Mapping[str, Any]

    def value(self, what: str) -> Value:
        """A number of it: "pgr", one of `ACCURACIES`, or the name of a metric."""
        estimate = self.entry["estimate"]
        if what == "pgr":
            if not estimate["valid"]:
                reason = estimate["reason"] or "undefined"
                return Value(math.nan, reasons=(f"{self.task}, {self.weak} to {self.strong}: {reason}",))
            return Value(number(estimate["value"]), number(estimate["low"]), number(estimate["high"]))
        if what in ACCURACIES:
            low, high = (self.entry.get("accuracy") or {}).get(what) or (None, None)
            return Value(number(estimate[what]), number(low), number(high))
        return Value(number(self.entry["metrics"].get(what)))


class Shown:
    """What a document holds.

    Attributes:
        document: As `report.document.document_of` makes it.
        studies: Its studies.
        task_names: What the task of each is called: its name, where no other task has the same.
        students: One for each summary, in its order.

    Raises:
        DataError: It is no such document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document.get("format") != FORMAT or document.get("version") != VERSION:
            raise DataError(
                f"this is {document.get('format')!r}, version {document.get('version')!r}; figures and "
                f"tables are made from {FORMAT!r}, version {VERSION}: write it again with `surpass report`"
            )
        self.document = document
        self.studies: list[Mapping[str, Any]] = document["studies"]
        self.task_names = _task_names(self.studies)
        keys = [_key(entry) for entry in document["summaries"]]
        kinds = {(key[:-1], key[-1]) for key in keys}
        both = {key for key, _ in kinds if sum(key == other for other, _ in kinds) > 1}
        self.students = [
            self._student(index, entry, several=keys.count(keys[index]) > 1, labels=keys[index][:-1] in both)
            for index, entry in enumerate(document["summaries"])
        ]

    def _student(self, index: int, entry: Mapping[str, Any], *, several: bool, labels: bool) -> Student:
        called = " ".join(self.studies[entry["study"]]["called"]) if several else ""
        return Student(
            index=index,
            study=entry["study"],
            task=self.task_names[entry["study"]],
            weak=entry["weak"],
            strong=entry["strong"],
            variant=Variant(entry["method"], entry["labels"] if labels else "", entry["oracle"], called),
            entry=entry,
        )

    @property
    def name(self) -> str:
        """The studies, for people."""
        return ", ".join(dict.fromkeys(str(study["name"]) for study in self.studies))

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the document."""
        return list(dict.fromkeys(student.task for student in self.students))

    @cached_property
    def variants(self) -> list[Variant]:
        """Ways to train students; those that used ground truth behind the others."""
        found = dict.fromkeys(student.variant for student in self.students)
        return sorted(found, key=lambda variant: variant.oracle)

    def variant_name(self, variant: Variant) -> str:
        """What a way to train students is called."""
        return variant.named(with_labels=bool(variant.labels))

    def of_method(self, *names: str) -> list[Variant]:
        """The variants of some methods, whatever their settings, such as `confidence(alpha=0.5)`."""
        return [variant for variant in self.variants if variant.method.split("(")[0] in names]

    @cached_property
    def sizes(self) -> Sizes:
        """How large the models are."""
        learned: dict[str, float] = {}
        for student in self.students:
            learned[student.weak] = number(student.entry["estimate"]["weak"])
            learned.setdefault(student.strong, number(student.entry["estimate"]["ceiling"]))
        return sizes_of(sorted(learned, key=lambda model: learned[model]), self.document["models"])

    @cached_property
    def supervisors(self) -> list[str]:
        """The supervisors, smallest first."""
        return sorted({student.weak for student in self.students}, key=self.sizes.order)

    @cached_property
    def strong(self) -> list[str]:
        """The students' models, smallest first."""
        return sorted({student.strong for student in self.students}, key=self.sizes.order)

    @cached_property
    def by_supervisor(self) -> bool:
        """Whether the axis has supervisors, as several have one student; else it has students."""
        return len(self.strong) == 1 and len(self.supervisors) > 1

    @property
    def places(self) -> list[str]:
        """The models of the axis, smallest first."""
        return self.supervisors if self.by_supervisor else self.strong

    @property
    def lines(self) -> list[str]:
        """The models of which each has a line."""
        return self.strong if self.by_supervisor else self.supervisors

    def chosen(self, variant: Variant, weak: str | None = None, strong: str | None = None) -> list[Student]:
        """The students of a variant, of all supervisors or one, of all models or one."""
        return [
            student
            for student in self.students
            if student.variant == variant
            and weak in (None, student.weak)
            and strong in (None, student.strong)
        ]

    def of_task(self, task: str) -> Shown:
        """What there is on one task; models keep their places, and supervisors their order."""
        return self._part([student for student in self.students if student.task == task])

    def on_all_tasks(self) -> Shown:
        """The students that every task has, so that a median is over the same tasks everywhere."""
        tasks: dict[tuple[str, str, Variant], set[str]] = {}
        for s in self.students:
            tasks.setdefault((s.weak, s.strong, s.variant), set()).add(s.task)
        everywhere = {key for key, found in tasks.items() if len(found) == len(self.tasks)}
        return self._part([s for s in self.students if (s.weak, s.strong, s.variant) in everywhere])

    def of_study(self, place: int) -> Shown:
        """What there is of one study; likewise."""
        part = self._part([student for student in self.students if student.study == place])
        part.studies = [self.studies[place]]
        return part

    def _part(self, students: list[Student]) -> Shown:
        part = copy(self)
        part.supervisors, part.strong = self.supervisors, self.strong
        part.__dict__.pop("sizes", None)
        if self.sizes.scale != "names":
            part.sizes = self.sizes
        part.by_supervisor = self.by_supervisor
        part.students = students
        part.tasks = list(dict.fromkeys(student.task for student in students))
        return part

    @property
    def setting(self) -> str:
        """Task, seeds and test examples, for a caption."""
        seeds = _span(student.entry["estimate"]["num_seeds"] for student in self.students)
        examples = _span(student.entry["estimate"]["num_examples"] for student in self.students)
        if len(self.tasks) > 3:
            tasks = f"{len(self.tasks)} tasks"
        else:
            tasks = f"{', '.join(self.tasks[:-1])} and {self.tasks[-1]}" if self.tasks[1:] else self.tasks[0]
        kinds = sorted({str(student.entry["labels"]) for student in self.students})
        labels = f"; {' and '.join(kinds)} labels" if len(kinds) > 1 else ""
        nouns = {str(study.get("noun", "test examples")) for study in self.studies}
        noun = nouns.pop() if len(nouns) == 1 else "test examples"
        return f"{tasks} ({seeds} seed{'' if seeds == '1' else 's'}, {examples} {noun}{labels})"

    @property
    def level(self) -> str:
        """Of intervals, such as "95 %"."""
        return f"{100 * self.students[0].entry['estimate']['level']:g} %"


def over_tasks(students: Sequence[Student], what: str) -> Value:
    """A number of one student; of students on several tasks the median, with its interval if there is one.

    Args:
        students: The same pair and variant on one or more tasks.
        what: As `Student.value` takes it.
    """
    values = [student.value(what) for student in students]
    if len(values) == 1:
        return values[0]
    reasons = tuple(reason for value in values for reason in value.reasons)
    there = [value.value for value in values if not value.missing]
    if not there:
        return Value(math.nan, reasons=reasons)
    low, high = median_interval(there)[:2] if len(there) > 5 else (math.nan, math.nan)
    return Value(statistics.median(there), low, high, reasons)


def _task_names(studies: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of tasks; with the study behind it where tasks of one name have different test examples."""
    names = [str(study["task"]["name"]) for study in studies]
    settings = [dict(map(tuple, study.get("settings", ()))) for study in studies]
    tests = [
        tuple(own.get(name) for name in ("task", "num_test", "test_mix", "test_part")) for own in settings
    ]
    kinds = {name: {test for own, test in zip(names, tests, strict=True) if own == name} for name in names}
    called = [str(study["name"]) for study in studies]
    called = [
        c if called.count(c) == 1 else " ".join(s["called"]) for c, s in zip(called, studies, strict=True)
    ]
    return [
        name if len(kinds[name]) == 1 or behind == name else f"{name} ({behind})"
        for name, behind in zip(names, called, strict=True)
    ]


def along(shown: Shown, variant: Variant, line: str, what: str) -> dict[str, Value]:
    """A number for each place of a line, smallest model first.

    Args:
        shown: What there is.
        variant: How students are trained.
        line: The model of the line: one of `shown.lines`.
        what: As `Student.value` takes it.
    """
    found = {
        place: shown.chosen(variant, place, line)
        if shown.by_supervisor
        else shown.chosen(variant, line, place)
        for place in shown.places
    }
    return {place: over_tasks(students, what) for place, students in found.items() if students}


def damaged(error: Exception) -> DataError:
    """The error of a document in which something is missing or is something else."""
    return DataError(f"the report is damaged ({type(error).__name__}: {error}); write it again")


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("task", "weak", "strong", "method", "oracle", "labels"))


def _span(values: Iterable[int]) -> str:
    low, high = min(all_ := list(values)), max(all_)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
