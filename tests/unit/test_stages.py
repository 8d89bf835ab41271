from __future__ import annotations

import json
import shutil
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from reference.studies import ToyTask, some_examples, write_model
from surpass import rules
from surpass.calls import code_digest
from surpass.errors import ConfigError, DataError
from surpass.models.sources import resolve
from surpass.stages import (
    STAGES,
    TRUTH,
    Adapt,
    Blend,
    Chosen,
    Compare,
    Context,
    Diversify,
    Examples,
    Features,
    Fit,
    Graded,
    Hint,
    Label,
    LabelStage,
    ModelStage,
    Outcomes,
    Prompt,
    Rate,
    Relabel,
    Retrain,
    RollOuts,
    Sample,
    Score,
    Stage,
    Steps,
    Stop,
    Synthetic,
    Truth,
    Written,
)
from surpass.stages.features import one_pass
from surpass.tasks import ExampleTables
from surpass.tasks.chess import ChessTask
from surpass.tasks.planted import PlantedTask
from surpass.tasks.puzzles import SHIPPED
from surpass.train.recipe import Recipe
from surpass.world.task import WorldTask


@dataclass(frozen=True)
class Chain:
    """One stage of each kind, each taking from some before."""

    examples: Examples
    truth: Truth
    fit: Fit
    label: Label
    relabel: Relabel
    hint: Hint
    features: Features
    stop: Stop
    blend: Blend
    adapt: Adapt
    prompt: Prompt
    retrain: Retrain
    diversify: Diversify
    score: Score
    compare: Compare
    sample: Sample
    written: Written
    graded: Graded
    chosen: Chosen
    steps: Steps
    outcomes: Outcomes
    rollouts: RollOuts
    synthetic: Synthetic
    rate: Rate


def chain(model: str, *, examples: dict[str, Any] | None = None, fit: dict[str, Any] | None = None) -> Chain:
    first = some_examples(**examples or {})
    learned = Fit(
        **{"model": model, "examples": first, "labels": TRUTH, "recipe": Recipe(), "seed": 0} | (fit or {})
    )
    labels = Label(source=learned, examples=first)
    hard = Relabel(labels=(labels,), rule="harden")
    states = Features(source=learned, examples=first)
    problems = Examples(task=WorldTask(), part="student", size=10, seed=first.seed)
    sample = Sample(source=learned, examples=problems, num_samples=4, seed=0)
    graded = Graded(samples=sample)
    steps = Steps(solutions=graded)
    judged = Label(source=learned, examples=steps)
    return Chain(
        examples=first,
        truth=Truth(examples=first),
        fit=learned,
        label=labels,
        relabel=hard,
        hint=Hint(examples=first, labels=labels),
        features=Features(source=learned, examples=first),
        stop=Stop(fit=learned, examples=first, labels=TRUTH, snapshots=2),
        blend=Blend(model=model, examples=first, fits=(learned,), weights=(0.5, 0.5)),
        adapt=Adapt(model=model, examples=first, seed=0),
        prompt=Prompt(model=model, examples=first, labels=TRUTH, seed=0),
        retrain=Retrain(features=states, labels=TRUTH, seed=0),
        diversify=Diversify(
            features=states, labels=labels, target=states, judge=TRUTH, recipe=Recipe(), seed=0
        ),
        score=Score(labels=hard, examples=first),
        compare=Compare(student=hard, weak=labels, examples=first),
        sample=sample,
        written=Written(examples=problems, num_samples=4, seed=0),
        graded=graded,
        chosen=Chosen(solutions=graded, per_problem=2, rule="convincing", labels=judged),
        steps=steps,
        outcomes=Outcomes(solutions=graded),
        rollouts=RollOuts(source=learned, examples=steps, seed=0),
        synthetic=Synthetic(labels=judged, examples=steps),
        rate=Rate(solutions=graded, labels=judged),
    )


@pytest.fixture
def model(tmp_path: Path) -> str:
    return write_model(tmp_path, "one")


