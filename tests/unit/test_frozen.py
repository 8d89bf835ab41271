"""Training a head on states that are computed once, against the slow way that computes them at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from reference.language import inputs_of, pairs_of, save_tiny, some_texts
from surpass.errors import Stopped
from surpass.models.adapters import find_adapter
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.models.tokens import TokenExamples
from surpass.tasks.chess import ChessTask
from surpass.train import frozen as module
from surpass.train.frozen import Frozen, frozen, only_head
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe

NUM = 20
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=3e-3)
KINDS = ("llama", "bert", "pairs", "pairs of bert", "policy", "mlp", "linear")


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> dict[str, tuple[str, pa.Table]]:
    root = tmp_path_factory.mktemp("models")
    texts = some_texts(NUM)
    found = {kind: (f"dir:{save_tiny(root / kind, kind)}", inputs_of(texts)) for kind in KINDS[:2]}
    pairs = pairs_of(list(zip(texts, some_texts(NUM, seed=1), strict=True)))
    found |= {"pairs": (found["llama"][0], pairs), "pairs of bert": (found["bert"][0], pairs)}
    found["policy"] = ("ladder:chess-1", ChessTask().examples(part="student", size=NUM, seed=0).inputs)
    features = np.random.default_rng(0).normal(size=(NUM, 5)).tolist()
    table = inputs_of(texts, features=features)
    return found | {"mlp": ("mlp:all", table), "linear": ("linear:all", table)}


class Slow(torch.nn.Module):
    """The same model without the means to tell its states."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, examples: Any, rows: np.ndarray) -> Tensor:
        return self.model(examples, rows)

    def head_parameters(self) -> list[torch.nn.Parameter]:
        return self.model.head_parameters()


class Case:
    """A model of a family with a frozen body, its examples and labels."""

    def __init__(self, problem: tuple[str, pa.Table], adapter: str = "frozen") -> None:
        name, inputs = problem
        torch.manual_seed(0)
        self.model = load_model(resolve(name), inputs)
        find_adapter(adapter)(self.model)
        self.examples = self.model.encode(inputs)
        probs = [np.eye(len(row), dtype=np.float32)[0] for row in inputs["candidates"].to_pylist()]
        self.labels = Labels(probs, np.ones(NUM, np.float32))

    def train(self, *, slow: bool = False, loss: str = "xent", **running: Any) -> Tensor:
        model = Slow(self.model) if slow else self.model
        plan = Running(**running)
        return fit(model, self.examples, self.labels, loss=loss, recipe=RECIPE, seed=4, running=plan)

    def head(self) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.model.head_parameters()])


