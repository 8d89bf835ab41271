"""Heads that train together, held against each alone, the plain loop, and a slow twin in float64."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reference.heads import (
    Held,
    Problem,
    logits_of,
    probs_of,
    softmax,
    some_labels,
    some_states,
    trained_by_the_loop,
    trained_slowly,
)
from surpass.errors import DataError, Stopped
from surpass.losses import LOSSES
from surpass.train import many_losses
from surpass.train.heads import fit_heads
from surpass.train.lanes import Trained
from surpass.train.linear import backward, head_logits, scores
from surpass.train.loop import Running
from surpass.train.recipe import Recipe

NUM = 60
HELD = some_states(NUM)
PAIRS = some_states(NUM, pairs=True)
FIRM = Recipe(epochs=30, batch_size=16, learning_rate=0.05)

SENSITIVE = {"elr": 1e-5, "product": 1e-5, "product_openai": 1e-5}
"""What long training at a high rate needs in place of 1e-6.

`elr` has the logarithm of 1 - agreement, whose slope grows without bound as the two agree. A student under
`product` meets its own target, and AdamW divides what is left of the gradient by its own size, so that the
rounding in it moves weights by a share of the rate. No loss with a threshold is among them: what a
threshold cuts jumps only if rounding carries an example across.
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def together(problems: list[Problem]) -> list[Trained]:
    trained = fit_heads([problem.lane() for problem in problems])
    assert all(isinstance(each, Trained) for each in trained)
    return trained  # type: ignore[return-value]


def furthest(problem: Problem, one: dict[str, Any], other: dict[str, Any]) -> float:
    return float(np.abs(probs_of(one, problem.held) - probs_of(other, problem.held)).max())


def same_bits(one: Trained, other: Trained) -> bool:
    return torch.equal(one.losses, other.losses) and all(
        torch.equal(value, other.head[name]) for name, value in one.head.items()
    )


@cache
def of_every_loss(num_classes: int) -> dict[str, tuple[Problem, Trained]]:
    """All losses at once, with two seeds, and decay of weights for every third."""
    labels = some_labels(NUM, num_classes)
    recipe = Recipe(epochs=4, batch_size=8, learning_rate=1e-2)
    problems = [
        Problem(
            HELD,
            labels,
            loss=loss,
            seed=number % 2,
            recipe=replace(recipe, weight_decay=0.01 * (number % 3 == 0)),
        )
        for number, loss in enumerate(LOSSES)
    ]
    return dict(zip(LOSSES, zip(problems, together(problems), strict=True), strict=True))