@pytest.fixture
def stages(model: str) -> Chain:
    return chain(model)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A folder that is an encoder by its configuration, and a causal model beside it; neither can be run."""
    for name, kind in (("encoder", "BertModel"), ("causal", "LlamaForCausalLM")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"architectures": [kind]}))
        (folder / "tokenizer.json").write_text("{}")
        save_file({"weight": np.ones((2, 2), np.float32)}, folder / "model.safetensors")
    return f"dir:{tmp_path / 'encoder'}"


@pytest.fixture
def changes(tmp_path: Path, stages: Chain, encoder: str) -> dict[type[Stage], dict[str, Any]]:
    """For every field of every kind of stage, another value than in `stages`."""
    two = write_model(tmp_path, "two")
    named = (encoder, f"{encoder}(layer=1)")
    places = one_pass([Features(source=name, examples=stages.examples) for name in named]).read_outs
    examples = replace(stages.examples, size=11)
    label = replace(stages.label, examples=examples)
    problems = replace(stages.sample.examples, size=11)
    other = replace(stages.graded, grader="math-verify")
    judged = Label(source=stages.fit, examples=stages.steps)
    return {
        Examples: {
            "task": ToyTask(split_seed=1),
            "part": "student",
            "size": None,
            "seed": 1,
            "mix": "even",
            "skip": 10,
        },
        Hint: {"examples": examples, "labels": label},
        Features: {
            "source": two,
            "examples": examples,
            "also": (examples,),
            "read_outs": places,
            "precision": "float16",
        },
        Truth: {"examples": examples},
        Fit: {
            "model": two,
            "examples": examples,
            "labels": label,
            "loss": "confidence",
            "recipe": Recipe(epochs=6),
            "seed": 1,
            "start": stages.blend,
            "adapter": "frozen",
            "ema": 0.5,
        },
        Stop: {
            "fit": replace(stages.stop.fit, seed=1),
            "examples": examples,
            "labels": label,
            "snapshots": 3,
        },
        Blend: {"model": two, "examples": examples, "fits": (stages.stop,), "weights": (0.25, 0.75)},
        Adapt: {"model": two, "examples": examples, "recipe": Recipe(epochs=2), "seed": 1},
        Prompt: {"model": two, "examples": examples, "labels": label, "num_shots": 4, "seed": 1},
        Retrain: {
            "features": replace(stages.features, examples=examples),
            "labels": label,
            "num_subsets": 3,
            "seed": 1,
        },
        Diversify: {
            "features": replace(stages.features, examples=examples),
            "target": replace(stages.features, examples=examples),
            "labels": label,
            "judge": label,
            "recipe": Recipe(epochs=2),
            "num_heads": 3,
            "mutual": 1.0,
            "prior": 1.0,
            "queries": 3,
            "seed": 1,
        },
        Label: {"source": two, "examples": examples},
        Relabel: {
            "labels": (label,),
            "rule": "soften",
            "examples": examples,
            "features": stages.features,
            "reference": (label,),
            "num_classes": 2,
        },
        Score: {"labels": label, "examples": examples},
        Compare: {"student": label, "weak": stages.relabel, "examples": examples},
        Sample: {
            "source": two,
            "examples": problems,
            "num_samples": 5,
            "temperature": 0.5,
            "seed": 1,
        },
        Written: {"examples": problems, "num_samples": 5, "seed": 1},
        Graded: {"samples": stages.written, "grader": "exact"},
        Chosen: {
            "solutions": other,
            "per_problem": 3,
            "rule": {"rule": "uniform", "labels": None},
            "labels": replace(judged, source=two),
            "reduction": "minimum",
            "wrong_share": 0.5,
            "over_all": True,
            "seed": 1,
        },
        Steps: {"solutions": other, "whole": True, "classes": 3, "neutral": "wrong"},
        Outcomes: {"solutions": other},
        RollOuts: {
            "source": two,
            "examples": replace(stages.steps, solutions=other),
            "num_samples": 9,
            "target": "hard",
            "grader": "exact",
            "temperature": 0.5,
            "max_new_tokens": 100,
            "seed": 1,
        },
        Synthetic: {"labels": replace(judged, source=two), "examples": stages.outcomes, "threshold": 0.3},
        Rate: {"solutions": other, "labels": None},
    }


def of_kind(stages: Chain, kind: type[Stage]) -> Stage:
    return next(
        getattr(stages, field.name) for field in fields(stages) if type(getattr(stages, field.name)) is kind
    )


def late(kind: type) -> dict[str, Any]:
    """The fields whose default keeps what a stage was before it had them, with that default."""
    return {
        field.name: field.default
        for field in fields(kind)
        if field.metadata.get("surpass.role") == "since_default"
    }


class TestId:
    def test_equal_fields_are_equal_ids(self, model):
        first, second = chain(model), chain(model)
        assert first == second
        for kind in STAGES.values():
            assert of_kind(first, kind).id == of_kind(second, kind).id
            assert len(of_kind(first, kind).id) == 64

    def test_every_stage_has_its_own(self, stages):
        assert {type(getattr(stages, field.name)) for field in fields(stages)} == set(STAGES.values())
        assert len({of_kind(stages, kind).id for kind in STAGES.values()}) == len(STAGES) == 24

    def test_every_field_counts(self, stages, changes):
        assert changes.keys() == set(STAGES.values())
        for kind, others in changes.items():
            execution = {
                field.name for field in fields(kind) if field.metadata.get("surpass.role") == "execution"
            }
            assert {field.name for field in fields(kind)} - execution <= others.keys()
            stage = of_kind(stages, kind)
            each = [value if isinstance(value, dict) else {name: value} for name, value in others.items()]
            ids = {replace(stage, **given).id for given in each}
            assert len(ids | {stage.id}) == 1 + len(others), kind

    @pytest.mark.parametrize("field", sorted({field.name for field in fields(Recipe)} - {"optimizer"}))
    @pytest.mark.parametrize("kind", ["fit", "adapt"])
    def test_every_setting_of_a_recipe_counts(self, stages, kind, field):
        stage = getattr(stages, kind)
        other = {"schedule": "cosine"}.get(field) or getattr(Recipe(), field) / 2 + 3e-3
        value = int(other) + 1 if field in ("epochs", "batch_size") else other
        changed = replace(stage, recipe=replace(stage.recipe, **{field: value}))
        assert changed.id != stage.id

    @pytest.mark.parametrize(
        ("kind", "field", "name"),
        [
            ("fit", "loss", "gce(q={})"),
            ("fit", "adapter", "lora(rank={})"),
            ("relabel", "rule", "top_confident(frac={})"),
        ],
    )
    def test_settings_behind_a_name_count(self, stages, kind, field, name):
        stage = getattr(stages, kind)
        texts = [name.partition("(")[0], name.format("0.5"), name.format("0.25"), name.format("1")]
        texts = [text for text in texts if field != "adapter" or "." not in text]
        assert len({replace(stage, **{field: text}).id for text in texts}) == len(texts)

    def test_the_order_of_several_counts(self, stages):
        one, two = stages.label, Label(source=stages.stop, examples=stages.examples)
        for field in ("labels", "reference"):
            there, back = (replace(stages.relabel, **{field: both}) for both in ((one, two), (two, one)))
            assert there.id != back.id
        assert replace(stages.relabel, labels=(one, one)).id != stages.relabel.id
        fits = (stages.fit, stages.stop)
        there, back = (
            replace(stages.blend, fits=both, weights=(0.5, 0.25, 0.25)) for both in (fits, fits[::-1])
        )
        assert there.id != back.id

    def test_student_and_supervisor_cannot_change_places(self, stages):
        turned = Compare(student=stages.label, weak=stages.relabel, examples=stages.examples)
        assert turned.id != stages.compare.id

    def test_a_change_reaches_everything_behind_it_and_nothing_before(self, model, stages):
        other = chain(model, fit={"recipe": Recipe(epochs=9)})
        same = {
            kind for kind in STAGES if of_kind(stages, STAGES[kind]).id == of_kind(other, STAGES[kind]).id
        }
        assert same == {"examples", "truth", "adapt", "prompt", "written"}
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
            monkeypatch.setattr(kind, "teacher", property(lambda self: "nobody"), raising=False)
            monkeypatch.setattr(kind, "runs_in", "surpass.errors")
            assert replace(of_kind(stages, kind)).id == of_kind(stages, kind).id

    def test_it_never_changes_once_it_was_asked_for(self, stages):
        with pytest.raises(FrozenInstanceError):
            stages.fit.seed = 3


class TestFieldsAddedLater:
    """What is in people's stores was computed before there were such fields, and is found again."""

    def test_which_they_are(self):
        assert {kind: late(STAGES[kind]) for kind in STAGES if late(STAGES[kind])} == {
            "examples": {"skip": 0},
            "fit": {"start": None, "adapter": "full", "ema": 0.0},
            "features": {"also": (), "read_outs": (), "precision": "float32"},
            "chosen": {"over_all": False},
        }
        assert late(Recipe) == {"optimizer": "adamw"}

    @pytest.mark.parametrize("kind", [Examples, Fit, Features, Chosen])
    def test_naming_the_default_changes_no_id(self, stages, kind):
        plain = of_kind(stages, kind)
        for name, default in late(kind).items():
            assert replace(plain, **{name: default}).id == plain.id
        assert not late(kind).keys() & plain.identity["fields"].keys()

    def test_ema_may_be_a_whole_zero(self, stages):
        assert replace(stages.fit, ema=0).id == stages.fit.id

    def test_identities_are_these(self):
        """By hand, so that no field can slip in; of an untrained model and a task without files."""
        examples = Examples(task=PlantedTask(num_features=4), part="weak", size=8, seed=3)
        assert examples.identity == {
            "stage": "examples",
            "version": 1,
            "fields": {
                "task": {
                    "num_classes": 2,
                    "num_features": 4,
                    "separation": 2.8,
                    "precision": 4.0,
                    "growth": 0.25,
                    "label_noise": 0.0,
                    "imbalance": 1.0,
                    "problem_seed": 0,
                },
                "part": "weak",
                "size": 8,
                "seed": 3,
                "mix": "all",
            },
            "outside": {"task": "planted"},
        }
        fit = Fit(model="linear:4", examples=examples, labels=TRUTH, recipe=Recipe(), seed=5)
        recipe = {field.name: getattr(Recipe(), field.name) for field in fields(Recipe)}
        del recipe["optimizer"]
        assert fit.identity == {
            "stage": "fit",
            "version": Fit.version,
            "fields": {
                "examples": examples.id,
                "labels": "truth",
                "loss": "xent",
                "recipe": recipe,
                "seed": 5,
            },
            "outside": {"model": resolve("linear:4").digest},
        }
        changed = replace(fit, adapter="frozen").identity["fields"]
        assert changed == fit.identity["fields"] | {"adapter": "frozen"}