@pytest.mark.parametrize("kind", KINDS)
class TestEveryFamily:
    @pytest.mark.parametrize("options", [{}, {"loss": "elr"}, {"micro_batch": 3}])
    def test_the_same_as_the_slow_way(self, problems, kind, options):
        slow, fast = Case(problems[kind]), Case(problems[kind])
        begun = slow.head()
        losses = slow.train(slow=True, **options), fast.train(**options)
        torch.testing.assert_close(losses[1], losses[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(fast.head(), slow.head(), atol=1e-4, rtol=1e-3)
        assert (fast.head() - begun).abs().max() > 1e-3

    def test_the_body_runs_once(self, problems, kind, monkeypatch):
        monkeypatch.setattr(module, "AT_ONCE", 8)
        case = Case(problems[kind])
        asked: list[int] = []
        states = case.model.states
        case.model.states = lambda examples, rows: asked.extend(rows) or states(examples, rows)
        case.train()
        assert asked == list(range(NUM))

    def test_resumed_to_the_bit(self, problems, kind, tmp_path):
        whole, parts = Case(problems[kind]), Case(problems[kind])
        losses = whole.train()
        for _ in range(RECIPE.num_steps(NUM)):
            parts = Case(problems[kind])
            with pytest.raises(Stopped):
                parts.train(checkpoint=tmp_path / "checkpoint", stop=lambda: True)
        parts = Case(problems[kind])
        assert torch.equal(parts.train(checkpoint=tmp_path / "checkpoint"), losses)
        assert torch.equal(parts.head(), whole.head())


class TestWhen:
    @pytest.mark.parametrize("adapter", ["full", "lora(rank=1)"])
    def test_not_where_more_than_the_head_is_trained(self, problems, adapter):
        for kind in ("llama", "bert", "policy", "mlp"):
            case = Case(problems[kind], adapter)
            trained = [p for p in case.model.parameters() if p.requires_grad]
            assert not only_head(case.model, trained)

    def test_where_the_head_is_all_there_is(self, problems):
        case = Case(problems["linear"], "full")
        assert only_head(case.model, case.model.parameters())

    def test_not_where_a_model_does_not_tell_its_states(self, problems):
        case = Case(problems["bert"])
        assert only_head(case.model, case.model.head_parameters())
        assert not only_head(Slow(case.model), case.model.head_parameters())

    def test_states_that_take_too_much_are_not_kept(self, problems, monkeypatch):
        case = Case(problems["bert"])
        asked = frozen(case.model, case.examples, NUM, None, lambda: False)
        assert isinstance(asked, Frozen)
        assert asked.states.nbytes == NUM * 32 * 4
        monkeypatch.setattr(module, "LARGEST", NUM * 32 * 4 - 1)
        assert frozen(case.model, case.examples, NUM, None, lambda: False) is case.model
        again = Case(problems["bert"])
        torch.testing.assert_close(case.train(), again.train(slow=True))

    def test_stops_between_passes(self, problems, monkeypatch):
        monkeypatch.setattr(module, "AT_ONCE", 8)
        case = Case(problems["bert"])
        asked = iter([False, True])
        with pytest.raises(Stopped, match="run the same command again"):
            frozen(case.model, case.examples, NUM, None, lambda: next(asked))
        assert list(asked) == []


class Asked:
    """A body that counts how often it is run."""

    origin: str | None = "body"

    def __init__(self) -> None:
        self.rows = 0

    def states(self, examples, rows):
        self.rows += len(rows)
        return torch.tensor([[float(examples.tokens[row][0])] for row in rows])

    def from_states(self, states, examples, rows):
        return states


class TestKnownStates:
    @pytest.fixture(autouse=True)
    def _nothing_known(self):
        module._known.clear()

    def examples(self, *firsts: int) -> TokenExamples:
        return TokenExamples([np.array([first, 7]) for first in firsts])

    def test_the_next_head_asks_nothing(self):
        first, second = Asked(), Asked()
        known = [module.frozen(model, self.examples(1, 2, 3), 3, None) for model in (first, second)]
        assert (first.rows, second.rows) == (3, 0)
        assert torch.equal(known[0].states, known[1].states)
        assert known[1](None, np.array([2, 0])).tolist() == [[3.0], [1.0]]

    @pytest.mark.parametrize("what", ["origin", "order", "token", "number", "micro_batch"])
    def test_whatever_differs_counts(self, what):
        module.frozen(Asked(), self.examples(1, 2, 3), 3, None)
        other = Asked()
        if what == "origin":
            other.origin = "another"
        examples = {"order": (2, 1, 3), "token": (1, 2, 4)}.get(what, (1, 2, 3))
        number, micro_batch = (2 if what == "number" else 3), (2 if what == "micro_batch" else None)
        module.frozen(other, self.examples(*examples), number, micro_batch)
        assert other.rows == number

    def test_what_has_no_origin_is_not_kept(self):
        for _ in range(2):
            model = Asked()
            model.origin = None
            module.frozen(model, self.examples(1, 2), 2, None)
            assert model.rows == 2
        assert not module._known

    def test_old_ones_give_way(self, monkeypatch):
        monkeypatch.setattr(module, "LARGEST", 16)
        for first in (1, 2, 3):
            module.frozen(Asked(), self.examples(first, 9), 2, None)
        assert len(module._known) == 2
        again = Asked()
        module.frozen(again, self.examples(1, 9), 2, None)
        assert again.rows == 2
