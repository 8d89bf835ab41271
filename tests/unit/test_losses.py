"""What losses are built from, and finding them by name."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from reference import losses as twin
from surpass.calls import settings_of
from surpass.errors import ConfigError
from surpass.losses import LOSSES, Target, find_loss, labels_only, per_example, soft_cross_entropy
from surpass.losses.base import (
    Range,
    cross_entropy_slopes,
    hardened,
    largest,
    one_of,
    ramp,
    scores_of,
    top_margin,
)
from surpass.losses.targets import cross_entropy

INF = math.inf


def ragged(num_examples: int = 6, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (-inf behind the last candidate) and target probabilities, float64."""
    rng = np.random.default_rng(seed)
    logits_NC = torch.full((num_examples, width), -INF, dtype=torch.float64)
    probs_NC = torch.zeros(num_examples, width, dtype=torch.float64)
    for row in range(num_examples):
        size = width if row == 0 else 1 + row % width
        logits_NC[row, :size] = torch.from_numpy(3 * rng.standard_normal(size))
        probs_NC[row, :size] = torch.from_numpy(rng.dirichlet(np.ones(size)))
    return logits_NC, probs_NC


def test_cross_entropy_is_the_labels():
    logits_NC, probs_NC = ragged()
    target = cross_entropy(logits_NC, probs_NC, 0.3)
    assert torch.equal(target.target_NC, probs_NC)
    assert target.weight_N.tolist() == [1.0] * 6


class TestSoftCrossEntropy:
    @pytest.mark.parametrize(
        ("logits", "target", "loss"),
        [
            ([0.0, 0.0], [0.3, 0.7], math.log(2)),
            ([0.0, math.log(3)], [0.0, 1.0], math.log(4 / 3)),
            ([1.0, 1.0, 1.0, 1.0], [0.25] * 4, math.log(4)),
            ([5.0], [1.0], 0.0),
            ([2.0, -INF, -INF], [1.0, 0.0, 0.0], 0.0),
            ([0.0, 0.0, -INF], [0.5, 0.5, 0.0], math.log(2)),
            ([1000.0, 0.0], [0.0, 1.0], 1000.0),
        ],
    )
    def test_closed_forms(self, logits, target, loss):
        given = Target(torch.tensor([target]), torch.ones(1))
        assert soft_cross_entropy(torch.tensor([logits]), given).item() == pytest.approx(loss, abs=1e-6)

    def test_equals_the_slow_twin(self):
        logits_NC, probs_NC = ragged(12)
        weight_N = torch.linspace(0, 2, 12, dtype=torch.float64)
        losses_N = soft_cross_entropy(logits_NC, Target(probs_NC, weight_N))
        for loss, logits, probs, weight in zip(losses_N, logits_NC, probs_NC, weight_N, strict=True):
            size = int(torch.isfinite(logits).sum())
            slow = twin.soft_cross_entropy(logits[:size].tolist(), probs[:size].tolist(), weight.item())
            assert loss.item() == pytest.approx(slow, rel=1e-12, abs=1e-12)

    def test_at_the_labels_it_is_their_entropy_and_the_gradient_is_nothing(self):
        _, probs_NC = ragged()
        logits_NC = probs_NC.log().requires_grad_()
        losses_N = soft_cross_entropy(logits_NC, Target(probs_NC, torch.ones(6)))
        torch.testing.assert_close(losses_N, torch.special.entr(probs_NC).sum(1))
        losses_N.sum().backward()
        assert logits_NC.grad.abs().max() < 1e-12

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_slopes_are_those_of_autograd(self, dtype):
        logits_NC, probs_NC = ragged(12)
        logits_NC = logits_NC.to(dtype).requires_grad_()
        target_NC = (0.9 * probs_NC).to(torch.float64 if dtype == torch.float64 else torch.float32)
        target_NC[0, 1] = -0.1  # somebody else's, which counts as 0
        weight_N = torch.linspace(0, 2, 12, dtype=target_NC.dtype)
        loss = soft_cross_entropy(logits_NC, Target(target_NC, weight_N)).sum() / 12
        (expected_NC,) = torch.autograd.grad(loss, logits_NC)
        found, slopes_NC = cross_entropy_slopes(logits_NC.detach(), target_NC, weight_N / 12)
        torch.testing.assert_close(found, loss.detach())
        torch.testing.assert_close(slopes_NC.to(dtype), expected_NC)
        assert not slopes_NC[logits_NC.isneginf()].any()

    def test_slopes_of_several_batches(self):
        """With no candidate missing, without looking for those."""
        random = torch.Generator().manual_seed(0)
        logits, target = torch.randn(3, 7, 4, generator=random), torch.rand(3, 7, 4, generator=random)
        share = torch.rand(3, 7, generator=random)
        losses_G, slopes = cross_entropy_slopes(logits, target, share, ragged=False)
        for batch, (loss, slopes_NC) in enumerate(zip(losses_G, slopes, strict=True)):
            alone, own_NC = cross_entropy_slopes(logits[batch], target[batch], share[batch])
            torch.testing.assert_close(loss, alone)
            torch.testing.assert_close(slopes_NC, own_NC)

    def test_weights_scale_and_zero_silences(self):
        logits_NC, probs_NC = ragged(3)
        plain_N = soft_cross_entropy(logits_NC, Target(probs_NC, torch.ones(3)))
        weighted_N = soft_cross_entropy(logits_NC, Target(probs_NC, torch.tensor([2.0, 0.0, 0.5])))
        torch.testing.assert_close(weighted_N, plain_N * torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64))
        logits_NC.requires_grad_()
        soft_cross_entropy(logits_NC, Target(probs_NC, torch.tensor([2.0, 0.0, 0.5]))).sum().backward()
        assert not logits_NC.grad[1].any()

    def test_the_target_is_left_alone(self):
        logits_NC, _ = ragged(3)
        logits_NC.requires_grad_()
        target_NC = logits_NC.softmax(1)
        soft_cross_entropy(logits_NC, Target(target_NC, torch.ones(3))).sum().backward()
        assert logits_NC.grad.abs().max() < 1e-12

    def test_padding_changes_nothing(self):
        logits_NC, probs_NC = ragged()
        wide = [torch.nn.functional.pad(logits_NC, (0, 3), value=-INF)]
        wide.append(torch.nn.functional.pad(probs_NC, (0, 3)))
        torch.testing.assert_close(
            soft_cross_entropy(wide[0], Target(wide[1], torch.ones(6))),
            soft_cross_entropy(logits_NC, Target(probs_NC, torch.ones(6))),
            rtol=0,
            atol=1e-15,
        )

    def test_probability_where_there_is_no_candidate_is_never_silent(self):
        loss_N = soft_cross_entropy(
            torch.tensor([[0.0, -INF]]), Target(torch.tensor([[0.5, 0.5]]), torch.ones(1))
        )
        assert loss_N.item() == INF

    def test_an_empty_batch_has_no_losses(self):
        assert soft_cross_entropy(torch.zeros(0, 3), Target(torch.zeros(0, 3), torch.zeros(0))).shape == (0,)


