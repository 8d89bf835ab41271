"""Methods on a task of completions: which apply, why the others do not, and a whole study."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import surpass
from reference.completions import LIMIT, save_writer, write_copying
from surpass.errors import NotApplicable
from surpass.lineage import ancestry, learns_truth
from surpass.losses import LOSSES
from surpass.methods import METHODS, Arms, find_method, method_names
from surpass.stages import Fit, Label, ModelStage, Score, Stage
from surpass.store import Store
from surpass.study import Study
from surpass.tasks.chess_text import ChessTextTask
from surpass.tasks.generation import GenerationTask
from surpass.train.recipe import Recipe

APPLY = {
    *("naive", "bootstrap", "bootstrap_same", "strong_to_strong", "self_training", "early_stop"),
    *("lora", "ema", "wise_ft", "zero_shot", "few_shot_weak", "few_shot_truth", "generative"),
    *("early_stop_truth", "truth_part", "fit_truth"),
}
"""Methods that need nothing of labels but to be learned or chosen."""

REASONS = {
    "probe": "a head that scores them is to be trained",
    "lp_ft": "a head that scores them is to be trained",
    "probe_truth": "a head that scores them is to be trained",
    "saliency": "a head that scores them is to be trained",
    "curriculum": "confidence in its labels is asked for",
    "top_confident": "confidence in its labels is asked for",
    "overlap_density": "confidence in its labels is asked for",
    "em_posterior": "confidence in its labels is asked for",
    "calibrated_weight": "confidence in its labels is asked for",
    "co_teaching": "rule small_loss is for those",
    "small_loss_filter": "rule small_loss is for those",
    "knn_filter": "classes are needed",
    "knn_relabel": "classes are needed",
    "logistic_filter": "classes are needed",
    "logistic_relabel": "classes are needed",
    "topological_filter": "classes are needed",
    "confident_learning": "classes are needed",
    "noise_class": "classes are needed",
    **dict.fromkeys(("dfr", "dfr_weak", "divdis", "divdis_truth"), "classes are needed"),
    "reliability_filter": "rule reliability is for those",
    "reliability_weight": "rule reliability is for those",
    "ensemble": "rule average is for those",
    "bayesian": "rule bayesian is for those",
    "adaboost": "rule adaboost_weights is for those",
    "imitation": "a label that is shown is one of some classes",
    "imitation_confidence": "a label that is shown is one of some classes",
    "mix_truth": "rule mix_truth is for those",
    "mix_truth_errors": "rule mix_truth is for those",
    "easy_to_hard": "rule easiest_for_models is for those",
    "noise_instance": "rule noise is for those",
    "simulatable": "rule match is for those",
    **{f"simulate_{by}": "rule simulate is for those" for by in ("random", "longest", "shortest")},
    **{f"simulate_{by}": "rule simulate is for those" for by in ("unconfident", "confident")},
    **{loss: f"loss {loss} is for those" for loss in LOSSES if loss != "xent"},
}
"""Why the others do not apply."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [f"dir:{save_writer(root / f'writer-{k}', 'llama', seed=k)}" for k in range(4)]


@pytest.fixture(scope="module")
def study(models, tmp_path_factory):
    path = write_copying(tmp_path_factory.mktemp("task") / "copying.jsonl", 400)
    return Study(
        name="completions",
        task=GenerationTask(path=str(path), max_new_tokens=LIMIT),
        pairs=((models[0], models[3]),),
        between=(models[1], models[2]),
        methods=("naive",),
        seeds=(0,),
        num_train=24,
        num_test=20,
        num_validation=8,
        recipe=Recipe(epochs=2, batch_size=8, learning_rate=3e-3),
    )


def test_every_method_is_known_here():
    assert APPLY | set(REASONS) | {"co_supervised"} == set(method_names())
    assert not APPLY & set(REASONS)


@pytest.mark.parametrize("labels", ["soft", "hard"])
@pytest.mark.parametrize("name", method_names())
def test_a_method_applies_or_says_why_not(study, name, labels):
    given = study.replace(labels=labels)
    w2s = given.setting(given.pairs[0], 0)
    if name in APPLY:
        student = find_method(name)(w2s)
        student = student.student if isinstance(student, Arms) else student
        assert student == w2s.strong_model or isinstance(student, ModelStage)
        for stage in ancestry(student).values() if isinstance(student, Stage) else ():
            assert not isinstance(stage, Fit) or stage.loss == "xent"
        return
    with pytest.raises(NotApplicable) as caught:
        find_method(name)(w2s)
    if name == "co_supervised":
        assert "does not say how hard its examples are" in str(caught.value)
    else:
        assert str(caught.value) == (
            f"labels of task generation are completions, which have no probabilities: {REASONS[name]}"
        )


