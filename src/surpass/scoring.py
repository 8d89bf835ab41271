"""Labels held against the truth: what `Score` runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from surpass import labels as lb
from surpass import metrics
from surpass.artifact import Artifact

if TYPE_CHECKING:
    from surpass.stages import Context, Score


def run_score(stage: Score, context: Context) -> dict[str, Any]:
    """Metrics over all examples and, per example, what was predicted and whether it is right."""
    examples = context.find(stage.examples)
    inputs = pq.read_table(examples.file("inputs.parquet"), columns=["id", "candidates"])
    truth = pq.read_table(examples.file("truth.parquet"))
    ids = inputs["id"].to_pylist()
    num_candidates = pa.compute.list_value_length(inputs["candidates"]).to_pylist()
    labels = pq.read_table(context.find(stage.labels).file("labels.parquet"))
    probs = lb.rows(lb.join(ids, num_candidates, labels))
    truth_N = truth["truth"].to_numpy().astype(np.int64)
    prediction_N = metrics.predictions(probs)
    correct_N = prediction_N == truth_N
    confidence_N, truth_prob_N = metrics.confidences(probs), metrics.truth_probs(probs, truth_N)
    score = {
        "num_examples": len(ids),
        "accuracy": metrics.accuracy(prediction_N, truth_N),
        "log_loss": metrics.log_loss(truth_prob_N) if truth_prob_N.all() else None,
        "brier": metrics.brier(probs, truth_N),
        "calibration_error": metrics.expected_calibration_error(confidence_N, correct_N),
    }
    (context.out / "score.json").write_text(json.dumps(score, indent=1) + "\n")
    columns = {
        "id": ids,
        "prediction": prediction_N.astype(np.int16),
        "correct": correct_N,
        "truth_prob": truth_prob_N.astype(np.float32),
        "confidence": confidence_N.astype(np.float32),
    }
    pq.write_table(pa.table(columns), context.out / "examples.parquet")
    return {"score": score}


def read_scored(artifact: Artifact) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Correctness and predictions of a score's examples, in their order."""
    table = pq.read_table(artifact.file("examples.parquet"), columns=["correct", "prediction"])
    correct = table["correct"].to_numpy(zero_copy_only=False)
    return correct, table["prediction"].to_numpy().astype(np.int64)
