"""Labels held against the truth, and against the supervisor's: what `Score` and `Compare` run.

Shape suffixes: N examples.
"""

from __future__ import annotations

import json
import math
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from surpass import labels as lb
from surpass import metrics
from surpass.errors import DataError
from surpass.metrics.checks import Rows, rows_of
from surpass.store.artifact import Artifact
from surpass.tasks.checkers import same_answer

if TYPE_CHECKING:
    from surpass.stages import Compare, Context, Examples, LabelStage, Score

ATTRIBUTE = "attribute"
"""Column of inputs with a spurious attribute; groups are those of truth and attribute."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class _Recent:
    """What was read last, up to so many bytes; whoever asks again is given the same."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key][0]
        value = make()
        num_bytes = value.nbytes  # a table takes its time to say so
        with self._lock:
            self._bytes += num_bytes - self._held.pop(key, (None, 0))[1]
            self._held[key] = value, num_bytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._held.popitem(last=False)[1][1]
        return value


_examples, _labels = _Recent(2**25), _Recent(2**25)


def _mark(path: Path) -> str:
    """A file as it is now."""
    status = os.stat(path)
    return f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


class _Answered(NamedTuple):
    """Examples with their truth.

    Attributes:
        mark: The files that they were read from.
        ids: Of the examples.
        num_candidates: How many each has; None where prompts are completed.
        truth: As labels.
        same: Whether a completion says the same as another.
        attribute: A spurious attribute of each, where they have one.
    """

    mark: str
    ids: list[str]
    num_candidates: list[int] | None
    truth: pa.Table
    same: Callable[[str, str], bool]
    attribute: pa.ChunkedArray | None

    @classmethod
    def of(cls, examples: Examples, context: Context) -> _Answered:
        """Those of a stage; the same examples are scored many times, and read once."""
        artifact = context.find(examples)
        files = (artifact.file(name) for name in ("inputs.parquet", "truth.parquet"))
        mark = f"{examples.id} {' '.join(map(_mark, files))}"
        found: _Answered = _examples.get(mark, lambda: cls._read(mark, examples, artifact))
        return found

    @classmethod
    def _read(cls, mark: str, examples: Examples, artifact: Artifact) -> _Answered:
        inputs = lb.read_candidates(artifact.file("inputs.parquet"))
        num_candidates = lb.num_candidates_of(inputs)
        truth = lb.truth_labels(pq.read_table(artifact.file("truth.parquet")), num_candidates)
        present = ATTRIBUTE in pq.read_schema(artifact.file("inputs.parquet")).names
        column = [ATTRIBUTE] if present else []
        table = pq.read_table(artifact.file("inputs.parquet"), columns=column)
        attribute = table[ATTRIBUTE] if present else None
        ids, same = inputs["id"].to_pylist(), same_answer(examples.task)
        return cls(mark, ids, num_candidates, truth, same, attribute)

    @property
    def nbytes(self) -> int:
        """About how much memory they take."""
        return int(self.truth.nbytes) + 100 * len(self.ids)

    def labelled(self, labels: LabelStage, context: Context) -> pa.Table:
        """The labels of these examples, in their order; a supervisor's are compared with many students'."""
        path = context.find(labels).file("labels.parquet")

        def read() -> pa.Table:
            return lb.join(self.ids, self.num_candidates, pq.read_table(path, use_threads=False))

        joined: pa.Table = _labels.get(f"{_mark(path)} {self.mark}", read)
        return joined


