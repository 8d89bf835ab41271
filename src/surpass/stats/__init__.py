"""Statistics on correctness: PGR with its interval, comparisons of methods, power. Plain functions on arrays.

Correctness is 0 or 1 by seed and test example; `docs/statistics.md` says what is resampled and what is
corrected, with the coverage measured.
"""

from surpass.stats.comparison import MethodComparison, compare_methods
from surpass.stats.gap import (
    Difference,
    MeanEstimate,
    PgrAggregate,
    PgrEstimate,
    aggregate_pgr,
    estimate_pgr,
    mean_interval,
    median_interval,
    paired_difference,
    pgr,
)
from surpass.stats.paired import (
    adjusted,
    benjamini_hochberg,
    holm,
    mcnemar,
    sign_flip_test,
    sign_test,
    wilcoxon_signed_rank,
)
from surpass.stats.power import (
    SeedsNeeded,
    Variance,
    difference_variance,
    pgr_variance,
    power_of,
    seeds_needed,
    smallest_difference,
)

__all__ = [
    "Difference",
    "MeanEstimate",
    "MethodComparison",
    "PgrAggregate",
    "PgrEstimate",
    "SeedsNeeded",
    "Variance",
    "adjusted",
    "aggregate_pgr",
    "benjamini_hochberg",
    "compare_methods",
    "difference_variance",
    "estimate_pgr",
    "holm",
    "mcnemar",
    "mean_interval",
    "median_interval",
    "paired_difference",
    "pgr",
    "pgr_variance",
    "power_of",
    "seeds_needed",
    "sign_flip_test",
    "sign_test",
    "smallest_difference",
    "wilcoxon_signed_rank",
]
