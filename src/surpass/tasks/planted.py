"""A planted problem: examples drawn so that the best possible accuracy is known.

Behind each example lies a concept: a point around the mean of its class. Every feature tells a little of
it, with noise of its own, the leading ones least. A supervisor that sees only the leading features makes
out the concept badly; a student that sees all of them makes it out well, and to it the concept is
salient: the direction in which features vary most.

Source: Burns et al. 2023, appendix E.1, where the supervisor sees the first k features and the student
all of them. Differs: the features are drawn, not a language model's on SciQ.

Shape suffixes: N examples, C classes, D features, B blocks of C - 1 features, U = C - 1 axes of the concept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import ConfigError
from surpass.identity import identity_field
from surpass.tasks import spurious as planted_attribute
from surpass.tasks.axes import beside, rotation, simplex
from surpass.tasks.base import ExampleTables
from surpass.tasks.tables import list_column

PARTS = ("weak", "student", "validation", "test")
MAX_SIZE = 100_000
"""Examples of each part and seed; another seed gives others."""

_CLASS, _CONCEPT, _NOISE, _FLIP, _LENGTH, _AXES, _ATTRIBUTE, _DIRECTIONS = range(8)
_STACK = 1024
_LOG_LENGTH, _LOG_LENGTH_SPREAD = 4.0, 0.5
_GRID = np.linspace(-9, 9, 1201)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlantedTask:
    """Examples made from a part's name, a seed and a running number; `docs/data/planted.md` has the formula.

    Attributes:
        num_classes: C, from 2 to 100.
        num_features: D, from C - 1 to 4096. Where D is no multiple of C - 1, the last few are noise.
        separation: Distance between the concepts of any two classes, in standard deviations of a concept
            within its class. It bounds what any model can reach.
        precision: How well all features together tell the concept: the inverse of the variance of what
            they say, again in standard deviations within a class.
        growth: Weight of the concept in a feature of the b-th block of C - 1, from 1, is in proportion to
            b ** growth: 0 for features that are all alike, above 0 for leading ones that tell less.
        label_noise: Share of examples whose truth is another class, drawn evenly, in [0, (C - 1) / C).
        imbalance: How many times as frequent the first class is as the last, at least 1; those
            between form a geometric series.
        problem_seed: Another seed is another problem: other directions in which classes differ.
        spurious: How often the attribute is the truth in the parts "weak" and "student", from 1 / C,
            where it says nothing, to 1; 0 for no attribute. In the other parts it says nothing.
        spurious_distance: Distance between the features of any two attributes, in standard deviations
            of a feature's noise, in directions of their own that depend on `problem_seed`.

    Raises:
        ConfigError: A value makes no sense.
    """

    num_classes: int = 2
    num_features: int = 64
    separation: float = 2.8
    precision: float = 4.0
    growth: float = 0.25
    label_noise: float = 0.0
    imbalance: float = 1.0
    problem_seed: int = 0
    spurious: float = identity_field(0.0, since_default=True)
    spurious_distance: float = identity_field(8.0, since_default=True)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("num_classes", 2, 100),
            ("num_features", self.num_classes - 1, 4096),
            ("problem_seed", 0, 2**53),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(f"{name}={value!r} must be a whole number from {low} to {high}")
        for name, least, most in (
            ("separation", 0.01, 100),
            ("precision", 1e-3, 1e6),
            ("growth", -4, 4),
            ("imbalance", 1, 1e6),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be from {least} to {most}")
        if not 0 <= self.label_noise < (self.num_classes - 1) / self.num_classes:
            raise ConfigError(
                f"label_noise={self.label_noise!r} must be at least 0 and below (C - 1) / C = "
                f"{(self.num_classes - 1) / self.num_classes:.4g}, where the truth would say nothing"
            )
        planted_attribute.require_spurious(
            self.spurious,
            self.spurious_distance,
            num_classes=self.num_classes,
            num_features=self.num_features,
        )

    @property
    def name(self) -> str:
        """The key in `TASKS`."""
        return "planted"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; each holds `MAX_SIZE` examples for every seed."""
        return PARTS

    @property
    def mixes(self) -> tuple[str, ...]:
        """The one way of drawing examples."""
        return ("all",)

    @property
    def families(self) -> frozenset[str]:
        """The model families that can read the examples."""
        return frozenset({"tabular"})

    @property
    def difficulty(self) -> str:
        """The input column that says how hard an example is."""
        return "difficulty"

    def digests(self) -> dict[str, str]:
        """Nothing comes from outside."""
        return {}

    @cached_property
    def prior_C(self) -> Floats:
        """The share of each class before label noise, summing to 1."""
        weights_C = self.imbalance ** -np.linspace(0, 1, self.num_classes)
        prior_C: Floats = weights_C / weights_C.sum()
        return prior_C

    @cached_property
    def concepts_CU(self) -> Floats:
        """The mean of the concept in each class: corners of a regular simplex."""
        return simplex(self.num_classes) * (self.separation / math.sqrt(2))

    @cached_property
    def weights_UD(self) -> Floats:
        """The weight of each axis of the concept in each feature; 0 behind the last whole block."""
        rng = np.random.default_rng((_AXES, self.problem_seed))
        num_axes = self.num_classes - 1
        weights_UD = np.zeros((num_axes, self.num_features))
        for block, strength in enumerate(self._strengths_B.tolist()):
            weights_UD[:, block * num_axes : (block + 1) * num_axes] = strength * rotation(rng, num_axes)
        return weights_UD

    @cached_property
    def attributes_CD(self) -> Floats:
        """What each attribute adds to the features, orthogonal to what the concept adds."""
        rng = np.random.default_rng((_DIRECTIONS, self.problem_seed))
        spread = self.spurious_distance / math.sqrt(2)
        moved_CD: Floats = simplex(self.num_classes) * spread @ beside(self.weights_UD, rng)
        return moved_CD

    @cached_property
    def _strengths_B(self) -> Floats:
        strengths_B: Floats = np.arange(1.0, self.num_features // (self.num_classes - 1) + 1) ** self.growth
        return strengths_B * (math.sqrt(self.precision) / np.linalg.norm(strengths_B))

    def _spread(self, num_blocks: int | None = None) -> float:
        """Standard deviation within a class of what the features of leading blocks say of the concept."""
        return math.sqrt(1 + 1 / float((self._strengths_B[:num_blocks] ** 2).sum()))

    def bayes_accuracy(self, num_leading: int | None = None) -> float:
        """The accuracy that no rule beats which sees these leading features, label noise included.

        With S the precision of those features, t = separation / sqrt(2 (1 + 1 / S)), and class shares p,
        the best rule is right on an example before label noise with probability
        sum over c of p_c * integral of phi(z) * product over j != c of Phi(z + t + log(p_c / p_j) / t) dz.

        With a spurious attribute this holds in the parts where it says nothing; there a rule that sees only
        leading features may be unable to tell the attribute's share, and then stays below.

        Args:
            num_leading: How many leading features; None for all. A multiple of C - 1.

        Raises:
            ConfigError: There is no such number of features.
        """
        width = self.num_classes - 1
        count = self.num_features if num_leading is None else num_leading
        if not 0 < count <= self.num_features or (num_leading is not None and count % width):
            raise ConfigError(
                f"num_leading={num_leading!r} must be a multiple of num_classes - 1 = {width}, "
                f"at most {self.num_features}"
            )
        scale = self.separation / math.sqrt(2) / self._spread(count // width)
        right = 0.0
        density = np.exp(-(_GRID**2) / 2)
        density /= density.sum()
        for own, share in enumerate(self.prior_C):
            shifts_C = scale + np.log(share / self.prior_C) / scale
            below = _normal_cdf(_GRID[:, None] + np.delete(shifts_C, own)).prod(axis=1)
            right += float(share * (density @ below))
        return right * (1 - self.label_noise) + (1 - right) * self.label_noise / width

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Examples of one part; those of another seed are others.

        Args:
            part: One of `parts`.
            size: How many; None for `MAX_SIZE`. A smaller size is a prefix of a larger one.
            seed: Chooses which, at least 0.
            mix: "all".

        Returns:
            `inputs` with `id` string, `features` list<float32> of D, `candidates` list<uint16> of 0 to
            C - 1, `difficulty` float32, which is minus the distance of the features to the nearest
            boundary of the best rule, in standard deviations, `length` int32, which depends on
            nothing else, and `attribute` int16 where there is one; `truth` with `id` and the class, int16.

        Raises:
            ConfigError: Part, mix or seed is unknown, or more than `MAX_SIZE` are asked for.
        """
        for what, value, allowed in (("part", part, self.parts), ("mix", mix, self.mixes)):
            if value not in allowed:
                raise ConfigError(f"no {what} {value!r} in task planted; choose from {', '.join(allowed)}")
        if seed < 0:
            raise ConfigError(f"seed={seed} must be at least 0")
        size = MAX_SIZE if size is None else size
        if not 0 <= size <= MAX_SIZE:
            raise ConfigError(
                f"{size} examples asked for and {MAX_SIZE} in part {part!r}; ask for fewer, or more seeds"
            )
        return self._drawn(part, size, seed)

    def _drawn(self, part: str, size: int, seed: int) -> ExampleTables:
        # Whole stacks of rows are made, so that a product of matrices has one shape and an example the
        # same bits whatever the size.
        num_rows = -(-size // _STACK) * _STACK
        key = (PARTS.index(part), seed, self.problem_seed)
        streams = {
            use: np.random.default_rng((use, *key))
            for use in (_CLASS, _CONCEPT, _NOISE, _FLIP, _LENGTH, _ATTRIBUTE)
        }
        shares_C = np.cumsum(self.prior_C)
        class_N = np.searchsorted(shares_C[:-1], streams[_CLASS].random(num_rows), side="right")
        concept_NU = streams[_CONCEPT].standard_normal((num_rows, self.num_classes - 1))
        concept_NU += self.concepts_CU[class_N]
        features_ND = streams[_NOISE].standard_normal((num_rows, self.num_features), np.float32)
        features_ND += _product(concept_NU, self.weights_UD).astype(np.float32)
        truth_N = (class_N + self._shift(streams[_FLIP].random((num_rows, 2)))) % self.num_classes
        length_N = np.exp(_LOG_LENGTH + _LOG_LENGTH_SPREAD * streams[_LENGTH].standard_normal(num_rows))
        attribute: dict[str, pa.Array] = {}
        if self.spurious:
            attribute_N = planted_attribute.attributes(
                truth_N,
                streams[_ATTRIBUTE].random((num_rows, 2)),
                strength=self.spurious if part in planted_attribute.LEARNED_FROM else 1 / self.num_classes,
                num_classes=self.num_classes,
            )
            features_ND += self.attributes_CD.astype(np.float32)[attribute_N]
            attribute["attribute"] = pa.array(attribute_N[:size].astype(np.int16))
        distance_N = self._distance(features_ND)
        columns = {
            "id": pa.array([f"{part}-{seed}-{number}" for number in range(size)], pa.string()),
            "features": list_column(features_ND[:size]),
            "candidates": list_column(np.tile(np.arange(self.num_classes, dtype=np.uint16), (size, 1))),
            "difficulty": pa.array(-distance_N[:size], pa.float32()),
            "length": pa.array(np.rint(length_N[:size]).astype(np.int32)),
        }
        truth = pa.array(truth_N[:size].astype(np.int16))
        return ExampleTables(pa.table(columns | attribute), pa.table({"id": columns["id"], "truth": truth}))

    def _shift(self, uniform_N2: Floats) -> npt.NDArray[np.int64]:
        """How many classes on the truth is from the class that the features were drawn for."""
        flipped_N = uniform_N2[:, 0] < self.label_noise
        steps_N = 1 + np.floor(uniform_N2[:, 1] * (self.num_classes - 1)).astype(np.int64)
        return np.where(flipped_N, steps_N, 0)

    def _distance(self, features_ND: npt.NDArray[np.float32]) -> Floats:
        """To the nearest boundary of the best rule, in standard deviations of what the features say."""
        said_NU = _product(features_ND, self.weights_UD.T) / self.precision
        variance = self._spread() ** 2
        constant_C = np.log(self.prior_C) - (self.concepts_CU**2).sum(axis=1) / (2 * variance)
        scores_NC = _product(said_NU, self.concepts_CU.T) / variance + constant_C
        best_two = np.partition(scores_NC, -2, axis=1)[:, -2:]
        distance_N: Floats = (best_two[:, 1] - best_two[:, 0]) * (self._spread() / self.separation)
        return distance_N


def _product(left_NK: npt.NDArray[Any], right_KM: Floats) -> Floats:
    """Product of matrices, stack by stack."""
    stacks: Floats = left_NK.reshape(-1, _STACK, left_NK.shape[1]) @ right_KM
    return stacks.reshape(len(left_NK), right_KM.shape[1])


def _normal_cdf(values: Floats) -> Floats:
    erf: Any = np.frompyfunc(math.erf, 1, 1)(values / math.sqrt(2))
    return (1 + np.asarray(erf, np.float64)) / 2
