"""Methods that filter, weight or correct the supervisor's labels before the student learns them."""

from __future__ import annotations

from importlib.util import find_spec

from surpass.errors import NotApplicable
from surpass.methods.naive import out_of_sample
from surpass.methods.setting import WeakToStrong
from surpass.methods.supervisors import members
from surpass.stages import Fit


def top_confident(w2s: WeakToStrong, *, frac: float = 0.1) -> Fit:
    """Only the surest weak labels, of each class alike (Burns et al. 2023, appendix B: 5 to 20 %)."""
    chosen = w2s.relabel(f"top_confident(frac={frac})", w2s.soft_weak_labels)
    return w2s.student(w2s.handed_over(chosen))


def _probed(w2s: WeakToStrong, rule: str) -> Fit:
    w2s.need_classes()
    return w2s.student(w2s.relabel(rule, w2s.weak_labels, features=w2s.features))


def knn_filter(w2s: WeakToStrong) -> Fit:
    """Drop labels that the neighbours in the strong model's features contradict (EleutherAI 2024, probes)."""
    return _probed(w2s, "knn(use=filter)")


def knn_relabel(w2s: WeakToStrong) -> Fit:
    """Take the neighbours' word instead (EleutherAI 2024, probes)."""
    return _probed(w2s, "knn(use=relabel)")


def logistic_filter(w2s: WeakToStrong) -> Fit:
    """Drop labels that a logistic regression on the strong features contradicts (EleutherAI 2024, probes)."""
    return _probed(w2s, "logistic(use=filter)")


def logistic_relabel(w2s: WeakToStrong) -> Fit:
    """Take the logistic regression's word instead (EleutherAI 2024, probes)."""
    return _probed(w2s, "logistic(use=relabel)")


def topological_filter(w2s: WeakToStrong) -> Fit:
    """Keep the connected heart of each class in the strong features (Wu et al. 2020, TopoFilter)."""
    return _probed(w2s, "topological")


def confident_learning(w2s: WeakToStrong) -> Fit:
    """Drop labels that out-of-sample students find mistaken (Northcutt et al. 2021, cleanlab)."""
    w2s.need_classes()
    if find_spec("cleanlab") is None:
        raise NotApplicable("cleanlab is not installed; pip install 'surpass[noise]'")
    return w2s.student(w2s.relabel("confident_learning", w2s.weak_labels, out_of_sample(w2s)))


def small_loss_filter(w2s: WeakToStrong, *, keep: float = 0.8) -> Fit:
    """Keep the labels on which out-of-sample students have the smallest loss (Han et al. 2018, at once)."""
    return w2s.student(w2s.relabel(f"small_loss(keep={keep})", w2s.weak_labels, out_of_sample(w2s)))


def reliability_filter(w2s: WeakToStrong, *, keep: float = 0.8) -> Fit:
    """Drop labels on which variants of the supervisor disagree (Guo and Yang 2024, reliability-aware).

    The published variants are prompts, and half of the labels is kept; ours are three fits in
    different orders.
    """
    chosen = w2s.relabel(f"reliability(use=filter, keep={keep})", *members(w2s))
    return w2s.student(w2s.handed_over(chosen))


def reliability_weight(w2s: WeakToStrong) -> Fit:
    """Weight labels by how far variants of the supervisor agree (Guo and Yang 2024, reliability-aware)."""
    return w2s.student(w2s.handed_over(w2s.relabel("reliability(use=weight)", *members(w2s))))


def calibrated_weight(w2s: WeakToStrong) -> Fit:
    """Weight labels by the probability that they are right, given the supervisor's confidence.

    A logistic curve, fitted on the supervisor's own half with predictions of fits that have not seen them
    (reliability weights of weak-to-strong forks, 2026).
    """
    w2s.need_fitted()
    truth = w2s.truth(w2s.weak_examples)
    known = w2s.out_of_sample(w2s.weak_model, truth, w2s.weak_examples, folds=3)
    weighted = w2s.relabel("calibrated", w2s.soft_weak_labels, reference=(truth, known))
    return w2s.student(w2s.handed_over(weighted))


def overlap_density(w2s: WeakToStrong) -> Fit:
    """Prefer examples that are easy for the supervisor and near hard ones (Shin et al. 2025)."""
    chosen = w2s.relabel("overlap_density", w2s.soft_weak_labels, features=w2s.features)
    return w2s.student(w2s.handed_over(chosen))


def em_posterior(w2s: WeakToStrong) -> Fit:
    """The posterior of the truth, given weak label, confidence and what students think (Anthropic 2026).

    The students are out-of-sample, so that the prior is no echo of the label.
    """
    posterior = w2s.relabel("em_posterior", w2s.soft_weak_labels, out_of_sample(w2s))
    return w2s.student(w2s.handed_over(posterior))
