from __future__ import annotations

from itertools import combinations

import pytest

from reference.studies import ToyTask, write_model
from surpass.errors import ConfigError
from surpass.methods import method_names
from surpass.models.sources import ladder_names
from surpass.overrides import model_name, override
from surpass.study import Study
from surpass.tasks.chess import ChessTask
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

ONE, TWO = "ladder:chess-1", "ladder:chess-2"
STUDY = Study(name="study", task=ChessTask(), pairs=((ONE, TWO),), recipe=Recipe(epochs=2))


def test_nothing_to_change():
    assert override(STUDY, []) == STUDY


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", (0,)),
        ("3", (0, 1, 2)),
        ("4,7", (4, 7)),
        ("2-5", (2, 3, 4, 5)),
        ("7-7", (7,)),
        ("0-1,8,4-5", (0, 1, 8, 4, 5)),
    ],
)
def test_seeds(text, seeds):
    assert override(STUDY, [f"seeds={text}"]).seeds == seeds


def test_many_seeds():
    assert len(override(STUDY, ["seeds=10000"]).seeds) == 10_000


@pytest.mark.parametrize("text", ["2-1", "2:1", "chess-2:chess-1", "ladder:chess-2>ladder:chess-1", "2>1"])
def test_every_way_to_write_a_pair(text):
    assert override(STUDY, [f"pairs={text}"]).pairs == ((TWO, ONE),)


def test_pairs_in_their_order():
    assert override(STUDY, ["pairs=2-1,chess-1:chess-2"]).pairs == ((TWO, ONE), (ONE, TWO))


def test_all_pairs_are_every_rung_under_every_larger_one():
    pairs = override(STUDY, ["pairs=all"]).pairs
    assert pairs == tuple(combinations([f"ladder:{name}" for name in ladder_names()], 2))
    assert (ONE, TWO) in pairs


def test_a_pair_of_files(tmp_path):
    weak, strong = write_model(tmp_path, "weak"), write_model(tmp_path, "strong")
    assert override(STUDY, [f"pairs={weak}>{strong},1-2"]).pairs == ((weak, strong), (ONE, TWO))


def test_names_of_models():
    names = ("3", "chess-3", "ladder:chess-3", "dir:/x/y.safetensors")
    assert [model_name(name) for name in names] == ["ladder:chess-3"] * 3 + ["dir:/x/y.safetensors"]


def test_every_other_setting():
    texts = ["methods=naive", "labels=hard", "num_train=5", "num_test=7", "train_mix=even"]
    texts += ["test_mix=source", "test_part=validation", "num_validation=11", "between=3,chess-2"]
    texts += ["epochs=3", "batch_size=8", "learning_rate=2e-3", "schedule=cosine", "warmup_frac=0.5"]
    texts += ["weight_decay=.1", "puzzles=my.csv", "max_puzzles=9", "split_seed=4"]
    assert override(STUDY, texts) == Study(
        name="study",
        task=ChessTask(puzzles="my.csv", max_puzzles=9, split_seed=4),
        pairs=((ONE, TWO),),
        methods=("naive",),
        labels="hard",
        num_train=5,
        num_test=7,
        num_validation=11,
        between=("ladder:chess-3", TWO),
        train_mix="even",
        test_mix="source",
        test_part="validation",
        recipe=Recipe(
            epochs=3, batch_size=8, learning_rate=2e-3, schedule="cosine", warmup_frac=0.5, weight_decay=0.1
        ),
    )


def test_all():
    assert override(STUDY, ["methods=all"]).methods == method_names()
    for name in ("num_test", "num_validation"):
        small = override(STUDY, [f"{name}=3"])
        assert getattr(small, name) == 3
        assert getattr(override(small, [f"{name}=all"]), name) is None


@pytest.mark.parametrize(
    ("text", "methods"),
    [
        ("naive", ("naive",)),
        ("naive,early_stop,gce", ("naive", "early_stop", "gce")),
        ("gce(q=0.5)", ("gce(q=0.5)",)),
        (
            "confidence(alpha=0.75, warmup_frac=0.1),naive",
            ("confidence(alpha=0.75, warmup_frac=0.1)", "naive"),
        ),
        ("gce(q=0.5),gce(q=0.7),gce", ("gce(q=0.5)", "gce(q=0.7)", "gce")),
        (" naive , gce( q = 0.5 ) ", ("naive", "gce( q = 0.5 )")),
        (
            "naive(loss=confidence(alpha=0.5,warmup_frac=0.2)),mix_truth(frac=0.2,pick='errors')",
            ("naive(loss=confidence(alpha=0.5,warmup_frac=0.2))", "mix_truth(frac=0.2,pick='errors')"),
        ),
    ],
)
def test_methods_with_settings(text, methods):
    """Commas in parentheses belong to a method; so do spaces."""
    assert override(STUDY, [f"methods={text}"]).methods == methods


