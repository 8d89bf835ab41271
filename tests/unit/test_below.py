"""States kept below the first trained layer, against fits that compute them at every step."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from reference.bench import Bench, state_of, table_of
from reference.language import inputs_of, pairs_of, save_tiny, some_texts, write_texts
from reference.pictures import SHAPES, images_of, save_tiny_vision, some_files
from reference.studies import CHESS
from surpass.environment import KEEP_BELOW
from surpass.errors import ConfigError, Stopped
from surpass.models.adapters import find_adapter
from surpass.models.depth import Below, Cut
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Examples, Fit, Label, Stop
from surpass.tasks import find_task
from surpass.tasks.chess import ChessTask
from surpass.train import below as module
from surpass.train.below import place_for, with_below
from surpass.train.loop import Labels, Running, fit, label
from surpass.train.recipe import Recipe

NUM = 20
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=1e-3)
TEXTS = ("llama", "qwen2", "gpt2", "gpt_neox", "gemma3_text", "bert", "roberta", "mpnet", "distilbert")
TEXTS += ("deberta-v2",)
IMAGES = ("vit", "dinov2_with_registers", "swin", "resnet", "convnext", "mobilenet_v2", "cnn:8")
KINDS = (*TEXTS, "pairs", "pairs of bert", *IMAGES, "policy")
KEY_BIAS = re.compile(r"\b(key|key_proj|k|k_lin|k_proj|c_attn|qkv|query_key_value)\.bias$")
LAST_BIAS = "layer.2.output.LayerNorm.bias"
_DEPTH = {"gpt2": "n_layer", "distilbert": "n_layers"}


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> dict[str, tuple[str, pa.Table]]:
    root = tmp_path_factory.mktemp("models")
    texts, images = some_texts(NUM), images_of(some_files(NUM))
    found: dict[str, tuple[str, pa.Table]] = {}
    for kind in TEXTS:
        deeper = {} if kind == "gemma3_text" else {_DEPTH.get(kind, "num_hidden_layers"): 3}
        found[kind] = (f"dir:{save_tiny(root / kind, kind, **deeper)}", inputs_of(texts))
    pairs = pairs_of(list(zip(texts, some_texts(NUM, seed=1), strict=True)))
    found |= {"pairs": (found["llama"][0], pairs), "pairs of bert": (found["bert"][0], pairs)}
    for kind in IMAGES:
        name = f"dir:{save_tiny_vision(root / kind, kind)}" if kind in SHAPES else kind
        found[kind] = (name, images)
    found["policy"] = ("ladder:chess-4", ChessTask().examples(part="student", size=NUM, seed=0).inputs)
    return found


def _all_known() -> list[Below]:
    return [thing for kept in module._known.values() for thing, _ in kept._things.values()]


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch) -> None:
    module.forget()
    monkeypatch.delenv(KEEP_BELOW, raising=False)


@pytest.fixture
def pays(monkeypatch) -> None:
    """Of tiny models, too."""
    monkeypatch.setattr(module, "FLOPS_PER_BYTE", {"memory": 0.0, "file": 0.0})


class Case:
    """A model whose upper layers are trained, its examples and labels."""

    def __init__(self, problem: tuple[str, pa.Table], adapter: str, origin: str | None = None) -> None:
        torch.manual_seed(0)
        self.model = load_model(resolve(problem[0]), problem[1])
        find_adapter(adapter)(self.model)
        self.model.origin_below = origin
        self.inputs = problem[1]
        self.examples = self.model.encode(problem[1])
        self.sizes = [len(row) for row in problem[1]["candidates"].to_pylist()]
        probs = [np.eye(size, dtype=np.float32)[number % size] for number, size in enumerate(self.sizes)]
        self.labels = Labels(probs, np.ones(NUM, np.float32))

    def train(self, *, loss: str = "xent", **running: Any) -> Tensor:
        return fit(
            self.model,
            self.examples,
            self.labels,
            loss=loss,
            recipe=RECIPE,
            seed=4,
            running=Running(**running),
        )

    def kept(self, **more: Any) -> Any:
        return with_below(self.model, self.examples, NUM, passes=3, **more)

    def trained(self) -> Tensor:
        """But for biases without a gradient: what theirs has of rounding Adam makes as large as any other.

        Those of keys add the same to all scores of a query; of a pair both texts have the last one.
        """
        trained = {name: each for name, each in self.model.named_parameters() if each.requires_grad}
        for name in list(trained):
            if KEY_BIAS.search(name) or ("texts" in self.inputs.column_names and LAST_BIAS in name):
                del trained[name]
        return torch.cat([each.detach().flatten() for each in trained.values()])


def runs_of_the_first_block(model: Any) -> list[int]:
    """Filled with a number whenever the first block computes something."""
    runs: list[int] = []
    part = next(
        p
        for p in model.blocks[0].modules()
        if isinstance(p, nn.Linear | nn.Conv2d) or "Conv1D" in str(type(p))
    )
    part.register_forward_hook(lambda *_: runs.append(1))
    return runs


OPTIONS = [
    ("last(layers=1)", {}),
    ("last(layers=1)", {"loss": "confidence", "micro_batch": 3}),
    ("lora(rank=2, layers=1)", {"loss": "elr", "micro_batch": 3}),
]


@pytest.mark.usefixtures("pays")
@pytest.mark.parametrize("kind", KINDS)
class TestEveryFamily:
    @pytest.mark.parametrize(("adapter", "options"), OPTIONS)
    def test_the_same_as_computing_them_at_every_step(self, problems, kind, adapter, options, monkeypatch):
        slow, fast = Case(problems[kind], adapter), Case(problems[kind], adapter)
        begun = slow.trained()
        assert fast.kept().below is not None
        monkeypatch.setenv(KEEP_BELOW, "0")
        wanted = slow.train(**options)
        monkeypatch.delenv(KEEP_BELOW)
        torch.testing.assert_close(fast.train(**options), wanted, atol=1e-5, rtol=1e-5)
        probs = [np.concatenate(label(case.model, case.examples, case.sizes)) for case in (fast, slow)]
        np.testing.assert_allclose(*probs, atol=1e-5)
        torch.testing.assert_close(fast.trained(), slow.trained(), atol=1e-4, rtol=1e-4)
        assert (fast.trained() - begun).abs().max() > 1e-3

    def test_in_any_order_and_number(self, problems, kind):
        case = Case(problems[kind], "last(layers=1)")
        known = case.kept()
        with torch.no_grad():
            for rows in (np.arange(NUM)[::-1].copy(), np.array([7]), np.array([3, 19, 3, 0])):
                wanted = case.model(case.examples, rows)
                size = float(wanted[wanted.isfinite()].abs().max())
                torch.testing.assert_close(case.model(known, rows), wanted, atol=1e-5 * size, rtol=1e-5)

    def test_the_lower_layers_run_once(self, problems, kind, monkeypatch):
        case = Case(problems[kind], "last(layers=1)")
        known = case.kept()
        runs = runs_of_the_first_block(case.model)
        label(case.model, known, case.sizes)
        assert not runs or not case.model.cut.skips
        if case.model.cut.skips:
            label(case.model, case.examples, case.sizes)
            assert runs

    def test_all_layers_above_the_lowest_states(self, problems, kind, monkeypatch):
        count = len(Case(problems[kind], "full").model.blocks)
        case = Case(problems[kind], f"last(layers={count})")
        monkeypatch.setattr(module, "place_for", lambda **_: "memory")
        known = case.kept()
        assert known.below is not None
        with torch.no_grad():
            wanted = case.model(case.examples, np.arange(NUM))
            size = float(wanted[wanted.isfinite()].abs().max())
            found = case.model(known, np.arange(NUM))
            torch.testing.assert_close(found, wanted, atol=1e-5 * size, rtol=1e-5)


@pytest.mark.usefixtures("pays")
class TestShared:
    def test_by_all_that_say_what_they_are_of(self, problems):
        one, other = (Case(problems["bert"], "last(layers=1)", "these weights") for _ in range(2))
        known = one.kept()
        assert other.kept().below is known.below
        assert Case(problems["bert"], "lora(layers=1)", "these weights").kept().below is known.below
        assert Case(problems["bert"], "last(layers=2)", "these weights").kept().below is not known.below
        assert Case(problems["bert"], "last(layers=1)", "others").kept().below is not known.below
        assert Case(problems["bert"], "last(layers=1)").kept().below is not known.below

    def test_who_comes_first_makes_no_difference_to_the_bit(self, problems):
        first, second = (Case(problems["bert"], "last(layers=1)", "these weights") for _ in range(2))
        assert torch.equal(first.train(), second.train())
        module.forget()
        third = Case(problems["bert"], "last(layers=1)", "these weights")
        third.train(micro_batch=None)
        assert torch.equal(third.trained(), first.trained())
        assert torch.equal(second.trained(), first.trained())

    def test_the_last_used_stay(self, problems, monkeypatch):
        cases = [Case(problems["bert"], "last(layers=1)", f"weights {number}") for number in range(3)]
        size = cases[0].kept().below.values.nbytes
        monkeypatch.setenv(KEEP_BELOW, str(2.5 * size / 2**30))
        kept = [case.kept().below for case in cases]
        assert [case.kept().below is below for case, below in zip(cases[::-1], kept[::-1], strict=True)] == [
            True,
            True,
            False,
        ]

    def test_a_file_where_memory_is_short(self, problems, tmp_path, monkeypatch):
        case, other = (Case(problems["bert"], "last(layers=1)", "these weights") for _ in range(2))
        monkeypatch.setenv(KEEP_BELOW, str(case.kept().below.values.nbytes / 2**30 / 2))
        module.forget()
        assert case.kept() is case.examples
        known = case.kept(folder=tmp_path)
        assert known.below.mapped
        assert list(tmp_path.iterdir()) == []
        assert other.kept(folder=tmp_path).below is known.below
        with torch.no_grad():
            found, wanted = (case.model(each, np.arange(NUM)) for each in (known, case.examples))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("pays")
class TestNotKept:
    @pytest.mark.parametrize("adapter", ["full", "frozen", "lora(rank=2)"])
    def test_where_no_layer_is_named(self, problems, adapter):
        case = Case(problems["bert"], adapter)
        assert case.kept() is case.examples

    def test_where_a_lower_layer_drops(self, problems):
        case = Case(problems["bert"], "last(layers=1)")
        dropout = next(part for part in case.model.modules() if isinstance(part, nn.Dropout))
        dropout.p = 0.1
        case.model.train()
        assert case.kept() is case.examples
        case.model.eval()
        assert case.kept() is not case.examples

    def test_where_batches_are_normalised(self, problems):
        case = Case(problems["resnet"], "last(layers=1)")
        case.model.train()
        assert case.kept() is not case.examples
        case.model.body.train()
        assert case.kept() is case.examples

    def test_where_a_model_gives_something_else_when_it_is_entered(self, problems):
        case = Case(problems["bert"], "last(layers=1)")
        runs = runs_of_the_first_block(case.model)

        def looks_below(_module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Any, ...]:
            louder = 2.0 if runs else 1.0
            runs.clear()
            return (given[0] * louder, *given[1:])

        case.model.blocks[-1].register_forward_pre_hook(looks_below)
        assert case.kept() is case.examples

    def test_where_it_is_interrupted(self, problems, monkeypatch):
        monkeypatch.setattr("surpass.models.depth_texts.PACKED_AT_ONCE", 40)
        case = Case(problems["bert"], "last(layers=1)", "these weights")
        with pytest.raises(Stopped, match="run the same command again"):
            case.kept(stop=lambda: True)
        assert not _all_known()

    def test_where_nobody_wants_it(self, problems, monkeypatch):
        case = Case(problems["bert"], "last(layers=1)")
        monkeypatch.setenv(KEEP_BELOW, "0")
        assert case.kept() is case.examples

    @pytest.mark.parametrize("said", ["much", "-1", "inf", "nan"])
    def test_nonsense(self, problems, monkeypatch, said):
        case = Case(problems["bert"], "last(layers=1)")
        monkeypatch.setenv(KEEP_BELOW, said)
        with pytest.raises(
            ConfigError, match=f"SURPASS_KEEP_BELOW='{said}' is no number of GiB; say 1, or 0"
        ):
            case.kept()


GIB = 2.0**30
MINILM = 4 * 12 * 384**2
"""Weights of four of its layers; each token goes through them, and leaves 384 numbers."""


def of_tokens(num_tokens: int, passes: int, **rooms: float) -> str | None:
    sizes = {"flops": 2.0 * MINILM * num_tokens, "num_bytes": 4.0 * 384 * num_tokens}
    return place_for(passes=passes, **sizes, **({"memory": GIB} | rooms))


class TestCostModel:
    def test_one_pass_is_never_worth_it(self):
        assert of_tokens(1000, 1) is None

    @pytest.mark.parametrize("passes", [2, 3, 100])
    def test_a_second_pass_is_where_layers_cost_more_than_states(self, passes):
        assert of_tokens(1000, passes) == "memory"

    def test_a_file_where_memory_is_short(self):
        tokens = int(GIB / 4 / 384) + 1
        assert of_tokens(tokens - 1, 3) == "memory"
        assert of_tokens(tokens, 3) is None
        assert of_tokens(tokens, 3, disk=2 * GIB) == "file"
        assert of_tokens(2 * tokens, 3, disk=2 * GIB) is None

    def test_layers_that_cost_less_than_reading_what_they_give(self):
        """Two passes: saved once, copied three times; FLOPs for a byte are 16 in memory and 128 in a file."""
        for place, bound in (("memory", 48.0), ("file", 384.0)):
            rooms = {"memory": 1000.0 if place == "memory" else 0.0, "disk": 1000.0}
            assert place_for(passes=2, flops=bound * 100, num_bytes=100, **rooms) is None
            assert place_for(passes=2, flops=bound * 100 + 1, num_bytes=100, **rooms) == place

    def test_more_passes_pay_for_cheaper_layers(self):
        for passes, wanted in ((2, None), (3, None), (4, "memory"), (9, "memory")):
            assert place_for(passes=passes, flops=30.0, num_bytes=1.0, memory=1.0) == wanted


def test_the_tokens_of_a_text_are_where_it_lies():
    below = Below(Cut(1, None, True, 0), torch.arange(10.0)[:, None], np.array([3, 4, 8, 10]))
    assert below.of(np.array([2, 0, 3])).flatten().tolist() == [4, 5, 6, 7, 0, 1, 2, 8, 9]
    assert below.of(np.array([1])).flatten().tolist() == [3]
    maps = torch.randn(2, 3, 4, 5)
    kept = Below(Cut(1, None, True, 0), maps.permute(0, 2, 3, 1))
    assert torch.equal(kept.of(np.array([1, 0])), maps.flip(0))


class TestStages:
    """A fit, its early stopping and its labels, of texts from a file."""

    @pytest.fixture
    def fitted(self, tmp_path: Path) -> tuple[Fit, Examples]:
        write_texts(tmp_path / "texts.jsonl", 200)
        save_tiny(tmp_path / "bert", "bert", num_hidden_layers=3)
        task = find_task(f"text:{tmp_path / 'texts.jsonl'}")
        learned, held_out = (
            Examples(task=task, part=part, size=size, seed=0)
            for part, size in (("student", 30), ("test", 20))
        )
        model = f"dir:{tmp_path / 'bert'}"
        return (
            Fit(
                model=model,
                examples=learned,
                labels=TRUTH,
                recipe=RECIPE,
                seed=1,
                adapter="last(layers=1)",
            ),
            held_out,
        )

    def everything(self, root: Path, fitted: tuple[Fit, Examples]) -> list[np.ndarray]:
        root.mkdir()
        bench, (fit, held_out) = Bench(root), fitted
        found = []
        for seed in (1, 2):
            one = replace(fit, seed=seed)
            stop = Stop(fit=one, examples=held_out, labels=TRUTH, snapshots=4)
            for source in (one, stop):
                label = Label(source=source, examples=held_out)
                bench.run_all(label)
                state = state_of(bench.find(source))
                found += [value.numpy() for _, value in sorted(state.items())]
                found += [np.stack(table_of(bench.find(label), "labels")["probs"].to_numpy())]
            found += [pq.read_table(bench.folder(stop) / "curve.parquet")["accuracy"].to_numpy()]
        return found

    @pytest.mark.usefixtures("pays")
    def test_the_same_digits_and_each_text_once(self, tmp_path, fitted, monkeypatch):
        read: list[int] = []
        wanted_from = module._computed

        def counted(model: Any, examples: Any, *more: Any) -> Any:
            read.append(len(examples.tokens))
            return wanted_from(model, examples, *more)

        monkeypatch.setattr(module, "_computed", counted)
        found = self.everything(tmp_path / "kept", fitted)
        assert read == [30, 20]
        monkeypatch.setenv(KEEP_BELOW, "0")
        wanted = self.everything(tmp_path / "computed", fitted)
        assert read == [30, 20]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)

    @pytest.mark.usefixtures("pays")
    def test_labels_of_a_blend_are_computed_whole(self, tmp_path, fitted):
        """Shares of equal weights may round: such a model is no longer the pretrained one."""
        from surpass.stages import Blend

        fit, held_out = fitted
        blend = Blend(model=fit.model, examples=fit.examples, fits=(fit,), weights=(0.5, 0.5))
        bench = Bench(tmp_path / "blend")
        bench.root.mkdir()
        bench.run_all(fit)
        module.forget()
        bench.run_all(Label(source=blend, examples=held_out))
        assert not _all_known()


def test_of_chess_fits_in_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLOPS_PER_BYTE", {"memory": 0.0, "file": 0.0})
    examples = Examples(task=CHESS, part="validation", size=24, seed=0)
    fit = Fit(
        model="ladder:chess-4",
        examples=examples,
        labels=TRUTH,
        recipe=RECIPE,
        seed=1,
        adapter="last(layers=1)",
    )
    bench = Bench(tmp_path)
    bench.run_all(fit)
    (below,) = _all_known()
    bench.run_all(replace(fit, seed=2))
    bench.run_all(Label(source=fit, examples=examples))
    assert _all_known() == [below]
