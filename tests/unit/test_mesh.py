"""A fit spread over several processes is the fit of one: two and four of them, on gloo."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from reference.language import save_tiny, word_tokenizer, write_texts
from reference.mesh import RECIPE, Case, Plan, carry_out, fitted
from surpass.engine.engines import find_engine
from surpass.engine.work import Settings
from surpass.errors import ConfigError, DataError, Stopped, SurpassError
from surpass.stages import Context, Examples, Stage
from surpass.tasks import find_task
from surpass.train import mesh_launch
from surpass.train.mesh import Done, Failed, Halted, Mesh, Setup, told
from surpass.train.mesh_launch import devices_of, run_on_mesh

CHESS = "ladder:chess-1"
FOLLOWS_NOISE = ("key.bias", "k_lin.bias")
"""Attention is the same whatever they are: their gradient is rounding, which AdamW brings to full size."""


class TestParse:
    @pytest.mark.parametrize(
        ("text", "mesh"),
        [
            ("data=2", Mesh(data=2)),
            ("data=2,model=3", Mesh(data=2, model=3)),
            (" shard = 4 ", Mesh(shard=4)),
            ("model=2,data=1", Mesh(model=2)),
        ],
    )
    def test_axes(self, text, mesh):
        assert Mesh.parse(text) == mesh
        assert Mesh.parse(str(mesh)) == mesh

    def test_sizes(self):
        mesh = Mesh(data=2, shard=3, model=4)
        assert (mesh.size, mesh.num_shares, str(mesh)) == (24, 6, "data=2,shard=3,model=4")

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("batch=2", "no axis 'batch'; axes are data, shard, model"),
            ("", "no axis ''"),
            ("data=2,data=2", "names data twice"),
            ("data=0,shard=0", "mesh 'data=0,shard=0' is no device"),
            ("data=two", "data=two must be a whole number of at least 1"),
            ("data", "data= must be a whole number of at least 1"),
            ("data=-1", "data=-1 must be a whole number of at least 1"),
            ("data=1", "is one device; leave it out"),
        ],
    )
    def test_what_is_none(self, text, why):
        with pytest.raises(ConfigError, match=why if "no device" not in why else "at least 1"):
            Mesh.parse(text)
        with pytest.raises(ConfigError, match="mesh"):
            Settings(mesh=text)

    @pytest.mark.parametrize("settings", [{"workers": 2}, {"slurm": "partition=x"}])
    def test_a_mesh_goes_with_inline_and_ray(self, settings):
        with pytest.raises(ConfigError, match="mesh=data=2 spreads each fit over several devices"):
            find_engine(None, Settings(mesh="data=2", **settings))
        assert find_engine(None, Settings(mesh="data=2")) is find_engine("inline")
        assert find_engine("ray", Settings(mesh="data=2")) is find_engine("ray")


class TestDevices:
    @pytest.fixture(autouse=True)
    def _none_said(self, monkeypatch):
        monkeypatch.delenv(mesh_launch.DEVICE, raising=False)

    def given(self, monkeypatch, count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    def test_one_each(self, monkeypatch):
        self.given(monkeypatch, 4)
        assert devices_of(Mesh(data=2, model=2)) == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
        monkeypatch.setenv(mesh_launch.DEVICE, "cpu")
        assert devices_of(Mesh(data=2)) == ["cpu", "cpu"]

    def test_processes_where_there_are_none(self, monkeypatch):
        self.given(monkeypatch, 0)
        assert devices_of(Mesh(shard=3)) == ["cpu"] * 3

    def test_too_few(self, monkeypatch):
        self.given(monkeypatch, 2)
        with pytest.raises(ConfigError, match="mesh shard=4 takes 4 devices, and there are 2"):
            devices_of(Mesh(shard=4))

    def test_one_named(self, monkeypatch):
        monkeypatch.setenv(mesh_launch.DEVICE, "cuda:1")
        with pytest.raises(ConfigError, match="SURPASS_DEVICE='cuda:1' and mesh data=2: say cpu or cuda"):
            devices_of(Mesh(data=2))


def context_of(folder: Path, mesh: str, **more: Any) -> Context:
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)

    def none(stage: Stage) -> Any:
        raise SurpassError(f"{stage.kind} is not there")

    return Context(find=none, out=folder / "out", work=folder / "work", mesh=mesh, **more)


def test_a_batch_smaller_than_the_mesh(tmp_path):
    with pytest.raises(ConfigError, match="cuts a batch in 12 shares, and batch_size=9 is less"):
        run_on_mesh(None, RECIPE, context_of(tmp_path, "data=12"))


class TestTold:
    def test_what_a_task_has_read_stays_behind(self, tmp_path):
        task = find_task(f"text:{write_texts(tmp_path / 'texts.jsonl', 30)}")
        examples = Examples(task=task, part="student", size=5, seed=0)
        task.examples(part="student", size=5, seed=0)
        assert "texts" in vars(task)
        sent = told(Setup(examples, {}, Context, Mesh(data=2), "file:///none", 30))
        assert len(sent) < 2000
        there = pickle.loads(sent).stage
        assert there == examples
        assert there.id == examples.id
        assert "texts" not in vars(there.task)
        assert there.task.examples(part="student", size=5, seed=0).inputs.num_rows == 5


class TestOutcome:
    def outcome(self, tmp_path, codes: dict[int, int], *fates: tuple[int, Any]) -> dict[str, Any]:
        """What is said when ranks end with these codes, after these words."""
        setup = Setup(None, {}, Context, Mesh(data=2), "file:///none", 30)
        found = mesh_launch._Conversation(None, setup, context_of(tmp_path, "data=2"))
        for rank, message in fates:
            found.heard(rank, message)
        return found.outcome({rank: SimpleNamespace(exitcode=code) for rank, code in codes.items()})

    def test_all_is_well(self, tmp_path):
        assert self.outcome(tmp_path, {}, (1, Done({"a": 1})), (0, Done({"a": 0}))) == {"a": 0}

    def test_an_error_of_ours_is_what_it_is(self, tmp_path):
        with pytest.raises(DataError, match=r"^training diverged$"):
            self.outcome(
                tmp_path,
                {0: 1, 1: 1},
                (0, Failed("", "connection lost")),
                (1, Failed("DataError", "training diverged")),
            )

    def test_who_was_killed_counts_more_than_who_missed_it(self, tmp_path):
        with pytest.raises(SurpassError, match=r"rank 1 of mesh data=2 was killed by SIGKILL"):
            self.outcome(tmp_path, {0: 1, 1: -9}, (0, Failed("", "RuntimeError: connection closed by peer")))

    def test_a_mistake_names_the_log(self, tmp_path):
        with pytest.raises(
            SurpassError, match=r"rank 1 .* failed .KeyError: 3.; log: .*/ranks/1.txt; run again"
        ):
            self.outcome(tmp_path, {0: -15, 1: 1}, (1, Failed("", "KeyError: 3")))

    def test_one_that_could_not_start(self, tmp_path):
        with pytest.raises(SurpassError, match=r"rank 1 .* ended without a word; log"):
            self.outcome(tmp_path, {0: -15, 1: 1})

    def test_all_have_stopped(self, tmp_path):
        with pytest.raises(Stopped, match="run the same command again"):
            self.outcome(tmp_path, {}, (0, Halted()), (1, Halted()))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    ends = word_tokenizer(bos=True)
    ends.eos_token = "[bos]"
    for kind in ("bert", "distilbert", "gemma3_text", "mpnet"):
        save_tiny(folder / kind, kind)
    save_tiny(folder / "llama", "llama", tokenizer=ends)
    save_tiny(folder / "odd", "llama", num_attention_heads=3, num_key_value_heads=3, hidden_size=24)
    return {path.name: f"dir:{path}(tokens=24)" for path in folder.iterdir()}


def same(found: dict[str, Tensor], case: Case) -> None:
    """Hold a fit against that of one process."""
    torch.set_num_threads(1)
    expected = fitted(case.alone)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.endswith(FOLLOWS_NOISE):
            continue
        scale = float(value.abs().max().clamp(min=0.1))
        difference = (found[name] - value).abs() / scale
        # Where a gradient is next to nothing, AdamW brings its rounding to size.
        most = 1e-4 if name.startswith("weights.") else 1e-5
        worst = f"{case.name}: {name} differs by {difference.max():.1e} of {scale:.2g}"
        assert float(difference.max()) < most, worst
        assert float(difference.mean()) < 1e-5, worst


@pytest.fixture(scope="module")
def plans(models) -> list[Plan]:
    llama, bert = models["llama"], models["bert"]
    two = [
        Case(CHESS, "data=2", loss="elr"),
        Case(CHESS, "shard=2", loss="confidence", micro_batch=2),
        Case(llama, "data=2", loss="confidence", micro_batch=2),
        Case(llama, "model=2", loss="gce", adapter="lora", ema=0.9),
        Case(llama, "shard=2", completions=True),
        Case(bert, "shard=2", loss="small_loss", save_memory=True),
        Case(bert, "model=2", loss="confidence"),
        Case(bert, "model=2", adapter="last(layers=1)"),
        Case(llama, "data=2", adapter="lora(layers=1)"),
        Case(CHESS, "shard=2", adapter="last(layers=1)"),
    ]
    resumed = [
        (Case(llama, "data=2", loss="elr", ema=0.9), "shard=2"),
        (Case(bert, "model=2", adapter="lora"), "data=2"),
    ]
    refused = [Case(CHESS, "model=2"), Case(models["mpnet"], "model=2"), Case(models["odd"], "model=2")]
    four = [
        Case(llama, "data=4", loss="elr"),
        Case(llama, "data=2,model=2", loss="confidence", micro_batch=2),
        Case(llama, "shard=4", adapter="lora", pairs=True),
        Case(llama, "data=2,shard=2", loss="small_loss"),
        Case(llama, "shard=2,model=2", adapter="last(layers=1)"),
        Case(models["distilbert"], "shard=2,model=2"),
        Case(models["gemma3_text"], "data=2,model=2"),
    ]
    going_on = [(Case(llama, "shard=2,model=2", ema=0.9), "data=2,model=2")]
    return [Plan(2, two, resumed, refused), Plan(4, four, going_on, [])]


@pytest.fixture(scope="module")
def carried_out(plans, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("carried_out")
    carry_out(plans, folder)
    return folder


@pytest.mark.parametrize("number", [0, 1], ids=["two", "four"])
def test_several_processes_are_as_one(plans, carried_out, number):
    plan, folder = plans[number], carried_out / str(number)
    for place, case in enumerate(plan.cases):
        same(load_file(folder / f"{place}.safetensors"), case)


@pytest.mark.parametrize("number", [0, 1], ids=["two", "four"])
def test_another_mesh_goes_on(plans, carried_out, number):
    for place, (case, _) in enumerate(plans[number].resumed):
        same(load_file(carried_out / str(number) / f"resumed-{place}.safetensors"), case)


def test_matrices_that_cannot_be_cut(carried_out):
    why = json.loads((carried_out / "0" / "refused.json").read_text())
    assert [text.partition(";")[0] for text in why] == [
        "mesh model=2: there is no plan to cut the matrices of a MoveChoice in parts",
        "mesh model=2: there is no plan to cut the matrices of a MPNetModel in parts",
        "mesh model=2: num_attention_heads=3 of this llama cannot be shared out evenly",
    ]