def test_methods_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "def soft(w2s, *, keep=0.5, seed=0):\n    return w2s.student(w2s.weak_labels)\n"
    (tmp_path / "methods_of_overrides.py").write_text(code)
    method = "methods_of_overrides:soft(keep=0.25, seed=1)"
    study = override(STUDY, [f"methods={method},naive", "seeds=1"])
    assert study.methods == (method, "naive")
    assert [row.method for row in study.rows()] == [method, "naive"]
    with pytest.raises(ConfigError, match="has no setting 'kept'; it has keep, seed"):
        override(STUDY, ["methods=methods_of_overrides:soft(kept=1)"])


@pytest.mark.parametrize("text", ["3,4", "chess-3,chess-4", "ladder:chess-3,4"])
def test_models_between(text):
    assert override(STUDY, [f"between={text}"]).between == ("ladder:chess-3", "ladder:chess-4")


def test_models_between_that_are_files(tmp_path):
    middle = write_model(tmp_path, "middle")
    assert override(STUDY, [f"between={middle},3"]).between == (middle, "ladder:chess-3")


def test_a_value_may_hold_an_equals_sign():
    assert override(STUDY, ["puzzles=a=b.csv"]).task == ChessTask(puzzles="a=b.csv")


def test_the_last_of_two_counts():
    assert override(STUDY, ["epochs=3", "epochs=4"]).recipe.epochs == 4


def test_the_study_itself_stays():
    override(STUDY, ["seeds=9", "epochs=9", "split_seed=9"])
    assert (STUDY.seeds, STUDY.recipe.epochs, STUDY.task) == ((0, 1, 2), 2, ChessTask())


