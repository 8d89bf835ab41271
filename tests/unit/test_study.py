from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

import pytest

from reference.studies import ToyTask, write_model
from surpass.errors import ConfigError, NotApplicable
from surpass.lineage import learns_truth
from surpass.methods import METHODS, Arms, WeakToStrong, stopped
from surpass.stages import (
    TRUTH,
    Blend,
    Compare,
    Examples,
    Fit,
    Hint,
    Label,
    ModelStage,
    Relabel,
    Score,
    Stage,
    Stop,
    Truth,
)
from surpass.study import LeftOut, RowStages, Study, rungs_between, sharing, targets

PARTS = ("weak", "student", "test")


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    return [write_model(tmp_path, f"m{number}") for number in range(5)]


def scores_of(row: RowStages) -> tuple[Score, Score, Score]:
    return row.weak_score, row.student_score, row.ceiling_score


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


def fits_of(row: RowStages) -> set[str]:
    """All fits behind a row, found by going up from each of its targets."""
    found: set[str] = set()

    def visit(stage: Stage) -> None:
        if isinstance(stage, Fit | Stop):
            found.add(stage.id)
        for before in stage.upstream:
            visit(before)

    for target in targets(row):
        visit(target)
    return found


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
            METHODS, "twice", lambda w2s: w2s.fit(w2s.strong_model, w2s.weak_labels, loss="confidence")
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
        assert (count(study, Score), count(study, Compare)) == (3, 1)
        hard = study_of(models, seeds=(0,), labels="hard")
        assert (count(hard, Label), count(hard, Relabel)) == (4, 1)

    def test_soft_and_hard_share_all_but_the_student(self, models):
        soft, hard = study_of(models, seeds=(0,)), study_of(models, seeds=(0,), labels="hard")
        fits = [{s.id for s in everything(study) if isinstance(s, Fit)} for study in (soft, hard)]
        assert len(fits[0] & fits[1]) == 2

    @pytest.mark.parametrize("methods", [("naive",), ("naive", "early_stop", "wise_ft", "strong_to_strong")])
    @pytest.mark.parametrize("seeds", [(0,), (0, 1)])
    def test_what_is_saved(self, models, methods, seeds):
        pairs = tuple(product(models[:2], models[2:4]))
        rows = study_of(models, pairs=pairs, seeds=seeds, methods=methods).rows()
        fits = [fits_of(row) for row in rows]
        assert sharing(rows) == (sum(map(len, fits)), len(set.union(*fits)))

    def test_what_is_saved_by_hand(self, models):
        """Supervisor, ceiling and two students; early stopping trains on its own."""
        study = study_of(models, seeds=(0,), methods=("naive", "wise_ft", "early_stop"))
        assert sharing(study.rows()) == (9, 4)
        assert sharing([]) == (0, 0)

    def test_the_stages_of_a_study_are_made_once(self, models):
        study = study_of(models)
        assert all(one is other for one, other in zip(study.rows(), study.rows(), strict=True))
        study.rows().clear()
        assert len(study.rows()) == 3


class TestProtocol:
    @pytest.fixture(params=["soft", "hard"])
    def row(self, models: list[str], request: pytest.FixtureRequest) -> RowStages:
        return study_of(models, labels=request.param, seeds=(4,)).rows()[0]

    def fits(self, row: RowStages) -> tuple[Fit, Fit, Fit]:
        sources = [score.labels.source for score in scores_of(row)]  # type: ignore[union-attr]
        return tuple(sources)  # type: ignore[return-value]

    def test_what_has_to_be_computed(self, row):
        assert targets(row) == (row.weak_score, row.student_score, row.ceiling_score, row.comparison)
        assert [target.kind for target in targets(row)] == ["score", "score", "score", "compare"]

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
            (labels,) = labels.labels
        assert isinstance(labels, Label)
        assert labels == Label(source=weak, examples=student.examples)

    def test_all_are_scored_on_the_same_test_examples(self, row):
        assert {target.examples.id for target in targets(row)} == {row.weak_score.labels.examples.id}
        assert row.weak_score.examples.part == "test"

    def test_the_student_is_compared_by_the_labels_that_are_scored(self, row):
        """Soft ones in any case: hardening is for who learns from them."""
        assert row.comparison.student is row.student_score.labels
        assert row.comparison.weak is row.weak_score.labels
        assert isinstance(row.comparison.student, Label)
        assert isinstance(row.comparison.weak, Label)

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


