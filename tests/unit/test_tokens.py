from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from surpass.models.tokens import TokenExamples, alike, by_length, padded


@pytest.mark.parametrize("seed", range(5))
def test_by_length_covers_each_row_once(seed):
    rng = np.random.default_rng(seed)
    length_N = rng.integers(1, 30, 40)
    for limit, most in ((1, None), (30, None), (64, 3), (10**6, None)):
        pieces = list(by_length(length_N, limit, most))
        assert sorted(np.concatenate(pieces).tolist()) == list(range(40))
        for piece in pieces:
            assert len(piece) == 1 or len(piece) * length_N[piece].max() <= limit
            assert len(piece) <= (most or 40)
    assert list(by_length(np.zeros(0, np.int64), 5)) == []


def test_padded():
    batch = padded(TokenExamples([np.array(row) for row in ([5], [1, 2, 3], [0, 7])]), np.array([2, 0]))
    assert batch.tokens_NT.tolist() == [[0, 7], [5, 0]]
    assert batch.inside_NT.tolist() == [[1, 1], [1, 0]]


def cost_of(lengths: list[int], pass_cost: int) -> int:
    """The least cost of any division of the ordered rows into stretches, by trying all."""
    if not lengths:
        return 0
    return min(
        pass_cost + lengths[0] * size + cost_of(lengths[size:], pass_cost)
        for size in range(1, len(lengths) + 1)
    )


class TestAlike:
    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("pass_cost", [0, 1, 7, 32, 10_000])
    def test_covers_each_row_once_at_the_least_cost(self, seed, pass_cost):
        rng = np.random.default_rng(seed)
        length_N = rng.integers(1, 40, int(rng.integers(1, 9)))
        passes = alike(length_N, pass_cost)
        assert sorted(np.concatenate(passes).tolist()) == list(range(len(length_N)))
        spent = sum(pass_cost + len(places) * int(length_N[places].max()) for places in passes)
        assert spent == cost_of(sorted(length_N.tolist(), reverse=True), pass_cost)
        assert all(length_N[first].min() >= length_N[second].max() for first, second in pairwise(passes))

    def test_at_the_edges(self):
        assert alike(np.zeros(0, np.int64), 5) == []
        assert [places.tolist() for places in alike(np.array([3]), 5)] == [[0]]
        assert [places.tolist() for places in alike(np.array([4, 4, 4]), 0)] == [[0, 1, 2]]
        one_long = np.array([1, 1, 1000, 1])
        assert [places.tolist() for places in alike(one_long, 32)] == [[2], [0, 1, 3]]

    @pytest.mark.parametrize("seed", range(3))
    def test_a_batch_with_one_long_text_is_not_padded_to_it(self, seed):
        length_N = np.random.default_rng(seed).integers(5, 30, 32)
        length_N[7] = 256
        passes = alike(length_N, 32)
        tokens = sum(len(places) * int(length_N[places].max()) for places in passes)
        assert tokens < 1.35 * length_N.sum()
        assert 7 * length_N.sum() < 32 * 256