def run_score(stage: Score, context: Context) -> dict[str, Any]:
    """Metrics over all examples and, per example, what was predicted and whether it is right."""
    answered = _Answered.of(stage.examples, context)
    labels = answered.labelled(stage.labels, context)
    correct_N = lb.agreement(labels, answered.truth, answered.same)
    if answered.num_candidates is None:
        said = _Said({}, {"prediction": lb.completions(labels)}, _BIN_COLUMNS.empty_table())
    else:
        probs = rows_of(lb.probabilities(labels))
        said = _said(stage.examples, probs, _places(answered.truth), correct_N)
    undefined: dict[str, float | None] = dict.fromkeys(("auroc", "log_loss", "brier", "calibration_error"))
    groups = _groups(stage.examples, answered, correct_N)
    score = {"num_examples": len(answered.ids), "accuracy": float(correct_N.mean())} | undefined | said.score
    score |= {} if groups is None else {"worst_group": groups.worst, "mean_group": groups.mean}
    (context.out / "score.json").write_text(json.dumps(score, indent=1) + "\n")
    pq.write_table(said.bins, context.out / "calibration.parquet")
    columns = {"id": answered.ids, "prediction": said.columns["prediction"], "correct": correct_N}
    pq.write_table(pa.table(columns | said.columns), context.out / "examples.parquet")
    if groups is None:
        return {"score": score}
    pq.write_table(_groups_table(groups), context.out / "groups.parquet")
    empty = [f"truth {truth}, {ATTRIBUTE} {attribute}" for truth, attribute in groups.empty]
    return {"score": score} | ({"groups_without_examples": empty} if empty else {})


def _groups(examples: Examples, answered: _Answered, correct_N: Bools) -> metrics.Groups | None:
    """Accuracy by truth and attribute, where examples have one."""
    if answered.attribute is None:
        return None
    if answered.attribute.null_count:
        missing = answered.ids[answered.attribute.is_null().to_pylist().index(True)]
        raise DataError(f"{missing!r} has no {ATTRIBUTE}; every example of {examples.label} needs one")
    if answered.num_candidates is None or examples.task.num_classes is None:
        raise DataError(
            f"examples of {examples.label} have an {ATTRIBUTE} and no classes that all share, so that there "
            f"are no groups; take the column {ATTRIBUTE} away"
        )
    return metrics.group_accuracy(_places(answered.truth), answered.attribute.to_pylist(), correct_N)


def _groups_table(groups: metrics.Groups) -> pa.Table:
    whole = all(type(value) is int for value in groups.attribute_G)
    return pa.table(
        {
            "truth": pa.array(groups.truth_G, pa.int16()),
            ATTRIBUTE: pa.array(groups.attribute_G, pa.int16() if whole else pa.string()),
            "count": pa.array(groups.count_G, pa.int64()),
            "accuracy": pa.array(groups.accuracy_G, pa.float64()),
        }
    )


class _Said(NamedTuple):
    """What depends on the form of the labels: metrics, columns of each example, and bins of calibration."""

    score: dict[str, float | None]
    columns: dict[str, Any]
    bins: pa.Table


_BINS = ("low", "high", "confidence", "accuracy")
_BIN_COLUMNS = pa.schema([*((name, pa.float64()) for name in _BINS), ("count", pa.int64())])


def _said(examples: Examples, probs: Rows, truth_N: Ints, correct_N: Bools) -> _Said:
    """Of probabilities over candidates."""
    confidence_N, truth_prob_N = metrics.confidences(probs), metrics.truth_probs(probs, truth_N)
    bins = metrics.calibration_bins(confidence_N, correct_N)
    means = (bins.low_B, bins.high_B, bins.confidence_B, bins.accuracy_B)
    return _Said(
        score={
            "auroc": _finite(_auroc(examples, probs, truth_N)),
            "log_loss": _finite(metrics.log_loss(truth_prob_N)),
            "brier": metrics.brier(probs, truth_N),
            "calibration_error": bins.error,
        },
        columns={
            "prediction": metrics.predictions(probs).astype(np.int16),
            "truth_prob": truth_prob_N.astype(np.float32),
            "confidence": confidence_N.astype(np.float32),
        },
        bins=pa.table(dict(zip(_BINS, means, strict=True)) | {"count": bins.count_B}),
    )


