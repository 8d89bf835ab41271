"""Scores of steps of any solutions are the labels that a study would give them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from reference.language import save_tiny
from surpass.analyses.step_scores import score_solutions
from surpass.errors import ConfigError, DataError
from surpass.experiment import run_stage
from surpass.stages import Examples, Fit, Label
from surpass.store import Store
from surpass.tasks import find_task
from surpass.train.recipe import Recipe


def written(path):
    rows = [
        {"problem": f"w1 w{n}", "steps": ["w3 w5", f"w4 w{n % 9}", "w6"][: 1 + n % 3], "ratings": ratings}
        for n in range(60)
        for ratings in [[1, 0, -1][: 1 + n % 3] if n % 2 else [-1, None, None][: 1 + n % 3]]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("adapter", "classes"), [("full", 2), ("frozen", 3)])
def test_scores_are_those_of_labels(tmp_path, adapter, classes):
    model = f"dir:{save_tiny(tmp_path / 'model', 'llama')}"
    task = find_task(f"process(path={written(tmp_path / 'own.jsonl')}, classes={classes})")
    learned, test = (Examples(task=task, part=part, size=None, seed=0) for part in ("weak", "test"))
    fit = Fit(model=model, examples=learned, labels="truth", adapter=adapter, seed=0, recipe=Recipe(epochs=1))
    store = Store(tmp_path / "store")
    labels = pq.read_table(run_stage(Label.of(fit, test), store).file("labels.parquet"))
    probs = dict(zip(labels["id"].to_pylist(), labels["probs"].to_pylist(), strict=True))
    chosen = [one for one, part in zip(task.table.solutions, task.table.parts, strict=True) if part == "test"]
    chosen = [*chosen, chosen[0]]
    scores = score_solutions(fit, chosen, store=store)
    assert [len(row) for row in scores] == [len(one.steps) for one in chosen]
    compared = 0
    for one, row in zip(chosen, scores, strict=True):
        for step, score in enumerate(row):
            if one.step_id(step) in probs:
                assert score == pytest.approx(sum(probs[one.step_id(step)][1:]), abs=1e-5)
                compared += 1
    assert compared > len(probs)
    strict = score_solutions(fit, chosen, store=store, neutral="negative", micro_batch=2)
    assert all((a <= b + 1e-6).all() for a, b in zip(strict, scores, strict=True))
    if classes == 3:
        assert any((a < b - 1e-4).any() for a, b in zip(strict, scores, strict=True))
    with pytest.raises(ConfigError, match="was trained on"):
        score_solutions(fit, chosen, store=store, classes=5 - classes)
    with pytest.raises(DataError, match="no solutions"):
        score_solutions(fit, [], store=store)
    assert all(np.isfinite(row).all() for row in score_solutions(model, chosen, store=store, classes=classes))
