"""Methods against naive fine-tuning: by hand, against brute force, and where something is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from reference import comparison as reference
from reference.results import metrics_of, study
from surpass.errors import DataError
from surpass.ranking import Rank
from surpass.results import Results
from surpass.rows import Row
from surpass.stats import aggregate_pgr

PAIRS = (("a", "b"), ("a", "c"), ("b", "c"))
METHODS = {"naive": 0.6, "gce": 0.65, "worse": 0.5, "cheat": 0.9}
ORACLES = {"cheat"}

Drawn = tuple[list[Row], dict[str, np.ndarray]]


def drawn(
    methods: Mapping[str, float] = METHODS,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    seeds: Sequence[int] = (0, 1, 2),
    num_test: int = 60,
    own_tests: bool = False,
    rng_seed: int = 0,
) -> Drawn:
    """A study in which students are right by chance, with the accuracy of their method.

    Args:
        methods: Accuracy by method.
        pairs: Weak and strong model.
        seeds: Seeds of every pair.
        num_test: Test examples.
        own_tests: Whether each pair has test examples of its own, ten more for each pair.
        rng_seed: Seed of the chance.
    """
    rng = np.random.default_rng(rng_seed)
    rows, correct = [], {}
    for (place, (weak, strong)), method, seed in product(enumerate(pairs), methods, seeds):
        num = num_test + (10 * place if own_tests else 0)
        for role, accuracy in (("weak", 0.3), (method, methods[method]), ("ceiling", 0.95)):
            # Seeds differ, so that there is something to estimate between them.
            share = min(accuracy + 0.03 * (seed % 3), 1.0)
            correct.setdefault(f"{weak}-{strong}-{role}-{seed}", rng.random(num) < share)
        rows.append(
            Row(
                task="toy",
                weak_model=weak,
                strong_model=strong,
                method=method,
                labels="soft",
                seed=seed,
                oracle=method in ORACLES,
                weak_score_id=f"{weak}-{strong}-weak-{seed}",
                student_score_id=f"{weak}-{strong}-{method}-{seed}",
                ceiling_score_id=f"{weak}-{strong}-ceiling-{seed}",
                metrics=metrics_of(seed),
                seconds=1.0,
                test_id=f"{weak}-{strong}" if own_tests else "test",
            )
        )
    return rows, correct


def ranks_of(rows: Sequence[Row], correct: Mapping[str, np.ndarray]) -> dict[str, Rank]:
    return {rank.method: rank for rank in Results.build(rows, correct).ranks}


def cells(drawn: Drawn, method: str, *, pairs: Sequence[tuple[str, str]], seeds: Sequence[int]) -> list:
    """Right and wrong answers, [pair][seed][example]."""
    return [
        [drawn[1][f"{weak}-{strong}-{method}-{seed}"].astype(int).tolist() for seed in seeds]
        for weak, strong in pairs
    ]


def expected(
    drawn: Drawn,
    method: str,
    *,
    shared: bool = True,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    seeds: Sequence[int] = (0, 1, 2),
) -> tuple[float, float, float, float]:
    """Difference to naive, low, high and p value from the slow twin."""
    ours, theirs = (cells(drawn, name, pairs=pairs, seeds=seeds) for name in (method, "naive"))
    return reference.mean_difference(ours, theirs, shared, 0.95)


def compared(rank: Rank) -> tuple[float, float, float, float]:
    assert rank.comparison is not None
    return rank.comparison.difference, rank.comparison.low, rank.comparison.high, rank.comparison.p_value


@pytest.mark.parametrize("own_tests", [False, True])
@pytest.mark.parametrize("seeds", [(0,), (4, 1), (0, 1, 2)])
@pytest.mark.parametrize("pairs", [PAIRS[:1], PAIRS])
def test_equals_the_slow_twin(own_tests, seeds, pairs):
    given = drawn(pairs=pairs, seeds=seeds, own_tests=own_tests)
    ranks = ranks_of(*given)
    found = {}
    for method in ("gce", "worse", "cheat"):
        shared = not own_tests or len(pairs) == 1
        found[method] = expected(given, method, shared=shared, pairs=pairs, seeds=sorted(seeds))
        assert compared(ranks[method]) == pytest.approx(found[method])
    corrected = reference.holm([p_value for *_, p_value in found.values()])
    adjusted = [ranks[method].comparison.adjusted_p for method in found]
    assert adjusted == pytest.approx(corrected)


def test_by_hand():
    """Pairs of equal size, gce right on 3 of 60 examples more than naive in the one and 1 in the other."""
    rows, correct = drawn({"naive": 0.0, "gce": 0.0}, pairs=PAIRS[:2], seeds=(0, 1))
    for name in correct:
        pair, (method, _) = name[:3], name[4:].split("-")
        if method in ("naive", "gce"):
            right = 30 if method == "naive" else 33 if pair == "a-b" else 31
            correct[name] = np.arange(60) < right
    rank = ranks_of(rows, correct)["gce"]
    assert rank.num_pairs == 2
    assert rank.comparison.difference == pytest.approx(2 / 60)
    assert rank.comparison.accuracy == pytest.approx(32 / 60)
    assert rank.comparison.baseline_accuracy == pytest.approx(30 / 60)
    counts = (rank.comparison.wins, rank.comparison.ties, rank.comparison.losses)
    assert counts == (2, 0, 0)
    assert (rank.comparison.num_tasks, rank.comparison.num_seeds) == (2, 2)
    assert (rank.comparison.method, rank.comparison.baseline) == ("gce", "naive")


class TestHolm:
    def test_over_all_methods_and_oracles_count(self):
        given = drawn()
        p_values = [expected(given, method)[3] for method in ("gce", "worse", "cheat")]
        for rank in Results.build(*given).ranks[1:]:
            comparison = rank.comparison
            assert comparison.correction == "holm"
            place = ("gce", "worse", "cheat").index(rank.method)
            assert comparison.adjusted_p == pytest.approx(reference.holm(p_values)[place])
        fewer = drawn({name: METHODS[name] for name in ("naive", "gce")})
        (alone,) = (rank.comparison for rank in ranks_of(*fewer).values() if rank.comparison)
        assert alone.adjusted_p == alone.p_value

    def test_more_methods_make_each_less_certain(self):
        few = ranks_of(*drawn({"naive": 0.6, "gce": 0.65}))["gce"].comparison
        rows, correct = drawn({"naive": 0.6, "gce": 0.65})
        for number in range(4):
            rows += [replace(row, method=f"again-{number}") for row in drawn({"gce": 0.65})[0]]
        many = ranks_of(rows, correct)["gce"].comparison
        assert (few.p_value, few.difference) == (many.p_value, many.difference)
        assert many.adjusted_p == pytest.approx(min(5 * few.p_value, 1))

    def test_methods_without_a_comparison_do_not_count(self):
        rows, correct = drawn()
        without = [row for row in rows if row.method != "worse" or row.seed == 0]
        ranks = ranks_of(without, correct)
        assert ranks["worse"].comparison is None
        p_values = [ranks[method].comparison.p_value for method in ("gce", "cheat")]
        adjusted = [ranks[method].comparison.adjusted_p for method in ("gce", "cheat")]
        assert adjusted == pytest.approx(reference.holm(p_values))


class TestWhoIsRanked:
    def test_in_the_order_of_the_study(self):
        ranks = Results.build(*drawn()).ranks
        assert [rank.method for rank in ranks] == list(METHODS)
        assert [rank.oracle for rank in ranks] == [False, False, False, True]
        assert [rank.num_pairs for rank in ranks] == [3, 3, 3, 3]
        assert {rank.labels for rank in ranks} == {"soft"}

    def test_naive_is_compared_with_nobody(self):
        ranks = ranks_of(*drawn())
        assert {method for method, rank in ranks.items() if rank.comparison is None} == {"naive"}

    def test_naive_of_another_loss_is_another_method(self):
        ranks = ranks_of(*drawn({"naive": 0.6, "naive(loss=gce)": 0.6}))
        assert ranks["naive"].comparison is None
        assert ranks["naive(loss=gce)"].comparison is not None

    def test_no_rows_no_ranks(self):
        assert Results.build([], {}).ranks == ()

    def test_the_order_of_rows_changes_no_digit(self):
        rows, correct = drawn()
        assert ranks_of(rows[::-1], correct) == ranks_of(rows, correct)

    def test_labels_are_compared_with_their_own(self):
        """A method on hard labels against naive fine-tuning on hard labels."""
        soft, correct = drawn({"naive": 0.6, "gce": 0.65})
        hard, others = drawn({"naive": 0.4, "gce": 0.7}, rng_seed=1)
        correct |= {f"{name}-hard": value for name, value in others.items()}
        hard = [
            replace(
                row,
                labels="hard",
                **{
                    f"{role}_score_id": getattr(row, f"{role}_score_id") + "-hard"
                    for role in ("weak", "student", "ceiling")
                },
            )
            for row in hard
        ]
        ranks = Results.build([*soft, *hard], correct).ranks
        assert [(rank.method, rank.labels) for rank in ranks] == [
            ("naive", "soft"),
            ("gce", "soft"),
            ("naive", "hard"),
            ("gce", "hard"),
        ]
        assert ranks[1].comparison.difference == pytest.approx(
            expected(drawn({"naive": 0.6, "gce": 0.65}), "gce")[0]
        )
        other = expected(drawn({"naive": 0.4, "gce": 0.7}, rng_seed=1), "gce")
        assert compared(ranks[3]) == pytest.approx(other)
        only = Results.build([*soft, *(row for row in hard if row.method != "naive")], correct).ranks
        assert only[2].comparison is None


class TestMissing:
    def test_naive_is_absent(self):
        ranks = ranks_of(*drawn({"gce": 0.65, "cheat": 0.9}))
        assert [rank.comparison for rank in ranks.values()] == [None, None]
        assert [rank.num_pairs for rank in ranks.values()] == [3, 3]

    def test_a_method_that_some_pairs_lack_is_compared_on_the_others(self):
        given = drawn()
        rows = [
            row for row in given[0] if row.method != "gce" or (row.weak_model, row.strong_model) != PAIRS[1]
        ]
        ranks = ranks_of(rows, given[1])
        assert (ranks["gce"].num_pairs, ranks["gce"].comparison.num_tasks) == (2, 2)
        assert compared(ranks["gce"]) == pytest.approx(expected(given, "gce", pairs=PAIRS[::2]))
        assert compared(ranks["worse"]) == pytest.approx(expected(given, "worse"))

    def test_pairs_that_lack_naive(self):
        given = drawn()
        rows = [row for row in given[0] if row.method != "naive" or row.strong_model == "c"]
        rank = ranks_of(*(rows, given[1]))["gce"]
        assert (rank.num_pairs, rank.comparison.num_tasks) == (3, 2)
        assert compared(rank) == pytest.approx(expected(given, "gce", pairs=PAIRS[1:]))

    def test_pairs_where_seeds_are_not_naives(self):
        given = drawn()
        lost = ("a", "b", "gce", 1)
        rows = [row for row in given[0] if (row.weak_model, row.strong_model, row.method, row.seed) != lost]
        assert compared(ranks_of(rows, given[1])["gce"]) == pytest.approx(
            expected(given, "gce", pairs=PAIRS[1:])
        )

    def test_seeds_that_one_pair_lacks(self):
        """Paired by seed over pairs, so only seeds that all pairs have can count."""
        given = drawn()
        rows = [row for row in given[0] if row.strong_model != "b" or row.seed != 1]
        rank = ranks_of(rows, given[1])["gce"]
        assert (rank.comparison.num_tasks, rank.comparison.num_seeds) == (3, 2)
        assert compared(rank) == pytest.approx(expected(given, "gce", seeds=(0, 2)))

    def test_pairs_without_a_common_seed(self):
        given = drawn(pairs=PAIRS[:2])
        rows = [row for row in given[0] if (row.seed == 0) == (row.strong_model == "b")]
        assert ranks_of(rows, given[1])["gce"].comparison is None


class TestTestExamples:
    def test_seeds_with_test_sets_of_their_own_are_not_compared(self):
        rows, correct = drawn()
        rows = [replace(row, test_id=f"test-{row.seed}") for row in rows]
        assert {rank.comparison for rank in ranks_of(rows, correct).values()} == {None}

    def test_tasks_do_not_share_theirs_though_none_is_named(self):
        given = drawn(pairs=PAIRS[:2], own_tests=True)
        rows = [replace(row, task=row.strong_model, test_id="") for row in given[0]]
        rank = ranks_of(rows, given[1])["gce"]
        assert rank.comparison.num_examples == 60 + 70
        assert compared(rank) == pytest.approx(expected(given, "gce", shared=False, pairs=PAIRS[:2]))

    def test_pairs_of_which_some_share_theirs_are_not_compared(self):
        """To call them separate would give intervals that are too narrow."""
        rows, correct = drawn()
        rows = [replace(row, test_id=row.strong_model) for row in rows]
        assert {rank.comparison for rank in ranks_of(rows, correct).values()} == {None}

    def test_unequal_lengths_under_one_name(self):
        rows, correct = drawn(own_tests=True)
        rows = [replace(row, test_id="test") for row in rows]
        with pytest.raises(DataError, match=r"gce: scores of \[60, 70, 80\] examples on one test set; give"):
            Results.build(rows, correct)

    @pytest.mark.parametrize("num_test", [1, 2])
    def test_hardly_any(self, num_test):
        for rank in ranks_of(*drawn(num_test=num_test)).values():
            if rank.comparison is not None:
                assert 0 < rank.comparison.p_value <= rank.comparison.adjusted_p <= 1
                assert rank.comparison.low <= rank.comparison.difference <= rank.comparison.high


class TestPgr:
    def test_is_the_median_over_pairs(self):
        results = Results.build(*drawn())
        for rank in results.ranks:
            estimates = [s.estimate for s in results.summary() if s.key.method == rank.method]
            assert rank.pgr == aggregate_pgr(estimates)
            assert rank.pgr.median == np.median([estimate.value for estimate in estimates])

    def test_what_is_undefined_is_counted(self):
        rows, correct = study([("a", "b", 120, 200), ("c", "d", 150, 150)], num_seeds=2)
        ranks = Results.build(rows, correct).ranks
        assert [(rank.pgr.num_valid, rank.pgr.num_invalid) for rank in ranks] == [(1, 1), (1, 1)]
        assert ranks[0].pgr.median == pytest.approx(0.25)
        assert "does not beat" in ranks[0].pgr.reasons[0]
        assert ranks[1].comparison.num_tasks == 2
