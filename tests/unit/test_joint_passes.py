"""Features of several seeds and layers out of one pass: engine and graph, with the smallest models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from reference.language import save_tiny, write_texts
from surpass.engine.graph import outstanding
from surpass.engine.inline import Settings
from surpass.engine.inline import run as run_inline
from surpass.errors import DataError, Stopped
from surpass.experiment import run
from surpass.labels import rows
from surpass.results import Results
from surpass.stages import TRUTH, Context, Examples, Features, Fit, Label, Relabel, Score, Stage, Stop
from surpass.store import Store
from surpass.study import Study
from surpass.tasks import find_task
from surpass.train import one_pass as module
from surpass.train.features import read_states
from surpass.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-2)


class Passes:
    """Which passes were made: stages, and how many examples each has read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stages: list[Features] = []
        self.examples: list[int] = []
        plain = module.run_features

        def run_features(stage: Features, context: Context) -> dict[str, Any]:
            said = plain(stage, context)
            self.stages.append(stage)
            self.examples.append(said["num_examples"])
            return said

        monkeypatch.setattr(module, "run_features", run_features)

    def take(self) -> list[Features]:
        """Those since the last time."""
        taken, self.stages, self.examples = self.stages, [], []
        return taken


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder / "texts.jsonl", 400)
    for number, kind in enumerate(("bert", "distilbert")):
        save_tiny(folder / kind, kind, seed=number)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def study_of(folder: Path, **fields: Any) -> Study:
    settings: dict[str, Any] = {
        "name": "study",
        "task": find_task(f"text:{folder / 'texts.jsonl'}"),
        "pairs": ((f"dir:{folder / 'distilbert'}", f"dir:{folder / 'bert'}"),),
        "seeds": (0, 1),
        "methods": ("naive",),
        "recipe": RECIPE,
        "adapter": "frozen",
        "num_train": 24,
        "num_test": 20,
        "num_validation": 10,
        "early_stopping": False,
    }
    return Study(**settings | fields)


def what(passes: Sequence[Features]) -> list[tuple[str, str, int]]:
    """Model, part of the data, and how many seeds of it."""
    return sorted(
        (Path(str(features.source).split(":")[1]).name, features.examples.part, len(features.parts))  # type: ignore[attr-defined]
        for features in passes
    )


def without_time(results: Results) -> list[dict[str, Any]]:
    return [
        {name: None if value != value else value for name, value in row.items() if name != "seconds"}
        for row in results.rows()
    ]


