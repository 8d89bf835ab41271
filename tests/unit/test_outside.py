"""What is asked of functions from outside: the form of a method, and what a loss gives."""

from __future__ import annotations

import pytest
import torch

from surpass.calls import code_digest, find, split
from surpass.errors import ConfigError
from surpass.losses import Target, find_loss, per_example
from surpass.methods import find_method
from surpass.overrides import override
from surpass.stages import Fit
from surpass.study import Study
from surpass.tasks.planted import PlantedTask

STUDY = Study(name="study", task=PlantedTask(), pairs=(("linear:4", "linear:all"),), num_train=50)
HERE = __name__
LOGITS_NC = torch.tensor([[0.0, 1.0, -torch.inf], [2.0, 0.0, 1.0]])
WEAK_NC = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])


def ones(logits_NC):
    return logits_NC.new_ones(len(logits_NC))


def sound(logits_NC, weak_probs_NC, progress, *, share=0.0):
    return Target((1 - share) * weak_probs_NC + share * logits_NC.softmax(1), ones(logits_NC))


def ramped(logits_NC, weak_probs_NC, progress):
    return Target(weak_probs_NC * (1 + progress), ones(logits_NC))


def off(logits_NC, weak_probs_NC, progress, *, row=0, by=0.0):
    target_NC = weak_probs_NC.clone()
    target_NC[row, 0] += by
    return Target(target_NC, ones(logits_NC))


def negative(logits_NC, weak_probs_NC, progress):
    return Target(weak_probs_NC + torch.tensor([1.0, -1.0, 0.0]), ones(logits_NC))


def absent(logits_NC, weak_probs_NC, progress):
    return Target(torch.full_like(weak_probs_NC, 1 / 3), ones(logits_NC))


def narrow(logits_NC, weak_probs_NC, progress):
    return Target(weak_probs_NC[:, :2], ones(logits_NC))


def unfinite(logits_NC, weak_probs_NC, progress):
    return Target(weak_probs_NC.log(), ones(logits_NC))


def heavy(logits_NC, weak_probs_NC, progress, *, weight=1.0):
    return Target(weak_probs_NC, ones(logits_NC) * weight)


def listed(logits_NC, weak_probs_NC, progress):
    return Target(weak_probs_NC.tolist(), ones(logits_NC))


def bare(logits_NC, weak_probs_NC, progress):
    return weak_probs_NC


@per_example
def good_losses(logits_NC, weak_probs_NC, progress):
    return -(weak_probs_NC * logits_NC.log_softmax(1)).where(weak_probs_NC > 0, 0.0).sum(1)


@per_example
def summed(logits_NC, weak_probs_NC, progress):
    return good_losses(logits_NC, weak_probs_NC, progress).sum()


@per_example
def detached(logits_NC, weak_probs_NC, progress):
    return good_losses(logits_NC.detach(), weak_probs_NC, progress)


@per_example(memory=True)
def remembering(logits_NC, weak_probs_NC, progress, *, memory_NC):
    memory_NC += 1
    return good_losses(logits_NC, weak_probs_NC, progress)


def call(name, *, progress=0.0, logits_NC=LOGITS_NC, **memory):
    return find_loss(f"{HERE}:{name}").function(logits_NC, WEAK_NC, progress, **memory)


class TestLosses:
    @pytest.mark.parametrize("name", ["sound", "sound(share=0.5)", "heavy(weight=0.0)", "off(by=0.0009)"])
    def test_what_is_sound_passes_as_it_is(self, name):
        given = call(name)
        plain = find(f"{HERE}:{name}", {}, "loss")(LOGITS_NC, WEAK_NC, 0.0)
        assert all(torch.equal(here, there) for here, there in zip(given, plain, strict=True))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("off(by=0.01)", "row 0 sums to 1.01; rows sum to 1"),
            ("off(row=1, by=-0.2)", "row 1 sums to 0.8"),
            ("negative", "gives target below 0, such as -0.7"),
            ("absent", "a candidate that is not there"),
            ("narrow", r"gives target of shape \(2, 2\); here it is \(2, 3\)"),
            ("unfinite", "gives target that are not finite"),
            ("heavy(weight=-1.0)", "gives weights below 0, such as -1"),
            ("listed", "gives target of type list"),
            ("bare", "gives Tensor; return surpass.losses.Target, or mark it with @per_example"),
            ("summed", r"gives losses of shape \(\); here it is \(2,\)"),
        ],
    )
    def test_what_is_not(self, name, message):
        with pytest.raises(ConfigError, match=rf"loss {HERE}:.*{message}"):
            call(name)

    def test_losses_of_each_example(self):
        logits_NC = LOGITS_NC.clone().requires_grad_()
        assert call("good_losses", logits_NC=logits_NC).shape == (2,)
        with pytest.raises(ConfigError, match="without gradient"):
            call("detached", logits_NC=logits_NC)
        assert call("detached").shape == (2,), "nothing asks for a gradient"

    def test_memory_is_handed_on(self):
        memory_NC = torch.zeros(2, 3)
        call("remembering", memory_NC=memory_NC)
        assert memory_NC.eq(1).all()

    @pytest.mark.parametrize("wrong_from", [1, 2, 3, 4, 5, 9])
    def test_it_is_looked_at_again_in_steps_that_double(self, wrong_from):
        loss = find_loss(f"{HERE}:ramped").function
        looked_at = next(2**power for power in range(6) if 2**power >= wrong_from)
        for step in range(1, looked_at):
            loss(LOGITS_NC, WEAK_NC, 0.5 if step >= wrong_from else 0.0)
        with pytest.raises(ConfigError, match="rows sum to 1"):
            loss(LOGITS_NC, WEAK_NC, 0.5)

    def test_each_fit_is_looked_at_from_its_first_step(self):
        first = find_loss(f"{HERE}:ramped").function
        for _ in range(5):
            first(LOGITS_NC, WEAK_NC, 0.0)
        with pytest.raises(ConfigError):
            find_loss(f"{HERE}:ramped").function(LOGITS_NC, WEAK_NC, 0.5)

    def test_our_own_are_not_looked_at(self):
        assert find_loss("xent").function.func.__module__ == "surpass.losses.targets"
        assert find_loss("surpass.losses.targets:cross_entropy").function.func.__name__ == "cross_entropy"


