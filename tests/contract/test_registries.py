"""Being in a dict means being covered: what every loss, rule, stage, method, task and recipe promises."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from functools import cache
from itertools import product

import pytest

from surpass.errors import ConfigError
from surpass.identity import canonical_json, identity_fields
from surpass.models.sources import resolve
from surpass.recipes import RECIPES, find_recipe
from surpass.stages import STAGES, Stage
from surpass.study import Study, targets
from surpass.tasks import TASKS, Task, find_task


def below(kind: type[Stage]) -> set[type[Stage]]:
    """All that is derived from a class, at any depth."""
    return {found for child in kind.__subclasses__() for found in (child, *below(child))}


class TestStages:
    @pytest.mark.parametrize("kind", STAGES)
    def test_form(self, kind):
        stage = STAGES[kind]
        assert stage.kind == kind
        assert re.fullmatch("[a-z][a-z0-9_]*", kind)
        assert type(stage.version) is int
        assert stage.version >= 1
        assert is_dataclass(stage)
        assert stage.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert stage.run is not Stage.run
        assert re.search("[Ff]iles?\\b", stage.__doc__ or ""), "say which files it gives"

    def test_all_kinds_are_here(self):
        ours = {stage for stage in below(Stage) if stage.__module__.startswith("surpass")}
        assert {stage for stage in ours if hasattr(stage, "kind")} == set(STAGES.values())


@cache
def task_of(name: str) -> Task:
    return TASKS[name]() if name in TASKS else find_task(name)


@cache
def available(task: str, part: str, mix: str) -> int:
    """How many examples there are, from what a task says to one who asks for too many."""
    with pytest.raises(ConfigError, match=r"ask for") as caught:
        task_of(task).examples(part=part, size=10**9, seed=0, mix=mix)
    return int(re.findall(r"\d+", str(caught.value))[1])


@pytest.mark.parametrize("name", TASKS)
class TestTasks:
    def test_form(self, name):
        task = task_of(name)
        assert task.name == name
        assert {"weak", "student", "validation", "test"} <= set(task.parts)
        assert task.mixes
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in task.digests().values())
        canonical_json(identity_fields(task))

    def test_truth_is_sealed(self, name):
        inputs, truth, _ = task_of(name).examples(part="weak", size=20, seed=0, mix="all")
        assert inputs.column_names[0] == "id"
        assert truth.column_names == ["id", "truth"]
        assert not set(inputs.column_names) & {"truth", "moves", "solution", "answer", "label"}

    def test_every_part_and_mix(self, name):
        task = task_of(name)
        for part, mix in product(task.parts, task.mixes):
            inputs, truth, _ = task.examples(part=part, size=30, seed=1, mix=mix)
            ids = inputs["id"].to_pylist()
            assert len(set(ids)) == 30
            assert truth["id"].to_pylist() == ids
            sizes = [len(row) for row in inputs["candidates"].to_pylist()]
            assert all(
                0 <= right < size for right, size in zip(truth["truth"].to_pylist(), sizes, strict=True)
            )

    def test_parts_share_nothing(self, name):
        task = task_of(name)
        parts = [
            set(task.examples(part=part, size=200, seed=0, mix="all").inputs["id"].to_pylist())
            for part in task.parts
        ]
        assert len(set.union(*parts)) == 200 * len(parts)

    def test_equal_calls_are_equal_and_seeds_differ(self, name):
        calls = [task_of(name).examples(part="student", size=50, seed=seed, mix="all") for seed in (0, 0, 1)]
        assert calls[0].inputs.equals(calls[1].inputs)
        assert calls[0].truth.equals(calls[1].truth)
        assert calls[0].inputs["id"].to_pylist() != calls[2].inputs["id"].to_pylist()

    def test_a_smaller_size_is_a_subset(self, name):
        task = task_of(name)
        for mix in task.mixes:
            small, large = (
                set(task.examples(part="test", size=size, seed=0, mix=mix).inputs["id"].to_pylist())
                for size in (20, 60)
            )
            assert small < large


AT_HAND = [name for name in RECIPES if not name.startswith(("text-", "reward-", "vision-", "processbench-"))]
"""Recipes whose models and data ship with Surpass; the others have `unit/test_text_recipes.py`."""


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_described(name):
    assert inspect.getdoc(RECIPES[name])


@pytest.mark.parametrize("name", AT_HAND)
class TestRecipes:
    def test_expands_to_stages_of_models_that_exist(self, name):
        study = find_recipe(name)
        assert isinstance(study, Study)
        assert study.name == name
        found = study.rows()
        left_out = len(study.left_out) * len(study.seeds)
        assert len(found) == len(study.pairs) * len(study.methods) * len(study.seeds) - left_out
        for row in found:
            own = row.student_score.id != row.ceiling_score.id
            pooled = {labels.id for labels in row.pooled}
            assert len({target.id for target in targets(row)}) == 3 + own + len(pooled)
            assert own or row.method == "fit_truth"
        for model in {model for pair in study.pairs for model in pair}:
            assert resolve(model).digest

    def test_the_student_is_the_larger_model(self, name):
        for weak, strong in find_recipe(name).pairs:
            weaker, stronger = resolve(weak), resolve(strong)
            if stronger.pretraining_flops:
                assert weaker.pretraining_flops < stronger.pretraining_flops

    def test_there_are_enough_examples(self, name):
        study = find_recipe(name)
        for part in ("weak", "student"):
            assert study.num_train <= available(study.task.name, part, study.train_mix)
        assert (study.num_test or 1) <= available(study.task.name, study.test_part, study.test_mix)
