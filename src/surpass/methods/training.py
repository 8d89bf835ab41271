"""Methods that change how the student is trained, on the labels as they are."""

from __future__ import annotations

from surpass.errors import ConfigError, NotApplicable
from surpass.methods.setting import WeakToStrong
from surpass.stages import TRUTH, Blend, Fit, Hint, LabelStage, Stop


def early_stop(w2s: WeakToStrong) -> Stop:
    """The snapshot that agrees best with weak labels it has not seen (Burns et al. 2023, section 5.1.1).

    The paper's default for language tasks; for chess and reward modelling it does not stop early.
    """
    return stopped(w2s, w2s.student(w2s.weak_labels))


def stopped(w2s: WeakToStrong, fit: Fit) -> Stop:
    """A fit, stopped where it agrees best with the supervisor on validation examples.

    Raises:
        NotApplicable: L-BFGS trains it, which goes to the minimum at once.
    """
    _need_way(fit)
    labels = w2s.label(w2s.weak, w2s.validation)
    return Stop(fit=fit, examples=fit.sees(w2s.validation), labels=labels)


def _need_way(fit: Fit) -> None:
    if fit.recipe.optimizer == "lbfgs":
        raise NotApplicable("L-BFGS goes to the minimum at once, so there is nowhere to stop")


def early_stop_truth(w2s: WeakToStrong) -> Stop:
    """The same by the truth, an upper bound on early stopping: oracle (Burns et al. 2023, section 5.1.1)."""
    fit = w2s.student(w2s.weak_labels)
    _need_way(fit)
    return Stop(fit=fit, examples=w2s.validation, labels=TRUTH)


def probe(w2s: WeakToStrong, *, rate_factor: float = 1.0, epochs: int = 0) -> Fit:
    """Train the head alone on frozen features (Burns et al. 2023, appendix D.2).

    Args:
        w2s: The experiment.
        rate_factor: Of the recipe's learning rate: what suits a whole model is small for a head.
        epochs: How many; 0 for as many as the recipe says.
    """
    return probed(w2s, w2s.weak_labels, rate_factor=rate_factor, epochs=epochs)


def probed(
    w2s: WeakToStrong,
    labels: LabelStage,
    *,
    rate_factor: float,
    epochs: int,
    start: Fit | None = None,
) -> Fit:
    """A head on the states of the strong model, or of what it became, with a rate and length of its own.

    Raises:
        ConfigError: A number makes no sense.
    """
    number = isinstance(rate_factor, int | float) and rate_factor > 0
    if not number or type(epochs) is not int or epochs < 0:
        raise ConfigError(
            f"rate_factor={rate_factor} must be above 0, and epochs={epochs} a whole number from 0"
        )
    return w2s.student(
        labels, adapter="frozen", start=start, rate_factor=rate_factor, epochs=epochs if epochs else None
    )


def lp_ft(w2s: WeakToStrong) -> Fit:
    """Train the head first, then everything from there (Kumar et al. 2022; Burns et al. 2023, appendix B)."""
    return w2s.student(w2s.weak_labels, start=probe(w2s))


def lora(w2s: WeakToStrong, *, rank: int = 8, layers: int = 0) -> Fit:
    """Train low-rank changes and the head (Hu et al. 2022; Burns et al. 2023, appendix B).

    Args:
        w2s: The experiment.
        rank: Rank of each change.
        layers: Changes in the last so many layers alone; 0 for all.
    """
    settings = f"rank={rank}, layers={layers}" if layers else f"rank={rank}"
    return w2s.student(w2s.weak_labels, adapter=f"lora({settings})")


def ema(w2s: WeakToStrong, *, decay: float = 0.99) -> Fit:
    """The moving average of the weights over the steps (Burns et al. 2023, appendix B)."""
    return w2s.student(w2s.weak_labels, ema=decay)


def wise_ft(w2s: WeakToStrong, *, share: float = 0.5) -> Blend:
    """Weights between pretrained and fine-tuned (Wortsman et al. 2022, WiSE-FT).

    Args:
        w2s: The experiment.
        share: Of the fine-tuned weights, in [0, 1].

    Raises:
        ConfigError: It is outside.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"wise_ft(share={share}) must be from 0 (pretrained) to 1 (fine-tuned)")
    return w2s.blend(w2s.student(w2s.weak_labels), share)


def curriculum(w2s: WeakToStrong, *, frac: float = 0.5) -> Fit:
    """First the labels that the supervisor is surest of, then all of them at half the learning rate.

    Two epochs and the recipe's number, each with a schedule of its own (Anthropic 2026, "MDL curriculum",
    `related work`; theirs are 2 and 3).
    """
    sure = w2s.handed_over(w2s.relabel(f"top_confident(frac={frac})", w2s.soft_weak_labels))
    return w2s.student(
        w2s.weak_labels,
        start=w2s.student(sure, epochs=2),
        rate_factor=0.5,
    )


def co_teaching(w2s: WeakToStrong, *, forget: float = 0.2) -> Fit:
    """Two students; after each epoch each goes on with the labels that the other finds easy.

    The share left out rises evenly to `forget` in the last epoch (Han et al. 2018; there the exchange
    is once a batch, between networks that begin apart. Ours begin from the same pretrained weights
    and differ in the order of their examples). Each epoch has its own schedule, at an evenly falling rate.
    """
    epochs = w2s.recipe.epochs
    students = [w2s.student(w2s.weak_labels, epochs=1, seed=w2s.seed + k * _SECOND) for k in (0, 1)]
    for epoch in range(1, epochs):
        keep = round(1 - forget * epoch / (epochs - 1), 6)
        seen = [w2s.soft(student, w2s.student_examples) for student in students]
        students = [
            w2s.student(
                w2s.relabel(f"small_loss(keep={keep})", w2s.weak_labels, seen[1 - k]),
                start=students[k],
                epochs=1,
                seed=w2s.seed + k * _SECOND + epoch * _EPOCH,
                rate_factor=1 - epoch / epochs,
            )
            for k in (0, 1)
        ]
    return students[0]


# Apart from the seeds of experiments, which are small.
_SECOND, _EPOCH = 1_000_003, 10_007


def imitation(w2s: WeakToStrong, *, loss: str = "xent") -> Fit:
    """Show the student the weak label in its input: trivial imitation (Burns et al. 2023, appendix E.3).

    Raises:
        NotApplicable: The models cannot be shown a label.
    """
    w2s.need("hint")
    hint = Hint(examples=w2s.student_examples, labels=w2s.weak_labels)
    return w2s.student(w2s.weak_labels, examples=hint, loss=loss)


def imitation_confidence(w2s: WeakToStrong) -> Fit:
    """Trivial imitation with the confidence loss (Burns et al. 2023, appendix E.3)."""
    return imitation(w2s, loss="confidence")
