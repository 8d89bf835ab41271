"""Being in `LOSSES` means being covered: what every loss promises, on every kind of batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.losses import EXAMPLE_TWINS, TWINS
from reference.losses import soft_cross_entropy as slow_cross_entropy
from surpass.calls import parse, settings_of
from surpass.losses import LOSSES, Loss, Target, find_loss, soft_cross_entropy

INF = math.inf
PROGRESS = (0.0, 0.08, 1.0)
DTYPES = (torch.float32, torch.float64)

CROSS_ENTROPY = {
    "adaptconf": "adaptconf(alpha=0)",
    "backward_correction": "backward_correction(noise=0)",
    "bootstrap_hard": "bootstrap_hard(beta=1)",
    "bootstrap_soft": "bootstrap_soft(beta=1)",
    "confidence": "confidence(alpha=0)",
    "confidence_openai": "confidence_openai(alpha=0)",
    "elr": "elr(lam=0)",
    "entropy": "entropy(alpha=0)",
    "forward_correction": "forward_correction(noise=0)",
    "gce": "gce(q=0)",
    "geometric_mean": "geometric_mean(alpha=0)",
    "kl": "kl",
    "label_smoothing": "label_smoothing(epsilon=0)",
    "product": "product(beta=0)",
    "product_openai": "product_openai(beta=0)",
    "reliability": "reliability(slope=0, intercept=40)",
    "reverse_kl": "reverse_kl(alpha=0)",
    "sce": "sce(alpha=1, beta=0)",
    "small_loss": "small_loss(forget=0)",
    "squared_confidence": "squared_confidence(alpha=0)",
    "truncated_gce": "truncated_gce(q=0, k=0)",
    "weak_confidence": "weak_confidence(power=0)",
    "window": "window(radius=0.6)",
    "xent": "xent",
}
"""The settings at which a loss is cross-entropy; "kl" differs from it by a constant."""

VARIANTS = [
    *LOSSES,
    "adaptconf(alpha=0.5, temperature=4, warmup_frac=0.25)",
    "confidence(alpha=0.75)",
    "confidence(prior=weak, warmup_frac=0)",
    "confidence(prior=none)",
    "confidence_openai(alpha=0.3, warmup_frac=0.3)",
    "elr(lam=7, beta=0.9, clamp=0.01)",
    "entropy(alpha=1, warmup_frac=0)",
    "gce(q=1)",
    "gce(q=0.01)",
    "geometric_mean(alpha=1, warmup_frac=0.4)",
    "product(beta=0.5, warmup_frac=0.2)",
    "product_openai(alpha=2, beta=0.5)",
    "reliability(slope=1.7, intercept=-0.4)",
    "reverse_kl(alpha=0.3, floor=0.01)",
    "sce(alpha=6, beta=0.1, log_zero=-9)",
    "small_loss(forget=0.5, ramp_frac=1)",
    "truncated_gce(k=0.3, start_frac=0)",
    "weak_confidence(power=2)",
    "window(radius=midweak)",
    "window(radius=midweak, of=weak)",
    "window(radius=0.2, of=weak)",
]


def padded(rows: Sequence[Sequence[float]], fill: float, extra: int = 0) -> Tensor:
    width = max(map(len, rows)) + extra
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.float64)


def drawn(sizes: Sequence[int], seed: int = 0, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Random logits and labels; the last row's label is certain, and of the wrong candidate."""
    rng = np.random.default_rng(seed)
    logits = [(2 * rng.standard_normal(size)).tolist() for size in sizes]
    probs = [rng.dirichlet(np.ones(size)).tolist() for size in sizes]
    if len(sizes) > 1:
        worst = int(np.argmin(logits[-1]))
        probs[-1] = [float(place == worst) for place in range(sizes[-1])]
    return padded(logits, -INF, extra), padded(probs, 0.0, extra)


EXTREME = [[1e4, -1e4], [-1e4, 1e4], [-1e4, 1e4], [0.0, 0.0], [1e4, 9999.0], [1e4, -1e4]]
DEGENERATE = [[0.0, 1.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.3, 0.7], [1.0, 0.0]]
RAGGED = (5, 1, 3, 2, 5, 4, 3)

BATCHES = {
    "ragged": drawn(RAGGED),
    "other ragged": drawn(RAGGED, seed=1),
    "two classes": drawn((2,) * 8),
    "two classes, odd": drawn((2,) * 7, seed=1),
    "many classes": drawn((4,) * 6),
    "one example": drawn((5,)),
    "one example, two classes": drawn((2,)),
    "one candidate": drawn((1,)),
    "extreme": (
        padded([*EXTREME, [1e4], [-1e4, 1e4, -1e4]], -INF),
        padded([*DEGENERATE, [1.0], [0.0, 0.0, 1.0]], 0.0),
    ),
    "extreme, two classes": (padded(EXTREME, -INF), padded(DEGENERATE, 0.0)),
    "all alike": (padded([[0.0, 0.0]] * 5, -INF), padded([[0.5, 0.5]] * 5, 0.0)),
    "labels of one class": (drawn((2,) * 4)[0], padded([[0.0, 1.0]] * 4, 0.0)),
}

