"""Work in several threads, and heads that train while torch has several, held against the same with one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from reference.heads import Held, Problem, some_labels, some_states
from surpass.errors import Stopped
from surpass.train import blocks
from surpass.train.blocks import joined
from surpass.train.heads import fit_heads
from surpass.train.lanes import Trained
from surpass.train.loop import Running
from surpass.train.recipe import Recipe
from surpass.train.side_by_side import side_by_side

NUM = 50
LOSSES = ("xent", "confidence", "gce", "elr", "xent", "adaptconf")


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class TestCalls:
    def test_results_in_order_and_threads_as_before(self):
        with side_by_side(3) as run:
            both = run([lambda: (threading.get_ident(), torch.get_num_threads()) for _ in range(3)])
            assert run([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
            assert run([lambda: 4]) == [4]
        assert both[0] == (threading.get_ident(), 1)
        assert {threads for _, threads in both} == {1}
        assert torch.get_num_threads() == 2

    @pytest.mark.parametrize("bad", range(3))
    def test_an_error_comes_when_all_are_done(self, bad):
        done = []

        def call(number: int) -> None:
            if number == bad:
                raise KeyboardInterrupt if bad == 0 else ValueError(number)
            threading.Event().wait(0.05)
            done.append(number)

        error = KeyboardInterrupt if bad == 0 else ValueError
        with pytest.raises(error), side_by_side(3) as run:
            run([lambda number=number: call(number) for number in range(3)])
        assert len(done) == 2
        assert torch.get_num_threads() == 2

    def test_one_thread_is_this_one_with_all_of_torch_s(self):
        with side_by_side(1) as run:
            assert run([torch.get_num_threads, threading.get_ident]) == [2, threading.get_ident()]


def in_memory(states: np.ndarray) -> Held:
    held = Held(states)
    held.held = torch.from_numpy(held.states)
    return held


def problems(*, memory: bool, optimizer: str = "adamw") -> list[Problem]:
    """Heads on three sets of states, of which two are as large, and on parts of them."""
    sets = [some_states(NUM, 12, seed=seed).states for seed in range(2)]
    held = [in_memory(states) if memory else Held(states) for states in (*sets, sets[0][:30])]
    recipe = Recipe(epochs=3, batch_size=16, learning_rate=2e-2)
    losses: Sequence[str] = LOSSES
    if optimizer == "lbfgs":
        recipe, losses = Recipe(epochs=60, optimizer="lbfgs", weight_decay=0.05), ("xent", "xent")
    labels = {size: [some_labels(size, 3, seed=seed) for seed in range(2)] for size in (NUM, 30)}
    found = [
        Problem(own, labels[len(own)][number % 2], loss=loss, seed=seed, recipe=recipe)
        for seed in range(3)
        for own in held
        for number, loss in enumerate(losses)
    ]
    some = np.arange(0, NUM, 2)
    found += [replace(problem, rows=some, probs=problem.probs[::2], weights=None) for problem in found[:2]]
    if optimizer == "adamw":
        found += [replace(found[0], hidden=4), replace(found[1], recipe=replace(recipe, epochs=5), ema=0.9)]
    return found


def trained(given: Sequence[Problem], threads: int, **running: Any) -> list[Trained]:
    torch.set_num_threads(threads)
    found = fit_heads([problem.lane(running=Running(**running)) for problem in given])
    assert torch.get_num_threads() == threads
    assert all(isinstance(each, Trained) for each in found)
    return found  # type: ignore[return-value]


def alike(some: Sequence[Trained], others: Sequence[Trained], bound: float = 1e-6) -> None:
    for one, other in zip(some, others, strict=True):
        torch.testing.assert_close(one.losses, other.losses, atol=1e-6, rtol=1e-5)
        for name, value in one.head.items():
            torch.testing.assert_close(value, other.head[name], atol=bound, rtol=0)


class TestHeads:
    @pytest.mark.parametrize("threads", [2, 3])
    @pytest.mark.parametrize("optimizer", ["adamw", "lbfgs"])
    @pytest.mark.parametrize("memory", [False, True])
    def test_the_same_as_in_one_thread(self, memory, optimizer, threads):
        given = problems(memory=memory, optimizer=optimizer)
        alike(trained(given, threads), trained(given, 1))

    def test_states_in_one_place_are_the_same_to_the_bit(self, monkeypatch):
        asked = trained(problems(memory=False), 1)
        for limit in (blocks.JOINED_BYTES, 0):
            monkeypatch.setattr("surpass.train.lockstep.JOINED_BYTES", limit)
            alike(trained(problems(memory=True), 1), asked, bound=0.0)

    def test_blocks_of_one_batch_are_the_same(self, monkeypatch):
        whole = trained(problems(memory=True), 1)
        monkeypatch.setattr("surpass.train.lockstep._AT_ONCE", 1)
        alike(trained(problems(memory=True), 2), whole)

    def test_whoever_is_asked_is_asked_in_this_thread(self):
        seen: list[int] = []

        def note(*_: object) -> bool:
            seen.append(threading.get_ident())
            return False

        given = problems(memory=True)
        lanes = [
            problem.lane(running=Running(report=note, stop=note, snapshots=2), look=note) for problem in given
        ]
        fit_heads(lanes)
        assert set(seen) == {threading.get_ident()}

    @pytest.mark.parametrize("optimizer", ["adamw", "lbfgs"])
    def test_stopped_again_and_again(self, tmp_path, optimizer):
        given = problems(memory=True, optimizer=optimizer)
        whole, found, stops = trained(given, 2), None, 0
        while found is None:
            asked = count(1)

            def stop(asked: Iterator[int] = asked, every: int = 5 + 9 * stops) -> bool:
                return next(asked) % every == 0

            lanes = [
                problem.lane(running=Running(checkpoint=tmp_path / str(place), stop=stop))
                for place, problem in enumerate(given)
            ]
            try:
                found = fit_heads(lanes)
            except Stopped:
                stops += 1
        assert stops > 1
        alike(found, whole)  # type: ignore[arg-type]

    def test_an_interrupt_and_an_error_leave_threads_as_they_were(self):
        def interrupt(_share: float) -> None:
            raise KeyboardInterrupt

        given = problems(memory=True)
        with pytest.raises(KeyboardInterrupt):
            trained(given, 2, report=interrupt)
        assert torch.get_num_threads() == 2

        class Broken(Held):
            def __getitem__(self, rows: np.ndarray) -> torch.Tensor:
                raise OSError("the file is gone")

        broken = Broken(some_states(NUM, 12).states)
        with pytest.raises(OSError, match="the file is gone"):
            trained([*given, *(replace(given[0], held=broken, seed=seed) for seed in range(8))], 2)
        assert torch.get_num_threads() == 2


def test_states_of_several_sets():
    one, two = in_memory(np.ones((3, 2))), in_memory(np.zeros((4, 2)))
    both = joined([one, two], 1000)
    assert both is not None
    assert both.begin == {id(one): 0, id(two): 3}
    assert both.states.tolist() == [[1, 1]] * 3 + [[0, 0]] * 4
    assert joined([one, two], 55) is None
    assert joined([one, Held(np.ones((3, 2)))], 1000) is None
    alone = joined([one], 0)
    assert alone is not None
    assert alone.states is one.held
