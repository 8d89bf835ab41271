"""One pass of a model over examples: what it reads, how it is cut into files, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from reference.bench import Bench, table_of
from reference.language import inputs_of, save_tiny, some_texts, state_of, write_texts
from surpass.errors import Stopped
from surpass.models import language
from surpass.models.families import load_model
from surpass.models.language import LanguageModel
from surpass.models.names import ReadOut
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Examples, Features, Fit
from surpass.stages.features import one_pass
from surpass.tasks import find_task
from surpass.train import one_pass as module
from surpass.train.features import read_states
from surpass.train.recipe import Recipe

KINDS = ("bert", "mpnet", "distilbert", "llama", "gpt2", "gemma3_text")
RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=1e-2)
TESTS = Path(__file__).parent.parent


class Place:
    """Tiny models, and files of texts and pairs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_texts(folder / "texts.jsonl", 220)
        texts = some_texts(300, seed=5)
        rows = [
            {"prompt": texts[3 * n], "chosen": f" {texts[3 * n + 1]}", "rejected": f" {texts[3 * n + 2]}"}
            for n in range(100)
        ]
        (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def model(self, kind: str, settings: str = "") -> str:
        if not (self.folder / kind).exists():
            save_tiny(self.folder / kind, kind, seed=3)
        return f"dir:{self.folder / kind}{settings}"

    def examples(self, seed: int = 0, *, pairs: bool = False, size: int | None = 30) -> Examples:
        task = f"preference:{self.folder / 'pairs.jsonl'}" if pairs else f"text:{self.folder / 'texts.jsonl'}"
        return Examples(task=find_task(task), part="student", size=size, seed=seed)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Groups of seven rows; the list has every row that the model has been given."""
    monkeypatch.setattr(language, "AT_ONCE", 7)
    asked: list[int] = []
    states_at = LanguageModel.states_at

    def watched(self: Any, examples: Any, rows: np.ndarray, read_outs: Any) -> Any:
        asked.extend(rows.tolist())
        return states_at(self, examples, rows, read_outs)

    monkeypatch.setattr(LanguageModel, "states_at", watched)
    return asked


def states_in(bench: Bench, stage: Features, number: int = 0) -> torch.Tensor:
    """All states of a pass, in the order of its files."""
    shards = sorted(bench.folder(stage).glob("states-*.safetensors"))
    assert [path.name for path in shards] == [f"states-{n:05d}.safetensors" for n in range(len(shards))]
    return torch.cat([load_file(path)[str(number)] for path in shards])


def ids_in(bench: Bench, stage: Features) -> list[str]:
    return table_of(bench.find(stage), "index")["id"].to_pylist()


def slowly(place: Place, name: str, table: pa.Table) -> torch.Tensor:
    """The model's own states, one example after the other."""
    model = load_model(resolve(name), table)
    examples = model.encode(table)
    with torch.no_grad():
        return torch.cat([model.states(examples, np.array([row])) for row in range(table.num_rows)])


def in_order(table: pa.Table, ids: list[str]) -> pa.Table:
    place = {name: row for row, name in enumerate(table["id"].to_pylist())}
    return table.take([place[name] for name in ids])


class TestRows:
    @pytest.mark.parametrize("pairs", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_are_the_models_own_states(self, place, bench, kind, pairs):
        stage = Features(source=place.model(kind), examples=place.examples(pairs=pairs))
        bench.run_all(stage)
        table = in_order(table_of(bench.find(stage.examples), "inputs"), ids_in(bench, stage))
        found = states_in(bench, stage)
        assert found.shape == ((30, 2, 32) if pairs else (30, 32))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, slowly(place, stage.model, table), atol=1e-5, rtol=1e-5)
        assert bench.said == {"num_examples": 30, "num_features": 32, "read_outs": [[None, None]]}

    def test_every_example_once_although_parts_overlap(self, place, bench, small_groups):
        parts = [place.examples(seed, size=60) for seed in range(3)]
        stage = Features(source=place.model("bert"), examples=parts[0], also=tuple(parts[1:]))
        bench.run_all(stage)
        seen = [table_of(bench.find(part), "inputs")["id"].to_pylist() for part in parts]
        union = {name for part in seen for name in part}
        assert 60 < len(union) < 180, "parts overlap, and are not the same"
        assert sorted(ids_in(bench, stage)) == sorted(union)
        assert len(states_in(bench, stage)) == len(union) == bench.said["num_examples"]
        assert sorted(small_groups) == list(range(len(union)))
        context = bench_context(bench)
        for part, ids in zip(parts, seen, strict=True):
            alone = Features(source=stage.source, examples=part)
            bench.run(alone)
            torch.testing.assert_close(
                read_states(context, stage, ids), read_states(context, alone, ids), atol=1e-5, rtol=1e-5
            )

    def test_longest_first(self, place, bench):
        stage = Features(source=place.model("bert"), examples=place.examples(size=None))
        bench.run_all(stage)
        table = in_order(table_of(bench.find(stage.examples), "inputs"), ids_in(bench, stage))
        model = load_model(resolve(stage.model), table)
        lengths = [len(tokens) for tokens in model.encode(table).tokens]
        assert lengths == sorted(lengths, reverse=True)
        assert len(set(lengths)) > 4

    def test_who_lost_tokens(self, place, bench):
        stage = Features(source=place.model("bert", "(tokens=9)"), examples=place.examples())
        bench.run_all(stage)
        index = table_of(bench.find(stage), "index")
        table = in_order(table_of(bench.find(stage.examples), "inputs"), ids_in(bench, stage))
        expected = [len(text.split()) > 9 for text in table["text"].to_pylist()]
        assert index["lost"].to_pylist() == expected
        assert 0 < sum(expected) < 30

    @pytest.mark.parametrize("micro_batch", [1, 4, 1000])
    @pytest.mark.parametrize("kind", ["bert", "llama"])
    def test_a_micro_batch_changes_rounding_only(self, place, bench, micro_batch, kind):
        stage = Features(source=place.model(kind), examples=place.examples())
        bench.run_all(stage)
        other = Bench(bench.root / "other")
        other.root.mkdir()
        other.run(stage.examples)
        other.run(stage, micro_batch=micro_batch)
        assert ids_in(other, stage) == ids_in(bench, stage)
        torch.testing.assert_close(states_in(other, stage), states_in(bench, stage), atol=1e-5, rtol=1e-5)

    def test_a_micro_batch_bounds_what_is_read_at_once(self, place, bench, monkeypatch):
        most: list[int] = []
        states_at = LanguageModel.states_at
        monkeypatch.setattr(
            LanguageModel,
            "states_at",
            lambda self, examples, rows, outs: (
                most.append(len(rows)) or states_at(self, examples, rows, outs)
            ),
        )
        stage = Features(source=place.model("bert"), examples=place.examples())
        bench.run(stage.examples)
        bench.run(stage, micro_batch=4)
        assert (max(most), sum(most)) == (4, 30)

    def test_half_precision(self, place, bench):
        whole = Features(source=place.model("bert"), examples=place.examples())
        half = replace(whole, precision="float16")
        bench.run_all(whole)
        bench.run(half)
        (shard,) = bench.folder(half).glob("states-*")
        with safe_open(shard, "pt") as file:
            assert file.get_slice("0").get_dtype() == "F16"
        assert torch.equal(states_in(bench, half), states_in(bench, whole).half())
        ids = ids_in(bench, half)[::-1]
        found = read_states(bench_context(bench), half, ids)
        assert found.dtype == torch.float32
        assert torch.equal(found, states_in(bench, half).flip(0).float())
        assert shard.stat().st_size < 0.6 * next(bench.folder(whole).glob("states-*")).stat().st_size


def bench_context(bench: Bench) -> Any:
    from surpass.stages import Context

    return Context(find=bench.find, out=bench.root, work=bench.root)


READ_OUTS = {
    "": ReadOut(),
    "(pooling=first)": ReadOut(pooling="first"),
    "(layer=1)": ReadOut(layer=1),
    "(layer=1, pooling=last)": ReadOut(1, "last"),
    "(layer=2)": ReadOut(layer=2),
}


class TestPlaces:
    """States at several layers, and in several poolings, out of one pass."""

    @pytest.mark.parametrize("pairs", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_equal_a_model_that_is_named_so(self, place, bench, kind, pairs):
        plain = Features(source=place.model(kind), examples=place.examples(pairs=pairs))
        joint = one_pass([replace(plain, source=place.model(kind, settings)) for settings in READ_OUTS])
        bench.run_all(joint)
        assert bench.said["read_outs"] == [list(read_out) for read_out in READ_OUTS.values()]
        context, ids = bench_context(bench), ids_in(bench, joint)
        found = {}
        for number, settings in enumerate(READ_OUTS):
            alone = replace(plain, source=place.model(kind, settings))
            bench.run(alone)
            found[settings] = read_states(context, alone, ids)
            torch.testing.assert_close(states_in(bench, joint, number), found[settings], atol=1e-5, rtol=1e-5)
        assert (found[""] - found["(layer=1)"]).abs().max() > 0.1
        assert (found["(layer=1)"] - found["(layer=1, pooling=last)"]).abs().max() > 0.1 or kind in (
            "llama",
            "gpt2",
            "gemma3_text",
        )

    @pytest.mark.parametrize("pooling", ["first", "last", "mean"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_layer_one_is_what_the_library_calls_so(self, place, kind, pooling):
        """One text at a time, without padding, through the library's own list of hidden states."""
        table = inputs_of(some_texts(6))
        model = load_model(resolve(place.model(kind, f"(layer=1, pooling={pooling})")), table)
        examples = model.encode(table)
        with torch.no_grad():
            found = model.states(examples, np.arange(6))
        for row, tokens in enumerate(examples.tokens):
            expected = state_of(LayerOne(model), tokens.tolist(), pooling)
            torch.testing.assert_close(
                found[row].double(), torch.tensor(expected).double(), atol=1e-5, rtol=1e-5
            )

    def test_blocks_behind_the_last_that_is_asked_for_do_not_run(self, place, monkeypatch):
        table = inputs_of(some_texts(6))
        model = load_model(resolve(place.model("bert")), table)
        examples = model.encode(table)
        ran: list[int] = []
        for number, block in enumerate(model.blocks, 1):
            block.register_forward_hook(lambda *_, number=number: ran.append(number))
        with torch.no_grad():
            model.states_at(examples, np.arange(6), [ReadOut(layer=1)])
            assert set(ran) == {1}
            model.states_at(examples, np.arange(6), [ReadOut(layer=1), ReadOut()])
            assert set(ran) == {1, 2}
            ran.clear()
            assert torch.equal(
                model.states(examples, np.arange(6)), model.states_at(examples, np.arange(6), [ReadOut()])[0]
            )

    def test_no_hook_is_left_behind(self, place):
        table = inputs_of(some_texts(6))
        model = load_model(resolve(place.model("bert")), table)
        with torch.no_grad():
            model.states_at(model.encode(table), np.arange(6), [ReadOut(layer=1), ReadOut()])
        assert not any(block._forward_hooks for block in model.blocks)


class LayerOne:
    """A body whose last states are those behind its first block."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, input_ids: torch.Tensor) -> Any:
        more = self.model._more(input_ids)
        given = self.model.body(input_ids=input_ids, output_hidden_states=True, **more)
        return type("Given", (), {"last_hidden_state": given.hidden_states[1]})


class TestGoingOn:
    """Interrupted passes; groups are of seven rows, five groups in all."""

    @pytest.fixture
    def stage(self, place: Place, bench: Bench) -> Features:
        names = (place.model("bert"), place.model("bert", "(layer=1)"))
        stage = one_pass([Features(source=name, examples=place.examples()) for name in names])
        bench.run(stage.examples)
        return stage

    @pytest.fixture
    def undisturbed(self, stage: Features, bench: Bench, small_groups: list[int]) -> Bench:
        other = Bench(bench.root / "undisturbed")
        other.root.mkdir()
        other.run_all(stage)
        small_groups.clear()
        return other

    def same(self, one: Bench, other: Bench, stage: Features) -> None:
        assert ids_in(one, stage) == ids_in(other, stage)
        assert one.said == other.said
        for number in range(2):
            ours, theirs = states_in(one, stage, number), states_in(other, stage, number)
            assert ours.numpy().tobytes() == theirs.numpy().tobytes()

    @pytest.mark.parametrize("every", [1, 2, 3])
    def test_stopped_again_and_again(self, bench, stage, undisturbed, small_groups, every):
        interruptions = 0
        while True:
            asked: list[int] = []
            try:
                bench.run(stage, stop=lambda asked=asked: bool(asked.append(0)) or len(asked) == every)
            except Stopped:
                interruptions += 1
                assert list(bench.folder(stage).iterdir()) == []
                continue
            break
        assert interruptions == 5 // every
        self.same(bench, undisturbed, stage)
        assert sorted(small_groups) == list(range(30)), "nothing is read twice"

    @pytest.mark.parametrize("groups", [1, 3])
    def test_killed_it_loses_one_shard_at_most(
        self, bench, stage, undisturbed, small_groups, monkeypatch, groups
    ):
        """Shards of one group each, or of three; the death comes behind the fourth group."""

        class Killed(Exception):
            pass

        def die(share: float) -> None:
            if share > 0.9:
                raise Killed

        monkeypatch.setattr(module, "SHARD_BYTES", groups * 7 * 2 * 32 * 4)
        with pytest.raises(Killed):
            bench.run(stage, report=die, checkpoint_seconds=1e9)
        assert len(small_groups) == 28
        bench.run(stage, checkpoint_seconds=1e9)
        self.same(bench, undisturbed, stage)
        assert len(small_groups) == {1: 30, 3: 37}[groups]

    def test_shards_end_by_time_too(self, bench, stage, undisturbed, small_groups):
        bench.run(stage, checkpoint_seconds=0.0)
        assert len(list(bench.folder(stage).glob("states-*"))) == 5
        self.same(bench, undisturbed, stage)

    def test_shards_end_by_size(self, bench, stage, undisturbed, monkeypatch):
        monkeypatch.setattr(module, "SHARD_BYTES", 2 * 7 * 2 * 32 * 4)
        bench.run(stage)
        sizes = [len(load_file(path)["0"]) for path in sorted(bench.folder(stage).glob("states-*"))]
        assert sizes == [14, 14, 2]
        self.same(bench, undisturbed, stage)

    @pytest.mark.parametrize("damage", ["cut", "empty", "no header", "a changed byte", "gone"])
    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_a_damaged_shard_is_made_again(self, bench, stage, undisturbed, small_groups, damage, number):
        asked: list[int] = []
        with pytest.raises(Stopped):
            bench.run(
                stage,
                checkpoint_seconds=0.0,
                stop=lambda: bool(asked.append(0)) or len(asked) == 3,
            )
        shard = bench.root / "work" / stage.id / f"states-{number:05d}.safetensors"
        content = bytearray(shard.read_bytes())
        content[-5] ^= 64
        changed = {"cut": bytes(content[:-1]), "empty": b"", "no header": b"x" * len(content)}
        if damage == "gone":
            shard.unlink()
        else:
            shard.write_bytes(changed.get(damage, bytes(content)))
        bench.run(stage)
        self.same(bench, undisturbed, stage)
        assert set(small_groups[21:]) == set(
            np.concatenate([small_groups[7 * number : 21], small_groups[-9:]]).tolist()
        )

    def test_another_micro_batch_may_go_on(self, bench, stage, undisturbed):
        asked: list[int] = []
        with pytest.raises(Stopped):
            bench.run(stage, micro_batch=4, stop=lambda: bool(asked.append(0)) or len(asked) == 2)
        bench.run(stage)
        assert ids_in(bench, stage) == ids_in(undisturbed, stage)
        torch.testing.assert_close(
            states_in(bench, stage), states_in(undisturbed, stage), atol=1e-5, rtol=1e-5
        )

    def test_reports_the_share(self, bench, stage, small_groups):
        shares: list[float] = []
        bench.run(stage, report=shares.append)
        assert shares == pytest.approx([7 / 30, 14 / 30, 21 / 30, 28 / 30, 1.0])

    def test_killed_by_the_system(self, place, bench, small_groups):
        """A process of its own is killed between two groups, whenever that may be."""
        stage = Features(source=place.model("bert"), examples=place.examples(size=None))
        bench.run(stage.examples)
        work = bench.root / "work" / stage.id
        code = (
            "import sys, time; from pathlib import Path; from reference.bench import Bench\n"
            "from surpass.models import language; language.AT_ONCE = 7\n"
            "from surpass.stages import Examples, Features; from surpass.tasks import find_task\n"
            f"task = find_task('text:{place.folder / 'texts.jsonl'}')\n"
            "examples = Examples(task=task, part='student', size=None, seed=0)\n"
            f"stage = Features(source={stage.source!r}, examples=examples)\n"
            f"assert stage.id == {stage.id!r}\n"
            f"Bench(Path({str(bench.root)!r})).run(\n"
            "    stage, checkpoint_seconds=0.0, report=lambda share: time.sleep(0.1)\n"
            ")\n"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        child = subprocess.Popen([sys.executable, "-c", code], env=environment)
        deadline = time.monotonic() + 120
        while len(list(work.glob("states-*.safetensors"))) < 3:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        written = sum(len(load_file(path)["0"]) for path in work.glob("states-*.safetensors"))
        bench.run(stage)
        total = bench.said["num_examples"]
        assert 21 <= written < total
        assert len(small_groups) == total - written
        undisturbed = Bench(bench.root / "other")
        undisturbed.root.mkdir()
        undisturbed.run_all(stage)
        assert ids_in(undisturbed, stage) == ids_in(bench, stage)
        assert torch.equal(states_in(undisturbed, stage), states_in(bench, stage))


class TestOwnHead:
    """`head.safetensors`: the head that the model has of its own, or that it has learned."""

    def head(self, bench: Bench, stage: Features) -> dict[str, torch.Tensor] | None:
        bench.run_all(stage)
        path = bench.folder(stage) / "head.safetensors"
        return load_file(path) if path.exists() else None

    @pytest.mark.parametrize("pairs", [False, True])
    def test_of_a_causal_model_it_is_the_unembedding(self, place, bench, pairs):
        examples = place.examples(pairs=pairs)
        head = self.head(bench, Features(source=place.model("llama"), examples=examples))
        table = table_of(bench.find(examples), "inputs")
        model = load_model(resolve(place.model("llama")), table)
        weight = model._causal[0].get_output_embeddings().weight
        expected = weight[list(model.answers.tokens)][: 1 if pairs else 2]
        assert head is not None
        assert torch.equal(head["weight"], expected.detach())

    def test_an_encoder_has_none(self, place, bench):
        assert self.head(bench, Features(source=place.model("bert"), examples=place.examples())) is None

    @pytest.mark.parametrize("settings", ["(layer=1)", "(layer=2, pooling=mean)", "(pooling=mean)"])
    def test_nor_has_a_layer(self, place, bench, settings):
        stage = Features(source=place.model("llama", settings), examples=place.examples())
        assert self.head(bench, stage) is None

    @pytest.mark.parametrize("kind", ["bert", "llama"])
    def test_of_a_model_that_has_learned(self, place, bench, kind):
        examples = place.examples()
        fit = Fit(model=place.model(kind), examples=examples, labels=TRUTH, recipe=RECIPE, seed=0)
        head = self.head(bench, Features(source=fit, examples=examples))
        state = load_file(bench.folder(fit) / "model.safetensors")
        assert head is not None
        assert {f"head.{name}" for name in head} == {name for name in state if name.startswith("head.")}
        for name, value in head.items():
            assert torch.equal(value, state[f"head.{name}"])

    def test_states_of_a_model_that_has_learned(self, place, bench):
        examples = place.examples()
        fit = Fit(model=place.model("bert"), examples=examples, labels=TRUTH, recipe=RECIPE, seed=0)
        stage = Features(source=fit, examples=examples)
        bench.run_all(stage)
        ids = ids_in(bench, stage)
        table = in_order(table_of(bench.find(examples), "inputs"), ids)
        model = load_model(resolve(fit.model), table)
        model.load_state_dict(load_file(bench.folder(fit) / "model.safetensors"))
        with torch.no_grad():
            expected = model.states(model.encode(table), np.arange(30))
        torch.testing.assert_close(states_in(bench, stage), expected, atol=1e-5, rtol=1e-5)
        assert (expected - slowly(place, fit.model, table)).abs().max() > 1e-2