@pytest.mark.parametrize("num_classes", [2, 3])
class TestEveryLoss:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_equals_itself_alone(self, num_classes, loss):
        problem, trained = of_every_loss(num_classes)[loss]
        (alone,) = together([problem])
        assert furthest(problem, trained.head, alone.head) < 1e-6
        torch.testing.assert_close(trained.losses, alone.losses, atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_equals_the_plain_loop(self, num_classes, loss):
        problem, trained = of_every_loss(num_classes)[loss]
        model, losses = trained_by_the_loop(problem)
        assert furthest(problem, trained.head, model.state_dict()) < 1e-6
        torch.testing.assert_close(trained.losses, losses, atol=1e-6, rtol=1e-5)
        assert furthest(problem, trained.head, problem.head()) > 1e-2

    @pytest.mark.parametrize("loss", LOSSES)
    def test_equals_its_slow_twin(self, num_classes, loss):
        problem, trained = of_every_loss(num_classes)[loss]
        head, losses = trained_slowly(problem)
        np.testing.assert_allclose(
            probs_of(trained.head, HELD), softmax(logits_of(head, HELD.states)), atol=1e-6
        )
        np.testing.assert_allclose(trained.losses, losses, atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_long_and_at_a_high_rate(num_classes):
    held = some_states(200, 24)
    labels = some_labels(200, num_classes)
    problems = [
        Problem(held, labels, loss=loss, seed=number % 2, recipe=FIRM) for number, loss in enumerate(LOSSES)
    ]
    for problem, trained in zip(problems, together(problems), strict=True):
        model, _ = trained_by_the_loop(problem)
        bound = SENSITIVE.get(problem.loss, 1e-6)
        assert furthest(problem, trained.head, model.state_dict()) < bound, problem.loss


@pytest.mark.parametrize("loss", LOSSES)
def test_hard_labels(loss):
    labels = [some_labels(NUM, 2, seed=seed, hard=True) for seed in range(2)]
    problems = [Problem(HELD, probs, loss=loss, seed=seed) for seed in (0, 1) for probs in labels]
    for problem, trained in zip(problems, together(problems), strict=True):
        model, _ = trained_by_the_loop(problem)
        assert furthest(problem, trained.head, model.state_dict()) < 1e-6


def company() -> list[Problem]:
    """Heads that have next to nothing in common."""
    rng = np.random.default_rng(5)
    classes = {number: some_labels(NUM, number) for number in (2, 3, 5)}
    some = np.sort(rng.permutation(NUM)[:37])
    uneven = rng.exponential(size=NUM).astype(np.float32)
    recipe = Recipe(epochs=3, batch_size=8, learning_rate=1e-2)
    plain = Problem(HELD, classes[3], recipe=recipe)
    pair = Problem(PAIRS, classes[2], recipe=recipe)
    other = some_states(NUM, 7, seed=1)
    return [
        plain,
        replace(plain, seed=1),
        replace(plain, seed=2, loss="confidence"),
        replace(plain, probs=classes[2]),
        replace(plain, probs=classes[5], loss="gce"),
        replace(plain, probs=classes[2], loss="confidence"),
        replace(plain, probs=classes[2], loss="confidence", recipe=replace(recipe, epochs=5)),
        replace(plain, loss="product(beta=0.5)", recipe=replace(recipe, epochs=1, batch_size=7)),
        replace(plain, recipe=replace(recipe, batch_size=100, learning_rate=0.1)),
        replace(plain, recipe=replace(recipe, schedule="cosine", warmup_frac=0.5, weight_decay=0.1)),
        replace(plain, recipe=replace(recipe, schedule="constant", warmup_frac=0.0)),
        replace(plain, ema=0.9),
        replace(plain, ema=0.5, loss="elr", recipe=replace(recipe, epochs=2)),
        replace(plain, weights=uneven),
        replace(plain, weights=uneven, loss="small_loss"),
        replace(plain, weights=np.zeros(NUM, np.float32)),
        replace(plain, rows=some, probs=[classes[3][row] for row in some], weights=None),
        replace(plain, rows=some, probs=[classes[3][row] for row in some], weights=uneven[:37], loss="elr"),
        replace(plain, hidden=5),
        replace(plain, hidden=5, seed=1, loss="entropy", ema=0.9),
        replace(plain, hidden=9, probs=classes[2]),
        pair,
        replace(pair, seed=1, loss="kl"),
        replace(pair, weights=uneven, loss="adaptconf"),
        replace(pair, hidden=6, loss="gce"),
        Problem(other, classes[3], recipe=recipe),
        Problem(some_states(NUM, 12, seed=2), classes[3], recipe=recipe),
    ]


@cache
def undisturbed() -> list[Trained]:
    """All of them, trained together."""
    return together(company())


class TestCompany:
    @pytest.mark.parametrize("place", range(len(company())))
    def test_each_equals_the_plain_loop_and_its_slow_twin(self, place):
        trained = undisturbed()
        problem = company()[place]
        model, losses = trained_by_the_loop(problem)
        assert furthest(problem, trained[place].head, model.state_dict()) < 1e-6
        assert trained[place].losses.shape == losses.shape
        torch.testing.assert_close(trained[place].losses, losses, atol=1e-6, rtol=1e-5)
        head, slow = trained_slowly(problem)
        np.testing.assert_allclose(
            probs_of(trained[place].head, problem.held),
            softmax(logits_of(head, problem.held.states)),
            atol=1e-6,
        )
        np.testing.assert_allclose(losses, slow, atol=1e-6)

    @pytest.mark.parametrize("seed", range(3))
    def test_in_any_order_and_company(self, seed):
        problems, trained = company(), undisturbed()
        order = np.random.default_rng(seed).permutation(len(problems))[: len(problems) - 8 * seed]
        for place, again in zip(order, together([problems[place] for place in order]), strict=True):
            assert furthest(problems[place], trained[place].head, again.head) < 1e-6

    def test_nobody(self):
        assert fit_heads([]) == []

    def test_states_are_asked_for_once_where_batches_are_the_same(self):
        held = Held(HELD.states)
        labels = [some_labels(NUM, 3, seed=seed) for seed in range(4)]
        problems = [
            Problem(held, probs, loss=loss, seed=seed)
            for probs in labels
            for loss in ("xent", "gce")
            for seed in (0, 1)
        ]
        steps = problems[0].recipe.num_steps(NUM)
        together(problems)
        assert len(held.asked) == 2 * steps
        assert sum(map(len, held.asked)) == 2 * problems[0].recipe.epochs * NUM

    def test_those_that_are_done_ask_for_nothing(self):
        held = Held(HELD.states)
        short = Recipe(epochs=1, batch_size=8, learning_rate=1e-2)
        together([Problem(held, some_labels(NUM), recipe=replace(short, epochs=n)) for n in (1, 3)])
        assert sum(map(len, held.asked)) == 4 * NUM

    def test_reports_the_share(self):
        shares: list[float] = []
        lane = company()[0].lane(running=Running(report=shares.append))
        fit_heads([lane])
        steps = company()[0].recipe.num_steps(NUM)
        assert shares == pytest.approx([(step + 1) / steps for step in range(steps)])


class TestLooks:
    """What early stopping is shown on the way."""

    @pytest.mark.parametrize("snapshots", [1, 4, 10, 40])
    @pytest.mark.parametrize("ema", [0.0, 0.9])
    def test_the_same_heads_as_the_loop_shows(self, snapshots, ema):
        problems = [
            replace(problem, ema=ema)
            for problem in (company()[0], company()[6], company()[18], company()[21])
        ]
        seen: list[dict[int, dict[str, Any]]] = [{} for _ in problems]

        def keep(place: int) -> Callable[[int, dict[str, Any]], None]:
            return lambda number, head: seen[place].__setitem__(number, head)

        running = Running(snapshots=snapshots)
        trained = fit_heads(
            [problem.lane(running=running, look=keep(place)) for place, problem in enumerate(problems)]
        )
        for place, problem in enumerate(problems):
            expected: dict[int, dict[str, Any]] = {}
            trained_by_the_loop_with_looks(problem, snapshots, expected)
            assert seen[place].keys() == expected.keys() == set(range(1, snapshots + 1))
            for number, head in expected.items():
                assert furthest(problem, seen[place][number], head) < 1e-6
            last = trained[place]
            assert isinstance(last, Trained)
            assert all(torch.equal(last.head[name], seen[place][snapshots][name]) for name in last.head)

    def test_a_look_cannot_disturb(self):
        def spoil(_number: int, head: dict[str, Any]) -> None:
            for value in head.values():
                value.zero_()

        problem = company()[0]
        (looked,) = fit_heads([problem.lane(running=Running(snapshots=5), look=spoil)])
        assert same_bits(looked, together([problem])[0])  # type: ignore[arg-type]


def trained_by_the_loop_with_looks(problem: Problem, snapshots: int, kept: dict[int, dict[str, Any]]) -> None:
    from reference.heads import PlainHead
    from surpass.train.loop import fit

    model = PlainHead(problem)

    def look(number: int) -> None:
        kept[number] = {name: value.clone() for name, value in model.state_dict().items()}

    fit(
        model,
        torch.from_numpy(problem.held.states[problem.rows]),
        problem.labels,
        loss=problem.loss,
        recipe=problem.recipe,
        seed=problem.seed,
        ema=problem.ema,
        running=Running(snapshots=snapshots, snapshot=look),
    )


class TestResuming:
    def lanes(self, folder: Path, **running: Any) -> list[Any]:
        folder.mkdir(exist_ok=True)
        return [
            problem.lane(running=Running(checkpoint=folder / f"{place}", **running))
            for place, problem in enumerate(company())
        ]

    @pytest.mark.parametrize("every", [1, 7, 19])
    def test_stopped_again_and_again_to_the_bit(self, tmp_path, every):
        found, interruptions = None, 0
        while found is None:
            asked = count(1)
            try:
                found = fit_heads(
                    self.lanes(tmp_path / "work", stop=lambda asked=asked: next(asked) % every == 0)
                )
            except Stopped:
                interruptions += 1
        assert interruptions > 20 / every
        for one, other in zip(undisturbed(), found, strict=True):
            assert same_bits(one, other)  # type: ignore[arg-type]

    def test_saving_often_changes_nothing(self, tmp_path):
        found = fit_heads(self.lanes(tmp_path / "work", checkpoint_seconds=0.0))
        assert all(same_bits(one, other) for one, other in zip(undisturbed(), found, strict=True))  # type: ignore[arg-type]
        again = fit_heads(self.lanes(tmp_path / "work", checkpoint_seconds=0.0))
        assert all(same_bits(one, other) for one, other in zip(undisturbed(), again, strict=True))  # type: ignore[arg-type]

    @pytest.mark.parametrize("damage", ["cut", "empty", "changed", "gone"])
    def test_damaged_checkpoints_cost_time_only(self, tmp_path, damage):
        asked = count(1)
        with pytest.raises(Stopped):
            fit_heads(self.lanes(tmp_path / "work", stop=lambda: next(asked) == 9))
        saved = sorted((tmp_path / "work").iterdir())
        assert saved
        for path in saved[::2]:
            content = bytearray(path.read_bytes())
            content[-3] ^= 255
            changed = {"cut": bytes(content[:-9]), "empty": b"", "changed": bytes(content)}
            path.unlink() if damage == "gone" else path.write_bytes(changed[damage])
        problems, found = company(), fit_heads(self.lanes(tmp_path / "work"))
        for problem, one, other in zip(problems, undisturbed(), found, strict=True):
            assert furthest(problem, one.head, other.head) < 1e-6  # type: ignore[union-attr]
            torch.testing.assert_close(one.losses, other.losses, atol=1e-6, rtol=1e-5)  # type: ignore[union-attr]

    def test_nothing_is_asked_twice_of_what_is_done(self, tmp_path):
        problem = company()[0]
        steps = problem.recipe.num_steps(NUM)
        asked = count(1)
        running = Running(checkpoint=tmp_path / "checkpoint", stop=lambda: next(asked) == steps - 2)
        with pytest.raises(Stopped):
            fit_heads([problem.lane(running=running)])
        held = Held(HELD.states)
        lane = replace(problem, held=held).lane(running=Running(checkpoint=tmp_path / "checkpoint"))
        fit_heads([lane])
        assert len(held.asked) == 2


class TestDiverging:
    WILD = Recipe(epochs=3, batch_size=8, learning_rate=1e39)

    @pytest.mark.parametrize("loss", ["xent", "gce", "elr", "confidence", "backward_correction"])
    def test_it_is_told_and_the_others_are_as_without_it(self, loss):
        calm = [company()[0], company()[2], replace(company()[0], loss=loss), company()[11]]
        wild = replace(company()[0], recipe=self.WILD, loss=loss)
        first, *others = fit_heads([problem.lane() for problem in (wild, *calm)])
        assert isinstance(first, DataError)
        assert str(first).startswith("training diverged at step ")
        assert str(first).endswith("of 24; lower learning_rate=1e+39")
        for problem, with_it, without in zip(calm, others, together(calm), strict=True):
            assert furthest(problem, with_it.head, without.head) < 1e-6  # type: ignore[union-attr]

    def test_the_step_is_that_of_the_loop(self):
        wild = replace(company()[0], recipe=self.WILD)
        (found,) = fit_heads([wild.lane()])
        _, losses = trained_by_the_loop(wild)
        assert f"at step {int(losses.isfinite().int().argmin()) + 1} of" in str(found)


VARIANTS = [
    *LOSSES,
    "adaptconf(alpha=0.5, temperature=4, warmup_frac=0.25)",
    "confidence(prior=weak, warmup_frac=0)",
    "confidence(prior=none)",
    "confidence_openai(alpha=0.3, warmup_frac=0.3)",
    "elr(lam=0)",
    "gce(q=0)",
    "small_loss(forget=0.5, ramp_frac=0.5)",
    "truncated_gce(start_frac=0)",
    "window(radius=midweak)",
    "window(of=weak)",
]
PROGRESSES = {"all alike": [0.3] * 5, "two": [0.0, 0.9, 0.0, 0.9, 0.0], "each its own": [0, 0.1, 0.4, 0.7, 1]}


class TestManyLosses:
    def batch(self, progress: list[float], num_classes: int = 3) -> many_losses.Batch:
        generator = torch.Generator().manual_seed(num_classes)
        shape = (5, 9, num_classes)
        return many_losses.Batch(
            torch.randn(shape, generator=generator) * 2,
            torch.randn(shape, generator=generator).softmax(2),
            torch.rand(shape[:2], generator=generator),
            list(progress),
            torch.rand(shape, generator=generator) / num_classes,
        )

    def one_by_one(self, text: str, batch: many_losses.Batch) -> tuple[Any, Any, Any]:
        """Means, gradients and memory, head by head, through what a plain fit calls."""
        from surpass.losses import find_loss, soft_cross_entropy

        loss = find_loss(text)
        means, slopes, memories = [], [], []
        for place, progress in enumerate(batch.progress):
            logits_NC = batch.logits_GNC[place].clone().requires_grad_()
            memory_NC = batch.memory_GNC[place].clone()  # type: ignore[index]
            more = {"memory_NC": memory_NC} if loss.memory else {}
            given = loss.function(
                logits_NC if loss.per_example else logits_NC.detach(),
                batch.labels_GNC[place],
                progress,
                **more,
            )
            losses_N = given if loss.per_example else soft_cross_entropy(logits_NC, given)
            mean = (losses_N * batch.weight_GN[place]).sum() / 9
            mean.backward()
            means.append(mean.detach())
            slopes.append(logits_NC.grad)
            memories.append(memory_NC)
        return torch.stack(means), torch.stack(slopes), torch.stack(memories)  # type: ignore[arg-type]

    @pytest.mark.parametrize("num_classes", [2, 4])
    @pytest.mark.parametrize("progress", PROGRESSES)
    @pytest.mark.parametrize("text", VARIANTS)
    def test_equals_head_by_head(self, text, progress, num_classes):
        from surpass.losses import find_loss

        expected = self.one_by_one(text, self.batch(PROGRESSES[progress], num_classes))
        batch, loss = self.batch(PROGRESSES[progress], num_classes), find_loss(text)
        means_G, slopes_GNC = many_losses.many_losses(loss, batch)
        torch.testing.assert_close(means_G, expected[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(slopes_GNC, expected[1], atol=1e-6, rtol=1e-5)
        if loss.memory:
            torch.testing.assert_close(batch.memory_GNC, expected[2], atol=1e-6, rtol=1e-5)

    def test_heads_that_have_come_equally_far_are_one_call(self, monkeypatch):
        """Head by head is a hundred times the work."""
        from surpass.losses import find_loss

        for text in LOSSES:
            calls = []
            loss = find_loss(text)
            name = "slopes" if loss.slopes else "function"
            function = getattr(loss, name)
            counted = replace(loss, **{name: lambda *a, **k: calls.append(1) or function(*a, **k)})  # noqa: B023
            many_losses.many_losses(counted, self.batch(PROGRESSES["all alike"], 2))
            assert len(calls) == 1, text
            many_losses.many_losses(counted, self.batch(PROGRESSES["two"], 2))
            assert len(calls) == 3, text


THEIRS = """
import torch
from surpass.losses import Target, per_example

def by_value(logits_NC, weak_probs_NC, progress):
    \"\"\"A branch on progress, and one on what the logits are.\"\"\"
    share = 0.25 if progress > 0.5 else 0.0
    own_NC = logits_NC.softmax(1)
    if float(own_NC.amax()) > 0.9:
        share += 0.25
    return Target((1 - share) * weak_probs_NC + share * own_NC, own_NC.new_ones(len(own_NC)))

def by_numpy(logits_NC, weak_probs_NC, progress):
    own_NC = torch.from_numpy(logits_NC.numpy()).softmax(1)
    return Target((own_NC + weak_probs_NC) / 2, torch.full((len(own_NC),), min(1.0, progress + 0.5)))

@per_example(memory=True)
def visits(logits_NC, weak_probs_NC, progress, *, memory_NC):
    \"\"\"Weighs an example by how often it has been seen, and looks at what it has kept.\"\"\"
    memory_NC += 1
    seen_N = memory_NC[:, 0].clone()
    if float(seen_N.amax()) > 2:
        seen_N[seen_N > 2] = 5.0
    return -(weak_probs_NC * logits_NC.log_softmax(1)).sum(1) * seen_N

@per_example
def shaken(logits_NC, weak_probs_NC, progress):
    noise_NC = torch.rand(logits_NC.shape)
    return -(weak_probs_NC * (logits_NC + noise_NC).log_softmax(1)).sum(1)

def late_nonsense(logits_NC, weak_probs_NC, progress):
    factor = 3.0 if progress >= 0.25 else 1.0
    return Target(factor * weak_probs_NC, logits_NC.new_ones(len(logits_NC)))
"""


class TestLossesOfSomebodyElses:
    @pytest.fixture
    def theirs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        name = f"theirs_of_heads_{abs(hash(str(tmp_path)))}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(THEIRS))
        monkeypatch.syspath_prepend(tmp_path)
        return name

    @pytest.mark.parametrize("loss", ["by_value", "by_numpy", "visits", "shaken"])
    def test_any_code_equals_the_plain_loop(self, theirs, loss):
        problems = [
            replace(problem, loss=f"{theirs}:{loss}")
            for problem in (
                company()[0],
                company()[1],
                *(replace(company()[0], recipe=replace(company()[0].recipe, epochs=n)) for n in (2, 4, 5)),
                company()[20],
            )
        ]
        for problem, trained in zip(problems, together(problems), strict=True):
            model, losses = trained_by_the_loop(problem)
            torch.testing.assert_close(trained.losses, losses, atol=1e-6, rtol=1e-5)
            assert furthest(problem, trained.head, model.state_dict()) < 1e-6

    def test_one_that_is_no_loss_is_told_and_the_others_go_on(self, theirs):
        from surpass.errors import ConfigError

        bad, good = replace(company()[0], loss=f"{theirs}:late_nonsense"), company()[0]
        first, second = fit_heads([bad.lane(), good.lane()])
        assert isinstance(first, ConfigError)
        assert "gives a target whose row 0 sums to 3" in str(first)
        assert furthest(good, second.head, together([good])[0].head) < 1e-6  # type: ignore[union-attr]


class TestLinear:
    """Heads as tensors, against torch's own gradients."""

    @pytest.mark.parametrize("pairs", [False, True])
    @pytest.mark.parametrize("hidden", [0, 6])
    @pytest.mark.parametrize("num_heads", [1, 4])
    def test_gradients(self, pairs, hidden, num_heads):
        held = PAIRS if pairs else HELD
        problems = [
            Problem(held, some_labels(NUM, 2 if pairs else 3), seed=seed, hidden=hidden)
            for seed in range(num_heads)
        ]
        heads = [{name: value.double() for name, value in problem.head().items()} for problem in problems]
        parameters = [torch.stack([head[name] for head in heads]).requires_grad_() for name in heads[0]]
        states = torch.from_numpy(held.states).double()
        biased = "head.bias" in heads[0]
        logits_GNC = scores(states, parameters, biased)
        for place, head in enumerate(heads):
            assert torch.equal(head_logits(head, states), logits_GNC[place]) or torch.allclose(
                head_logits(head, states), logits_GNC[place], atol=1e-12
            )
            slow = logits_of({name: value.numpy() for name, value in head.items()}, held.states)
            np.testing.assert_allclose(logits_GNC[place].detach(), slow, atol=1e-9)
        slopes_GNC = torch.randn(logits_GNC.shape, generator=torch.Generator().manual_seed(1)).double()
        expected = torch.autograd.grad((logits_GNC * slopes_GNC).sum(), parameters)
        with torch.no_grad():
            found = backward(states, parameters, slopes_GNC, biased)
        assert len(found) == len(parameters)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
