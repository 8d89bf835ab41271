"""Stages of heads on frozen states, against the same heads trained and used with their body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from reference.bench import Bench, same_state, state_of, table_of
from reference.language import save_tiny, write_texts
from surpass import labels as lb
from surpass.errors import DataError, Stopped
from surpass.models import families
from surpass.models.adapters import find_adapter
from surpass.models.families import load_model
from surpass.models.heads import Scored, new_head, with_hidden
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Blend, Context, Examples, Features, Fit, Hint, Label, Stop
from surpass.tasks import find_task
from surpass.train import label as labelling
from surpass.train import many
from surpass.train.loop import Labels, fit, label
from surpass.train.recipe import Recipe
from surpass.train.run import INITIAL_WEIGHTS, run_stop

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=3e-3)
KINDS = ("bert", "llama")
HEAD = {"head.weight", "head.bias"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder / "texts.jsonl", 400)
    for number, kind in enumerate(KINDS):
        save_tiny(folder / kind, kind, seed=number)
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


Made = Callable[..., Fit]


@pytest.fixture
def made(folder: Path) -> Made:
    """Fits of a head of a tiny model on the truth, unless told otherwise."""

    def of(kind: str = "bert", **fields: Any) -> Fit:
        settings = {"model": f"dir:{folder / kind}", "examples": part(folder), "labels": TRUTH, "seed": 3}
        return Fit(**settings | {"recipe": RECIPE, "adapter": "frozen"} | fields)

    return of


def part(folder: Path, name: str = "student", size: int = 28) -> Examples:
    return Examples(task=find_task(f"text:{folder / 'texts.jsonl'}"), part=name, size=size, seed=0)


def with_body(bench: Bench, stage: Fit) -> Any:
    """The model with its body, its head as the fit begins."""
    table = table_of(bench.find(stage.examples), "inputs")
    model = load_model(resolve(stage.model), table)
    hidden = find_adapter(stage.adapter).keywords.get("hidden", 0)
    if hidden or model.initial_head() is None:
        torch.manual_seed(stage.seed + INITIAL_WEIGHTS)
        head: Any = new_head(model.head.in_features, Scored(2, False))
        model.head = with_hidden(head, hidden) if hidden else head
    model.requires_grad_(False)
    for parameter in model.head_parameters():
        parameter.requires_grad_(True)
    return model


def trained_with_body(bench: Bench, stage: Fit, labels: pa.Table) -> tuple[Any, torch.Tensor]:
    """The same head through the loop that trains whole models."""
    model = with_body(bench, stage)
    table = table_of(bench.find(stage.examples), "inputs")
    known = set(labels["id"].to_pylist())
    table = table.filter(pa.array([name in known for name in table["id"].to_pylist()]))
    given = lb.join(table["id"].to_pylist(), [2] * table.num_rows, labels)
    losses = fit(
        model,
        model.encode(table),
        Labels(lb.rows(given), lb.weights(given)),
        loss=stage.loss,
        recipe=stage.recipe,
        seed=stage.seed,
        ema=stage.ema,
    )
    return model, losses


def truth_of(bench: Bench, examples: Examples) -> pa.Table:
    return lb.truth_labels(table_of(bench.find(examples), "truth"), [2] * (examples.size or 0))


def head_state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith("head.")}


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], bound: float = 2e-5) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=bound, rtol=1e-4)


class TestFit:
    @pytest.mark.parametrize("settings", [{}, {"ema": 0.8}, {"loss": "elr"}, {"adapter": "frozen(hidden=5)"}])
    @pytest.mark.parametrize("kind", KINDS)
    def test_equals_the_head_trained_on_its_body(self, bench, made, kind, settings):
        stage = made(kind, **settings)
        found = state_of(bench.run_all(stage))
        model, losses = trained_with_body(bench, stage, truth_of(bench, stage.examples))
        close(found, head_state(model))
        curve = table_of(bench.find(stage), "curve")["loss"].to_numpy()
        np.testing.assert_allclose(curve, losses.numpy(), atol=1e-4)
        assert bench.said["num_examples"] == 28
        assert bench.said["num_steps"] == len(curve) == 12
        assert bench.said["last_loss"] == pytest.approx(float(curve[-1]))

    def test_what_is_kept_is_the_head(self, bench, made):
        assert state_of(bench.run_all(made())).keys() == HEAD
        hidden = state_of(bench.run_all(made(adapter="frozen(hidden=4)")))
        assert hidden.keys() == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}

    def test_the_seed_draws_new_heads(self, bench, made):
        lazy = replace(RECIPE, learning_rate=1e-12)
        one, two, again = (state_of(bench.run_all(made(seed=seed, recipe=lazy))) for seed in (1, 2, 1))
        assert (one["head.weight"] - two["head.weight"]).abs().max() > 1e-2
        assert same_state(one, again)
        causal = [state_of(bench.run_all(made("llama", seed=seed, recipe=lazy))) for seed in (1, 2)]
        close(causal[0], causal[1])

    def test_examples_without_a_label_are_left_out(self, bench, made):
        stage = made(labels=Label(source="linear:1", examples=made().examples), loss="confidence")
        bench.run_all(stage.features)
        ids = table_of(bench.find(stage.examples), "inputs")["id"].to_pylist()
        rng = np.random.default_rng(0)
        probs = list(rng.dirichlet([1, 1], 11).astype(np.float32))
        weights = rng.exponential(size=11).astype(np.float32)
        bench.put(stage.labels, lb.label_table(ids[5:16][::-1], probs, weights))
        found = state_of(bench.run(stage))
        assert bench.said["num_examples"] == 11
        labels = table_of(bench.find(stage.labels))
        close(found, head_state(trained_with_body(bench, stage, labels)[0]))

    def test_without_any_label(self, bench, made):
        stage = made(labels=Label(source="linear:1", examples=made().examples))
        bench.run_all(stage.features)
        bench.put(stage.labels, lb.SCHEMA.empty_table())
        with pytest.raises(DataError, match="no example has a label left"):
            bench.run(stage)

    def test_no_body_is_loaded(self, bench, made, monkeypatch):
        stage = made()
        bench.run_all(stage.features)
        monkeypatch.setattr(families, "load_model", lambda *_: pytest.fail("a body was loaded"))
        monkeypatch.setattr(labelling, "load_model", lambda *_: pytest.fail("a body was loaded"))
        bench.run(stage)
        bench.run(Label(source=stage, examples=stage.examples))

    def test_it_may_begin_with_another_head(self, bench, made):
        first = made()
        second = made(start=first, recipe=replace(RECIPE, learning_rate=1e-12))
        before, after = state_of(bench.run_all(first)), state_of(bench.run_all(second))
        close(before, after, 1e-6)

    def test_or_on_a_body_that_has_learned(self, bench, made):
        body = made(adapter="full", recipe=replace(RECIPE, epochs=1))
        stage = made(start=body, recipe=replace(RECIPE, learning_rate=1e-12))
        found = state_of(bench.run_all(stage))
        assert found.keys() == HEAD
        close(
            found, {name: value for name, value in state_of(bench.find(body)).items() if name in HEAD}, 1e-6
        )
        ours, theirs = (
            np.stack(lb.rows(table_of(bench.run_all(Label.of(source, stage.examples)))))
            for source in (stage, body)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_hints_are_read(self, bench, made, folder):
        examples = part(folder)
        weak = Label.of(made("llama", seed=8), examples)
        shown = made("llama", examples=Hint(examples=examples, labels=weak))
        hinted, plain = state_of(bench.run_all(shown)), state_of(bench.run_all(made("llama")))
        assert (hinted["head.weight"] - plain["head.weight"]).abs().max() > 1e-4


class TestRunAll:
    def test_together_as_one_after_the_other(self, bench, made):
        stages = [
            made(),
            made(seed=4, loss="confidence"),
            made("llama", loss="gce"),
            made(adapter="frozen(hidden=5)"),
            Stop(fit=made(seed=5), examples=made().examples, labels=TRUTH, snapshots=3),
        ]
        other = Bench(bench.root / "other")
        other.root.mkdir()
        contexts = []
        for stage in stages:
            bench.run_all(stage)
            for before in stage.upstream:
                if not other.folder(before).exists():
                    other.run_all(before)
            other.folder(stage).mkdir()
            work = other.root / "work" / stage.id
            work.mkdir(parents=True)
            contexts.append(Context(find=other.find, out=other.folder(stage), work=work))
        said = many.run_all(stages, contexts)
        for stage, told in zip(stages, said, strict=True):
            assert told.keys() == bench.manifests[stage.id]["said"].keys()
            assert {path.name for path in other.folder(stage).iterdir()} == {
                "model.safetensors",
                "curve.parquet",
            }
            close(state_of(other.find(stage)), state_of(bench.find(stage)), 1e-6)

    def test_one_without_labels_does_not_hold_up_the_others(self, bench, made):
        lost = made(labels=Label(source="linear:1", examples=made().examples))
        fine = made(seed=6)
        bench.run_all(lost.features)
        bench.put(lost.labels, lb.SCHEMA.empty_table())
        contexts = []
        for stage in (lost, fine):
            bench.folder(stage).mkdir()
            work = bench.root / "work" / stage.id
            work.mkdir(parents=True)
            contexts.append(Context(find=bench.find, out=bench.folder(stage), work=work))
        first, second = many.run_all([lost, fine], contexts)
        assert isinstance(first, DataError)
        assert second["num_examples"] == 28
        assert list(bench.folder(lost).iterdir()) == []
        assert state_of(bench.find(fine)).keys() == HEAD


class TestLabel:
    @pytest.mark.parametrize("adapter", ["frozen", "frozen(hidden=5)"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_equals_the_whole_model(self, bench, made, folder, kind, adapter):
        stage = made(kind, adapter=adapter)
        labels = Label.of(stage, part(folder, "test", 20))
        found = table_of(bench.run_all(labels))
        table = table_of(bench.find(labels.examples), "inputs")
        assert found["id"].equals(table["id"])
        model = load_model(resolve(stage.model), table)
        stage.load_into(model, Context(find=bench.find, out=bench.root, work=bench.root))
        expected = label(model, model.encode(table), [2] * 20)
        np.testing.assert_allclose(np.stack(lb.rows(found)), np.stack(expected), atol=1e-5)
        assert bench.said == {"num_examples": 20}

    def test_of_a_causal_model_as_it_is(self, bench, made, folder):
        labels = Label.of(made("llama").model, part(folder, "test", 20))
        found = table_of(bench.run_all(labels))
        table = table_of(bench.find(labels.examples), "inputs")
        model = load_model(resolve(made("llama").model), table)
        expected = label(model, model.encode(table), [2] * 20)
        np.testing.assert_allclose(np.stack(lb.rows(found)), np.stack(expected), atol=1e-5)

    @pytest.mark.parametrize(("kind", "settings"), [("bert", ""), ("llama", "(layer=1)")])
    def test_of_a_model_that_has_no_head(self, bench, made, folder, kind, settings):
        labels = Label.of(f"{made(kind).model}{settings}", part(folder, "test", 20))
        with pytest.raises(DataError, match=r"has no head .*2 classes"):
            bench.run_all(labels)

    def test_says_how_many_were_cut(self, bench, made, folder):
        stage = made(model=f"{made().model}(tokens=7)")
        labels = Label.of(stage, part(folder, "test", 20))
        bench.run_all(labels)
        table = table_of(bench.find(labels.examples), "inputs")
        cut = sum(len(text.split()) > 7 for text in table["text"].to_pylist())
        assert 0 < cut < 20
        assert bench.said == {"num_examples": 20, "truncated": cut}

    def test_by_a_head_that_a_pass_has_read_in_company(self, bench, made, folder):
        """A layer's head begins anew, also where the pass holds the model's own head beside."""
        from surpass.stages.features import one_pass

        examples = part(folder)
        named = (made("llama").model, f"{made('llama').model}(layer=1)")
        features = [Features(source=name, examples=examples) for name in named]
        joint = one_pass(features)
        bench.run_all(joint)
        alone, company = (
            state_of(run_with(bench, made(model=named[1]), {} if lone else {features[1].id: joint}))
            for lone in (True, False)
        )
        close(alone, company)


def run_with(bench: Bench, stage: Fit, instead: dict[str, Features]) -> Any:
    """Run a fit where some of its features are served by another pass."""
    for before in stage.upstream:
        if before.id not in instead and not bench.folder(before).exists():
            bench.run_all(before)
    out = bench.root / f"{stage.id}-{len(instead)}"
    out.mkdir()
    work = bench.root / "work" / out.name
    work.mkdir(parents=True)
    context = Context(find=lambda wanted: bench.find(instead.get(wanted.id, wanted)), out=out, work=work)
    stage.run(context)
    return replace(bench.find(stage.examples), path=out, manifest={"files": {"model.safetensors": {}}})


class TestStop:
    def judged(self, made: Made, folder: Path, **fields: Any) -> Stop:
        settings = {"examples": part(folder, "validation", 15), "labels": TRUTH, "snapshots": 5}
        return Stop(fit=made("llama"), **settings | fields)

    @pytest.mark.parametrize("fields", [{}, {"ema": 0.7}])
    def test_keeps_what_the_way_through_the_body_keeps(self, bench, made, folder, fields):
        stage = self.judged(made, folder)
        stage = replace(stage, fit=replace(stage.fit, **fields))
        ours = bench.run_all(stage)
        said = dict(bench.said)
        out, work = bench.root / "slow", bench.root / "slow-work"
        out.mkdir()
        work.mkdir()
        theirs = run_stop(stage, Context(find=bench.find, out=out, work=work))
        assert said["best"] == theirs["best"]
        assert said["best_accuracy"] == pytest.approx(theirs["best_accuracy"])
        assert said["last_accuracy"] == pytest.approx(theirs["last_accuracy"])
        slow = replace(ours, path=out)
        assert table_of(ours, "curve").equals(table_of(slow, "curve"))
        kept = {name: value for name, value in state_of(slow).items() if name.startswith("head.")}
        close(state_of(ours), kept)

    def test_by_labels_of_some(self, bench, made, folder):
        held_out = part(folder, "validation", 15)
        stage = self.judged(made, folder, labels=Label(source="linear:1", examples=held_out))
        bench.run_all(stage.fit)
        bench.run_all(stage.features)
        ids = table_of(bench.find(held_out), "inputs")["id"].to_pylist()
        probs = [np.array([0.2, 0.8], np.float32), np.array([0.9, 0.1], np.float32)] * 3
        bench.put(stage.labels, lb.label_table(ids[3:9][::-1], probs))
        curve = table_of(bench.run(stage), "curve")
        assert all(abs(6 * share - round(6 * share)) < 1e-9 for share in curve["accuracy"].to_pylist())
        assert curve["step"].to_pylist() == [3, 5, 8, 10, 12]

    def test_without_any_label(self, bench, made, folder):
        held_out = part(folder, "validation", 15)
        stage = self.judged(made, folder, labels=Label(source="linear:1", examples=held_out))
        bench.run_all(stage.fit)
        bench.run_all(stage.features)
        bench.put(stage.labels, lb.SCHEMA.empty_table())
        with pytest.raises(DataError, match=r"no example of .*validation-15-s0 has a label to stop by"):
            bench.run(stage)

    @pytest.mark.parametrize("fields", [{}, {"ema": 0.7}, {"loss": "elr"}, {"adapter": "frozen(hidden=5)"}])
    def test_stopped_and_resumed_gives_the_same_bytes(self, bench, made, folder, fields):
        stage = self.judged(made, folder)
        stage = replace(stage, fit=replace(stage.fit, **fields))
        undisturbed = Bench(bench.root / "other")
        undisturbed.root.mkdir()
        undisturbed.run_all(stage)
        bench.run_all(stage.fit)
        bench.run_all(stage.features)
        for _ in range(5):
            asked = count(1)
            with pytest.raises(Stopped):
                bench.run(stage, stop=lambda asked=asked: next(asked) == 2)
            assert list(bench.folder(stage).iterdir()) == []
        bench.run(stage)
        for path in undisturbed.folder(stage).iterdir():
            assert path.read_bytes() == (bench.folder(stage) / path.name).read_bytes(), path.name


class TestBlend:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_mean_of_heads(self, bench, made, kind):
        fits = (made(kind), made(kind, recipe=replace(RECIPE, epochs=1)))
        stage = Blend(model=fits[0].model, examples=fits[0].examples, fits=fits, weights=(0.5, 0.25, 0.25))
        found = state_of(bench.run_all(stage))
        one, two = (state_of(bench.find(each)) for each in fits)
        begun = head_state(with_body(bench, fits[0]))
        close(found, {name: begun[name] / 2 + one[name] / 4 + two[name] / 4 for name in one}, 1e-6)
        labels = table_of(bench.run_all(Label.of(stage, stage.examples)))
        table = table_of(bench.find(stage.examples), "inputs")
        model = load_model(resolve(stage.model), table)
        stage.load_into(model, Context(find=bench.find, out=bench.root, work=bench.root))
        expected = label(model, model.encode(table), [2] * 28)
        np.testing.assert_allclose(np.stack(lb.rows(labels)), np.stack(expected), atol=1e-5)

    def test_heads_with_hidden_units_are_loaded_too(self, bench, made):
        fits = (made(adapter="frozen(hidden=5)"),)
        stage = Blend(model=fits[0].model, examples=fits[0].examples, fits=fits, weights=(0.0, 1.0))
        found = state_of(bench.run_all(stage))
        close(found, state_of(bench.find(fits[0])), 1e-6)
        model = load_model(resolve(stage.model), table_of(bench.find(stage.examples), "inputs"))
        stage.load_into(model, Context(find=bench.find, out=bench.root, work=bench.root))
        close(head_state(model), found, 1e-6)
