"""Numbers of Burns et al. 2023 (arXiv 2312.09390), to be drawn behind measured ones.

Those of tables are printed. Those of figures are not: they were read from the vector paths of the paper's
figures, calibrated by the ticks of the axes, and may be wrong by `READING_ERROR`. Fractions are fractions.
Sizes are decimal logarithms of pretraining compute, as a fraction of GPT-4's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PAPER = "Burns et al. 2023"
READING_ERROR = 0.003


class PaperCurve(NamedTuple):
    """One line of a figure, or points of it.

    Attributes:
        figure: Its number.
        what: "accuracy", "pgr", or a kind of agreement with the supervisor.
        method: How the students were trained; "truth" for ceilings.
        supervisor: Its size; None for ceilings.
        points: Size of the student, and the number.
    """

    figure: int
    what: str
    method: str
    supervisor: float | None
    points: tuple[tuple[float, float], ...]


class PaperMedian(NamedTuple):
    """A median PGR over pairs of models.

    Attributes:
        figure: Its number.
        pgr: By method.
    """

    figure: int
    pgr: Mapping[str, float]


class PaperTable(NamedTuple):
    """Accuracies that are printed, by model.

    Attributes:
        table: Its number.
        weak: Of supervisors.
        ceiling: Of models that learned the truth.
        student: Of students, by supervisor and student.
        pgr: Likewise, as printed.
    """

    table: int
    weak: Mapping[str, float]
    ceiling: Mapping[str, float]
    student: Mapping[tuple[str, str], float]
    pgr: Mapping[tuple[str, str], float]


def _curve(
    figure: int, what: str, method: str, supervisor: float | None, sizes: str, percent: str
) -> PaperCurve:
    """Sizes and percentages as they stand in a line of text."""
    points = zip(map(float, sizes.split()), map(float, percent.split()), strict=True)
    return PaperCurve(figure, what, method, supervisor, tuple((size, y / 100) for size, y in points))


def _at_gpt4(figure: int, what: str, method: str, **percent: float) -> tuple[PaperCurve, ...]:
    """Students of GPT-4's size, by supervisor."""
    return tuple(
        PaperCurve(figure, what, method, SUPERVISORS[name], ((0.0, y / 100),)) for name, y in percent.items()
    )


SUPERVISORS = {"w1": -7.1, "w2": -6.0, "w3": -5.2, "w4": -4.2, "w5": -3.1, "w6": -2.4, "w7": -1.6}
W1, W3 = SUPERVISORS["w1"], SUPERVISORS["w3"]
_FROM_W1 = "-7.1 -5.2 -4.7 -4.2 -3.1 -2.4 -1.6 0"
_FROM_W3 = "-4.2 -3.1 -2.4 -1.6 0"
_BEHIND_W1 = "-5.2 -4.2 -3.1 -2.4 -1.6 0"
_CHESS = "-7.1 -6 -5.2 -4.2 -3.1 -2.4 -1.6 0"
_REWARD = "-7 -6.5 -6 -5.2 -4.7 -4.2 -3.1 -2.4 -1.6 0"

TEXT = (
    _curve(3, "accuracy", "truth", None, "-7.1 " + _BEHIND_W1, "61.9 70.7 75.3 84.1 84.0 87.7 90.3"),
    _curve(3, "accuracy", "naive", W1, _FROM_W1, "59.4 61.6 62.4 63.0 64.2 67.5 68.5 69.6"),
    *_at_gpt4(3, "accuracy", "naive", w3=79.5, w4=83.4, w5=88.7, w6=89.8, w7=90.5),
    _curve(3, "pgr", "naive", W1, _BEHIND_W1, "25.3 25.5 22.9 27.9 24.3 27.7"),
    _curve(3, "pgr", "naive", W3, _FROM_W3, "36.4 44.3 46.0 48.3 52.3"),
    *_at_gpt4(3, "pgr", "naive", w4=58.6, w5=68.6, w6=75.6, w7=69.8),
    _curve(5, "accuracy", "confidence", W1, _FROM_W1, "58.9 59.5 60.6 62.5 66.0 71.0 77.8 86.0"),
    *_at_gpt4(5, "accuracy", "confidence", w3=87.8, w4=86.8, w5=89.1, w6=89.8, w7=88.2),
    _curve(5, "pgr", "confidence", W1, _BEHIND_W1, "17.8 20.4 27.7 39.2 64.4 77.7"),
    _curve(5, "pgr", "confidence", W3, _FROM_W3, "35.5 47.1 48.7 65.5 78.7"),
    *_at_gpt4(5, "pgr", "confidence", w4=75.4, w5=71.7, w6=67.4, w7=47.9),
    _curve(8, "agreement", "naive", W1, "-1.6", "81.4"),
    _curve(8, "agreement", "confidence", W1, "-1.6", "73.4"),
    _curve(8, "agreement_wrong", "naive", W1, "-1.6", "64.6"),
    _curve(8, "agreement_wrong", "confidence", W1, "-1.6", "52.8"),
)
"""Medians over 22 data sets."""