def alike(one: Results, other: Results, bound: float = 1e-5) -> None:
    """Equal but for rounding."""
    for left, right in zip(without_time(one), without_time(other), strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert value == (
                pytest.approx(right[name], abs=bound) if isinstance(value, float) else right[name]
            )


class TestStudies:
    def test_seeds_share_a_pass(self, folder, store, passes):
        run(study_of(folder), store)
        assert what(passes.take()) == [
            ("bert", "student", 2),
            ("bert", "test", 1),
            ("distilbert", "student", 2),
            ("distilbert", "test", 1),
            ("distilbert", "weak", 2),
        ]

    def test_another_method_reads_nothing(self, folder, store, passes):
        first = run(study_of(folder), store)
        passes.take()
        methods = ("naive", "confidence", "early_stop_truth", "probe", "wise_ft", "ensemble")
        again = run(study_of(folder, methods=methods, early_stopping=None), store)
        assert what(passes.take()) == [("bert", "validation", 1), ("distilbert", "validation", 1)]
        assert {row["weak_acc"] for row in again.rows()} == {row["weak_acc"] for row in first.rows()}
        run(study_of(folder, methods=("naive", "gce", "knn_filter")), store)
        assert passes.take() == []

    def test_the_second_run_reads_nothing(self, folder, store, passes):
        first = run(study_of(folder), store)
        passes.take()
        assert without_time(run(study_of(folder), store)) == without_time(first)
        assert passes.take() == []

    def test_results_are_those_of_seeds_alone(self, folder, tmp_path):
        methods = ("naive", "confidence", "knn_filter", "early_stop_truth")
        together = run(study_of(folder, methods=methods), Store(tmp_path / "together"))
        for seed in (0, 1):
            alone = run(study_of(folder, methods=methods, seeds=(seed,)), Store(tmp_path / f"alone-{seed}"))
            kept = [row for row in without_time(together) if row["seed"] == seed]
            for left, right in zip(kept, without_time(alone), strict=True):
                for name in ("weak_acc", "student_acc", "ceiling_acc", "log_loss", "agreement"):
                    assert left[name] == pytest.approx(right[name], abs=1e-5), name

    def test_another_seed_is_read_with_all_that_share_its_pass(self, folder, store, passes):
        """The pass that is found again is that of all features behind the targets."""
        run(study_of(folder), store)
        passes.take()
        run(study_of(folder, seeds=(0, 1, 2)), store)
        read = passes.take()
        assert what(read) == [("bert", "student", 3), ("distilbert", "student", 3), ("distilbert", "weak", 3)]
        run(study_of(folder, seeds=(0, 1, 2)), store)
        assert passes.take() == []

    def test_a_layer_more(self, folder, store, passes):
        """A student read at other layers of the same model, beside the end: in one pass if all are new."""
        bert, weak = f"dir:{folder / 'bert'}", f"dir:{folder / 'distilbert'}"
        pairs = tuple((weak, f"{bert}{settings}") for settings in ("", "(layer=1)", "(pooling=last)"))
        results = run(study_of(folder, pairs=pairs), store)
        read = passes.take()
        assert what(read) == [
            ("bert", "student", 2),
            ("bert", "test", 1),
            ("distilbert", "student", 2),
            ("distilbert", "test", 1),
            ("distilbert", "weak", 2),
        ]
        assert {len(stage.read_outs) for stage in read if "/bert" in str(stage.source)} == {3}
        assert len({row["log_loss"] for row in results.rows()}) == 6
        run(study_of(folder, pairs=pairs[1:]), store)
        assert passes.take() == []

    def test_layers_together_are_those_alone(self, folder, tmp_path):
        bert, weak = f"dir:{folder / 'bert'}", f"dir:{folder / 'distilbert'}"
        pairs = tuple((weak, f"{bert}{settings}") for settings in ("", "(layer=1)", "(layer=2)"))
        together = run(study_of(folder, pairs=pairs, seeds=(0,)), Store(tmp_path / "together"))
        for number, pair in enumerate(pairs):
            alone = run(study_of(folder, pairs=(pair,), seeds=(0,)), Store(tmp_path / f"alone-{number}"))
            (left,), (right,) = [without_time(together)[number]], without_time(alone)
            for name in ("weak_acc", "student_acc", "ceiling_acc", "log_loss", "agreement"):
                assert left[name] == pytest.approx(right[name], abs=1e-5), name

    @pytest.mark.parametrize("after", [0, 1, 3, 4])
    def test_killed_half_way_the_same_passes_are_found_again(self, folder, tmp_path, passes, after):
        whole = run(study_of(folder), Store(tmp_path / "whole"))
        expected = {stage.id for stage in passes.take()}

        class Killed(Exception):
            pass

        store = Store(tmp_path / "store")
        study = study_of(folder)

        def display(stages: Sequence[Stage]) -> Any:
            from surpass.engine.progress import Silent

            class Dying(Silent):
                def finished(self, stage: Stage, seconds: float) -> None:
                    if stage.kind == "features" and len(passes.stages) > after:
                        raise Killed

            return Dying(stages)

        with pytest.raises(Killed):
            run(study, store, display=display)
        before = passes.take()
        assert len(before) == after + 1
        again = run(study, store)
        rest = passes.take()
        assert {stage.id for stage in (*before, *rest)} == expected
        assert len(before) + len(rest) == len(expected)
        alike(again, whole)

    def test_stopped_within_a_pass_it_goes_on_there(self, folder, tmp_path, passes, monkeypatch):
        from surpass.models import language

        monkeypatch.setattr(language, "AT_ONCE", 8)
        whole = run(study_of(folder), Store(tmp_path / "whole"))
        passes.take()
        store = Store(tmp_path / "store")
        interruptions, asked = 0, 0

        def stop() -> bool:
            nonlocal asked
            asked += 1
            return asked % 7 == 0

        while True:
            try:
                results = run(study_of(folder), store, settings=Settings(stop=stop))
            except Stopped:
                interruptions += 1
                continue
            break
        assert interruptions > 5
        assert len(passes.take()) == 5
        alike(results, whole)


class TestGraph:
    """What is joined, without running anything."""

    def features(self, folder: Path, settings: str = "", **fields: Any) -> Features:
        task = find_task(f"text:{folder / 'texts.jsonl'}")
        part = Examples(**{"task": task, "part": "student", "size": 12, "seed": 0} | fields)
        return Features(source=f"dir:{folder / 'bert'}{settings}", examples=part)

    def test_one_alone_is_itself(self, folder):
        features = self.features(folder)
        found = outstanding([features, replace(features)], lambda _: False)
        assert found.to_do == [features.examples, features]
        assert found.instead == {}

    def test_several_are_run_as_one(self, folder):
        wanted = [self.features(folder, seed=seed) for seed in range(3)]
        wanted.append(self.features(folder, "(layer=1)", seed=1))
        found = outstanding(wanted, lambda _: False)
        (whole,) = [stage for stage in found.to_do if isinstance(stage, Features)]
        assert found.instead == {features.id: whole for features in wanted}
        assert found.to_do[-1] is whole
        assert [part.seed for part in whole.parts] == [0, 1, 2]  # type: ignore[attr-defined]
        assert [list(read_out) for read_out in whole.read_outs] == [[None, None], [1, None]]
        fit = Fit(
            model=wanted[1].source,  # type: ignore[arg-type]
            examples=wanted[1].examples,  # type: ignore[arg-type]
            labels=TRUTH,
            recipe=RECIPE,
            seed=0,
            adapter="frozen",
        )
        assert found.needs(fit) == [wanted[1].examples, whole]

    def test_those_that_are_there_are_not_read_again(self, folder):
        wanted = [self.features(folder, seed=seed) for seed in range(3)]
        found = outstanding(wanted, lambda stage: stage.id == wanted[0].id)
        assert wanted[0] in found.done
        assert set(found.instead) == {wanted[1].id, wanted[2].id}

    def test_a_pass_that_is_there_serves_all(self, folder):
        wanted = [self.features(folder, seed=seed) for seed in range(3)]
        (whole,) = {
            stage.id: stage for stage in outstanding(wanted, lambda _: False).instead.values()
        }.values()
        found = outstanding(wanted, lambda stage: stage.id == whole.id)
        assert (found.to_do, found.done) == ([], [whole])
        assert set(found.instead) == {features.id for features in wanted}

    def test_parts_that_differ_are_not_joined(self, folder):
        wanted = [self.features(folder), self.features(folder, part="test"), self.features(folder, size=13)]
        assert outstanding(wanted, lambda _: False).instead == {}


class TestRules:
    def test_features_for_rules_are_served_by_the_pass(self, folder, store, passes):
        """Every rule sees its own examples' states, whatever order the pass has read them in."""
        task = find_task(f"text:{folder / 'texts.jsonl'}")
        parts = [Examples(task=task, part="student", size=30, seed=seed) for seed in range(2)]
        name = f"dir:{folder / 'bert'}"
        wanted = []
        for part in parts:
            fit = Fit(model=name, examples=part, labels=TRUTH, recipe=RECIPE, seed=0, adapter="frozen")
            labels = Label.of(fit, part)
            features = Features(source=name, examples=part)
            wanted.append(Relabel(labels=(labels,), rule="knn(use=filter)", features=features, num_classes=2))
        run_inline(wanted, store)
        (whole,) = passes.take()
        assert len(whole.parts) == 2
        alone = Store(store.root.parent / "alone")
        for stage in wanted:
            run_inline([stage], alone)
            ours, theirs = (
                pq.read_table(place.find("relabel", stage.id).file("labels.parquet"))  # type: ignore[union-attr]
                for place in (store, alone)
            )
            assert 0 < ours.num_rows < 30
            assert ours["id"].equals(theirs["id"])
            np.testing.assert_allclose(np.stack(rows(ours)), np.stack(rows(theirs)), atol=1e-5)

    def test_states_of_small_models_are_joined_too(self, tmp_path, store, passes):
        from surpass.tasks.planted import PlantedTask

        task = PlantedTask(num_features=4)
        wanted = [
            Features(source="linear:3", examples=Examples(task=task, part="weak", size=9, seed=seed))
            for seed in range(2)
        ]
        run_inline(wanted, store)
        (whole,) = passes.take()
        artifact = store.find("features", whole.id)
        assert artifact is not None
        context = Context(find=lambda _: artifact, out=tmp_path, work=tmp_path)
        for features in wanted:
            inputs = store.find("examples", features.examples.id).file("inputs.parquet")  # type: ignore[union-attr]
            table = pq.read_table(inputs)
            expected = np.array(table["features"].to_pylist(), np.float32)[:, :3]
            found = read_states(context, features, table["id"].to_pylist())
            np.testing.assert_array_equal(found.numpy(), expected)


class TestTogether:
    """Heads that the engine trains at once."""

    @pytest.fixture
    def fit(self, folder: Path) -> Callable[..., Fit]:
        task = find_task(f"text:{folder / 'texts.jsonl'}")
        examples = Examples(task=task, part="student", size=24, seed=0)
        name = f"dir:{folder / 'bert'}"

        def made(**fields: Any) -> Fit:
            settings = {"model": name, "examples": examples, "labels": TRUTH, "recipe": RECIPE, "seed": 0}
            return Fit(**settings | {"adapter": "frozen"} | fields)

        return made

    def test_in_one_call(self, fit, store, monkeypatch):
        from surpass.train import many

        calls: list[int] = []
        plain = many.run_all
        monkeypatch.setattr(
            many, "run_all", lambda stages, contexts: calls.append(len(stages)) or plain(stages, contexts)
        )
        fits = [fit(seed=seed, loss=loss) for seed in range(3) for loss in ("xent", "gce")]
        stops = [Stop(fit=each, examples=fits[0].examples, labels=TRUTH, snapshots=2) for each in fits]
        assert run_inline([*fits, *stops], store) == 1 + 1 + 12
        assert calls == [12]

    def test_those_behind_a_wall_wait_for_each_other(self, fit, store, monkeypatch):
        """Students take from their supervisors: two rounds, whatever the order of the targets."""
        from surpass.train import many

        calls: list[int] = []
        plain = many.run_all
        monkeypatch.setattr(
            many, "run_all", lambda stages, contexts: calls.append(len(stages)) or plain(stages, contexts)
        )
        weak = [fit(seed=seed) for seed in range(3)]
        students = [fit(seed=each.seed, labels=Label.of(each, each.examples)) for each in weak]
        scores = [Score(labels=Label.of(each, each.examples), examples=each.examples) for each in students]
        run_inline(scores, store)
        assert calls == [3, 3]

    def test_one_that_diverges_is_named_and_the_others_stay(self, fit, store):
        wild = fit(recipe=replace(RECIPE, learning_rate=1e39), seed=5)
        calm = [fit(seed=seed) for seed in range(2)]
        with pytest.raises(DataError, match=rf"^fit {wild.label}: training diverged at step \d+ of 6"):
            run_inline([wild, *calm], store)
        assert store.find("fit", wild.id) is None
        alone = Store(store.root.parent / "alone")
        run_inline(calm, alone)
        for each in calm:
            ours, theirs = (
                load_file(place.find("fit", each.id).file("model.safetensors"))  # type: ignore[union-attr]
                for place in (store, alone)
            )
            for name, value in ours.items():
                np.testing.assert_allclose(value, theirs[name], atol=1e-6)
        with pytest.raises(DataError, match="diverged"):
            run_inline([wild, *calm], store)

    def test_two_engines_on_one_store(self, fit, store):
        """One of the heads is being trained elsewhere: the others are trained here, and it is waited for."""
        from surpass.store.lease import acquire

        fits = [fit(seed=seed) for seed in range(3)]
        lease = acquire(store.leases, fits[1].id)
        assert lease is not None
        told: list[str] = []

        def display(stages: Sequence[Stage]) -> Any:
            from surpass.engine.progress import Silent

            class Watch(Silent):
                def waiting(self, stage: Stage) -> None:
                    told.append(stage.label)
                    lease.release()

            return Watch(stages)

        run_inline(fits, store, display=display)
        assert told == [fits[1].label]
        assert all(store.find("fit", each.id) is not None for each in fits)

    def test_heads_are_trained_while_another_process_reads(self, folder, fit, store):
        """A pass that somebody else makes does not hold up heads whose states are there."""
        from surpass.store.lease import acquire

        head = fit()
        run_inline([head.features], store)
        other = replace(head.features, source=f"dir:{folder / 'distilbert'}")
        lease = acquire(store.leases, other.id)
        assert lease is not None
        waited: list[bool] = []

        def display(stages: Sequence[Stage]) -> Any:
            from surpass.engine.progress import Silent

            class Watch(Silent):
                def waiting(self, stage: Stage) -> None:
                    waited.append(store.find("fit", head.id) is not None)
                    lease.release()

            return Watch(stages)

        run_inline([other, head], store, display=display)
        assert waited == [True]