SEEDS = "give a number of seeds from 1 to 10000, a list 0,1,2 or a range 0-9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "'epochs' is no override; write name=value, for example seeds=5"),
        ("epochs=", "'epochs=' is no override; write name=value, for example seeds=5"),
        ("=3", "no setting ''; there are: task, pairs, methods, seeds"),
        ("epoch=3", "no setting 'epoch'; did you mean epochs?"),
        ("learningrate=3", "no setting 'learningrate'; did you mean learning_rate or learning_rates?"),
        ("zzz=3", "no setting 'zzz'; there are: task, pairs"),
        ("epochs=two", "epochs=two is no whole number"),
        ("epochs=1.5", "epochs=1.5 is no whole number"),
        ("epochs=0", "epochs=0 must be a whole number from 1 to 10000"),
        ("learning_rate=fast", "learning_rate=fast is no number"),
        ("learning_rate=nan", "learning_rate=nan must be above 0"),
        ("schedule=step", "no schedule 'step'; choose from constant, linear, cosine"),
        ("seeds=0", f"seeds=0: {SEEDS}"),
        ("seeds=10001", f"seeds=10001: {SEEDS}"),
        ("seeds=5-2", f"seeds=5-2: {SEEDS}"),
        ("seeds=0,5-2", f"seeds=0,5-2: {SEEDS}"),
        ("seeds=0-999999999999", f"seeds=0-999999999999: {SEEDS}"),
        ("seeds=4,", f"seeds=4,: '' is no seed; {SEEDS}"),
        ("seeds=-1", f"seeds=-1: '-1' is no seed; {SEEDS}"),
        ("seeds=1,x", f"seeds=1,x: 'x' is no seed; {SEEDS}"),
        ("seeds=1,0-3", "names one twice"),
        ("pairs=2", "pairs=2: '2' is no pair; write 2-4, chess-2:chess-4, MODEL>MODEL, or all"),
        ("pairs=2-1,", "pairs=2-1,: '' is no pair; write"),
        ("pairs=1-1", "the pair ladder:chess-1 -> ladder:chess-1 is one model: name two"),
        ("pairs=1-99", "no rung 'chess-99' on the ladder; there are: chess-1, chess-2"),
        ("pairs=x:y>chess-2", "no model 'x:y'; name one as ladder:chess-1"),
        ("methods=naive,alchemy", "no method 'alchemy'; there are: "),
        ("methods=naive,naive", "names one twice"),
        ("methods=naive,", "'' is no name; write name, name(key=value) or module:function(key=value)"),
        ("methods=naive,all", "no method 'all'; "),
        ("methods=gce(q=0.5", "'gce(q=0.5' is no name"),
        ("methods=gce(p=0.5)", "loss gce has no setting 'p'; it has q"),
        ("methods=early_stop(after=3)", "method early_stop has no setting 'after'; it has none"),
        ("methods=gce(q=0.5,q=0.7)", "'q=0.7' is no setting; write key=value, each key once"),
        ("methods=confidnce", "no method 'confidnce'; did you mean confidence or "),
        ("methods=gce (q=0.5)", "'gce (q=0.5)' is no name"),
        ("between=99", "no rung 'chess-99' on the ladder; there are: chess-1, chess-2"),
        ("between=x:y", "no model 'x:y'; name one as ladder:chess-1"),
        ("num_validation=0", "num_validation=0 must be at least 1"),
        ("num_validation=some", "num_validation=some is no whole number"),
        ("early_stopping=true", "early_stopping=true must be yes or no"),
        ("labels=fuzzy", "labels='fuzzy' must be one of soft, hard"),
        ("num_train=0", "num_train=0 must be at least 1"),
        ("num_test=0", "num_test=0 must be at least 1"),
        ("num_test=some", "num_test=some is no whole number"),
        ("train_mix=odd", "no mix 'odd' in task chess; choose from all, source, even"),
        ("test_part=exam", "no part 'exam'; choose from weak, student, validation, test"),
        ("max_puzzles=many", "max_puzzles=many is no whole number"),
    ],
)
def test_mistakes_are_one_helpful_line(text, message):
    with pytest.raises(ConfigError) as caught:
        override(STUDY, [text])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class TestSettingsOfTheTask:
    """Its fields of whole numbers, numbers and texts, whatever the task."""

    def test_of_each_kind(self):
        planted = Study(name="planted", task=PlantedTask(), pairs=(("linear:2", "linear:4"),))
        texts = ["num_classes=3", "separation=3.5", "problem_seed=7", "growth=-1", "num_train=9"]
        assert override(planted, texts) == planted.replace(
            task=PlantedTask(num_classes=3, separation=3.5, problem_seed=7, growth=-1.0), num_train=9
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("num_classes=few", "num_classes=few is no whole number"),
            ("num_classes=1", "num_classes=1 must be a whole number from 2 to 100"),
            ("separation=far", "separation=far is no number"),
            ("seperation=3", "no setting 'seperation'; did you mean separation or supervisor?"),
            ("max_puzzles=2", "no setting 'max_puzzles'; "),
            ("split_seed=2", "no setting 'split_seed'; did you mean "),
        ],
    )
    def test_mistakes(self, text, message):
        planted = Study(name="planted", task=PlantedTask(), pairs=(("linear:2", "linear:4"),))
        with pytest.raises(ConfigError) as caught:
            override(planted, [text])
        assert message in str(caught.value)

    def test_every_setting_is_named(self):
        with pytest.raises(ConfigError) as caught:
            override(STUDY, ["zzz=3"])
        assert str(caught.value).endswith(", weight_decay, optimizer, puzzles, max_puzzles, split_seed")

    def test_of_another_task(self):
        study = Study(name="toy", task=ToyTask(), pairs=((ONE, TWO),))
        assert override(study, ["split_seed=2"]).task == ToyTask(split_seed=2)
        with pytest.raises(ConfigError, match=r"no setting 'max_puzzles'; there are: .*, split_seed"):
            override(study, ["max_puzzles=2"])

    def test_fields_of_other_types_cannot_be_named(self):
        with pytest.raises(ConfigError, match="no setting 'difficulty'"):
            override(Study(name="toy", task=ToyTask(), pairs=((ONE, TWO),)), ["difficulty=3"])

    def test_a_task_without_fields(self):
        class Plain:
            def __getattr__(self, name: str) -> object:
                return getattr(ToyTask(), name)

        study = Study(name="toy", task=Plain(), pairs=((ONE, TWO),))
        assert override(study, ["seeds=1"]).seeds == (0,)
        with pytest.raises(ConfigError, match="no setting 'split_seed'"):
            override(study, ["split_seed=1"])


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("no", False)])
def test_early_stopping(text, value):
    assert STUDY.early_stopping is None
    assert override(STUDY, [f"early_stopping={text}"]).early_stopping is value