def _places(labels: pa.Table) -> Ints:
    """The place of the most probable candidate of each example."""
    return metrics.predictions(lb.probabilities(labels))


def _auroc(examples: Examples, probs: Rows, truth_N: Ints) -> float:
    """Area under the curve, where classes mean the same in all examples; else NaN."""
    if examples.task.num_classes is None:
        return math.nan
    return metrics.auroc(probs, truth_N)


def run_compare(stage: Compare, context: Context) -> dict[str, Any]:
    """What the student took over from its supervisor, and what it did not."""
    answered = _Answered.of(stage.examples, context)
    student, weak = (answered.labelled(labels, context) for labels in (stage.student, stage.weak))
    student_right_N, weak_right_N = (
        lb.agreement(labels, answered.truth, answered.same) for labels in (student, weak)
    )
    # Answers as numbers: 0 is the truth, 1 the supervisor's error, 2 another.
    weak_N = (~weak_right_N).astype(np.int64)
    other_N = np.where(lb.agreement(student, weak, answered.same) & ~weak_right_N, 1, 2)
    student_N = np.where(student_right_N, 0, other_N)
    truth_N = np.zeros(len(weak_N), np.int64)
    split = metrics.agreement_split(student_N, weak_N, weak_right_N)
    transfer = metrics.error_transfer(student_N, weak_N, truth_N)
    correlation = metrics.error_correlation(student_right_N, weak_right_N)
    compared = {
        "agreement": split.overall,
        "agreement_right": split.when_right,
        "agreement_wrong": split.when_wrong,
        "inherited": transfer.inherited,
        "changed": transfer.changed,
        "corrected": transfer.corrected,
        "new_errors": transfer.new,
        "error_phi": correlation.phi,
        "error_kappa": correlation.kappa,
    } | _distances(student, weak, answered)
    finite = {name: _finite(value) for name, value in compared.items()}
    (context.out / "comparison.json").write_text(json.dumps(finite, indent=1) + "\n")
    return {"comparison": finite}


def _distances(student: pa.Table, weak: pa.Table, answered: _Answered) -> dict[str, float]:
    """What is measured on probabilities; completions have none."""
    if answered.num_candidates is None:
        return dict.fromkeys(("capa", "misfit", "gain", "kl_misfit", "kl_gain"), math.nan)
    probs = rows_of(lb.probabilities(student)), rows_of(lb.probabilities(weak))
    truth_N = _places(answered.truth)
    squared, nats = metrics.squared_misfit(*probs, truth_N), metrics.kl_misfit(*probs, truth_N)
    return {
        "capa": metrics.capa(*probs, truth_N).kappa,
        "misfit": squared.misfit,
        "gain": squared.gain,
        "kl_misfit": nats.misfit,
        "kl_gain": nats.gain,
    }


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


class Group(NamedTuple):
    """The test examples of one truth and attribute, and the share of them that a model gets right."""

    truth: int
    attribute: int | str
    num_examples: int
    accuracy: float


def read_groups(artifact: Artifact) -> list[Group]:
    """The groups of a score by truth, then attribute; none where examples have no attribute."""
    if "groups.parquet" not in artifact.manifest["files"]:
        return []
    table = pq.read_table(artifact.file("groups.parquet"))
    columns = (table[name].to_pylist() for name in ("truth", ATTRIBUTE, "count", "accuracy"))
    return [Group(*row) for row in zip(*columns, strict=True)]


def read_correct(artifact: Artifact) -> npt.NDArray[np.bool_]:
    """Correctness of a score's examples, in their order."""
    # Without threads a small file is read in a fraction of the time, and a report reads thousands.
    file = pq.ParquetFile(artifact.file("examples.parquet"))
    table = file.read(columns=["correct"], use_threads=False)
    correct_N: npt.NDArray[np.bool_] = table["correct"].to_numpy(zero_copy_only=False)
    return correct_N