@pytest.mark.parametrize("size", [None, 7])
def test_examples_to_choose_by_are_the_same_for_all_seeds(models, size):
    study = study_of(models, methods=("early_stop",), num_validation=size, test_mix="even", seeds=(0, 5))
    stops = [row.student for row in study.rows()]
    assert [type(stop) for stop in stops] == [Stop, Stop]
    assert {stop.examples for stop in stops} == {
        Examples(task=ToyTask(), part="validation", size=size, seed=0, mix="even")
    }


class TestBetween:
    def middle(self, study: Study) -> list[str]:
        student = study.rows()[0].student
        found = {stage.model for stage in everything_behind(student) if isinstance(stage, Fit)}
        return sorted(found - {*study.pairs[0]})

    def test_models_that_are_named(self, models):
        study = study_of(models, methods=("bootstrap(steps=3)",), between=tuple(models[2:4]), seeds=(0,))
        assert self.middle(study) == models[2:4]

    def test_rungs_of_the_ladder_by_default(self, models):
        pairs = (("ladder:chess-1", "ladder:chess-4"),)
        study = study_of(models, pairs=pairs, methods=("bootstrap",), seeds=(0,))
        assert self.middle(study) == ["ladder:chess-2", "ladder:chess-3"]
        named = study.replace(between=("ladder:chess-3",), methods=("bootstrap(steps=2)",))
        assert self.middle(named) == ["ladder:chess-3"]

    @pytest.mark.parametrize(
        ("pair", "rungs"),
        [
            (("1", "4"), ("2", "3")),
            (("1", "3"), ("2",)),
            (("2", "3"), ()),
            (("3", "1"), ()),
            (("1", "1"), ()),
        ],
    )
    def test_rungs(self, pair, rungs):
        ladder = [tuple(f"ladder:chess-{number}" for number in numbers) for numbers in (pair, rungs)]
        assert rungs_between(*ladder[0]) == ladder[1]

    def test_nothing_lies_between_other_models(self, models):
        assert rungs_between(models[0], models[1]) == ()
        assert rungs_between("ladder:chess-1", models[1]) == ()

    def test_they_count_where_a_method_climbs(self, models):
        study = study_of(models, seeds=(0,), methods=("naive",))
        assert study.id == study.replace(between=tuple(models[2:4])).id
        climbing = study.replace(methods=("bootstrap",), between=tuple(models[2:4]))
        assert climbing.id != climbing.replace(between=tuple(models[3:5])).id


def everything_behind(stage: Stage) -> list[Stage]:
    return [stage, *(found for before in stage.upstream for found in everything_behind(before))]


