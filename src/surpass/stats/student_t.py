"""Student's t distribution with any number of degrees of freedom, whole or not.

Written out because importing `scipy.special` for two numbers takes longer than all else that a
finished study has to do.
"""

from __future__ import annotations

import math
from statistics import NormalDist

NORMAL = NormalDist()

_NORMAL_FROM = 1e7  # degrees of freedom from which the normal distribution is the same to 7 digits
_TINY = 1e-300


def t_tail(t: float, df: float) -> float:
    """Return P(T > t) for t >= 0, precise in relative terms also where it is small.

    Source:
        Abramowitz and Stegun 26.7.1 by way of the incomplete beta function; its continued fraction
        (26.5.8) is evaluated by Lentz's method.
    """
    if df > _NORMAL_FROM:
        return 0.5 * math.erfc(t / math.sqrt(2))
    if math.isinf(t):
        return 0.0
    return 0.5 * _incomplete_beta(df / 2, 0.5, df, t * t)


def t_quantile(prob: float, df: float) -> float:
    """Return the t with P(T <= t) = prob, for 0.5 <= prob < 1.

    Newton steps on the logarithm of the tail, kept inside a bracket.
    """
    if df > _NORMAL_FROM:
        return NORMAL.inv_cdf(prob)
    if prob == 0.5:
        return 0.0
    tail = 1 - prob
    z = NORMAL.inv_cdf(prob)
    low, high = 0.0, math.inf
    # Abramowitz and Stegun 26.7.5, after Fisher and Cornish 1960: close from 5 degrees of freedom or so on.
    t = z + z * (
        (z**2 + 1) / (4 * df)
        + (5 * z**4 + 16 * z**2 + 3) / (96 * df**2)
        + (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / (384 * df**3)
    )
    t = t if t > 0 else z
    for _ in range(200):
        tail_here = t_tail(t, df)
        low, high = (t, high) if tail_here > tail else (low, t)
        step = t + math.log(tail_here / tail) * tail_here / _density(t, df)
        new = step if low < step < high else min(2 * t, (low + high) / 2)
        if abs(new - t) <= 1e-6 * new:  # the error is of the order of the square
            return new
        t = new
    return t


def _density(t: float, df: float) -> float:
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    return math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))


def _incomplete_beta(a: float, b: float, df: float, t_squared: float) -> float:
    """Return I_x(a, b) at x = df / (df + t squared), given in two parts so that no digits cancel."""
    x, rest = df / (df + t_squared), t_squared / (df + t_squared)
    if rest == 0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _fraction(a, b, x) / a
    return 1 - math.exp(log_front) * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _away(x: float) -> float:
    return x if abs(x) > _TINY else _TINY
