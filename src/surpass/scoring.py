"""Labels held against the truth, and against the supervisor's: what `Score` and `Compare` run."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surpass import labels as lb
from surpass import metrics
from surpass.artifact import Artifact

if TYPE_CHECKING:
    from surpass.stages import Compare, Context, Examples, LabelStage, Score

Ints = npt.NDArray[np.int64]


class _Answered(NamedTuple):
    """Examples with their truth."""

    ids: list[str]
    num_candidates: list[int]
    truth_N: Ints


def _answered(examples: Artifact) -> _Answered:
    inputs = pq.read_table(examples.file("inputs.parquet"), columns=["id", "candidates"])
    truth = pq.read_table(examples.file("truth.parquet"))
    sizes = pc.list_value_length(inputs["candidates"]).to_pylist()
    return _Answered(inputs["id"].to_pylist(), sizes, truth["truth"].to_numpy().astype(np.int64))


def _probs(labels: LabelStage, answered: _Answered, context: Context) -> list[lb.Floats]:
    table = pq.read_table(context.find(labels).file("labels.parquet"))
    return lb.rows(lb.join(answered.ids, answered.num_candidates, table))


def run_score(stage: Score, context: Context) -> dict[str, Any]:
    """Metrics over all examples and, per example, what was predicted and whether it is right."""
    answered = _answered(context.find(stage.examples))
    probs, truth_N = _probs(stage.labels, answered, context), answered.truth_N
    prediction_N = metrics.predictions(probs)
    correct_N = prediction_N == truth_N
    confidence_N, truth_prob_N = metrics.confidences(probs), metrics.truth_probs(probs, truth_N)
    bins = metrics.calibration_bins(confidence_N, correct_N)
    score = {
        "num_examples": len(answered.ids),
        "accuracy": metrics.accuracy(prediction_N, truth_N),
        "auroc": _finite(_auroc(stage.examples, probs, truth_N)),
        "log_loss": _finite(metrics.log_loss(truth_prob_N)),
        "brier": metrics.brier(probs, truth_N),
        "calibration_error": bins.error,
    }
    (context.out / "score.json").write_text(json.dumps(score, indent=1) + "\n")
    edges = {"low": bins.low_B, "high": bins.high_B}
    means = {"confidence": bins.confidence_B, "accuracy": bins.accuracy_B, "count": bins.count_B}
    pq.write_table(pa.table(edges | means), context.out / "calibration.parquet")
    columns = {
        "id": answered.ids,
        "prediction": prediction_N.astype(np.int16),
        "correct": correct_N,
        "truth_prob": truth_prob_N.astype(np.float32),
        "confidence": confidence_N.astype(np.float32),
    }
    pq.write_table(pa.table(columns), context.out / "examples.parquet")
    return {"score": score}


def _auroc(examples: Examples, probs: list[lb.Floats], truth_N: Ints) -> float:
    """Area under the curve, where classes mean the same in all examples; else NaN."""
    if examples.task.num_classes is None:
        return math.nan
    return metrics.auroc(np.stack(probs), truth_N)


def run_compare(stage: Compare, context: Context) -> dict[str, Any]:
    """What the student took over from its supervisor, and what it did not."""
    answered = _answered(context.find(stage.examples))
    truth_N = answered.truth_N
    student, weak = (_probs(labels, answered, context) for labels in (stage.student, stage.weak))
    student_N, weak_N = metrics.predictions(student), metrics.predictions(weak)
    split = metrics.agreement_split(student_N, weak_N, weak_N == truth_N)
    transfer = metrics.error_transfer(student_N, weak_N, truth_N)
    correlation = metrics.error_correlation(student_N == truth_N, weak_N == truth_N)
    squared, nats = metrics.squared_misfit(student, weak, truth_N), metrics.kl_misfit(student, weak, truth_N)
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
        "capa": metrics.capa(student, weak, truth_N).kappa,
        "misfit": squared.misfit,
        "gain": squared.gain,
        "kl_misfit": nats.misfit,
        "kl_gain": nats.gain,
    }
    finite = {name: _finite(value) for name, value in compared.items()}
    (context.out / "comparison.json").write_text(json.dumps(finite, indent=1) + "\n")
    return {"comparison": finite}


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def read_correct(artifact: Artifact) -> npt.NDArray[np.bool_]:
    """Correctness of a score's examples, in their order."""
    table = pq.read_table(artifact.file("examples.parquet"), columns=["correct"])
    correct_N: npt.NDArray[np.bool_] = table["correct"].to_numpy(zero_copy_only=False)
    return correct_N