each_variant = pytest.mark.parametrize("name", VARIANTS)
each_target = pytest.mark.parametrize("name", [name for name in VARIANTS if parse(name).name in TWINS])
each_example = pytest.mark.parametrize(
    "name", [name for name in VARIANTS if parse(name).name in EXAMPLE_TWINS]
)


def given(batch: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    logits_NC, probs_NC = BATCHES[batch]
    return logits_NC.to(dtype), probs_NC.to(dtype)


def everything() -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """Each batch at each precision and progress; the first item tells which, for messages."""
    for batch, dtype, progress in product(BATCHES, DTYPES, PROGRESS):
        yield f"{batch}, {dtype}, progress {progress}", *given(batch, dtype), progress


def remembered(probs_NC: Tensor) -> Tensor:
    """A memory as training might leave it; rows sum to less than 1."""
    before_NC = probs_NC.roll(1, 0)
    return (0.7 * before_NC.where(probs_NC > 0, 0.0)).float()


def losses_of(
    loss: Loss, logits_NC: Tensor, probs_NC: Tensor, progress: float, memory_NC: Tensor | None = None
) -> Tensor:
    """Weighted nats of each example, whatever kind of loss it is; the memory is left as it was."""
    if not loss.per_example:
        with torch.no_grad():
            target = loss.function(logits_NC.detach(), probs_NC, progress)
        return soft_cross_entropy(logits_NC, target)
    if loss.memory:
        memory_NC = remembered(probs_NC) if memory_NC is None else memory_NC.clone()
        return loss.function(logits_NC, probs_NC, progress, memory_NC=memory_NC)
    return loss.function(logits_NC, probs_NC, progress)


def gradient(loss: Loss, logits_NC: Tensor, probs_NC: Tensor, progress: float) -> Tensor:
    free_NC = logits_NC.clone().requires_grad_()
    losses_of(loss, free_NC, probs_NC, progress).sum().backward()
    return free_NC.grad


def ragged(values_NC: Tensor, logits_NC: Tensor) -> list[list[float]]:
    sizes = (~logits_NC.isneginf()).sum(1).tolist()
    return [row[:size].tolist() for row, size in zip(values_NC, sizes, strict=True)]


def near(expected: Sequence[float], *, exact: bool) -> object:
    return pytest.approx(expected, abs=1e-9) if exact else pytest.approx(expected, rel=1e-5, abs=2e-6)


def test_every_loss_is_named_here_and_has_a_twin():
    assert CROSS_ENTROPY.keys() == LOSSES.keys() == TWINS.keys() | EXAMPLE_TWINS.keys()
    assert not TWINS.keys() & EXAMPLE_TWINS.keys()
    assert all(find_loss(name).per_example == (name in EXAMPLE_TWINS) for name in LOSSES)


@each_target
class TestTargets:
    def test_are_distributions_over_candidates_that_exist(self, name):
        for case, logits_NC, probs_NC, progress in everything():
            target_NC, weight_N = find_loss(name).function(logits_NC, probs_NC, progress)
            assert target_NC.shape == probs_NC.shape, case
            assert weight_N.shape == (len(probs_NC),), case
            assert target_NC.dtype == weight_N.dtype == logits_NC.dtype, case
            assert target_NC.isfinite().all(), case
            assert weight_N.isfinite().all(), case
            assert (target_NC >= 0).all(), case
            assert (weight_N >= 0).all(), case
            assert target_NC.sum(1).tolist() == near([1.0] * len(probs_NC), exact=False), case
            assert not target_NC[logits_NC.isneginf()].any(), case

    def test_equal_their_slow_twin(self, name):
        call = parse(name)
        for case, logits_NC, probs_NC, progress in everything():
            target_NC, weight_N = find_loss(name).function(logits_NC, probs_NC, progress)
            rows = ragged(logits_NC, logits_NC), ragged(probs_NC, logits_NC)
            target, weight = TWINS[call.name](*rows, progress, **call.settings)
            exact = logits_NC.dtype == torch.float64
            for found, expected in zip(ragged(target_NC, logits_NC), target, strict=True):
                assert found == near(expected, exact=exact), case
            assert weight_N.tolist() == near(weight, exact=exact), case

    def test_have_no_gradient(self, name):
        logits_NC, probs_NC = given("two classes")
        target = find_loss(name).function(logits_NC.clone().requires_grad_(), probs_NC, 0.5)
        assert not target.target_NC.requires_grad
        assert not target.weight_N.requires_grad


@pytest.mark.parametrize("name", ["confidence_openai", "product_openai"])
@pytest.mark.parametrize("num_examples", [1, 2, 3, 31, 32, 33])
@pytest.mark.parametrize("hard", [False, True])
def test_what_was_released_is_reproduced(name, num_examples, hard):
    """Target and loss to 1e-6, by the twin from the description, in the precision of training."""
    for seed, progress in product(range(5), (0.0, 0.05, 0.1, 0.2, 1.0)):
        logits_NC, probs_NC = (values.float() for values in drawn((2,) * num_examples, seed=seed))
        if hard:
            probs_NC = probs_NC.round()
        target, _ = TWINS[name](logits_NC.tolist(), probs_NC.tolist(), progress)
        found_NC = find_loss(name).function(logits_NC, probs_NC, progress).target_NC
        torch.testing.assert_close(found_NC, torch.tensor(target), atol=1e-6, rtol=0)
        slow_N = [slow_cross_entropy(*pair, 1.0) for pair in zip(logits_NC.tolist(), target, strict=True)]
        mean = losses_of(find_loss(name), logits_NC, probs_NC, progress).mean().item()
        assert mean == pytest.approx(math.fsum(slow_N) / num_examples, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in VARIANTS if find_loss(name).labels_only])
