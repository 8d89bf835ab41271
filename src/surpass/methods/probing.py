"""Heads on frozen states against spurious attributes."""

from __future__ import annotations

from importlib.util import find_spec

from surpass.errors import NotApplicable
from surpass.methods.setting import WeakToStrong
from surpass.stages import TRUTH, Features, LabelStage
from surpass.stages.diversify import Diversify
from surpass.stages.retraining import Retrain


def dfr(w2s: WeakToStrong, *, subsets: int = 20) -> Retrain:
    """Naive fine-tuning, its last layer retrained on balanced held-out truth (Kirichenko et al. 2022, DFR).

    Groups are those of truth and attribute, or of the truth where the task has no attribute. Held out
    are the validation examples. Under `adapter=frozen` the states below the last layer are those of the
    pretrained model, and no weak label has a part in it.

    Args:
        w2s: The experiment.
        subsets: Over how many balanced subsets the head is averaged.
    """
    return _retrained(w2s, TRUTH, subsets)


def dfr_weak(w2s: WeakToStrong, *, subsets: int = 20) -> Retrain:
    """Naive fine-tuning, its last layer retrained on held-out weak labels (after Kirichenko et al. 2022).

    Args:
        w2s: The experiment.
        subsets: As for `dfr`.
    """
    w2s.need_classes()
    return _retrained(w2s, w2s.label(w2s.weak, w2s.validation), subsets)


def _retrained(w2s: WeakToStrong, labels: LabelStage | str, subsets: int) -> Retrain:
    w2s.need_classes()
    if find_spec("sklearn") is None:
        raise NotApplicable("scikit-learn is not installed; pip install 'surpass[probes]'")
    student = w2s.student(w2s.weak_labels)
    source = student if student.features_source is None else student.features_source
    return Retrain(
        features=Features.of(source, w2s.validation),
        labels=labels,  # type: ignore[arg-type]
        num_subsets=subsets,
        seed=w2s.seed,
    )


def divdis(
    w2s: WeakToStrong, *, heads: int = 2, mutual: float = 10.0, prior: float = 10.0, queries: int = 64
) -> Diversify:
    """Heads that differ where labels leave it open; the supervisor chooses (Lee et al. 2022, DivDis).

    Linear heads on frozen states learn the weak labels; they are told apart by validation examples
    without labels. The supervisor labels those on which heads differ most.

    Args:
        w2s: The experiment.
        heads: How many.
        mutual: Weight of the mutual information between heads.
        prior: Weight of the divergence of their mean predictions from the share of each class.
        queries: How many examples are labelled to choose a head, at most.
    """
    return _diversified(w2s, by_truth=False, heads=heads, mutual=mutual, prior=prior, queries=queries)


def divdis_truth(
    w2s: WeakToStrong, *, heads: int = 2, mutual: float = 10.0, prior: float = 10.0, queries: int = 64
) -> Diversify:
    """Heads that differ where labels leave it open; the truth of some chooses (Lee et al. 2022, DivDis).

    Args:
        w2s: The experiment.
        heads: As for `divdis`.
        mutual: As for `divdis`.
        prior: As for `divdis`.
        queries: As for `divdis`.
    """
    return _diversified(w2s, by_truth=True, heads=heads, mutual=mutual, prior=prior, queries=queries)


def _diversified(
    w2s: WeakToStrong, *, by_truth: bool, heads: int, mutual: float, prior: float, queries: int
) -> Diversify:
    w2s.need_classes()
    recipe = w2s.recipe_of(w2s.strong_model)
    if recipe.optimizer != "adamw":
        raise NotApplicable(
            f"its loss is one of batches, and optimizer={recipe.optimizer} takes none; use adamw"
        )
    return Diversify(
        features=w2s.features,
        labels=w2s.weak_labels,
        target=Features.of(w2s.strong_model, w2s.validation),
        judge=TRUTH if by_truth else w2s.label(w2s.weak, w2s.validation),
        recipe=recipe,
        num_heads=heads,
        mutual=mutual,
        prior=prior,
        queries=queries,
        seed=w2s.seed,
    )