def test_labels_are_hard_already(study):
    """So soft and hard are the same study."""
    soft, hard = (study.replace(labels=kind) for kind in ("soft", "hard"))
    assert soft.id == hard.id
    assert isinstance(hard.setting(hard.pairs[0], 0).weak_labels, Label)


def test_puzzles_in_words_can_be_easy_or_hard(study):
    w2s = study.replace(task=ChessTextTask()).setting(study.pairs[0], 0)
    student = METHODS["easy_to_hard"](w2s)
    assert student.labels.rule == "easiest(frac=0.5, by=rating)"
    assert learns_truth(student, w2s.weak_examples)
    with pytest.raises(NotApplicable, match=r"labels of task chess-fen are completions.*: rule average"):
        METHODS["co_supervised"](w2s)


RAN = (
    *("naive", "bootstrap_same", "early_stop", "early_stop_truth", "lora(rank=2)", "ema", "wise_ft"),
    *("few_shot_weak", "few_shot_truth", "zero_shot", "self_training", "strong_to_strong(iterations=1)"),
    *("truth_part(of=2)", "generative"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


class TestStudy:
    @pytest.fixture(scope="class")
    @classmethod
    def results(cls, study, store):
        return surpass.run(study.replace(methods=RAN), store)

    def test_every_row_is_there(self, results):
        table = results.table.to_pydict()
        assert table["method"] == list(RAN)
        for name in ("student_acc", "weak_acc", "ceiling_acc", "agreement"):
            assert all(0 <= value <= 1 for value in table[name]), name
        for name in ("auroc", "log_loss", "brier", "calibration_error", "capa", "misfit", "kl_gain"):
            assert all(np.isnan(value) for value in table[name]), name
        oracle = [m.partition("(")[0] in ("early_stop_truth", "few_shot_truth", "truth_part") for m in RAN]
        assert table["oracle"] == oracle

    def test_labels_are_what_the_model_writes(self, results, study, store):
        w2s = study.setting(study.pairs[0], 0)
        table = pq.read_table(store.find("label", w2s.weak_labels.id).file("labels.parquet"))
        assert table.column_names == ["id", "completion"]
        assert table.num_rows == 24

    def test_scores_are_counted_by_the_checker(self, results, study, store):
        w2s = study.setting(study.pairs[0], 0)
        said = study.score(w2s.ceiling)
        assert isinstance(said, Score)
        folder = store.find("score", said.id)
        per_example = pq.read_table(folder.file("examples.parquet")).to_pydict()
        examples = store.find("examples", study.test_examples.id)
        truth = pq.read_table(examples.file("truth.parquet"))["truth"].to_pylist()
        correct = [a.strip() == b.strip() for a, b in zip(per_example["prediction"], truth, strict=True)]
        assert per_example["correct"] == correct
        assert json.loads(folder.file("score.json").read_text())["accuracy"] == np.mean(correct)

    def test_examples_are_shown_with_their_completions(self, results, study, store):
        w2s = study.setting(study.pairs[0], 0)
        stage = METHODS["few_shot_truth"](w2s)
        said = json.loads(store.find("prompt", stage.id).file("prompt.json").read_text())
        artifact = store.find("examples", w2s.student_examples.id)
        inputs = pq.read_table(artifact.file("inputs.parquet")).to_pydict()
        truth = pq.read_table(artifact.file("truth.parquet")).to_pydict()
        prompt_of = dict(zip(inputs["id"], inputs["prompt"], strict=True))
        truth_of = dict(zip(truth["id"], truth["truth"], strict=True))
        assert len(set(said["ids"])) == 5
        assert said["prefix"] == "".join(f"{prompt_of[k]}{truth_of[k]}\n\n" for k in said["ids"])

    def test_again_it_computes_nothing(self, results, study, store):
        again = surpass.run(study.replace(methods=RAN), store)
        # As text, for NaN equals no NaN.
        assert str(again.table.to_pydict()) == str(results.table.to_pydict())


def test_bootstrapping_with_fresh_examples(study, store):
    small = study.replace(methods=("bootstrap",), num_train=12, num_test=6)
    assert surpass.run(small, store).table.num_rows == 1


def test_a_student_learns_to_write(study, models, tmp_path):
    """The supervisor has seen less than it takes; the student learns from what it writes."""
    path = write_copying(tmp_path / "copying.jsonl", 700)
    small = study.replace(
        task=GenerationTask(path=str(path), max_new_tokens=LIMIT),
        pairs=((models[0], models[3]),),
        num_train=192,
        num_test=48,
        recipe=Recipe(epochs=10, batch_size=16, learning_rate=5e-3),
    )
    (row,) = surpass.run(small, Store(tmp_path / "store")).table.to_pylist()
    assert row["ceiling_acc"] > 0.5
    assert row["student_acc"] > 0.3
    assert row["agreement"] > 0.3