class TestParts:
    @pytest.mark.parametrize("num_examples", [1, 2, 3, 10])
    @pytest.mark.parametrize("frac", [0.0, 0.3, 0.5, 1.0])
    def test_the_largest_are_handed_out_as_the_twin_does(self, num_examples, frac):
        rng = np.random.default_rng(num_examples)
        for values in (rng.standard_normal(num_examples), rng.integers(0, 3, num_examples).astype(float)):
            parts_N = largest(torch.from_numpy(values), frac * num_examples)
            assert parts_N.tolist() == pytest.approx(twin.hand_out(frac * num_examples, values.tolist()))
            assert parts_N.sum().item() == pytest.approx(frac * num_examples)

    def test_equal_values_have_equal_parts(self):
        assert largest(torch.tensor([1.0, 3.0, 1.0, 1.0, 0.0]), 2.0).tolist() == pytest.approx(
            [1 / 3, 1, 1 / 3, 1 / 3, 0]
        )

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1.0, 3.0, 2.0], [0, 1, 0]),
            ([3.0, 3.0, 2.0], [0.5, 0.5, 0]),
            ([0.0, -INF, 0.0], [0.5, 0, 0.5]),
            ([-5.0], [1]),
        ],
    )
    def test_the_best_guess_is_shared_by_equals(self, values, expected):
        assert hardened(torch.tensor([values])).tolist() == [expected]

    @pytest.mark.parametrize(
        ("probs", "margin"),
        [([0.7, 0.3], 0.4), ([0.2, 0.5, 0.3], 0.2), ([0.5, 0.5, 0.0], 0), ([1.0], 1), ([1.0, 0.0], 1)],
    )
    def test_margins(self, probs, margin):
        assert top_margin(torch.tensor([probs])).tolist() == pytest.approx([margin])

    @pytest.mark.parametrize(
        ("progress", "frac", "share"),
        [(0, 0.2, 0), (0.1, 0.2, 0.5), (0.2, 0.2, 1), (0.9, 0.2, 1), (0, 0, 1), (0.5, 1, 0.5)],
    )
    def test_a_warm_up_is_linear(self, progress, frac, share):
        assert ramp(progress, frac) == pytest.approx(share)

    def test_scores_of_what_is_not_there_are_nothing(self):
        logits_NC = torch.tensor([[1e4, -1e4, -INF], [2.0, -INF, -INF]], requires_grad=True)
        scores = scores_of(logits_NC)
        assert scores.log_probs_NC.tolist() == [[0, -2e4, 0], [0, 0, 0]]
        assert scores.probs_NC.tolist() == [[1, 0, 0], [1, 0, 0]]
        assert scores.count_N.tolist() == [2, 1]
        (scores.log_probs_NC * scores.probs_NC).sum().backward()
        assert logits_NC.grad.isfinite().all()


