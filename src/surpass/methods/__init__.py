"""Methods of weak-to-strong training: one function each, and one line in `METHODS`.

Every loss is a method too: fine-tuning on the weak labels with it.
"""

from __future__ import annotations

import inspect
from functools import partial

from surpass.calls import find, parse
from surpass.errors import ConfigError
from surpass.losses import LOSSES
from surpass.methods import naive, oracle, probing, prompting, selection, supervisors, training
from surpass.methods.setting import Arms, Method, Student, WeakToStrong
from surpass.methods.training import stopped

METHODS: dict[str, Method] = {
    "naive": naive.naive,
    "bootstrap": naive.bootstrap,
    "bootstrap_same": naive.bootstrap_same,
    "strong_to_strong": naive.strong_to_strong,
    "self_training": naive.self_training,
    "early_stop": training.early_stop,
    "probe": training.probe,
    "lp_ft": training.lp_ft,
    "lora": training.lora,
    "ema": training.ema,
    "wise_ft": training.wise_ft,
    "curriculum": training.curriculum,
    "co_teaching": training.co_teaching,
    "zero_shot": prompting.zero_shot,
    "few_shot_weak": prompting.few_shot_weak,
    "generative": prompting.generative,
    "top_confident": selection.top_confident,
    "knn_filter": selection.knn_filter,
    "knn_relabel": selection.knn_relabel,
    "logistic_filter": selection.logistic_filter,
    "logistic_relabel": selection.logistic_relabel,
    "topological_filter": selection.topological_filter,
    "confident_learning": selection.confident_learning,
    "small_loss_filter": selection.small_loss_filter,
    "reliability_filter": selection.reliability_filter,
    "reliability_weight": selection.reliability_weight,
    "calibrated_weight": selection.calibrated_weight,
    "overlap_density": selection.overlap_density,
    "em_posterior": selection.em_posterior,
    "ensemble": supervisors.ensemble,
    "bayesian": supervisors.bayesian,
    "adaboost": supervisors.adaboost,
    "co_supervised": supervisors.co_supervised,
    "dfr_weak": probing.dfr_weak,
    "divdis": probing.divdis,
    "imitation": training.imitation,
    "imitation_confidence": training.imitation_confidence,
    "few_shot_truth": prompting.few_shot_truth,
    "early_stop_truth": training.early_stop_truth,
    "mix_truth": oracle.mix_truth,
    "mix_truth_errors": oracle.mix_truth_errors,
    "truth_part": oracle.truth_part,
    "easy_to_hard": oracle.easy_to_hard,
    "probe_truth": oracle.probe_truth,
    "saliency": oracle.saliency,
    "fit_truth": oracle.fit_truth,
    "dfr": probing.dfr,
    "divdis_truth": probing.divdis_truth,
    "simulate_random": oracle.simulate,
    "simulate_longest": oracle.simulate_longest,
    "simulate_shortest": oracle.simulate_shortest,
    "simulate_unconfident": oracle.simulate_unconfident,
    "simulate_confident": oracle.simulate_confident,
    "simulatable": oracle.simulatable,
    "noise_class": oracle.noise_class,
    "noise_instance": oracle.noise_instance,
}


def method_names() -> tuple[str, ...]:
    """All methods: those of `METHODS`, with the losses behind naive fine-tuning, whose loss is the first."""
    first, *others = METHODS
    return (first, *(name for name in LOSSES if name != "xent"), *others)


def find_method(text: str) -> Method:
    """The method that a text names, such as `naive`, `wise_ft(share=0.7)` or `confidence(alpha=0.75)`.

    Raises:
        ConfigError: There is none, or it has no such setting.
    """
    name = parse(text).name
    if name in LOSSES and name not in METHODS:
        find(text, LOSSES, "loss")
        return partial(naive.naive, loss=text)
    method = find(text, METHODS | dict(LOSSES), "method")
    try:
        inspect.signature(method).bind("the experiment")
    except TypeError as error:
        raise ConfigError(
            f"method {name} does not take one argument, the experiment ({error}); "
            f"if it is a loss, name it as naive(loss={text})"
        ) from None
    return method


def describe_method(name: str) -> str:
    """What a method is, in a line."""
    documented = METHODS.get(name) or LOSSES[name]
    return (documented.__doc__ or "").strip().split("\n")[0]


__all__ = [
    "METHODS",
    "Arms",
    "Method",
    "Student",
    "WeakToStrong",
    "describe_method",
    "find_method",
    "method_names",
    "stopped",
]
