"""Measure on planted problems how often the intervals of `surpass.stats` hold the truth.

    python scripts/measure_coverage.py --num-studies 2000 > table.md

Planted: skill of a role, minus difficulty of an example, plus noise of the seed and of the single
answer, all normal; correct where the sum is positive. So the accuracy over all seeds and examples,
and with it the true PGR, is known exactly. Weak supervisor and student share half of the variance of
their noise. Noise of seeds is given in units of sqrt(0.25 / N), the noise that N test examples
leave in one accuracy.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from surpass.stats.intervals import Inference
from surpass.stats.resample import panel_of

WEAK_ACC = 0.45
ANSWER_NOISE = 0.6


@dataclass(frozen=True)
class Problem:
    """One planted problem: what is true, and how much of it is seen."""

    num_seeds: int = 3
    num_examples: int = 200
    seed_noise: float = 1.0
    pgr: float = 0.3
    gap: float = 0.25
    nested: bool = False

    @property
    def accs(self) -> tuple[float, float, float]:
        """True accuracies of weak supervisor, student and ceiling."""
        return WEAK_ACC, WEAK_ACC + self.pgr * self.gap, WEAK_ACC + self.gap

    def draw(self, rng: np.random.Generator) -> list[np.ndarray] | list[list[np.ndarray]]:
        """Draw the correctness of all roles: arrays (S, N), or lists of (N,) where nested."""
        seeds, examples = self.num_seeds, self.num_examples
        # A step of 1 in skill moves an accuracy near one half by the density over the noise's spread.
        step = NormalDist().pdf(0.0) / np.sqrt(1 + ANSWER_NOISE**2)
        seed_sd = self.seed_noise * np.sqrt(0.25 / examples) / step
        spread = np.sqrt(1 + ANSWER_NOISE**2 + seed_sd**2)
        difficulty = rng.standard_normal((seeds if self.nested else 1, examples), np.float32)
        noise_R1 = self._noise(rng, (seeds, 1)) * np.float32(seed_sd)
        noise_RN = self._noise(rng, (seeds, examples)) * np.float32(ANSWER_NOISE)
        skills = [np.float32(NormalDist().inv_cdf(acc) * spread) for acc in self.accs]
        roles = [
            skill + one + many > difficulty
            for skill, one, many in zip(skills, noise_R1, noise_RN, strict=True)
        ]
        return [list(role) for role in roles] if self.nested else roles

    @staticmethod
    def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        weak, own, ceiling = rng.standard_normal((3, *shape), np.float32)
        return np.stack([weak, (weak + own) * np.float32(np.sqrt(0.5)), ceiling])


@dataclass
class Coverage:
    """How often the truth was held; PGR among the studies in which it was defined."""

    mean: float
    difference: float
    pgr: float
    defined: float


def measure(problem: Problem, num_studies: int, num_resamples: int = 300, rng_seed: int = 0) -> Coverage:
    """Draw studies of one problem and count."""
    rng = np.random.default_rng(rng_seed)
    weak, student, _ = problem.accs
    student_R, gained_R, gap_R = np.array([[0, 1, 0], [-1, 1, 0], [-1, 0, 1.0]])
    hits = np.zeros(4)
    for _ in range(num_studies):
        roles = dict(zip(("weak", "student", "ceiling"), problem.draw(rng), strict=True))
        inference = Inference.of(panel_of(**roles), level=0.95, num_resamples=num_resamples, rng_seed=0)
        mean, gained = inference.test(student_R), inference.test(gained_R)
        hits[0] += mean.low <= student <= mean.high
        hits[1] += gained.low <= student - weak <= gained.high
        if inference.test(gap_R).low > 0:
            # The interval of PGR holds the ratios of which this is true (`Inference.ratio` finds its ends).
            at_truth = inference.test(gained_R - problem.pgr * gap_R)
            hits[2] += at_truth.low <= 0 <= at_truth.high
            hits[3] += 1
    mean_frac, difference_frac, _, defined = (hits / num_studies).tolist()
    return Coverage(mean_frac, difference_frac, float(hits[2] / hits[3]) if hits[3] else np.nan, defined)


def problems() -> Iterator[Problem]:
    """List the problems of the table."""
    base = Problem()
    for num_examples, seeds in ((200, (2, 3, 5, 10)), (1000, (2, 3, 5, 10)), (5000, (5,))):
        for num_seeds in seeds:
            for noise in (0.0, 0.5, 1.0, 3.0):
                gap = 0.25 if num_examples == 200 else 0.15
                yield replace(base, num_seeds=num_seeds, num_examples=num_examples, seed_noise=noise, gap=gap)
    for pgr in (0.0, 0.3, 0.8, 1.1):
        for gap in (0.04, 0.10, 0.25):
            yield Problem(num_seeds=5, num_examples=1000, seed_noise=1.0, pgr=pgr, gap=gap)
    for num_seeds in (2, 3, 5, 10):
        for noise in (0.0, 1.0, 3.0):
            yield Problem(num_seeds=num_seeds, num_examples=200, seed_noise=noise, nested=True)


def main() -> None:
    """Print the table, a line for each problem."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-studies", type=int, default=2000)
    arguments = parser.parse_args()
    print("| design | seeds | examples | noise of seeds | PGR | gap | mean | difference | PGR | defined |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for place, problem in enumerate(problems()):
        found = measure(problem, arguments.num_studies, rng_seed=place)
        print(
            f"| {'nested' if problem.nested else 'crossed'} | {problem.num_seeds} | {problem.num_examples} "
            f"| {problem.seed_noise:g} | {problem.pgr:g} | {100 * problem.gap:.0f} | {100 * found.mean:.1f} "
            f"| {100 * found.difference:.1f} | {100 * found.pgr:.1f} | {100 * found.defined:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
