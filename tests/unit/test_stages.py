from __future__ import annotations

import shutil
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reference.studies import ToyTask, some_examples, write_model
from surpass.errors import ConfigError, DataError
from surpass.labels import RULES
from surpass.stages import STAGES, TRUTH, Context, Examples, Fit, Label, Relabel, Score, Stage
from surpass.tasks import ExampleTables
from surpass.tasks.chess import ChessTask
from surpass.tasks.puzzles import SHIPPED
from surpass.train.recipe import Recipe


@dataclass(frozen=True)
class Chain:
    """One stage of each kind, each taking from the one before."""

    examples: Examples
    fit: Fit
    label: Label
    relabel: Relabel
    score: Score


def chain(model: str, *, examples: dict[str, Any] | None = None, fit: dict[str, Any] | None = None) -> Chain:
    first = some_examples(**examples or {})
    second = Fit(
        **{"model": model, "examples": first, "labels": TRUTH, "recipe": Recipe(), "seed": 0} | (fit or {})
    )
    labels = Label(source=second, examples=first)
    hard = Relabel(labels=labels, rule="harden")
    return Chain(first, second, labels, hard, Score(labels=hard, examples=first))


@pytest.fixture
def model(tmp_path: Path) -> str:
    return write_model(tmp_path, "one")


@pytest.fixture
def stages(model: str) -> Chain:
    return chain(model)


@pytest.fixture
def changes(
    tmp_path: Path, stages: Chain, monkeypatch: pytest.MonkeyPatch
) -> dict[type[Stage], dict[str, Any]]:
    """For every field of every kind of stage, another value than in `stages`."""
    monkeypatch.setitem(RULES, "other", RULES["harden"])
    two = write_model(tmp_path, "two")
    examples = replace(stages.examples, size=11)
    label = replace(stages.label, examples=examples)
    return {
        Examples: {"task": ToyTask(split_seed=1), "part": "student", "size": None, "seed": 1, "mix": "even"},
        Fit: {
            "model": two,
            "examples": examples,
            "labels": label,
            "loss": "other",
            "recipe": Recipe(epochs=6),
            "seed": 1,
        },
        Label: {"source": two, "examples": examples},
        Relabel: {"labels": label, "rule": "other"},
        Score: {"labels": label, "examples": examples},
    }


def of_kind(stages: Chain, kind: type[Stage]) -> Stage:
    return next(
        getattr(stages, field.name) for field in fields(stages) if type(getattr(stages, field.name)) is kind
    )


class TestId:
    def test_equal_fields_are_equal_ids(self, model):
        first, second = chain(model), chain(model)
        assert first == second
        for kind in STAGES.values():
            assert of_kind(first, kind).id == of_kind(second, kind).id
            assert len(of_kind(first, kind).id) == 64

    def test_every_stage_has_its_own(self, stages):
        assert len({of_kind(stages, kind).id for kind in STAGES.values()}) == 5

    def test_every_field_counts(self, stages, changes):
        assert changes.keys() == set(STAGES.values())
        for kind, others in changes.items():
            assert others.keys() == {field.name for field in fields(kind)}
            stage = of_kind(stages, kind)
            ids = {replace(stage, **{name: value}).id for name, value in others.items()}
            assert len(ids | {stage.id}) == 1 + len(others), kind

    @pytest.mark.parametrize("field", [field.name for field in fields(Recipe)])
    def test_every_setting_of_a_recipe_counts(self, stages, field):
        other = {"schedule": "cosine"}.get(field) or getattr(Recipe(), field) / 2 + 3e-3
        value = int(other) + 1 if field in ("epochs", "batch_size") else other
        changed = replace(stages.fit, recipe=replace(stages.fit.recipe, **{field: value}))
        assert changed.id != stages.fit.id

    def test_a_change_reaches_everything_behind_it_and_nothing_before(self, model, stages):
        other = chain(model, fit={"recipe": Recipe(epochs=9)})
        changed = [
            kind for kind in STAGES if of_kind(stages, STAGES[kind]).id != of_kind(other, STAGES[kind]).id
        ]
        assert changed == ["fit", "label", "relabel", "score"]
        first = chain(model, examples={"seed": 3})
        assert all(of_kind(first, kind).id != of_kind(stages, kind).id for kind in STAGES.values())

    def test_kind_and_version_count(self, stages, monkeypatch):
        before = {kind: of_kind(stages, kind).id for kind in STAGES.values()}
        for kind in STAGES.values():
            with monkeypatch.context() as patch:
                patch.setattr(kind, "version", kind.version + 1)
                assert replace(of_kind(stages, kind)).id != before[kind]
            with monkeypatch.context() as patch:
                patch.setattr(kind, "kind", "another")
                assert replace(of_kind(stages, kind)).id != before[kind]
            assert replace(of_kind(stages, kind)).id == before[kind]

    def test_what_people_read_does_not(self, stages, monkeypatch):
        for kind in STAGES.values():
            monkeypatch.setattr(kind, "label", property(lambda self: "renamed"))
            monkeypatch.setattr(kind, "cost", property(lambda self: 0.0))
            assert replace(of_kind(stages, kind)).id == of_kind(stages, kind).id

    def test_it_never_changes_once_it_was_asked_for(self, stages):
        with pytest.raises(FrozenInstanceError):
            stages.fit.seed = 3


