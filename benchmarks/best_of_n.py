"""How long it takes to know the best of n for every n: 500 problems of 1,860 samples, as in the paper.

    python benchmarks/best_of_n.py

Made-up samples with missing ones, ties and some hundred different answers of each problem; the number that is
bounded is the time for two rankers, voting by majority and by weight, pass@n, and an interval of each at
every n from 1 to 1,860.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from measured import Measured, seconds, table

from surpass.reasoning.best_of_n import NO_ANSWER, all_sizes, best_of_n, oracle, top_ranks
from surpass.reasoning.curves import curve, difference
from surpass.reasoning.voting import voting

BOUND = 5.0


def measured(num_problems: int, num_samples: int) -> Measured:
    """Seconds of wall time for all curves together, and for each."""
    rng = np.random.default_rng(0)
    rates = rng.beta(0.6, 0.8, size=(num_problems, 1))
    correct = rng.random((num_problems, num_samples)) < rates
    wrong = 1 + np.floor(rng.pareto(0.7, size=correct.shape)).clip(0, 300).astype(int)
    answers = np.where(correct, 0, np.minimum(wrong, num_samples - 1))
    missing = (rng.random(correct.shape) < 0.05) & ~correct
    answers[missing] = NO_ANSWER
    scores = 1 / (1 + np.exp(-(correct + rng.normal(size=correct.shape)).round(2)))
    scores[missing] = np.nan
    other = np.where(missing, np.nan, scores + rng.normal(size=scores.shape))
    sizes = all_sizes(num_samples)
    values = {}

    def of(name: str) -> None:
        make = {
            "first ranker": lambda: best_of_n(scores, correct, sizes),
            "second ranker": lambda: best_of_n(other, correct, sizes),
            "pass@n": lambda: oracle(correct, sizes),
            "majority": lambda: voting(answers, correct, sizes).values_PN,
            "weighted": lambda: voting(answers, correct, sizes, weights_PM=scores).values_PN,
        }
        values[name] = make[name]()
        curve(values[name], sizes)

    top_ranks.cache_clear()
    names = ("first ranker", "second ranker", "pass@n", "majority", "weighted")
    times = {name: seconds(lambda name=name: of(name)) for name in names}
    times["paired difference"] = seconds(
        lambda: difference(values["first ranker"], values["second ranker"], sizes)
    )
    details: dict[str, Any] = {name: round(time.wall, 2) for name, time in times.items()}
    details["processor time"] = round(sum(time.cpu for time in times.values()), 2)
    details["standard error of the trials"] = float(
        voting(answers, correct, [num_samples // 2]).std_error_N[0]
    )
    what = f"best-of-n of {num_samples:,} samples x {num_problems} problems"
    return Measured(what, sum(time.wall for time in times.values()), BOUND, True, details, "seconds")


def main(arguments: Sequence[str] | None = None) -> list[Measured]:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--samples", type=int, default=1860)
    options = parser.parse_args(arguments)
    found = [measured(options.problems, options.samples)]
    print(table(found))
    return found


if __name__ == "__main__":
    main()
