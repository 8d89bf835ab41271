"""Logistic regression by L-BFGS: the minimum that a plain minimiser finds, alone or in company."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from surpass.errors import Stopped
from surpass.train import whitened
from surpass.train.full_batch import fit_full_batch
from surpass.train.lanes import Lane, Trained
from surpass.train.linear import head_logits
from surpass.train.loop import Labels, Running
from surpass.train.recipe import Recipe

RECIPE = Recipe(optimizer="lbfgs", epochs=500, weight_decay=0.05)


class Held:
    """States that lie in memory."""

    def __init__(self, states: torch.Tensor) -> None:
        self.states = states
        self.shape = tuple(states.shape[1:])

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: Any) -> torch.Tensor:
        return self.states[torch.from_numpy(rows)]


def lane(known: Held, *, classes: int, seed: int, rows: int | None = None, recipe: Recipe = RECIPE) -> Lane:
    chance = np.random.default_rng(seed)
    rows_N = np.sort(chance.permutation(len(known))[: rows or len(known)])
    probs = list(chance.dirichlet([0.5] * classes, len(rows_N)).astype(np.float32))
    weight_N = chance.uniform(0.2, 2.0, len(rows_N)).astype(np.float32)
    width, outputs = known.shape[-1], 1 if len(known.shape) == 2 else classes
    head = {"head.weight": torch.from_numpy(chance.normal(size=(outputs, width)).astype(np.float32))}
    if len(known.shape) == 1:
        head["head.bias"] = torch.zeros(outputs)
    return Lane(
        known=known,  # type: ignore[arg-type]
        rows_N=rows_N,
        labels=Labels(probs, weight_N),
        loss="xent",
        recipe=recipe,
        seed=seed,
        head=head,
    )


def least(of: Lane) -> float:
    """The minimum of the objective, by a general minimiser with the gradient of autograd."""
    states = of.known[of.rows_N].double()
    target = torch.from_numpy(np.stack(of.labels.probs)).double()
    weight = torch.from_numpy(of.labels.weight_N).double()
    shapes = [value.shape for value in of.head.values()]
    sizes = [shape.numel() for shape in shapes]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value = torch.tensor(flat, requires_grad=True)
        parts = [part.view(shape) for part, shape in zip(value.split(sizes), shapes, strict=True)]
        logits = states @ parts[0].T + (parts[1] if len(parts) > 1 else 0)
        logits = logits.squeeze(-1) if states.dim() == 3 else logits
        losses = -(target * logits.log_softmax(1)).sum(1)
        loss = (losses * weight).sum() / len(losses) + of.recipe.weight_decay / 2 * (parts[0] ** 2).sum()
        (slope,) = torch.autograd.grad(loss, value)
        return float(loss.detach()), slope.numpy()

    start = np.zeros(sum(sizes))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-10})
    return float(found.fun)


def states(seed: int, *shape: int) -> Held:
    return Held(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(params=["whitened", "plain"])
def coordinates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(whitened, "HELD_BYTES", 0)
    return str(request.param)


@pytest.mark.usefixtures("coordinates")
@pytest.mark.parametrize(
    ("shape", "classes"), [((60, 7), 2), ((60, 7), 4), ((50, 2, 6), 2), ((9, 20), 3), ((9, 20), 2)]
)
def test_the_minimum(shape, classes):
    of = lane(states(1, *shape), classes=classes, seed=2, rows=shape[0] - 3)
    (trained,) = fit_full_batch([of])
    assert isinstance(trained, Trained)
    assert float(trained.losses[-1]) == pytest.approx(least(of), abs=1e-7)
    assert trained.losses.diff().max() <= 1e-12
    # What the head says has that loss, too.
    logits = head_logits(trained.head, of.known[of.rows_N])
    losses = -(torch.from_numpy(np.stack(of.labels.probs)) * logits.log_softmax(1)).sum(1)
    mean = float((losses * torch.from_numpy(of.labels.weight_N)).mean())
    penalty = of.recipe.weight_decay / 2 * float((trained.head["head.weight"] ** 2).sum())
    assert mean + penalty == pytest.approx(float(trained.losses[-1]), abs=1e-5)


def test_coordinates_and_back():
    for rows, features in ((30, 8), (8, 30)):
        states_ND = states(8, rows, features).states
        own = whitened.coordinates(states_ND, 0.1)
        assert own is not None
        # Without a part that the examples do not span.
        weight_CD = torch.randn(3, rows, dtype=torch.float64) @ states_ND.double()
        bias_C = torch.randn(3, dtype=torch.float64)
        value_CB = own.of_heads(weight_CD, bias_C)
        torch.testing.assert_close(own.heads(value_CB)[0], weight_CD)
        torch.testing.assert_close(own.heads(value_CB)[1], bias_C)
        logits_CN = weight_CD @ states_ND.double().T + bias_C[:, None]
        torch.testing.assert_close(value_CB @ own.states_BN, logits_CN)
        penalty_C = 0.1 * weight_CD.square().sum(1) + whitened.CURVATURE * logits_CN.square().mean(1)
        torch.testing.assert_close(value_CB.square().sum(1), penalty_C)


def test_states_of_unlike_lengths_take_few_iterations(monkeypatch):
    known = Held(states(9, 90, 12).states * torch.logspace(-1.5, 0.5, 12))
    of = lane(known, classes=3, seed=4, recipe=replace(RECIPE, weight_decay=1e-3))
    of = replace(of, head={name: torch.zeros_like(value) for name, value in of.head.items()})
    (trained,) = fit_full_batch([of])
    monkeypatch.setattr(whitened, "HELD_BYTES", 0)
    (plain,) = fit_full_batch([of])
    assert isinstance(trained, Trained)
    assert isinstance(plain, Trained)
    assert float(trained.losses[-1]) == pytest.approx(float(plain.losses[-1]), abs=1e-7)
    assert len(plain.losses) > 5 * len(trained.losses)


def test_the_same_states_twice_and_next_to_no_decay():
    twice = Held(states(10, 10, 30).states.repeat(2, 1))
    for decay in (1e-2, 1e-14):
        of = lane(twice, classes=2, seed=5, recipe=replace(RECIPE, weight_decay=decay))
        (trained,) = fit_full_batch([of])
        assert isinstance(trained, Trained)
        assert float(trained.losses[-1]) == pytest.approx(least(of), abs=1e-5)


@pytest.mark.usefixtures("coordinates")
def test_company_changes_nothing():
    one, two = states(3, 80, 6), states(4, 50, 6)
    lanes = [
        lane(known, classes=2, seed=seed, rows=rows, recipe=replace(RECIPE, weight_decay=decay))
        for seed, (known, rows, decay) in enumerate(
            [(one, 80, 1e-3), (one, 40, 0.1), (two, 50, 1e-2), (one, 79, 1e-3), (two, 20, 1.0)]
        )
    ]
    together = fit_full_batch(lanes)
    for of, trained in zip(lanes, together, strict=True):
        (alone,) = fit_full_batch([of])
        assert isinstance(alone, Trained)
        assert isinstance(trained, Trained)
        for name, value in trained.head.items():
            torch.testing.assert_close(value, alone.head[name], atol=1e-6, rtol=0)
        assert len(trained.losses) == len(alone.losses)


def test_no_more_iterations_than_epochs():
    of = lane(states(5, 60, 9), classes=3, seed=1, recipe=replace(RECIPE, epochs=3, weight_decay=0.0))
    (trained,) = fit_full_batch([of])
    assert isinstance(trained, Trained)
    assert len(trained.losses) == 3


@pytest.mark.usefixtures("coordinates")
def test_stopped_and_gone_on_with_is_the_same_to_the_bit(tmp_path):
    lanes = [lane(states(6, 70, 8), classes=classes, seed=seed) for seed, classes in enumerate((3, 3, 3))]
    whole = fit_full_batch(lanes)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 6

    kept = [
        replace(of, running=Running(checkpoint=tmp_path / f"{number}.safetensors", stop=stop))
        for number, of in enumerate(lanes)
    ]
    with pytest.raises(Stopped):
        fit_full_batch(kept)
    again = fit_full_batch(kept)
    for one, other in zip(whole, again, strict=True):
        assert isinstance(one, Trained)
        assert isinstance(other, Trained)
        for name, value in one.head.items():
            torch.testing.assert_close(value, other.head[name], atol=1e-7, rtol=0)
        torch.testing.assert_close(one.losses, other.losses, atol=1e-9, rtol=0)
