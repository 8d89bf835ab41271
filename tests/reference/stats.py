"""The slow twin of `surpass.stats`: one resample at a time, in plain Python, straight from the definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Bits = Sequence[Sequence[int]]
Means = tuple[float, ...]


def mean_accuracy(correct: Bits, seeds: Sequence[int], examples: Sequence[Sequence[int]]) -> float:
    """Mean over drawn seeds of the accuracy on the examples drawn for that seed (`examples[seed]`)."""
    total = 0.0
    for seed in seeds:
        hits = 0
        for example in examples[seed]:
            hits += correct[seed][example]
        total += hits / len(examples[seed])
    return total / len(seeds)


def resampled_means(
    roles: Sequence[Bits],
    seed_draws: Sequence[Sequence[int]],
    example_draws: Sequence[Sequence[Sequence[int]]],
) -> Iterator[Means]:
    """Mean accuracy of every role, resample by resample; all roles get the same draws.

    Args:
        roles: Correctness of each role, [role][seed][example].
        seed_draws: Seeds of each resample, [resample][draw].
        example_draws: Examples of each resample and seed, [resample][seed][draw].
    """
    for seeds, examples in zip(seed_draws, example_draws, strict=True):
        yield tuple(mean_accuracy(correct, seeds, examples) for correct in roles)


def quantile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan 1996, type 7)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interval(values: Sequence[float], level: float) -> tuple[float, float]:
    return quantile(values, (1 - level) / 2), quantile(values, (1 + level) / 2)


def pgr_interval(resamples: Sequence[Means], level: float) -> tuple[float, float]:
    """Percentiles of PGR over the resamples in which there is a gap."""
    ratios = [(student - weak) / (ceiling - weak) for weak, student, ceiling in resamples if ceiling > weak]
    return interval(ratios, level)


def gap_interval(resamples: Sequence[Means], level: float) -> tuple[float, float]:
    return interval([ceiling - weak for weak, _, ceiling in resamples], level)