class TestFilesFromOutside:
    def test_the_same_name_with_other_weights_is_another_stage(self, tmp_path, model, stages):
        def of_the_model(stages: Chain) -> list[str]:
            zero_shot = [kind(source=model, examples=stages.examples) for kind in (Label, Features)]
            fitted = [stages.fit, stages.blend, stages.adapt, stages.prompt, stages.score]
            return [stage.id for stage in zero_shot + fitted]

        before = of_the_model(stages)
        write_model(tmp_path, "one", mark=1)
        again = chain(model)
        assert not set(of_the_model(again)) & set(before)
        assert (again.examples.id, again.truth.id) == (stages.examples.id, stages.truth.id)
        write_model(tmp_path, "one")
        assert of_the_model(chain(model)) == before

    def test_who_names_a_model_is_the_only_one_to_digest_it(self, model, stages):
        digest = {"model": resolve(model).digest}
        by_name = {"fit", "stop", "blend", "adapt", "prompt"}
        for kind in STAGES.keys() - {"examples"}:
            outside = of_kind(stages, STAGES[kind]).outside()
            assert outside == (digest if kind in by_name else {}), kind
        for kind in (Label, Features):
            assert kind(source=model, examples=stages.examples).outside() == digest

    def test_a_task_of_somebody_elses_counts_by_its_code(self, stages):
        assert stages.examples.outside() == {"task": "toy"} | code_digest("reference.studies:ToyTask")
        assert len(stages.examples.outside()["code"]) == 64
        assert "code" not in some_examples(task=ChessTask()).outside()

    def test_so_do_losses_and_rules(self, tmp_path, stages, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        source = "def loss(logits_NC, weak_probs_NC, progress): ...\ndef rule(given): ...\n"
        (tmp_path / "theirs_of_stages.py").write_text(source)
        code = code_digest("theirs_of_stages:loss")
        assert replace(stages.fit, loss="theirs_of_stages:loss").outside() == stages.fit.outside() | code
        assert replace(stages.relabel, rule="theirs_of_stages:rule").outside() == code

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
        examples, fit, label, relabel = stages.examples, stages.fit, stages.label, stages.relabel
        assert examples.upstream == ()
        assert stages.truth.upstream == (examples,)
        assert fit.upstream == (examples,)
        assert replace(fit, labels=relabel).upstream == (examples, relabel)
        assert replace(fit, examples=stages.hint, start=stages.blend).upstream == (stages.hint, stages.blend)
        assert label.upstream == stages.features.upstream == (fit, examples)
        assert Label(source=model, examples=examples).upstream == (examples,)
        assert relabel.upstream == (label,)
        full = replace(
            relabel,
            labels=(label, stages.truth),
            examples=examples,
            features=stages.features,
            reference=(stages.truth,),
        )
        assert full.upstream == (label, stages.truth, examples, stages.features, stages.truth)
        assert stages.hint.upstream == (examples, label)
        taught = replace(fit, labels=relabel)
        assert stages.stop.upstream == (examples, examples), "it trains the fit itself"
        stop = replace(stages.stop, fit=taught, labels=label)
        assert stop.upstream == (examples, relabel, examples, label)
        assert stages.blend.upstream == (examples, fit)
        assert stages.adapt.upstream == stages.prompt.upstream == (examples,)
        assert replace(stages.prompt, labels=label).upstream == (examples, label)
        assert stages.score.upstream == (relabel, examples)
        assert stages.compare.upstream == (relabel, label, examples)

    def test_identity_names_it_by_id(self, stages):
        assert stages.label.identity["fields"] == {"source": stages.fit.id, "examples": stages.examples.id}
        given = stages.compare.identity["fields"]
        assert given == {
            "student": stages.relabel.id,
            "weak": stages.label.id,
            "examples": stages.examples.id,
        }
        assert stages.relabel.identity["fields"]["labels"] == [stages.label.id]


class TestWhoseTruth:
    def test_of_each_kind(self, stages):
        given = {field.name for field in fields(stages) if getattr(stages, field.name).truth_of is not None}
        assert given == {"truth", "fit", "stop", "prompt", "retrain", "diversify", "graded", "rollouts"}
        for name in given - {"graded", "rollouts"}:
            assert getattr(stages, name).truth_of is stages.examples
        assert stages.graded.truth_of is stages.sample.examples
        assert stages.rollouts.truth_of is not None

    def test_none_where_labels_take_its_place(self, stages):
        fit = replace(stages.fit, labels=stages.label)
        stop = replace(stages.stop, fit=fit, labels=stages.label)
        for stage in (fit, stop, replace(stages.prompt, labels=stages.label)):
            assert stage.truth_of is None
        assert replace(stop, fit=stages.fit).truth_of is stages.examples
        assert replace(stop, labels=TRUTH).truth_of is stages.examples


class TestOnOtherExamples:
    def test_labels_come_about_in_the_same_way(self, model, stages):
        others = some_examples(part="test", size=4)
        assert stages.truth.on(others) == Truth(examples=others)
        assert stages.label.on(others) == Label(source=stages.fit, examples=others)
        assert Label(source=model, examples=stages.examples).on(others) == Label(
            source=model, examples=others
        )
        assert stages.features.on(others) == Features(source=stages.fit, examples=others)
        assert stages.relabel.on(others) == replace(stages.relabel, labels=(stages.label.on(others),))

    def test_what_a_rule_sees_goes_along_but_not_whom_it_trusts(self, stages):
        others = some_examples(part="test", size=4)
        full = replace(
            stages.relabel,
            labels=(stages.label, stages.truth),
            examples=stages.examples,
            features=stages.features,
            reference=(stages.truth,),
            num_classes=2,
        )
        assert full.on(others) == replace(
            full,
            labels=(stages.label.on(others), Truth(examples=others)),
            examples=others,
            features=stages.features.on(others),
        )
        assert full.on(stages.examples) == full

    def test_models_see_what_they_learned_from(self, stages):
        others = some_examples(part="test", size=4)
        shown = replace(stages.fit, examples=stages.hint)
        stop = replace(stages.stop, fit=shown)
        blend = replace(stages.blend, fits=(stop,))
        hint = Hint(examples=others, labels=stages.label.on(others))
        for source in (shown, stop, blend):
            assert source.sees(others) == hint
            assert Label(source=source, examples=stages.examples).on(others).examples == hint
        for source in (stages.fit, stages.stop, stages.blend, stages.adapt, stages.prompt):
            assert source.sees(others) is others


class TestHeadsOnStates:
    """A head on a body that stays as it is takes from the states, and trains with others."""

    @pytest.fixture
    def fit(self, stages: Chain, encoder: str) -> Fit:
        return replace(stages.fit, model=encoder, adapter="frozen")

    def test_it_takes_from_the_states_of_what_it_sees(self, stages, fit):
        features = Features(source=fit.model, examples=stages.examples)
        assert (fit.features_source, fit.features) == (fit.model, features)
        assert features in fit.upstream
        stop = Stop(fit=fit, examples=some_examples(part="validation"), labels=TRUTH)
        assert stop.features == features.on(stop.examples)
        assert {stop.features, features} <= set(stop.upstream)
        label = Label.of(fit, some_examples(part="test"))
        assert label.features == features.on(label.examples)
        assert label.features in label.upstream
        assert fit.together == stop.together == replace(fit, seed=4, loss="elr").together == "heads"

    def test_states_add_nothing_to_what_a_stage_is(self, fit):
        """They follow from fields that count already."""
        assert "features" not in str(fit.identity["fields"].keys())
        assert fit.identity["fields"].keys() == replace(fit, adapter="lora").identity["fields"].keys()

    @pytest.mark.parametrize("adapter", ["full", "lora", "lora(rank=2)"])
    def test_not_where_the_body_moves(self, fit, adapter):
        moved = replace(fit, adapter=adapter)
        assert (moved.features, moved.together, moved.features_source) == (None, None, None)
        assert Label.of(moved, moved.examples).features is None
        assert moved.revision == Fit.version

    @pytest.mark.parametrize("name", ["linear:4", "mlp:4x3", "ladder:chess-1"])
    def test_not_where_states_cost_nothing(self, stages, name):
        fit = replace(stages.fit, model=name, adapter="frozen")
        assert (fit.features, fit.together, fit.revision) == (None, None, Fit.version)
        assert Label.of(name, stages.examples).features is None

    def test_a_pretrained_model_labels_by_its_states_too(self, stages, encoder):
        for name in (encoder, encoder.replace("encoder", "causal")):
            label = Label.of(name, stages.examples)
            assert label.features == Features(source=name, examples=stages.examples)

    def test_versions(self, stages, fit):
        """New weights are drawn in another way than before, so old fits of such heads are not found."""
        stop = Stop(fit=fit, examples=stages.examples, labels=TRUTH)
        assert (fit.revision, stop.revision) == (Fit.version + 1, Stop.version + 1)
        assert (fit.identity["version"], Features.version) == (3, 2)
        assert replace(stop, fit=stages.fit).revision == Stop.version
        heads = Blend(model=fit.model, examples=stages.examples, fits=(fit, stop), weights=(0.2, 0.3, 0.5))
        assert heads.revision == Blend.version + 1
        assert heads.features_source == fit.model
        assert replace(heads, fits=(fit, replace(fit, adapter="full"))).features_source is None

    def test_hidden_units_are_a_head_too(self, fit):
        hidden = replace(fit, adapter="frozen(hidden=8)")
        assert hidden.features == fit.features
        assert hidden.id != fit.id

    def test_a_head_that_begins_with_anothers_reads_what_that_reads(self, stages, fit):
        body = replace(fit, adapter="full")
        second, third = replace(fit, start=fit, seed=1), replace(fit, start=body)
        assert second.features_source == fit.model
        assert third.features_source == body
        assert third.features == Features(source=body, examples=stages.examples)
        assert replace(fit, start=third).features_source == body

    def test_hints_are_read_apart(self, stages, fit):
        shown = replace(fit, examples=stages.hint)
        assert shown.features == Features(source=fit.model, examples=stages.hint)
        assert Label.of(shown, some_examples(part="test")).features.examples.kind == "hint"

    def test_the_optimizer_counts(self, fit):
        lbfgs = replace(fit, recipe=Recipe(optimizer="lbfgs"))
        assert lbfgs.id != fit.id
        assert lbfgs.revision == Fit.version + 2
        assert replace(fit, recipe=Recipe(optimizer="adamw")).id == fit.id

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"adapter": "full"}, "lbfgs is for heads on frozen states"),
            ({"model": "linear:4"}, "lbfgs is for heads on frozen states"),
            ({"loss": "confidence"}, "loss confidence changes with what the head says"),
            ({"loss": "gce"}, "loss gce changes with what the head says"),
        ],
    )
    def test_no_lbfgs_where_there_is_no_minimum_to_find(self, fit, changes, message):
        with pytest.raises(ConfigError, match=message):
            replace(fit, recipe=Recipe(optimizer="lbfgs"), **changes)

    def test_no_lbfgs_with_a_way_or_for_texts(self, stages, fit):
        lbfgs = Recipe(optimizer="lbfgs")
        with pytest.raises(ConfigError, match="there is nowhere to stop"):
            Stop(fit=replace(fit, recipe=lbfgs), examples=stages.examples, labels=TRUTH)
        with pytest.raises(ConfigError, match="lbfgs"):
            Adapt(
                model=fit.model.replace("encoder", "causal"), examples=stages.examples, recipe=lbfgs, seed=0
            )