def test_who_needs_no_logits_does_not_look_at_them(name):
    for _, logits_NC, probs_NC, progress in everything():
        function = find_loss(name).function
        target, other = (function(logits, probs_NC, progress) for logits in (logits_NC, probs_NC))
        assert torch.equal(target.target_NC, other.target_NC)
        assert torch.equal(target.weight_N, other.weight_N)


@each_example
class TestPerExample:
    def test_equal_their_slow_twin(self, name):
        call, loss = parse(name), find_loss(name)
        for case, logits_NC, probs_NC, progress in everything():
            rows = ragged(logits_NC, logits_NC), ragged(probs_NC, logits_NC)
            found_N = losses_of(loss, logits_NC, probs_NC, progress)
            memory = {"memory": ragged(remembered(probs_NC), logits_NC)} if loss.memory else {}
            expected = EXAMPLE_TWINS[call.name](*rows, progress, **memory, **call.settings)
            exact = logits_NC.dtype == torch.float64 and not loss.memory  # a memory is single precision
            assert found_N.tolist() == near(expected, exact=exact), case
            assert found_N.dtype == logits_NC.dtype

    @pytest.mark.parametrize("cuts", [(1,) * 7, (3, 1, 3), (2, 5), (7,)])
    def test_the_micro_batch_does_not_matter(self, name, cuts):
        logits_NC, probs_NC = given("ragged")
        loss, memory_NC = find_loss(name), remembered(probs_NC)
        whole_N = losses_of(loss, logits_NC, probs_NC, 0.5)
        parts = []
        for part in torch.arange(7).split(list(cuts)):
            width = int((~logits_NC[part].isneginf()).sum(1).max())
            pieces = [values_NC[part, :width] for values_NC in (logits_NC, probs_NC, memory_NC)]
            parts.append(losses_of(loss, *pieces[:2], 0.5, pieces[2]))
        torch.testing.assert_close(torch.cat(parts), whole_N, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [name for name in VARIANTS if find_loss(name).slopes])
def test_closed_forms_are_what_autograd_finds(name):
    loss = find_loss(name)
    assert loss.slopes is not None
    for case, logits_NC, probs_NC, progress in everything():
        losses_N, slopes_NC = loss.slopes(logits_NC, probs_NC, progress)
        exact = logits_NC.dtype == torch.float64
        bounds = {"rtol": 1e-12 if exact else 1e-5, "atol": 1e-12 if exact else 1e-6}
        plain_N, plain_NC = (
            losses_of(loss, logits_NC, probs_NC, progress),
            gradient(loss, logits_NC, probs_NC, progress),
        )
        torch.testing.assert_close(losses_N, plain_N, msg=case, **bounds)
        torch.testing.assert_close(slopes_NC, plain_NC, msg=case, **bounds)
        several = [values.expand(2, *values.shape) for values in (logits_NC, probs_NC)]
        for each_N, each_NC in zip(*loss.slopes(*several, progress), strict=True):
            torch.testing.assert_close(each_N, losses_N, msg=case, **bounds)
            torch.testing.assert_close(each_NC, slopes_NC, msg=case, **bounds)