def plain_method(w2s):
    return w2s.student(w2s.weak_labels)


def two_arguments(w2s, labels):
    """No method."""


def positional(w2s, share=0.5):
    return plain_method(w2s)


class TestMethods:
    def student(self, text: str) -> Fit:
        (row,) = STUDY.replace(methods=(text,), seeds=(0,)).rows()
        return row.student

    def test_a_loss_by_its_name_or_as_a_setting_is_one_stage(self):
        assert self.student("gce(q=0.5)").id == self.student("naive(loss=gce(q=0.5))").id
        assert self.student("naive").id == self.student("naive(loss=xent)").id
        assert self.student("naive").id != self.student("naive(loss=kl)").id

    def test_a_loss_from_outside(self):
        student = self.student(f"naive(loss={HERE}:sound(share=0.25))")
        assert student.loss == f"{HERE}:sound(share=0.25)"
        assert student.identity["outside"]["code"] == code_digest(f"{HERE}:sound")["code"]

    def test_a_method_from_outside_is_what_it_composes(self):
        assert self.student(f"{HERE}:plain_method").id == self.student("naive").id

    @pytest.mark.parametrize("name", ["two_arguments", "sound"])
    def test_what_takes_more_is_no_method(self, name):
        with pytest.raises(ConfigError, match=rf"method {HERE}:{name} .* naive\(loss={HERE}:{name}\)"):
            find_method(f"{HERE}:{name}")

    def test_a_setting_that_is_not_keyword_only(self):
        assert find_method(f"{HERE}:positional")
        with pytest.raises(ConfigError, match=r"no setting 'share'; put it behind a \*"):
            find_method(f"{HERE}:positional(share=0.2)")

    def test_a_list_on_the_command_line(self):
        text = "methods=naive(loss=a:b(x=1, y=2)), confidence(alpha=0.5,prior=none),wise_ft(share=0.5)"
        with pytest.raises(ConfigError, match="no loss 'a:b'"):
            override(STUDY, [text]).rows()
        assert len(split(text)) == 3
        good = override(
            STUDY, ["methods=imitation(loss=gce(q=0.5)),naive(loss=confidence(alpha=0.1,prior=none))"]
        )
        assert good.methods == ("imitation(loss=gce(q=0.5))", "naive(loss=confidence(alpha=0.1,prior=none))")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a, b ,c", ["a", "b", "c"]),
        ("a(b=1,c=2),d", ["a(b=1,c=2)", "d"]),
        ("a(b=1, c=d(e=2, f=g(h=3,i=4))),j", ["a(b=1, c=d(e=2, f=g(h=3,i=4)))", "j"]),
        ("a(b='x,(y'),c", ["a(b='x,(y')", "c"]),
        ('a(b="it\'s, so"),c', ['a(b="it\'s, so")', "c"]),
        ("a,,b,", ["a", "", "b", ""]),
        ("a(b,c", ["a(b,c"]),
        ("a),b", ["a),b"]),
    ],
)
def test_split(text, parts):
    assert split(text) == parts


@per_example(slopes=lambda *_: (_ for _ in ()).throw(AssertionError("autograd finds them")))
def with_slopes(logits_NC, weak_probs_NC, progress):
    return good_losses(logits_NC, weak_probs_NC, progress)


def test_slopes_of_theirs_are_not_asked_for():
    loss = find_loss(f"{HERE}:with_slopes")
    assert loss.per_example
    assert loss.slopes is None