class TestOnePass:
    """Which features one pass can give."""

    def of(self, model: str, **fields: Any) -> Features:
        return Features(source=model, examples=some_examples(**fields))

    def test_other_seeds_and_other_layers(self, encoder):
        all_ = [self.of(encoder, seed=seed) for seed in range(3)]
        all_ += [self.of(f"{encoder}({named})") for named in ("layer=1", "layer=2", "pooling=first")]
        all_ += [self.of(f"{encoder}(layer=2, pooling=first)", seed=7)]
        assert len({features.shared_by for features in all_}) == 1

    def test_nothing_else(self, stages, encoder):
        plain = self.of(encoder)
        others = [
            self.of(encoder, part="student"),
            self.of(encoder, size=11),
            self.of(encoder, mix="even"),
            self.of(encoder, skip=10),
            self.of(encoder, task=ToyTask(split_seed=1)),
            self.of(f"{encoder}(tokens=7)"),
            self.of(encoder.replace("encoder", "causal")),
            replace(plain, precision="float16"),
            replace(plain, source=replace(stages.fit, model=encoder)),
            replace(plain, source=replace(stages.fit, model=encoder, seed=1)),
        ]
        assert len({features.shared_by for features in [plain, *others]}) == 1 + len(others)
        alone = [
            Features(source=encoder, examples=stages.hint),
            one_pass([plain, self.of(encoder, seed=1)]),
            one_pass([plain, self.of(f"{encoder}(layer=1)")]),
        ]
        assert [features.shared_by for features in alone] == [None] * 3

    def test_what_is_read(self, encoder):
        zero, one = (self.of(encoder, seed=seed) for seed in (0, 1))
        layer = self.of(f"{encoder}(layer=1)")
        seeds, layers = one_pass([zero, one]), one_pass([layer, zero])
        assert [part.seed for part in seeds.parts] == [0, 1]
        assert seeds.read_outs == ()
        assert [part.seed for part in layers.parts] == [0]
        assert [tuple(read_out) for read_out in layers.read_outs] == [(None, None), (1, None)]
        assert layers.source == encoder
        assert one_pass([one, zero]).id == seeds.id
        assert one_pass([zero, layer]).id == layers.id
        assert len({each.id for each in (zero, one, layer, seeds, layers)}) == 5

    def test_for_people(self, encoder):
        zero, one = (self.of(encoder, seed=seed) for seed in (0, 1))
        both = one_pass([zero, one])
        assert both.label == "encoder-on-toy-weak-10-s0-and-1-more"
        assert both.cost == pytest.approx(2 * zero.cost)
        assert set(both.upstream) == {zero.examples, one.examples}

    def test_precisions(self, encoder):
        assert replace(self.of(encoder), precision="float16").id != self.of(encoder).id
        with pytest.raises(ConfigError, match="precision='half' must be one of float32, float16"):
            replace(self.of(encoder), precision="half")