class TestLeftOut:
    @pytest.fixture(autouse=True)
    def picky(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def picky(w2s: WeakToStrong) -> Fit:
            """A student of all but the largest model."""
            if w2s.strong_model.endswith("m4.safetensors"):
                raise NotApplicable("it is too large")
            return METHODS["naive"](w2s)

        def moody(w2s: WeakToStrong) -> Fit:
            """A student of every seed but one."""
            if w2s.seed == 1:
                raise NotApplicable("not today")
            return METHODS["naive"](w2s)

        monkeypatch.setitem(METHODS, "picky", picky)
        monkeypatch.setitem(METHODS, "moody", moody)

    def test_where_it_makes_no_sense_there_is_no_row_but_a_reason(self, models):
        pairs = ((models[0], models[1]), (models[0], models[4]))
        study = study_of(models, pairs=pairs, methods=("picky", "naive"), seeds=(0, 2))
        assert study.left_out == (LeftOut(pairs[1], "picky", "it is too large"),)
        assert [(row.pair, row.method) for row in study.rows()] == [
            *[(pairs[0], "picky")] * 2,
            *[(pairs[0], "naive")] * 2,
            *[(pairs[1], "naive")] * 2,
        ]

    def test_all_seeds_or_none(self, models):
        study = study_of(models, methods=("naive", "moody"), seeds=(0, 1, 2))
        assert [row.method for row in study.rows()] == ["naive"] * 3
        assert [left.reason for left in study.left_out] == ["not today"]

    def test_it_changes_no_id(self, models):
        pairs = ((models[0], models[4]),)
        study = study_of(models, pairs=pairs)
        assert study.left_out == ()
        assert study.id == study.replace(methods=("naive", "picky")).id

    def test_nothing_is_left(self, models):
        study = study_of(models, pairs=((models[0], models[4]),), methods=("picky", "moody"))
        with pytest.raises(ConfigError, match="no method applies: picky: it is too large; moody: not today"):
            study.rows()
        with pytest.raises(ConfigError, match="no method applies"):
            _ = study.left_out


class TestWhatMethodsGive:
    def row(self, models: list[str], monkeypatch: pytest.MonkeyPatch, method: object) -> RowStages:
        monkeypatch.setitem(METHODS, "given", method)
        return study_of(models, methods=("given",), seeds=(0,)).rows()[0]

    def test_any_model(self, models, monkeypatch):
        row = self.row(models, monkeypatch, lambda w2s: w2s.blend(METHODS["naive"](w2s), 0.5))
        assert isinstance(row.student, Blend)
        assert row.student_score.labels == Label(source=row.student, examples=row.weak_score.examples)

    def test_a_pretrained_model_as_it_is(self, models, monkeypatch):
        row = self.row(models, monkeypatch, lambda w2s: w2s.strong_model)
        assert row.student == row.student_score.labels.source == models[1]
        assert row.comparison.student == Label(source=models[1], examples=row.weak_score.examples)
        assert not row.oracle

    def test_a_ceiling_of_its_own(self, models, monkeypatch):
        def both(w2s: WeakToStrong) -> Arms:
            return Arms(METHODS["probe"](w2s), w2s.fit(w2s.strong_model, TRUTH, adapter="frozen"))

        row = self.row(models, monkeypatch, both)
        ceiling = row.ceiling_score.labels.source
        assert isinstance(row.student, ModelStage)
        assert (row.student.adapter, ceiling.adapter, ceiling.labels) == ("frozen", "frozen", TRUTH)
        assert not row.oracle
        naive = study_of(models, seeds=(0,)).rows()[0]
        assert naive.weak_score.id == row.weak_score.id
        assert naive.ceiling_score.id != row.ceiling_score.id

    def test_students_that_are_shown_a_label_are_shown_the_supervisors_in_the_test(self, models):
        study = study_of(models, pairs=(("linear:2", "linear:4"),), methods=("imitation",), seeds=(0,))
        (row,) = study.rows()
        weak_labels = Label(source=row.weak_score.labels.source, examples=study.test_examples)
        assert row.student_score.labels.examples == Hint(examples=study.test_examples, labels=weak_labels)
        assert row.student_score.examples == study.test_examples
        assert row.weak_score.labels.examples == study.test_examples

    @pytest.mark.parametrize(
        ("given", "name"),
        [(None, "NoneType"), (3, "int"), ((), "tuple"), (Study, "type"), (Arms(None, None), "NoneType")],
    )
    def test_something_else(self, models, monkeypatch, given, name):
        message = f"method given gives {name}; it must give a stage that makes a model, such as "
        with pytest.raises(ConfigError, match=message):
            self.row(models, monkeypatch, lambda w2s: given)

    def test_labels_are_no_student(self, models, monkeypatch):
        with pytest.raises(ConfigError, match="method given gives Label; it must give"):
            self.row(models, monkeypatch, lambda w2s: w2s.weak_labels)


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
            {"methods": ("confidence",)},
            {"methods": ("confidence(alpha=0.5)",)},
            {"methods": ("naive", "wise_ft")},
            {"methods": ("early_stop",)},
            {"methods": ("early_stop",), "num_validation": 9},
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
            w2s.strong_model, Relabel(labels=(w2s.label(middle, w2s.student_examples),), rule="harden")
        )
        assert self.is_oracle(w2s, student)

    @pytest.mark.parametrize(
        "changes", [{"size": 10}, {"seed": 9}, {"mix": "even"}, {"part": "test", "size": None}]
    )
    def test_truth_of_other_examples_that_overlap_the_students_or_the_test(self, w2s, changes):
        helper = replace(w2s.ceiling, examples=replace(w2s.student_examples, **changes))
        student = w2s.fit(w2s.strong_model, w2s.label(helper, w2s.student_examples))
        assert self.is_oracle(w2s, student)

    def test_by_every_way_that_truth_can_take(self, w2s):
        truth = w2s.truth(w2s.student_examples)
        hint = Hint(examples=w2s.student_examples, labels=truth)
        naive = METHODS["naive"](w2s)
        cheats = {
            "labels": w2s.student(truth),
            "a rule": w2s.student(w2s.relabel("mix_truth", w2s.weak_labels, truth)),
            "a reference": w2s.student(w2s.relabel("calibrated", w2s.weak_labels, reference=(truth, truth))),
            "a hint": w2s.student(w2s.weak_labels, examples=hint),
            "a truth of hints": w2s.student(Truth(examples=hint)),
            "a beginning": w2s.student(w2s.weak_labels, start=w2s.ceiling),
            "a choice": Stop(fit=naive, examples=w2s.validation, labels=TRUTH),
            "a fit that is stopped": stopped(w2s, w2s.ceiling),
            "an average": w2s.blend(w2s.ceiling, 0.5),
        }
        for way, student in cheats.items():
            assert self.is_oracle(w2s, student), way
        assert not self.is_oracle(w2s, w2s.blend(naive, 0.5))
        assert not self.is_oracle(w2s, stopped(w2s, naive))

    def test_the_supervisors_truth_is_none_in_any_form(self, w2s):
        truth = w2s.truth(w2s.weak_examples)
        shown = Hint(examples=w2s.weak_examples, labels=truth)
        helper = w2s.fit(w2s.weak_model, Truth(examples=shown), examples=shown)
        student = w2s.student(
            w2s.relabel("calibrated", w2s.weak_labels, reference=(truth, truth)), start=helper
        )
        assert not self.is_oracle(w2s, student)

    def test_of_what_it_does_not_know_the_worst_is_assumed(self, w2s, monkeypatch):
        monkeypatch.setattr(Relabel, "truth_of", property(lambda self: self.labels[0]))
        assert self.is_oracle(w2s, w2s.student(w2s.relabel("harden", w2s.weak_labels)))

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
        ({"num_validation": 0}, "num_validation=0 must be at least 1"),
        ({"methods": ("naive", "confidence(alhpa=1)")}, "loss confidence has no setting 'alhpa'"),
        ({"methods": ("naive(",)}, r"'naive\(' is no name"),
        ({"between": ("ladder:none",)}, "no rung 'none' on the ladder"),
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


@dataclass(frozen=True)
class TableTask(ToyTask):
    """Read by models of feature vectors alone."""

    @property
    def families(self) -> frozenset[str]:
        return frozenset({"tabular"})


@pytest.mark.parametrize(
    "fields", [{}, {"pairs": (("linear:2", "linear:4"),), "between": ("ladder:chess-1",)}]
)
def test_models_that_cannot_read_the_task(models, fields):
    with pytest.raises(ConfigError, match="cannot read task toy; it takes models of the family tabular"):
        study_of(models, task=TableTask(), **fields)
    assert study_of(models, task=TableTask(), pairs=(("linear:2", "linear:4"),)).rows()
