"""What one stage leaves in memory for the next, against the plain way that makes everything anew."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrize

from reference.bench import Bench
from reference.completions import LIMIT, save_writer, write_copying
from reference.image_sets import class_folders
from reference.language import save_tiny, write_texts
from reference.studies import CHESS
from surpass.engine.crew import Worker
from surpass.engine.driver import _Run as Driving
from surpass.engine.graph import outstanding
from surpass.engine.inline import Settings, run
from surpass.engine.pool import Pool
from surpass.engine.progress import Silent
from surpass.models import kept
from surpass.models.families import load_model, shape_of
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.models.texts import read_tokenizer
from surpass.stages import TRUTH, Examples, Fit, Label, Stop
from surpass.store import Store
from surpass.tasks import find_task
from surpass.tasks.generation import GenerationTask
from surpass.tasks.planted import PlantedTask
from surpass.train import label as labelling
from surpass.train import loaded
from surpass.train import run as fitting
from surpass.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=3e-3)
KINDS = ("policy", "tabular", "bert", "gpt2", "llama")
ADAPTERS = ("full", "lora(rank=2)")


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Nothing from other tests, and nothing for them."""
    for each in (kept.models, kept.examples):
        each.clear()
    yield
    for each in (kept.models, kept.examples):
        each.clear()


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, tuple[str, Any]]:
    """The name of a model of each kind, and a task."""
    root = tmp_path_factory.mktemp("loaded")
    texts = find_task(f"text:{write_texts(root / 'texts.jsonl', 600)}")
    found: dict[str, tuple[str, Any]] = {
        kind: (f"dir:{save_tiny(root / kind, kind)}", texts) for kind in KINDS[2:]
    }
    found["policy"] = "ladder:chess-1", CHESS
    copying = write_copying(root / "copying.jsonl", 700)
    writer = f"dir:{save_writer(root / 'writer', 'llama')}"
    found["writer"] = writer, GenerationTask(path=str(copying), max_new_tokens=LIMIT)
    for name, content in class_folders(200).items():
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(content)
    found["images"] = "cnn:4", find_task(f"images:{root / 'images'}")
    found["tabular"] = "mlp:6x5", PlantedTask(num_classes=3, num_features=6)
    return found


def examples_of(task: Any, part: str) -> Examples:
    return Examples(task=task, part=part, size=20, seed=0)


def fit_of(place: tuple[str, Any], **fields: Any) -> Fit:
    model, task = place
    given = {"labels": TRUTH, "recipe": RECIPE, "seed": 1} | fields
    return Fit(model=model, examples=examples_of(task, "student"), **given)


def labels_of(source: Any, place: tuple[str, Any], part: str = "test") -> Label:
    return Label(source=source, examples=examples_of(place[1], part))


def said(bench: Bench, label: Label) -> bytes:
    return (bench.folder(label) / "labels.parquet").read_bytes()