def test_labels_for_people(model, stages):
    assert stages.examples.label == "toy-weak-10-s0"
    assert replace(stages.examples, size=None, mix="even", seed=2).label == "toy-weak-even-all-s2"
    assert replace(stages.examples, skip=20).label == "toy-weak-10-behind-20-s0"
    assert stages.truth.label == "of-toy-weak-10-s0"
    assert stages.fit.label == "one-truth-xent-s0"
    assert replace(stages.fit, labels=stages.label, seed=3).label == "one-from-one-xent-s3"
    assert replace(stages.fit, labels=stages.relabel, adapter="frozen").label == "one-frozen-from-one-xent-s0"
    assert stages.label.label == "one-truth-xent-s0-on-toy-weak-10-s0"
    assert stages.features.label == stages.label.label
    assert Label(source=model, examples=stages.examples).label == "one-on-toy-weak-10-s0"
    assert stages.relabel.label == f"harden-{stages.label.label}"
    assert stages.hint.label == "toy-weak-10-s0-hint-one"
    assert stages.stop.label == "one-truth-xent-s0-stopped-by-truth"
    assert replace(stages.stop, labels=stages.label).label == "one-truth-xent-s0-stopped-by-one"
    assert stages.blend.label == "one-truth-xent-s0-blend-0.5-0.5"
    assert stages.adapt.label == "one-texts-s0"
    assert stages.prompt.label == "one-5-shots-truth-s0"
    assert replace(stages.prompt, labels=stages.label).label == "one-5-shots-from-one-s0"
    assert stages.score.label == stages.relabel.label
    assert stages.compare.label == f"{stages.relabel.label}-with-one"