CHESS = (
    _curve(3, "accuracy", "truth", None, _CHESS, "17.1 22.1 28.9 39.5 55.3 63.8 69.2 84.5"),
    *_at_gpt4(3, "accuracy", "naive", w1=18.8, w2=27.0, w3=35.4, w4=49.1, w5=63.2, w6=70.5, w7=75.5),
    _curve(3, "pgr", "naive", W3, "-4.2 0", "40.1 11.8"),
    _curve(3, "pgr", "naive", SUPERVISORS["w4"], "-3.1 0", "51.6 21.4"),
    _curve(3, "pgr", "naive", SUPERVISORS["w5"], "-2.4 0", "59.7 27.2"),
    _curve(3, "pgr", "naive", SUPERVISORS["w6"], "-1.6 0", "71.3 32.1"),
    *_at_gpt4(3, "pgr", "naive", w1=2.5, w2=7.9, w7=41.2),
    _curve(4, "accuracy", "bootstrap", W1, "-3.1", "21.2"),
    _curve(4, "accuracy", "bootstrap", SUPERVISORS["w2"], "-2.4", "29.4"),
    _curve(4, "accuracy", "bootstrap", W3, "-1.6", "45.5"),
    *_at_gpt4(4, "accuracy", "bootstrap", w4=59.8, w5=69.3, w6=73.9),
    _curve(4, "pgr", "bootstrap", W3, "-1.6", "41"),
    *_at_gpt4(4, "pgr", "bootstrap", w4=45.0, w6=48.0),
)

REWARD = (
    _curve(3, "accuracy", "truth", None, _REWARD, "60.4 61.1 61.4 62.8 63.9 64.8 67.0 68.5 69.3 70.5"),
    *_at_gpt4(3, "accuracy", "naive", w1=61.1, w3=63.5, w4=65.2, w5=67.4, w6=68.8),
    _curve(3, "pgr", "naive", W1, "-6 -5.2 -4.7 -4.2 -3.1 -2.4 -1.6 0", "24.2 13.6 11.9 8.0 9.2 7.0 7.2 6.8"),
    *_at_gpt4(3, "pgr", "naive", w3=9.0, w4=8.0, w5=10.0, w6=16.2),
    _curve(
        10,
        "pgr",
        "generative",
        W1,
        "-6.5 -6 -5.2 -4.7 -4.2 -3.1 -2.4 -1.6",
        "54.6 46.4 33.2 28.5 24.0 22.1 18.5 17.1",
    ),
)

PAPER_CURVES: dict[str, tuple[PaperCurve, ...]] = {"text": TEXT, "chess": CHESS, "reward": REWARD}
"""By setting."""

PAPER_MEDIANS: dict[str, PaperMedian] = {
    "text": PaperMedian(13, {"naive": 0.272, "early_stop": 0.332, "early_stop_truth": 0.451}),
    "reward": PaperMedian(7, {"naive": 0.132, "early_stop_truth": 0.191}),
}
"""By setting and by where training stops: at the end, by weak labels, by the truth."""

PAPER_IMAGES = PaperTable(
    3,
    weak={"alexnet": 0.566},
    ceiling={"dino-resnet-50": 0.637, "dino-vitb8": 0.749},
    student={("alexnet", "dino-resnet-50"): 0.607, ("alexnet", "dino-vitb8"): 0.642},
    pgr={("alexnet", "dino-resnet-50"): 0.578, ("alexnet", "dino-vitb8"): 0.415},
)
"""By how names of models begin. The released code with its schedule put right gives other numbers."""

SAME_MODELS = frozenset({"vision-paper", "vision-paper-vit"})
"""Recipes with the paper's own models, whose numbers are drawn without being asked for."""


def setting_of(recipe: str) -> str | None:
    """The setting of the paper that a recipe is like; None if it is like none.

    Args:
        recipe: The name of a study.
    """
    found = recipe.split("-")[0]
    return found if found in PAPER_CURVES else None