@each_variant
class TestEvery:
    def test_value_and_gradient_are_finite(self, name):
        for case, logits_NC, probs_NC, progress in everything():
            assert losses_of(find_loss(name), logits_NC, probs_NC, progress).isfinite().all(), case
            grad_NC = gradient(find_loss(name), logits_NC, probs_NC, progress)
            assert grad_NC.isfinite().all(), case
            assert not grad_NC[logits_NC.isneginf()].any(), case

    def test_the_order_of_the_batch_does_not_matter(self, name):
        loss, rng = find_loss(name), np.random.default_rng(0)
        for case, logits_NC, probs_NC, progress in everything():
            order, memory_NC = torch.from_numpy(rng.permutation(len(logits_NC))), remembered(probs_NC)
            found_N = losses_of(loss, logits_NC, probs_NC, progress, memory_NC)
            other_N = losses_of(loss, logits_NC[order], probs_NC[order], progress, memory_NC[order])
            assert torch.equal(other_N, found_N[order]), case

    @pytest.mark.parametrize("sizes", [RAGGED, (2,) * 6, (1,)])
    def test_nor_does_padding(self, name, sizes):
        loss = find_loss(name)
        narrow_N, wide_N = (losses_of(loss, *drawn(sizes, extra=extra), 0.5) for extra in (0, 3))
        torch.testing.assert_close(wide_N, narrow_N, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("batch", ["ragged", "two classes", "many classes"])
    def test_nor_does_the_micro_batch_for_the_gradient(self, name, batch):
        logits_NC, probs_NC = given(batch)
        loss = find_loss(name)
        whole_NC = gradient(loss, logits_NC, probs_NC, 0.5)
        free_NC, memory_NC = logits_NC.clone().requires_grad_(), remembered(probs_NC)
        target = None if loss.per_example else loss.function(logits_NC, probs_NC, 0.5)
        for part in torch.arange(len(logits_NC)).split(3):
            if target is None:
                found_N = losses_of(loss, free_NC[part], probs_NC[part], 0.5, memory_NC[part])
            else:
                found_N = soft_cross_entropy(free_NC[part], Target(*(values[part] for values in target)))
            found_N.sum().backward()
        torch.testing.assert_close(free_NC.grad, whole_NC, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("batch", ["ragged", "two classes"])
    def test_the_gradient_is_what_differences_say(self, name, batch):
        logits_NC, probs_NC = given(batch)
        loss, step = find_loss(name), 1e-5
        target = None if loss.per_example else loss.function(logits_NC, probs_NC, 0.5)
        if loss.memory:  # whose memory follows the student, without gradient: hold it
            loss = replace(loss, function=partial(loss.function, beta=1.0))

        def total(logits_NC: Tensor) -> float:
            if target is None:
                return losses_of(loss, logits_NC, probs_NC, 0.5).sum().item()
            return soft_cross_entropy(logits_NC, target).sum().item()

        grad_NC = gradient(loss, logits_NC, probs_NC, 0.5)
        for row, column in torch.nonzero(logits_NC.isfinite()).tolist():
            change_NC = torch.zeros_like(logits_NC)
            change_NC[row, column] = step
            difference = (total(logits_NC + change_NC) - total(logits_NC - change_NC)) / (2 * step)
            assert grad_NC[row, column].item() == pytest.approx(difference, abs=1e-7)

    def test_half_precision_is_summed_in_single(self, name):
        logits_NC, probs_NC = given("two classes", torch.float32)
        coarse_NC = logits_NC.bfloat16()
        found_N = losses_of(find_loss(name), coarse_NC, probs_NC, 0.5)
        expected_N = losses_of(find_loss(name), coarse_NC.float(), probs_NC, 0.5)
        torch.testing.assert_close(found_N, expected_N)


@pytest.mark.parametrize("name", LOSSES)
class TestNames:
    def test_at_weight_nothing_it_is_cross_entropy(self, name):
        for case, logits_NC, probs_NC, progress in everything():
            text = CROSS_ENTROPY[name]
            found_N = losses_of(find_loss(text), logits_NC, probs_NC, progress)
            plain_N = losses_of(find_loss("xent"), logits_NC, probs_NC, progress)
            if name == "kl":
                plain_N = plain_N - torch.special.entr(probs_NC).sum(1)
            exact = logits_NC.dtype == torch.float64
            assert found_N.tolist() == near(plain_N.tolist(), exact=exact), case
            found_NC = gradient(find_loss(text), logits_NC, probs_NC, progress)
            plain_NC = gradient(find_loss("xent"), logits_NC, probs_NC, progress)
            assert found_NC.flatten().tolist() == near(plain_NC.flatten().tolist(), exact=exact), case

    def test_says_where_it_is_from(self, name):
        assert "Source:" in inspect.getdoc(LOSSES[name])

    def test_each_setting_is_described_and_has_a_range_that_admits_its_default(self, name):
        ranges = getattr(LOSSES[name], "loss_settings", {})
        defaults = settings_of(LOSSES[name])
        assert ranges.keys() == defaults.keys()
        for setting, default in defaults.items():
            assert ranges[setting].admits(default)
            assert not ranges[setting].admits("nonsense")
            assert f"    {setting}: " in inspect.getdoc(LOSSES[name])