class TestFilesFromOutside:
    def test_the_same_name_with_other_weights_is_another_stage(self, tmp_path, model, stages):
        zero_shot = Label(source=model, examples=stages.examples)
        before = [zero_shot.id, stages.fit.id, stages.score.id]
        write_model(tmp_path, "one", mark=1)
        again = chain(model)
        after = [Label(source=model, examples=again.examples).id, again.fit.id, again.score.id]
        assert not set(after) & set(before)
        assert again.examples.id == stages.examples.id
        write_model(tmp_path, "one")
        assert chain(model).score.id == before[2]

    @pytest.fixture
    def own(self, tmp_path: Path) -> Path:
        pq.write_table(pq.read_table(SHIPPED)[:50], tmp_path / "own.parquet")
        return tmp_path / "own.parquet"

    def test_a_file_of_puzzles_counts_by_its_bytes_not_its_path(self, tmp_path, own):
        (tmp_path / "elsewhere").mkdir()
        moved = shutil.copy(own, tmp_path / "elsewhere" / "renamed.parquet")
        first, second = (some_examples(task=ChessTask(puzzles=str(path))) for path in (own, moved))
        assert first.id == second.id
        pq.write_table(pq.read_table(SHIPPED)[:49], moved)
        assert some_examples(task=ChessTask(puzzles=str(moved))).id != first.id
        assert some_examples(task=ChessTask()).id != first.id

    def test_no_such_file(self, tmp_path):
        with pytest.raises(DataError, match=r"gone\.csv"):
            _ = some_examples(task=ChessTask(puzzles=str(tmp_path / "gone.csv"))).id


class TestUpstream:
    def test_of_each_kind(self, model, stages):
        assert stages.examples.upstream == ()
        assert stages.fit.upstream == (stages.examples,)
        assert replace(stages.fit, labels=stages.relabel).upstream == (stages.examples, stages.relabel)
        assert stages.label.upstream == (stages.fit, stages.examples)
        assert Label(source=model, examples=stages.examples).upstream == (stages.examples,)
        assert stages.relabel.upstream == (stages.label,)
        assert stages.score.upstream == (stages.relabel, stages.examples)

    def test_identity_names_it_by_id(self, stages):
        assert stages.label.identity["fields"] == {"source": stages.fit.id, "examples": stages.examples.id}


def test_labels_for_people(model, stages):
    assert stages.examples.label == "toy-weak-10-s0"
    assert replace(stages.examples, size=None, mix="even", seed=2).label == "toy-weak-even-all-s2"
    assert stages.fit.label == "one-truth-xent-s0"
    assert replace(stages.fit, labels=stages.label, seed=3).label == "one-from-one-xent-s3"
    assert stages.label.label == "one-truth-xent-s0-on-toy-weak-10-s0"
    assert Label(source=model, examples=stages.examples).label == "one-on-toy-weak-10-s0"
    assert stages.relabel.label == f"harden-{stages.label.label}"
    assert stages.score.label == stages.relabel.label


def test_costs_grow_with_the_work(tmp_path, stages):
    large = write_model(tmp_path, "large", flops=1e9)
    assert stages.fit.cost == 3 * 1e6 * 10 * 5
    assert replace(stages.fit, model=large).cost == 1000 * stages.fit.cost
    assert stages.label.cost == 1e6 * 10
    assert Label(source=large, examples=stages.examples).cost == 1e9 * 10
    assert replace(stages.examples, size=None).cost > stages.examples.cost > 0


def test_no_such_rule(stages):
    with pytest.raises(ConfigError, match="no relabelling rule 'soften'"):
        Relabel(labels=stages.label, rule="soften")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "out").mkdir()
    (tmp_path / "work").mkdir()
    return Context(find=lambda stage: pytest.fail(stage.label), out=tmp_path / "out", work=tmp_path / "work")


class TestRunningExamples:
    def test_truth_lies_in_a_file_of_its_own(self, context):
        assert some_examples(size=3).run(context) == {"num_examples": 3}
        inputs, truth = (pq.read_table(context.out / name) for name in ("inputs.parquet", "truth.parquet"))
        assert "truth" not in inputs.column_names
        assert inputs["id"].to_pylist() == truth["id"].to_pylist() == [f"weak-0-{n}" for n in range(3)]

    def test_doubled_ids_are_no_examples(self, context, monkeypatch):
        tables = ToyTask().examples(part="weak", size=1, seed=0, mix="all")
        doubled = ExampleTables(tables.inputs.take([0, 0]), tables.truth.take([0, 0]))
        monkeypatch.setattr(ToyTask, "examples", lambda self, **fields: doubled)
        with pytest.raises(DataError, match="examples of toy-weak-10-s0 have doubled ids: 'weak-0-0'"):
            some_examples().run(context)
        assert list(context.out.iterdir()) == []
