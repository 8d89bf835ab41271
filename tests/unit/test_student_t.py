"""Student's t against scipy, from half a degree of freedom to ten million."""

from __future__ import annotations

import math

import pytest
from scipy import stats as scipy_stats

from surpass.stats.student_t import t_quantile, t_tail

DFS = [0.5, 1, 1.7, 2, 3, 5.5, 29, 30, 100, 5999, 1e5, 9.9e6]


@pytest.mark.parametrize("df", DFS)
@pytest.mark.parametrize("t", [0.0, 1e-9, 0.3, 1.0, 2.0, 12.7, 40.0])
def test_tail_is_scipys_also_far_out(df: float, t: float) -> None:
    expected = scipy_stats.t.sf(t, df)
    assert t_tail(t, df) == pytest.approx(expected, rel=1e-7, abs=1e-290)


@pytest.mark.parametrize("df", DFS)
@pytest.mark.parametrize("prob", [0.5, 0.5001, 0.75, 0.95, 0.975, 0.995, 1 - 1e-9])
def test_quantile_is_scipys(df: float, prob: float) -> None:
    assert t_quantile(prob, df) == pytest.approx(scipy_stats.t.ppf(prob, df), rel=1e-6, abs=1e-12)


def test_closed_forms() -> None:
    assert t_quantile(0.975, 1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-10)
    assert t_quantile(0.9, 2) == pytest.approx(0.8 / math.sqrt(0.18), rel=1e-10)
    assert t_tail(1.0, 1) == pytest.approx(0.25, rel=1e-12)
    assert t_tail(math.inf, 3) == 0.0


def test_ever_more_degrees_of_freedom_end_in_the_normal() -> None:
    for df in (1.1e7, 1e12, math.inf):
        assert t_quantile(0.975, df) == pytest.approx(1.959963984540054, rel=1e-12)
        assert t_tail(2.0, df) == pytest.approx(0.022750131948179195, rel=1e-12)
    assert t_quantile(0.975, 9.9e6) == pytest.approx(t_quantile(0.975, 1.1e7), rel=1e-6)
