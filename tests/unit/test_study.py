from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest

from reference.studies import ToyTask, write_model
from surpass.errors import ConfigError
from surpass.methods import METHODS, WeakToStrong
from surpass.stages import TRUTH, Examples, Fit, Label, Relabel, Stage
from surpass.study import RowStages, Study, learns_truth, targets

PARTS = ("weak", "student", "test")


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    return [write_model(tmp_path, f"m{number}") for number in range(5)]


def study_of(models: list[str], **fields: object) -> Study:
    given = {"name": "toy", "task": ToyTask(), "pairs": ((models[0], models[1]),), "num_train": 20}
    return Study(**given | fields)  # type: ignore[arg-type]


def everything(study: Study) -> list[Stage]:
    """All different stages of a study."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        found[stage.id] = stage
        for before in stage.upstream:
            visit(before)

    for row in study.rows():
        for target in targets(row):
            visit(target)
    return list(found.values())


def count(study: Study, kind: type[Stage]) -> int:
    return sum(isinstance(stage, kind) for stage in everything(study))


class TestSharing:
    @pytest.mark.parametrize(
        ("num_weak", "num_strong", "seeds"), [(1, 1, 1), (1, 3, 2), (2, 3, 2), (3, 2, 1)]
    )
    def test_supervisors_and_ceilings_once_per_seed(self, models, num_weak, num_strong, seeds):
        pairs = tuple(product(models[:num_weak], models[-num_strong:]))
        study = study_of(models, pairs=pairs, seeds=tuple(range(seeds)))
        assert count(study, Fit) == seeds * (num_weak + num_strong + num_weak * num_strong)
        assert count(study, Examples) == 2 * seeds + 1
        assert len(study.rows()) == seeds * num_weak * num_strong

    def test_more_methods_cost_their_students_only(self, models, monkeypatch):
        monkeypatch.setitem(
            METHODS, "twice", lambda w2s: w2s.fit(w2s.strong_model, w2s.weak_labels, loss="x")
        )
        pairs = tuple(product(models[:2], models[2:]))
        study = study_of(models, pairs=pairs, seeds=(0, 1), methods=("naive", "twice"))
        assert count(study, Fit) == 2 * (2 + 3 + 2 * 3 * 2)

    def test_a_triangle(self, models):
        study = study_of(models, pairs=tuple(combinations(models, 2)), seeds=(0,))
        assert count(study, Fit) == 4 + 4 + 10

    def test_equal_methods_share_their_student(self, models, monkeypatch):
        monkeypatch.setitem(METHODS, "same", METHODS["naive"])
        study = study_of(models, seeds=(0,), methods=("naive", "same"))
        assert count(study, Fit) == 3

    def test_a_rows_labels_are_made_once(self, models):
        study = study_of(models, seeds=(0,))
        assert count(study, Label) == 1 + 3  # the supervisor's for the student; three for the test
        hard = study_of(models, seeds=(0,), labels="hard")
        assert (count(hard, Label), count(hard, Relabel)) == (4, 1)

    def test_soft_and_hard_share_all_but_the_student(self, models):
        soft, hard = study_of(models, seeds=(0,)), study_of(models, seeds=(0,), labels="hard")
        fits = [{s.id for s in everything(study) if isinstance(s, Fit)} for study in (soft, hard)]
        assert len(fits[0] & fits[1]) == 2


class TestProtocol:
    @pytest.fixture(params=["soft", "hard"])
    def row(self, models: list[str], request: pytest.FixtureRequest) -> RowStages:
        return study_of(models, labels=request.param, seeds=(4,)).rows()[0]

    def fits(self, row: RowStages) -> tuple[Fit, Fit, Fit]:
        sources = [score.labels.source for score in targets(row)]  # type: ignore[union-attr]
        return tuple(sources)  # type: ignore[return-value]

    def test_student_and_ceiling_differ_in_labels_only(self, row):
        _, student, ceiling = self.fits(row)
        assert student == row.student
        assert ceiling.labels == TRUTH
        assert replace(student, labels=TRUTH) == ceiling

    def test_the_supervisor_learns_another_half(self, row, models):
        weak, student, _ = self.fits(row)
        assert (weak.model, student.model) == (models[0], models[1])
        assert weak.labels == TRUTH
        assert (weak.examples.part, student.examples.part) == ("weak", "student")
        assert weak.examples.size == student.examples.size == 20

    def test_the_student_learns_what_the_supervisor_says_of_its_examples(self, row):
        weak, student, _ = self.fits(row)
        labels = student.labels
        if isinstance(labels, Relabel):
            assert labels.rule == "harden"
            labels = labels.labels
        assert isinstance(labels, Label)
        assert labels == Label(source=weak, examples=student.examples)

    def test_all_are_scored_on_the_same_test_examples(self, row):
        assert {score.examples.id for score in targets(row)} == {row.weak_score.labels.examples.id}
        assert row.weak_score.examples.part == "test"

    def test_settings_reach_every_fit(self, row, models):
        recipes = {fit.recipe for fit in self.fits(row)}
        assert recipes == {study_of(models).recipe}
        assert {fit.seed for fit in self.fits(row)} == {4}


def test_every_seed_has_its_own_examples_but_one_test(models):
    rows = study_of(models, seeds=(0, 7)).rows()
    assert [row.seed for row in rows] == [0, 7]
    assert [row.student.examples.seed for row in rows] == [0, 7]
    assert len({row.student_score.examples.id for row in rows}) == 1


def test_settings_of_the_examples(models):
    study = study_of(models, num_test=5, train_mix="even", test_part="validation", seeds=(2,))
    assert study.test_examples == Examples(task=ToyTask(), part="validation", size=5, seed=0, mix="all")
    student = study.rows()[0].student
    assert student.examples == Examples(task=ToyTask(), part="student", size=20, seed=2, mix="even")


def test_rows_go_by_pair_then_method_then_seed(models, monkeypatch):
    monkeypatch.setitem(METHODS, "other", METHODS["naive"])
    pairs = ((models[0], models[1]), (models[0], models[2]))
    study = study_of(models, pairs=pairs, methods=("other", "naive"), seeds=(1, 0))
    assert [(row.pair, row.method, row.seed) for row in study.rows()] == list(
        product(pairs, ("other", "naive"), (1, 0))
    )


class TestId:
    def test_the_order_of_what_is_compared_does_not_matter(self, models):
        pairs = ((models[0], models[1]), (models[0], models[2]))
        study = study_of(models, pairs=pairs, seeds=(0, 1))
        assert len(study.id) == 64
        assert study.id == study.replace(pairs=pairs[::-1]).id == study.replace(seeds=(1, 0)).id

    def test_nor_does_the_name(self, models):
        assert study_of(models).id == study_of(models, name="other").id

    def test_everything_else_does(self, models):
        study = study_of(models)
        changes = [
            {"pairs": ((models[0], models[2]),)},
            {"seeds": (0, 1)},
            {"labels": "hard"},
            {"num_train": 21},
            {"num_test": 3},
            {"train_mix": "even"},
            {"test_mix": "even"},
            {"test_part": "validation"},
            {"recipe": replace(study.recipe, epochs=9)},
            {"task": ToyTask(split_seed=1)},
        ]
        assert len({study.id, *(study.replace(**change).id for change in changes)}) == 1 + len(changes)


class TestOracle:
    @pytest.fixture
    def w2s(self, models: list[str]) -> WeakToStrong:
        return study_of(models).setting((models[0], models[1]), 0)

    def is_oracle(self, w2s: WeakToStrong, student: Fit) -> bool:
        return learns_truth(student, w2s.weak_examples)

    def test_the_supervisors_truth_is_none(self, w2s):
        assert not self.is_oracle(w2s, METHODS["naive"](w2s))

    def test_the_ceiling(self, w2s):
        assert self.is_oracle(w2s, w2s.ceiling)

    def test_through_others(self, w2s):
        labels = w2s.label(w2s.ceiling, w2s.student_examples)
        middle = w2s.fit(w2s.weak_model, labels)
        student = w2s.fit(
            w2s.strong_model, Relabel(labels=w2s.label(middle, w2s.student_examples), rule="harden")
        )
        assert self.is_oracle(w2s, student)

    @pytest.mark.parametrize(
        "changes", [{"size": 10}, {"seed": 9}, {"mix": "even"}, {"part": "test", "size": None}]
    )
    def test_truth_of_other_examples_that_overlap_the_students_or_the_test(self, w2s, changes):
        helper = replace(w2s.ceiling, examples=replace(w2s.student_examples, **changes))
        student = w2s.fit(w2s.strong_model, w2s.label(helper, w2s.student_examples))
        assert self.is_oracle(w2s, student)

    def test_rows_say_so(self, models, monkeypatch):
        monkeypatch.setitem(METHODS, "cheat", lambda w2s: w2s.ceiling)
        rows = study_of(models, methods=("naive", "cheat"), seeds=(0,)).rows()
        assert [row.oracle for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": "fuzzy"}, "labels='fuzzy' must be one of soft, hard"),
        ({"pairs": ()}, "pairs is empty: name at least one"),
        ({"methods": ()}, "methods is empty"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (1, 1)}, r"seeds=\(1, 1\) names one twice"),
        ({"seeds": (0, -1)}, r"seeds=\(0, -1\) must be whole numbers from 0"),
        ({"seeds": (0.5,)}, "must be whole numbers from 0"),
        ({"methods": ("naive", "naive")}, "names one twice"),
        ({"methods": ("alchemy",)}, "no method 'alchemy'; there are: "),
        ({"train_mix": "odd"}, "no mix 'odd' in task toy; choose from all, even"),
        ({"test_mix": "odd"}, "no mix 'odd'"),
        ({"test_part": "exam"}, "no part 'exam'; choose from weak, student, validation, test"),
        ({"num_train": 0}, "num_train=0 must be at least 1"),
        ({"num_test": 0}, "num_test=0 must be at least 1"),
        ({"pairs": (("ladder:chess-1", "ladder:none"),)}, "no rung 'none' on the ladder"),
        ({"pairs": (("ladder:chess-1", "ladder:chess-1"),)}, "is one model: name two"),
    ],
)
def test_what_makes_no_study(models, fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        study_of(models, **fields)
    assert "\n" not in str(caught.value)


def test_two_models_of_one_name_would_be_one_in_the_table(models, tmp_path):
    (tmp_path / "other").mkdir()
    twin = write_model(tmp_path / "other", "m1", mark=1)
    with pytest.raises(ConfigError, match=r"m1\.safetensors are both called m1 in tables: rename a file"):
        study_of(models, pairs=((models[0], models[1]), (models[0], twin)))