class Loads:
    """Counts models that are loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        for module in (labelling, fitting):
            monkeypatch.setattr(module, "load_model", self._load)

    def _load(self, source: Any, inputs: Any) -> Any:
        self.names.append(source.name)
        return load_model(source, inputs)


@pytest.fixture
def loads(monkeypatch) -> Loads:
    return Loads(monkeypatch)


def chain(place: tuple[str, Any]) -> list[Any]:
    """Stages of one process that might leave something behind for each other."""
    full, low = fit_of(place), fit_of(place, adapter="lora(rank=2)")
    further = fit_of(place, start=full, adapter="lora(rank=2)", seed=2)
    average = fit_of(place, ema=0.9, seed=3)
    stages: list[Any] = [full, labels_of(full, place), labels_of(full, place, "validation")]
    stages += [low, labels_of(low, place), labels_of(full, place, "weak")]
    learner = fit_of(place, labels=labels_of(low, place, "student"))
    stages += [further, labels_of(further, place), labels_of(low, place, "student"), learner]
    stages += [average, labels_of(average, place), labels_of(learner, place)]
    if place[0].startswith(("ladder", "mlp")):  # heads of others are trained on states
        head = fit_of(place, adapter="frozen")
        again = replace(full, seed=4)
        stages += [head, labels_of(head, place), again, labels_of(again, place)]
    return stages


def computed(root: Path, stages: list[Any], **settings: Any) -> dict[str, bytes]:
    """What each stage writes, after the examples of all."""
    root.mkdir()
    bench = Bench(root)
    for part in ("weak", "student", "validation", "test"):
        bench.run(examples_of(stages[0].examples.task, part))
    for stage in stages:
        bench.run(stage, **settings)
    return {
        f"{stage.label} {path.name}": path.read_bytes()
        for stage in stages
        for path in sorted(bench.folder(stage).iterdir())
    }


@pytest.mark.parametrize(
    ("kind", "save_memory"),
    [*((kind, False) for kind in (*KINDS, "writer", "images")), *((kind, True) for kind in KINDS)],
)
def test_every_byte_is_that_of_a_process_that_keeps_nothing(places, tmp_path, loads, kind, save_memory):
    stages = chain(places[kind])
    ours = computed(tmp_path / "ours", stages, save_memory=save_memory)
    fits = [stage for stage in stages if isinstance(stage, Fit)]
    assert len(loads.names) == len(fits)
    with kept.nothing_kept():
        plain = computed(tmp_path / "plain", stages, save_memory=save_memory)
    assert len(loads.names) == len(fits) + len(stages)
    assert ours == plain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_fitted_model_is_in_the_state_in_which_it_would_be_loaded(places, tmp_path, kind, adapter):
    place, bench = places[kind], Bench(tmp_path)
    fit = fit_of(place, adapter=adapter)
    bench.run(fit.examples)
    context = _context(bench, fit)
    bench.run(fit, save_memory=True)
    inputs = pq.read_table(bench.folder(fit.examples) / "inputs.parquet")
    kept_one = labelling.load_source(fit, inputs, context, shared=True)
    fresh = labelling.load_source(fit, inputs, context)
    assert kept_one is labelling.load_source(fit, inputs, context, shared=True)
    assert kept_one is not fresh
    assert not any(module.training for module in kept_one.modules())
    assert not any(parametrize.is_parametrized(module) for module in kept_one.modules())
    ours, theirs = dict(kept_one.named_parameters()), dict(fresh.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name])
        assert value.stride() == theirs[name].stride()
        assert value.requires_grad
        assert value.grad is None
        assert value.is_leaf
    buffers = dict(fresh.named_buffers())
    assert dict(kept_one.named_buffers()).keys() == buffers.keys()
    assert all(torch.equal(value, buffers[name]) for name, value in kept_one.named_buffers())
    assert kept_one.origin == fresh.origin
    for module in kept_one.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def _context(bench: Bench, stage: Any) -> Any:
    from surpass.stages import Context

    return Context(find=bench.find, out=bench.folder(stage), work=bench.root / "work")


class TestStop:
    def steps(self, place: tuple[str, Any], best_last: bool, monkeypatch) -> Stop:
        from surpass.train.way import Way

        monkeypatch.setattr(Way, "best", property(lambda way: len(way.accuracies) if best_last else 1))
        return Stop(
            fit=fit_of(place), examples=examples_of(place[1], "validation"), labels=TRUTH, snapshots=3
        )

    @pytest.mark.parametrize("best_last", [True, False])
    def test_it_is_kept_if_the_last_weights_are_the_best(
        self, places, tmp_path, loads, monkeypatch, best_last
    ):
        place = places["policy"]
        stop = self.steps(place, best_last, monkeypatch)
        stages = [stop, labels_of(stop, place), labels_of(stop, place, "weak")]
        root = tmp_path / "ours"
        root.mkdir()
        bench = Bench(root)
        for part in ("weak", "student", "validation", "test"):
            bench.run(examples_of(place[1], part))
        for stage in stages:
            bench.run(stage)
        assert len(loads.names) == (1 if best_last else 2)
        with kept.nothing_kept():
            for label in stages[1:]:
                before = said(bench, label)
                bench.run(label)
                assert said(bench, label) == before


class TestWhatWasPublished:
    @pytest.fixture
    def fitted(self, places, tmp_path) -> tuple[Bench, Fit, Label]:
        place, bench = places["policy"], Bench(tmp_path)
        fit = fit_of(place)
        for part in ("student", "test"):
            bench.run(examples_of(place[1], part))
        bench.run(fit)
        return bench, fit, labels_of(fit, place)

    def test_another_file_is_read(self, fitted, loads):
        bench, fit, label = fitted
        path = bench.folder(fit) / "model.safetensors"
        save_file({name: value * 0.5 for name, value in load_file(path).items()}, f"{path}.new")
        os.replace(f"{path}.new", path)
        bench.run(label)
        assert len(loads.names) == 1
        other = said(bench, label)
        with kept.nothing_kept():
            bench.run(label)
        assert said(bench, label) == other

    def test_another_fit_of_the_same_weights_is_another(self, fitted, loads):
        bench, fit, label = fitted
        again = replace(fit, seed=7)
        shutil.copytree(bench.folder(fit), bench.folder(again))
        bench.run(replace(label, source=again))
        assert len(loads.names) == 1

    def test_labels_of_several_parts_are_made_in_one_load(self, fitted, loads, places):
        bench, fit, _ = fitted
        kept.models.clear()
        for part in ("weak", "validation", "test"):
            bench.run(examples_of(places["policy"][1], part))
            bench.run(labels_of(fit, places["policy"], part))
        assert len(loads.names) == 1

    def test_a_damaged_artifact_is_found_and_computed_again(self, places, tmp_path, caplog):
        place, store = places["policy"], Store(tmp_path / "store")
        fit = fit_of(place)
        first, second = labels_of(fit, place), labels_of(fit, place, "validation")
        run([first], store)
        published = store.find("fit", fit.id)
        path = published.file("model.safetensors")
        right = {name: value.clone() for name, value in load_file(path).items()}  # what it maps may change
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert run([second], store) > 1
        assert "damaged" in caplog.text
        assert all(torch.equal(value, right[name]) for name, value in load_file(path).items())
        ours = (store.find("label", second.id).path / "labels.parquet").read_bytes()
        with kept.nothing_kept():
            other = Store(tmp_path / "other")
            run([second], other)
        assert (other.find("label", second.id).path / "labels.parquet").read_bytes() == ours

    def test_published_by_the_store_it_is_the_same_file(self, places, tmp_path, loads):
        place, store = places["policy"], Store(tmp_path / "store")
        run([labels_of(fit_of(place), place)], store)
        assert len(loads.names) == 1

    def test_buffers_that_reading_has_changed_are_noticed(self, places, tmp_path, loads):
        place, bench = places["llama"], Bench(tmp_path)
        fit = fit_of(place)
        for part in ("student", "test"):
            bench.run(examples_of(place[1], part))
        bench.run(fit)
        ((model, _),) = (thing for thing, _ in kept.models._things.values())
        frequencies = model.body.rotary_emb.inv_freq
        model.body.rotary_emb.register_buffer("inv_freq", frequencies * 2, persistent=False)
        bench.run(labels_of(fit, place))
        assert len(loads.names) == 2


class TestOrder:
    class Told(Silent):
        def __init__(self, names: list[str]) -> None:
            super().__init__()
            self.names = names

        def started(self, stage: Any) -> Any:
            self.names.append(stage.id)
            return super().started(stage)

    def order(self, targets: list[Any], store: Store) -> list[str]:
        names: list[str] = []
        run(targets, store, settings=Settings(), display=lambda _: self.Told(names))
        return names

    def test_labels_come_right_behind_their_fit(self, places, tmp_path):
        place = places["tabular"]
        fits = [fit_of(place, seed=seed) for seed in range(3)]
        labels = [labels_of(fit, place, part) for part in ("test", "weak") for fit in fits]
        names = self.order(labels, Store(tmp_path / "store"))
        for fit in fits:
            at = names.index(fit.id)
            behind = {label.id for label in labels if label.source.id == fit.id}
            assert set(names[at + 1 : at + 3]) == behind

    def test_labels_of_fits_that_are_there_come_together(self, places, tmp_path, loads):
        place, store = places["policy"], Store(tmp_path / "store")
        fits = [fit_of(place, seed=seed) for seed in range(2)]
        labels = [labels_of(fit, place, part) for part in ("test", "weak", "validation") for fit in fits]
        parts = [examples_of(place[1], part) for part in ("test", "weak", "validation")]
        run([*fits, *parts], store)
        kept.models.clear()
        names = self.order(labels, store)
        of = {label.id: label.source.seed for label in labels}
        assert [of[name] for name in names] == [0, 0, 0, 1, 1, 1]
        assert len(loads.names) == 2 + 2

    def test_equally_urgent_labels_go_to_who_has_the_model(self, places, tmp_path):
        place = places["tabular"]
        fits = [fit_of(place, seed=seed) for seed in range(3)]
        labels = [labels_of(fit, place) for fit in fits]
        dear = labels_of("mlp:6x5", place, "student")
        graph = outstanding([*labels, dear], lambda stage: stage not in [*labels, dear])
        workers = [Worker() for _ in range(2)]
        crew = SimpleNamespace(workers=workers, stages=graph.to_do, size=2, free=lambda: 2)
        going = Driving(crew, Store(tmp_path / "store"), Silent(), graph, Settings())
        for worker, fit in zip(workers, (fits[2], fits[1]), strict=True):
            worker.occupy([fit])
        workers[0].relieve()
        assert [workers[0].has_loaded([label]) for label in labels] == [False, False, True]
        going.urgency[dear.id] *= 2
        going.ahead.clear()
        going.push([*labels, dear])
        assert going.first(set()) is dear
        assert going.first({labels[1].id}) is labels[2]
        assert going.first(set()) is labels[0]

    def test_a_worker_that_has_the_model_is_taken(self, places):
        place = places["tabular"]
        fits = [fit_of(place, seed=seed) for seed in range(2)]
        idle = [Worker() for _ in fits]
        for worker, fit in zip(idle, fits, strict=True):
            worker.occupy([fit])
            worker.relieve()
            worker.leaving = False
        pool = SimpleNamespace(processes=idle)
        assert Pool._take(pool, [labels_of(fits[1], place)]) is idle[1]
        assert Pool._take(pool, [labels_of(fits[0], place)]) is idle[0]
        assert Pool._take(pool, [labels_of("mlp:6x5", place)]) is idle[0]

    def test_any_order_gives_the_same(self, places, tmp_path):
        place = places["policy"]
        fits = [fit_of(place, seed=seed) for seed in range(2)]
        labels = [labels_of(fit, place, part) for part in ("test", "weak") for fit in fits]
        stores = [Store(tmp_path / name) for name in ("forth", "back")]
        run(labels, stores[0])
        for label in reversed(labels):
            run([label], stores[1])
        for label in labels:
            one, other = (store.find("label", label.id).path / "labels.parquet" for store in stores)
            assert one.read_bytes() == other.read_bytes()


class TestEncoded:
    @pytest.fixture
    def bench(self, places, tmp_path) -> Bench:
        bench = Bench(tmp_path)
        for kind in ("policy", "bert"):
            for part in ("student", "test"):
                bench.run(examples_of(places[kind][1], part))
        return bench

    def counted(self, monkeypatch, family: type) -> list[int]:
        calls: list[int] = []
        encode = family.encode

        def counting(*given: Any) -> Any:
            calls.append(len(given[-1]))
            return encode(*given[-encode.__code__.co_argcount :])

        monkeypatch.setattr(family, "encode", counting)
        return calls

    def test_positions_are_decoded_once_for_all_policies(self, places, bench, monkeypatch):
        calls = self.counted(monkeypatch, MoveChoice)
        place = places["policy"]
        for model in ("ladder:chess-1", "ladder:chess-2"):
            fit = replace(fit_of(place), model=model)
            bench.run(fit)
            bench.run(labels_of(fit, place))
            bench.run(labels_of(model, place))
        assert calls == [20, 20]

    def test_texts_are_tokenised_once_for_models_that_read_alike(self, places, bench, monkeypatch):
        from surpass.models.encoder import EncoderChoice

        calls = self.counted(monkeypatch, EncoderChoice)
        name, task = places["bert"]
        for model in (name, f"{name}(pooling=mean)", f"{name}(layer=1)", f"{name}(tokens=4)"):
            bench.run(fit_of((model, task)))
        assert calls == [20, 20]
        texts = [thing for thing, _ in kept.examples._things.values()]
        assert max(map(len, texts[1].tokens)) <= 4 + 2 < max(map(len, texts[0].tokens))

    def test_some_of_the_examples_are_encoded_for_themselves(self, places, bench, monkeypatch):
        calls = self.counted(monkeypatch, MoveChoice)
        place = places["policy"]
        label = labels_of("ladder:chess-2", place, "student")
        table = pq.read_table(bench.run(label).file("labels.parquet"))
        bench.put(label, table.slice(0, 12))
        fit = fit_of(place, labels=label)
        bench.run(fit)
        assert bench.said["num_examples"] == 12
        assert calls == [20, 12]

    def test_a_tokenizer_is_read_again_when_its_files_change(self, places, tmp_path):
        folder = tmp_path / "model"
        shutil.copytree(places["bert"][0].removeprefix("dir:"), folder)
        first = read_tokenizer(folder)
        assert read_tokenizer(folder) is first
        changed = (folder / "tokenizer.json").read_text().replace('"w3"', '"v3"')
        (folder / "tokenizer.json").write_text(changed)
        second = read_tokenizer(folder)
        assert second is not first
        assert first("w3")["input_ids"] != second("w3")["input_ids"]


class TestRoom:
    @pytest.fixture
    def room(self, monkeypatch) -> None:
        monkeypatch.setattr(kept, "room", lambda: 100)

    def test_what_was_not_used_for_longest_goes(self, room):
        things = kept.Kept()
        for name in "abc":
            things.put(name, name.upper(), 40)
            assert things.get("a") == "A"
        assert (things.get("a"), things.get("b"), things.get("c")) == ("A", None, "C")
        assert things.num_bytes == 80

    def test_what_is_too_large_is_not_kept(self, room):
        things = kept.Kept()
        things.put("a", "A", 40)
        things.put("b", "B", 101)
        assert (things.get("a"), things.get("b")) == ("A", None)

    def test_a_guest_stays_until_another_is_loaded(self, room):
        things = kept.Kept(guest=True)
        things.put("small", "S", 40)
        things.put("large", "L", 500)
        assert (things.get("small"), things.get("large")) == (None, "L")
        things.make_way()
        assert things.get("large") is None
        things.put("large", "L", 500)
        things.put("small", "S", 40)
        assert (things.get("small"), things.get("large")) == ("S", None)

    @pytest.mark.parametrize("kind", ["tabular", "bert", "llama"])
    def test_a_large_model_is_gone_before_the_next_is_loaded(self, places, tmp_path, monkeypatch, kind):
        monkeypatch.setattr(kept, "room", lambda: 10)
        place, bench = places[kind], Bench(tmp_path)
        one, other = fit_of(place), fit_of(place, seed=2)
        bench.run(one.examples)
        bench.run(one)
        ((model, _),) = (thing for thing, _ in kept.models._things.values())
        lives = weakref.ref(model)
        del model
        beside: list[Any] = []

        def load(source: Any, inputs: Any) -> Any:
            beside.append(lives())
            return load_model(source, inputs)

        monkeypatch.setattr(fitting, "load_model", load)
        bench.run(other)
        assert beside == [None]

    def test_it_is_a_small_part_of_the_memory_of_the_threads(self, monkeypatch):
        monkeypatch.setattr(kept, "available", lambda: 32 << 30)
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        assert kept.room() == 512 << 20
        monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
        assert kept.room() == kept.MOST
        monkeypatch.setattr(kept, "available", lambda: None)
        assert kept.room() == 256 << 20

    def test_sizes_are_those_of_what_arrays_hold(self, places):
        inputs = places["policy"][1].examples(part="test", size=10, seed=0).inputs
        model = load_model(resolve("ladder:chess-1"), inputs)
        examples = model.encode(inputs)
        held = examples.planes_NRFP.nbytes + examples.moves_NC.nbytes + examples.num_candidates_N.nbytes
        assert held < kept.bytes_of(examples) < held + 1000
        assert kept.bytes_of(model) >= sum(value.nbytes for value in model.parameters())

    def test_shapes_tell_what_is_loaded_for_inputs(self, places):
        inputs = places["tabular"][1].examples(part="test", size=10, seed=0).inputs
        source = resolve("mlp:6x5")
        assert shape_of(source, inputs) == shape_of(source, inputs.slice(0, 3))
        hinted = inputs.append_column("hint", inputs["features"])
        assert shape_of(source, inputs) != shape_of(source, hinted)
        chess = places["policy"][1].examples(part="test", size=10, seed=0).inputs
        policy = resolve("ladder:chess-1")
        assert shape_of(policy, chess) == shape_of(policy, chess.slice(0, 1))


def test_keeping_ends_where_nothing_is_kept(places, tmp_path):
    place, bench = places["tabular"], Bench(tmp_path)
    bench.run(examples_of(place[1], "student"))
    with kept.nothing_kept():
        bench.run(fit_of(place))
        assert not len(kept.models)
    bench.run(fit_of(place, seed=5))
    assert len(kept.models) == 1
    assert loaded.WEIGHTS == "model.safetensors"