def test_teachers(stages):
    soft = replace(stages.relabel, rule="soften(temperature=3)")
    assert [stages.truth.teacher, stages.label.teacher, stages.relabel.teacher] == ["truth", "one", "one"]
    assert soft.teacher == "one-soften"
    assert replace(soft, labels=(soft,)).teacher == "one-soften-soften"
    student = replace(stages.fit, labels=soft)
    stop = replace(stages.stop, fit=student)
    assert student.teacher == stop.teacher == replace(stages.blend, fits=(stop,)).teacher == "one-soften"
    assert (stages.fit.teacher, stages.prompt.teacher, stages.adapt.teacher) == ("truth", "truth", "texts")


def test_costs_grow_with_the_work(tmp_path, stages):
    large = write_model(tmp_path, "large", flops=1e9)
    assert stages.fit.cost == 3 * 1e6 * 10 * 5
    assert replace(stages.fit, model=large).cost == 1000 * stages.fit.cost
    assert stages.label.cost == stages.features.cost == 1e6 * 10
    assert Label(source=large, examples=stages.examples).cost == 1e9 * 10
    assert stages.stop.cost == stages.fit.cost + 2 * 1e6 * 10
    assert replace(stages.stop, snapshots=4).cost == stages.fit.cost + 4 * 1e6 * 10
    assert stages.adapt.cost == 3 * 1e6 * 10
    assert replace(stages.adapt, recipe=Recipe(epochs=4)).cost == 4 * stages.adapt.cost
    assert replace(stages.examples, size=None).cost > stages.examples.cost > 0
    assert all(of_kind(stages, kind).cost > 0 for kind in STAGES.values())