class TestNames:
    def test_a_name_alone(self):
        loss = find_loss("xent")
        assert (loss.text, loss.per_example, loss.memory, loss.labels_only) == ("xent", False, False, True)
        assert loss.function.func is LOSSES["xent"] is cross_entropy

    def test_settings_are_bound(self):
        loss = find_loss("confidence(alpha=0.75, prior=weak)")
        assert loss.function.keywords == {"alpha": 0.75, "prior": "weak"}
        assert not loss.labels_only

    def test_kinds(self):
        kinds = {name: find_loss(name) for name in LOSSES}
        assert {name for name in kinds if kinds[name].memory} == {"elr"}
        assert {name for name in kinds if kinds[name].labels_only} == {
            "xent",
            "weak_confidence",
            "reliability",
        }

    def test_somebody_elses(self, tmp_path, monkeypatch):
        (tmp_path / "their_losses.py").write_text(
            "from surpass.losses import per_example\n\n\n@per_example\n"
            "def theirs(logits_NC, weak_probs_NC, progress, *, scale=1.0):\n"
            "    return scale * logits_NC[:, 0]\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        loss = find_loss("their_losses:theirs(scale=3)")
        assert loss.per_example
        assert loss.function(torch.ones(2, 2), torch.ones(2, 2), 0.0).tolist() == [3.0, 3.0]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("hinge", r"no loss 'hinge'; there are: .*xent"),
            ("confidense", r"no loss 'confidense'; did you mean confidence"),
            ("gce(p=1)", r"loss gce has no setting 'p'; it has q"),
            ("confidence(alpha=2)", r"'confidence\(alpha=2\)': alpha is 2; use a number from 0 up to 1"),
            ("confidence(alpha=high)", r"alpha is 'high'; use a number from 0 up to 1"),
            ("confidence(alpha=True)", r"alpha is True; use a number"),
            ("confidence(prior=third)", r"prior is 'third'; use half or weak or none"),
            ("confidence(prior=1)", r"prior is 1; use half or weak or none"),
            ("window(radius=-1)", r"radius is -1; use midweak or a number from 0"),
            ("adaptconf(temperature=0)", r"temperature is 0; use a number above 0"),
            ("reliability(slope=1e999)", r"slope is inf; use a number"),
            ("forward_correction(noise=0.5)", r"noise is 0.5; use a number from 0 up to 0.49"),
            ("elr(memory_NC=1)", r"loss elr has no setting 'memory_NC'"),
            ("sce(log_zero=1)", r"log_zero is 1; use a number up to 0"),
        ],
    )
    def test_what_is_refused(self, text, message):
        with pytest.raises(ConfigError, match=message):
            find_loss(text)

    def test_ranges(self):
        assert Range(0, 1).admits(0)
        assert not Range(0, 1, inside=True).admits(0)
        assert not Range().admits(math.nan)
        assert Range(0, words=("auto",)).admits("auto")
        assert not one_of("a", "b").admits(0)
        assert str(Range(0, 1, inside=True)) == "a number above 0 below 1"
        assert str(Range()) == "a number"

    def test_marks(self):
        @per_example
        def one(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Tensor:
            return logits_NC

        @per_example(memory=True)
        def two(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, memory_NC: Tensor) -> Tensor:
            return logits_NC

        @labels_only
        def three(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Target:
            return Target(weak_probs_NC, logits_NC[:, 0])

        @per_example(slopes=one)
        def four(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Tensor:
            return logits_NC

        kinds = [tuple(function.__dict__["loss_kind"]) for function in (one, two, three, four)]
        assert kinds[:3] == [
            (True, False, False, None),
            (True, True, False, None),
            (False, False, True, None),
        ]
        assert kinds[3] == (True, False, False, one)

    def test_names_and_settings_need_no_torch(self):
        code = "from surpass.losses import find_loss; find_loss('elr(lam=7)')"
        code += "; import sys; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


class TestDocs:
    TEXT = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()

    @pytest.mark.parametrize("name", LOSSES)
    def test_the_table_has_each_loss_with_its_settings(self, name):
        row = next(line for line in self.TEXT.splitlines() if line.startswith(f"| `{name}` |"))
        settings = row.split(" | ")[2]
        shown = [f"`{key}={value}`" for key, value in settings_of(LOSSES[name]).items()]
        assert settings.replace("1/3", str(1 / 3)) == (", ".join(shown) or "none")

    def test_and_no_other(self):
        assert set(re.findall(r"^\| `(\w+)` \|", self.TEXT, re.MULTILINE)) == LOSSES.keys()
