"""What every method promises: as a composition of stages, and when it runs, on chess and on classes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from surpass import run
from surpass.errors import ConfigError, NotApplicable
from surpass.identity import canonical_json
from surpass.lineage import ancestry, learns_truth
from surpass.losses import LOSSES
from surpass.methods import METHODS, Arms, WeakToStrong, describe_method, find_method, method_names
from surpass.results import Results
from surpass.stages import TRUTH, Fit, Label, ModelStage, Relabel, Stage, Stop
from surpass.stages.diversify import Diversify
from surpass.stages.retraining import Retrain
from surpass.study import Study, sharing
from surpass.tasks.chess import ChessTask
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

ORACLES = {
    *("early_stop_truth", "mix_truth", "mix_truth_errors", "truth_part", "easy_to_hard"),
    *("probe_truth", "saliency", "simulatable", "few_shot_truth", "fit_truth", "dfr", "divdis_truth"),
    *(f"simulate_{by}" for by in ("random", "longest", "shortest", "unconfident", "confident")),
    *(f"noise_{kind}" for kind in ("class", "instance")),
}
"""Methods that say that they use the truth."""

WITHOUT_WEAK_LABELS = {
    *("zero_shot", "easy_to_hard", "probe_truth", "truth_part", "few_shot_truth", "fit_truth")
}
"""Methods for which the supervisor labels nothing that the student learns."""

CHESS, PLANTED = "chess", "planted"
LEFT_OUT = {
    CHESS: {
        *("knn_filter", "knn_relabel", "logistic_filter", "logistic_relabel", "topological_filter"),
        *("confident_learning", "noise_class", "imitation", "imitation_confidence"),
        *("few_shot_weak", "few_shot_truth", "generative"),
        *("dfr", "dfr_weak", "divdis", "divdis_truth"),
    },
    PLANTED: {"zero_shot", "few_shot_weak", "few_shot_truth", "generative"},
}
"""Methods that make no sense for a task."""


@cache
def study(task: str, *, hard: bool = False) -> Study:
    """Every method, as small as it goes; shared by all tests, so that its digests are made once."""
    chess = task == CHESS
    return Study(
        name="every-method",
        task=ChessTask() if chess else PlantedTask(),
        pairs=(("ladder:chess-1", "ladder:chess-4"),) if chess else (("linear:4", "linear:all"),),
        methods=method_names(),
        between=() if chess else ("linear:8", "linear:16"),
        seeds=(3,),
        labels="hard" if hard else "soft",
        num_train=48 if chess else 96,
        num_test=40,
        num_validation=30,
        recipe=Recipe(epochs=2, batch_size=16, learning_rate=1e-3),
    )


def setting(task: str, *, hard: bool = False) -> WeakToStrong:
    found = study(task, hard=hard)
    return found.setting(found.pairs[0], 3)


def student_of(method: str, w2s: WeakToStrong) -> Any:
    student = find_method(method)(w2s)
    return student.student if isinstance(student, Arms) else student


def last_fit(student: ModelStage) -> Fit | Diversify:
    if isinstance(student, Fit | Diversify):
        return student
    if isinstance(student, Retrain):
        return student.features.source
    return student.fit if isinstance(student, Stop) else student.fits[0]


APPLY = [(name, task) for task in LEFT_OUT for name in method_names() if name not in LEFT_OUT[task]]


@pytest.mark.parametrize(("name", "task"), APPLY)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
class TestComposition:
    def test_gives_the_strong_model(self, name, task, hard):
        w2s = setting(task, hard=hard)
        student = student_of(name, w2s)
        if isinstance(student, str):
            assert student == w2s.strong_model
        else:
            assert isinstance(student, ModelStage)
            assert student.model == w2s.strong_model

    def test_students_learn_from_the_students_examples(self, name, task, hard):
        w2s = setting(task, hard=hard)
        student = student_of(name, w2s)
        if isinstance(student, ModelStage):
            last = last_fit(student)
            assert getattr(last.examples, "examples", last.examples) == w2s.student_examples

    def test_it_learns_from_the_supervisor(self, name, task, hard):
        w2s = setting(task, hard=hard)
        student = student_of(name, w2s)
        above = set(ancestry(student)) if isinstance(student, Stage) else set()
        supervisors = {
            id
            for id in above
            if isinstance(fit := ancestry(student)[id], Fit)
            and fit.model == w2s.weak_model
            and fit.examples == w2s.weak_examples
        }
        assert bool(supervisors) == (name not in WITHOUT_WEAK_LABELS)

    def test_truth_is_used_by_those_who_say_so_only(self, name, task, hard):
        w2s = setting(task, hard=hard)
        student = student_of(name, w2s)
        oracle = isinstance(student, Stage) and learns_truth(student, w2s.weak_examples)
        assert oracle == (name in ORACLES)

    def test_hard_labels_reach_the_student(self, name, task, hard):
        """Soft probabilities enter where a rule wants them; what the supervisor hands over is hard."""
        w2s = setting(task, hard=hard)
        student = student_of(name, w2s)
        if name in LOSSES or name in ("naive", "lora", "probe", "ema", "lp_ft", "bootstrap", "early_stop"):
            for stage in ancestry(student).values():
                if isinstance(stage, Fit) and stage.labels != TRUTH:
                    assert isinstance(stage.labels, Relabel if hard else Label)

    def test_it_is_a_function_of_the_setting(self, name, task, hard):
        first, second = (student_of(name, setting(task, hard=hard)) for _ in range(2))
        assert first == second
        if isinstance(first, Stage):
            assert first.id == second.id

    def test_it_has_an_identity(self, name, task, hard):
        student = student_of(name, setting(task, hard=hard))
        for stage in ancestry(student).values() if isinstance(student, Stage) else ():
            canonical_json(stage.identity)


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in LEFT_OUT for name in sorted(LEFT_OUT[task])]
)
def test_what_makes_no_sense_says_so(task, name):
    if name in METHODS:
        with pytest.raises(NotApplicable):
            find_method(name)(setting(task))


@pytest.mark.parametrize("name", METHODS)
def test_it_says_where_it_is_from(name):
    assert re.search(r"\b(19|20)\d\d\b|related work", METHODS[name].__doc__ or ""), "name its source"
    assert describe_method(name)


class TestByName:
    def test_all_names_once_with_naive_first(self):
        assert method_names()[0] == "naive"
        assert len(set(method_names())) == len(method_names())
        assert set(method_names()) == set(METHODS) | (set(LOSSES) - {"xent"})

    def test_settings(self):
        w2s = setting(PLANTED)
        assert find_method("wise_ft(share=0.7)")(w2s).weights == (pytest.approx(0.3), 0.7)
        assert find_method("confidence(alpha=0.75)")(w2s).loss == "confidence(alpha=0.75)"
        assert find_method("confidence")(w2s).loss == "confidence"

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("confidnce", "no method 'confidnce'; did you mean confidence"),
            ("wise_ft(shar=1)", "method wise_ft has no setting 'shar'; it has share"),
            ("gce(alpha=1)", "loss gce has no setting 'alpha'; it has q"),
            ("nowhere:method", r"no method 'nowhere:method' \(No module named 'nowhere'\)"),
            ("a method", "'a method' is no name"),
        ],
    )
    def test_complaints(self, text, complaint):
        with pytest.raises(ConfigError, match=complaint):
            find_method(text)

    def test_bad_settings_of_methods(self):
        w2s = setting(PLANTED)
        for text in ("bootstrap(steps=1)", "strong_to_strong(iterations=0)", "lora(rank=0)"):
            with pytest.raises(ConfigError, match="must"):
                find_method(text)(w2s).adapter  # noqa: B018

    def test_difficulty_by_models_where_the_task_says_none(self):
        w2s = setting(PLANTED)
        by_models = find_method("easy_to_hard(by=models)")(w2s)
        assert by_models.labels.rule == "easiest_for_models(frac=0.5)"
        models = [labels.source.model for labels in by_models.labels.labels[1:]]
        assert models == ["linear:4", "linear:8", "linear:16", "linear:all"]
        assert {labels.source.examples for labels in by_models.labels.labels[1:]} == {w2s.weak_examples}
        with pytest.raises(ConfigError, match="must be task or models"):
            find_method("easy_to_hard(by=guess)")(w2s)

    def test_bootstrapping_takes_fresh_examples_and_growing_models(self):
        w2s = setting(CHESS)
        fits = [s for s in ancestry(find_method("bootstrap")(w2s)).values() if isinstance(s, Fit)]
        assert [fit.model[-1] for fit in fits] == ["4", "3", "2", "1"]
        size = w2s.student_examples.size
        assert [fit.examples.skip for fit in fits[:3]] == [0, size, 2 * size]
        same = [s for s in ancestry(find_method("bootstrap_same")(w2s)).values() if isinstance(s, Fit)]
        assert {fit.examples for fit in same[:3]} == {w2s.student_examples}


@pytest.fixture(scope="module", params=[CHESS, PLANTED])
def ran(request, tmp_path_factory) -> tuple[str, Results]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, run(study(request.param), str(folder / "store"))


class TestAllAtOnce:
    def test_every_method_that_applies_gives_a_row(self, ran):
        task, results = ran
        methods = [row["method"] for row in results.rows()]
        assert set(methods) == set(method_names()) - LEFT_OUT[task]
        assert len(methods) == len(set(methods))

    def test_the_others_say_why(self, ran):
        task, results = ran
        assert {left.method for left in results.left_out} == LEFT_OUT[task] & set(method_names())
        assert all(left.reason and "\n" not in left.reason for left in results.left_out)

    def test_oracles_are_marked(self, ran):
        _, results = ran
        for row in results.rows():
            assert row["oracle"] == (row["method"] in ORACLES)

    def test_methods_are_compared_with_naive(self, ran):
        _, results = ran
        for rank in results.ranks:
            assert (rank.comparison is None) == (rank.method == "naive")
            if rank.comparison is not None:
                assert 0 <= rank.comparison.p_value <= rank.comparison.adjusted_p <= 1

    def test_results_survive_json(self, ran, tmp_path):
        _, results = ran
        results.to_json(tmp_path / "results.json")
        assert Results.from_json(tmp_path / "results.json") == results

    def test_equal_stages_are_shared(self, ran):
        counted = sharing(study(ran[0]).rows())
        assert counted.distinct < 0.6 * counted.asked


def test_a_study_of_methods_that_do_not_apply_is_refused(tmp_path):
    only = study(CHESS).replace(methods=("knn_filter",))
    with pytest.raises(ConfigError, match="no method applies: knn_filter: it needs classes"):
        only.rows()