def test_what_they_give(stages):
    """Whoever takes from a stage may rely on its files, whatever its kind."""
    given = {field.name: getattr(stages, field.name) for field in fields(stages)}
    models = {name for name, stage in given.items() if isinstance(stage, ModelStage)}
    assert models == {"fit", "stop", "blend", "adapt", "prompt", "retrain", "diversify"}
    assert {name for name in models if not given[name].has_weights} == {"prompt"}
    assert {given[name].model for name in models} == {stages.fit.model}
    assert {name for name, stage in given.items() if isinstance(stage, LabelStage)} == {
        "truth",
        "label",
        "relabel",
        "rollouts",
        "synthetic",
    }


@pytest.mark.parametrize("kind", STAGES)
def test_running_imports_a_module_that_is_there(kind):
    assert find_spec(STAGES[kind].runs_in) is not None


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("relabel", {"rule": "sofen"}, "no relabelling rule 'sofen'; did you mean soften"),
        ("relabel", {"rule": "harden(at=1)"}, "relabelling rule harden has no setting 'at'"),
        ("fit", {"loss": "hinge"}, "no loss 'hinge'"),
        ("fit", {"loss": "gce(p=1)"}, "loss gce has no setting 'p'; it has q"),
        ("fit", {"adapter": "hed"}, "no adapter 'hed'; "),
        ("stop", {"snapshots": 0}, "snapshots=0 must be from 1 to 100"),
        ("stop", {"snapshots": 101}, "snapshots=101 must be from 1 to 100"),
        ("fit", {"ema": 1.0}, "ema=1.0 must be at least 0 and below 1"),
        ("fit", {"ema": -0.1}, "ema=-0.1 must be at least 0 and below 1"),
        ("prompt", {"num_shots": 0}, "num_shots=0 must be from 1 to 1000; zero_shot shows none"),
        ("prompt", {"num_shots": 1001}, "num_shots=1001 must be from 1 to 1000"),
        ("examples", {"skip": -1}, "skip=-1 must be at least 0, and needs a size"),
        ("blend", {"weights": (1.0,)}, r"weights=\(1.0,\) must be 2 numbers that sum to 1"),
        ("blend", {"weights": (0.5, 0.6)}, r"weights=\(0.5, 0.6\) must be 2 numbers that sum to 1"),
    ],
)
def test_what_makes_no_stage(stages, kind, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(getattr(stages, kind), **changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("stop", {"snapshots": 100}),
        ("fit", {"ema": 0.999}),
        ("prompt", {"num_shots": 1}),
        ("prompt", {"num_shots": 1000}),
        ("blend", {"weights": (0.0, 1.0)}),
    ],
)
def test_at_the_edge_of_what_is_allowed(stages, kind, changes):
    assert len(replace(getattr(stages, kind), **changes).id) == 64


def test_every_rule_can_be_named(stages):
    for rule in rules.RULES:
        assert replace(stages.relabel, rule=rule).rule == rule


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
