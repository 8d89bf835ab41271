"""Being in a dict means being covered: what every loss, rule, stage, method, task and recipe promises."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from functools import cache
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from reference.losses import TWINS
from surpass.errors import ConfigError
from surpass.identity import canonical_json, identity_fields
from surpass.labels import RULES, join, label_table
from surpass.losses import LOSSES, NEEDS_LOGITS, Target, soft_cross_entropy
from surpass.methods import METHODS, WeakToStrong
from surpass.models.sources import resolve
from surpass.recipes import RECIPES, find_recipe
from surpass.stages import STAGES, TRUTH, Examples, Fit, Label, Relabel, Stage
from surpass.study import Study, learns_truth, targets
from surpass.tasks import TASKS, Task
from surpass.tasks.chess import ChessTask
from surpass.train.recipe import Recipe

WEAK, STRONG = "ladder:chess-1", "ladder:chess-2"

ORACLES: frozenset[str] = frozenset()
"""Methods that say that they use the truth."""


class TestLosses:
    SIZES = (5, 1, 3, 2, 5, 4, 3)
    PROGRESS = (0.0, 0.2, 0.5, 1.0)

    def batch(self, seed: int = 0, extra_columns: int = 0) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        width = max(self.SIZES) + extra_columns
        logits_NC = torch.full((len(self.SIZES), width), -torch.inf)
        probs_NC = torch.zeros(len(self.SIZES), width)
        for row, size in enumerate(self.SIZES):
            logits_NC[row, :size] = torch.from_numpy(2 * rng.standard_normal(size))
            probs_NC[row, :size] = torch.from_numpy(rng.dirichlet(np.ones(size)))
        probs_NC[3, :2] = torch.tensor([1.0, 0.0])
        return logits_NC, probs_NC

    def ragged(self, values_NC: Tensor) -> list[list[float]]:
        return [row[:size].tolist() for row, size in zip(values_NC, self.SIZES, strict=True)]

    @pytest.mark.parametrize(("name", "progress"), list(product(LOSSES, PROGRESS)))
    def test_targets_are_distributions_over_candidates_that_exist(self, name, progress):
        logits_NC, probs_NC = self.batch()
        target_NC, weight_N = LOSSES[name](logits_NC, probs_NC, progress)
        assert target_NC.shape == probs_NC.shape
        assert weight_N.shape == (len(self.SIZES),)
        assert target_NC.isfinite().all()
        assert weight_N.isfinite().all()
        assert (target_NC >= 0).all()
        assert (weight_N >= 0).all()
        torch.testing.assert_close(target_NC.sum(1), torch.ones(len(self.SIZES)))
        assert not target_NC[logits_NC.isinf()].any()

    @pytest.mark.parametrize("name", LOSSES)
    def test_the_order_of_the_batch_does_not_matter(self, name):
        logits_NC, probs_NC = self.batch()
        order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
        target_NC, weight_N = LOSSES[name](logits_NC, probs_NC, 0.5)
        other = LOSSES[name](logits_NC[order], probs_NC[order], 0.5)
        torch.testing.assert_close(other.target_NC, target_NC[order])
        torch.testing.assert_close(other.weight_N, weight_N[order])

    @pytest.mark.parametrize("name", LOSSES)
    def test_nor_does_padding(self, name):
        narrow, wide = (LOSSES[name](*self.batch(extra_columns=extra), 0.5) for extra in (0, 3))
        torch.testing.assert_close(wide.target_NC[:, :5], narrow.target_NC)
        torch.testing.assert_close(wide.weight_N, narrow.weight_N)

    @pytest.mark.parametrize(("name", "progress", "seed"), list(product(LOSSES, PROGRESS, range(3))))
    def test_equals_its_slow_twin(self, name, progress, seed):
        assert name in TWINS, f"write a twin of loss {name!r} in tests/reference/losses.py"
        logits_NC, probs_NC = self.batch(seed)
        target_NC, weight_N = LOSSES[name](logits_NC, probs_NC, progress)
        target, weight = TWINS[name](self.ragged(logits_NC), self.ragged(probs_NC), progress)
        for found, expected in zip(self.ragged(target_NC), target, strict=True):
            assert found == pytest.approx(expected, abs=1e-6)
        assert weight_N.tolist() == pytest.approx(weight, abs=1e-6)

    @pytest.mark.parametrize("name", LOSSES)
    def test_one_example_alone(self, name):
        logits_NC, probs_NC = (values[:1] for values in self.batch())
        assert isinstance(LOSSES[name](logits_NC, probs_NC, 0.5), Target)

    @pytest.mark.parametrize("name", LOSSES)
    def test_the_gradient_is_finite(self, name):
        logits_NC, probs_NC = self.batch()
        target = LOSSES[name](logits_NC, probs_NC, 0.5)
        free_NC = logits_NC.clone().requires_grad_()
        soft_cross_entropy(free_NC, target).sum().backward()
        assert free_NC.grad.isfinite().all()

    @pytest.mark.parametrize("name", sorted(LOSSES.keys() - NEEDS_LOGITS))
    def test_who_needs_no_logits_does_not_look_at_them(self, name):
        logits_NC, probs_NC = self.batch()
        target, other = (LOSSES[name](logits, probs_NC, 0.5) for logits in (logits_NC, probs_NC))
        assert torch.equal(target.target_NC, other.target_NC)
        assert torch.equal(target.weight_N, other.weight_N)

    @pytest.mark.parametrize("name", LOSSES)
    def test_says_where_it_is_from(self, name):
        assert "Source:" in inspect.getdoc(LOSSES[name])

    def test_no_twin_is_left_over(self):
        assert TWINS.keys() == LOSSES.keys()


class TestRules:
    SIZES = (2, 1, 5, 3, 30)

    def labels(self) -> pa.Table:
        rng = np.random.default_rng(0)
        ids = [f"p{number}" for number in range(len(self.SIZES))]
        return label_table(ids, [rng.dirichlet(np.ones(size)).astype(np.float32) for size in self.SIZES])

    @pytest.mark.parametrize("name", RULES)
    def test_labels_stay_labels(self, name):
        before = self.labels()
        after = RULES[name](before)
        joined = join(before["id"].to_pylist(), self.SIZES, after, subset=True)
        assert 0 < joined.num_rows <= len(self.SIZES)
        assert joined.equals(after), "the order of the examples is kept"

    @pytest.mark.parametrize("name", RULES)
    def test_the_order_of_the_examples_does_not_matter(self, name):
        after, other = RULES[name](self.labels()), RULES[name](self.labels().take([3, 0, 4, 1, 2]))
        assert after.sort_by("id").equals(other.sort_by("id"))

    @pytest.mark.parametrize("name", RULES)
    def test_pieces_are_as_good_as_the_whole(self, name):
        whole = self.labels()
        pieces = pa.concat_tables([whole.slice(0, 2), whole.slice(2, 0), whole.slice(2)])
        assert RULES[name](pieces).equals(RULES[name](whole))

    @pytest.mark.parametrize("name", RULES)
    def test_what_it_was_given_stays_as_it_was(self, name):
        labels = self.labels()
        RULES[name](labels)
        assert labels.equals(self.labels())

    @pytest.mark.parametrize("name", RULES)
    def test_no_labels_at_all(self, name):
        assert RULES[name](self.labels().slice(0, 0)).num_rows == 0


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
        assert set(Stage.__subclasses__()) >= set(STAGES.values())
        ours = {stage for stage in Stage.__subclasses__() if stage.__module__.startswith("surpass")}
        assert ours == set(STAGES.values())


def setting(*, hard: bool) -> WeakToStrong:
    halves = [Examples(task=ChessTask(), part=part, size=100, seed=3) for part in ("weak", "student")]
    return WeakToStrong(
        weak_model=WEAK,
        strong_model=STRONG,
        weak_examples=halves[0],
        student_examples=halves[1],
        hard=hard,
        recipe=Recipe(epochs=2),
        seed=3,
    )


def ancestry(stage: Stage) -> list[Stage]:
    return [stage, *(found for before in stage.upstream for found in ancestry(before))]


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("name", METHODS)
class TestMethods:
    def test_gives_a_fit_of_the_strong_model_on_the_students_examples(self, name, hard):
        w2s = setting(hard=hard)
        student = METHODS[name](w2s)
        assert isinstance(student, Fit)
        assert student.model == STRONG
        assert student.examples == w2s.student_examples
        assert student.loss in LOSSES
        assert student.seed == 3

    def test_it_learns_from_the_supervisor(self, name, hard):
        w2s = setting(hard=hard)
        above = {stage.id for stage in ancestry(METHODS[name](w2s))}
        assert w2s.weak.id in above
        assert w2s.weak_labels.id in above

    def test_truth_is_used_by_those_who_say_so_only(self, name, hard):
        w2s = setting(hard=hard)
        student = METHODS[name](w2s)
        assert learns_truth(student, w2s.weak_examples) == (name in ORACLES)
        if name not in ORACLES:
            fits = [stage for stage in ancestry(student) if isinstance(stage, Fit) and stage.labels == TRUTH]
            assert {stage.examples.part for stage in fits} == {"weak"}

    def test_hard_labels_reach_every_fit_on_labels(self, name, hard):
        for stage in ancestry(METHODS[name](setting(hard=hard))):
            if isinstance(stage, Fit) and stage.labels != TRUTH:
                assert isinstance(stage.labels, Relabel if hard else Label)

    def test_it_is_a_function_of_the_setting(self, name, hard):
        first, second = (METHODS[name](setting(hard=hard)) for _ in range(2))
        assert first.id == second.id

    def test_it_has_an_identity(self, name, hard):
        for stage in ancestry(METHODS[name](setting(hard=hard))):
            canonical_json(stage.identity)

    def test_it_says_where_it_is_from(self, name, hard):
        assert re.search(r"et al\. \d{4}, (section|appendix) ", inspect.getdoc(METHODS[name]) or "")


@cache
def task_of(name: str) -> Task:
    return TASKS[name]()


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
        inputs, truth = task_of(name).examples(part="weak", size=20, seed=0, mix="all")
        assert inputs.column_names[0] == "id"
        assert truth.column_names == ["id", "truth"]
        assert not set(inputs.column_names) & {"truth", "moves", "solution", "answer", "label"}

    def test_every_part_and_mix(self, name):
        task = task_of(name)
        for part, mix in product(task.parts, task.mixes):
            inputs, truth = task.examples(part=part, size=30, seed=1, mix=mix)
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


@pytest.mark.parametrize("name", RECIPES)
class TestRecipes:
    def test_expands_to_stages_of_models_that_exist(self, name):
        study = find_recipe(name)
        assert isinstance(study, Study)
        assert study.name == name
        found = study.rows()
        assert len(found) == len(study.pairs) * len(study.methods) * len(study.seeds)
        for row in found:
            assert len({score.id for score in targets(row)}) == 3
        for model in {model for pair in study.pairs for model in pair}:
            assert resolve(model).digest

    def test_the_student_is_the_larger_model(self, name):
        for weak, strong in find_recipe(name).pairs:
            assert resolve(weak).pretraining_flops < resolve(strong).pretraining_flops

    def test_there_are_enough_examples(self, name):
        study = find_recipe(name)
        for part in ("weak", "student"):
            assert study.num_train <= available(study.task.name, part, study.train_mix)
        assert (study.num_test or 1) <= available(study.task.name, study.test_part, study.test_mix)

    def test_is_described(self, name):
        assert inspect.getdoc(RECIPES[name])
