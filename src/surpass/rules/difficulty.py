"""Rules that go by how hard examples are, or how long.

Shape suffixes: N examples, M models.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surpass.errors import ConfigError, DataError
from surpass.rules.given import Given
from surpass.rules.padded import Floats, Ints, only, padded, whole_share
from surpass.rules.rule import INPUTS, rule, share

_TEXTS = ("text", "prompt")


def lengths(inputs: pa.Table) -> Floats:
    """How long each example is, float64 (N,).

    That is its column `length`; without one, the characters of its `text` or `prompt`; without these
    either, the number of its candidates.

    Raises:
        ConfigError: The inputs have none of these columns.
    """
    if "length" in inputs.column_names:
        return numbers(inputs, "length")
    for name in _TEXTS:
        if name in inputs.column_names and pa.types.is_string(inputs.schema.field(name).type):
            return np.array([len(text or "") for text in inputs[name].to_pylist()], np.float64)
    if "candidates" not in inputs.column_names:
        raise ConfigError(
            f"inputs have no length, text, prompt or candidates; they have {inputs.column_names}"
        )
    return np.array([len(row) for row in inputs["candidates"].to_pylist()], np.float64)


def numbers(inputs: pa.Table, name: str) -> Floats:
    """A column of numbers, float64 (N,).

    Raises:
        ConfigError: There is no such column, or it holds no numbers.
        DataError: A value is missing.
    """
    kinds = {field.name: field.type for field in inputs.schema}
    fitting = [key for key, kind in kinds.items() if pa.types.is_integer(kind) or pa.types.is_floating(kind)]
    if name not in fitting:
        raise ConfigError(
            f"inputs have no column of numbers {name!r}; they have: length, {', '.join(fitting)}"
        )
    values_N = np.array(inputs[name].to_pylist(), np.float64)
    if np.isnan(values_N).any():
        bad = int(np.flatnonzero(np.isnan(values_N))[0])
        raise DataError(f"{name} of {inputs['id'][bad].as_py()!r} is missing; every example needs one")
    return values_N


def _band(given: Given, by: str, low: float, high: float) -> pa.Table:
    assert given.inputs is not None
    value_N = lengths(given.inputs) if by == "length" else numbers(given.inputs, by)
    return _between(given.labels[0], value_N, low, high)


def _between(labels: pa.Table, value_N: Floats | Ints, low: float, high: float) -> pa.Table:
    """The rows between two quantiles of some values; equal ones by their order, which the ids decide."""
    rank_N = np.empty(len(value_N), np.int64)
    rank_N[np.argsort(value_N, kind="stable")] = np.arange(len(value_N))
    first, end = (whole_share(bound, len(value_N)) for bound in (low, high))
    return only(labels, (rank_N >= first) & (rank_N < end))


@rule(needs=[INPUTS])
def band(given: Given, *, by: str = "length", low: float = 0.0, high: float = 0.5) -> pa.Table:
    """The examples between two quantiles of a column.

    Examples of equal value are ranked at random, so bands that adjoin share none and leave none out.

    Args:
        given: One table of labels, and inputs.
        by: A column of numbers; or "length", which also knows texts and numbers of candidates.
        low: Share of the examples that lie below the band.
        high: Share of the examples that lie below its upper end.

    Raises:
        ConfigError: There is no such column, or not 0 <= low < high <= 1.
        DataError: A value is missing.

    Source:
        Burns et al. 2023, appendix C (training on a range of difficulty).
    """
    share("low", low)
    share("high", high)
    if low >= high:
        raise ConfigError(f"low is {low} and high is {high}; low must be less")
    return _band(given, by, low, high)


@rule(needs=[INPUTS])
def easiest(given: Given, *, frac: float = 0.5, by: str = "length") -> pa.Table:
    """The easiest examples.

    Args:
        given: One table of labels, and inputs.
        frac: Share kept, rounded up.
        by: The column that says how hard an example is, larger is harder; or "length", as for `band`.

    Raises:
        ConfigError: There is no such column, or `frac` is outside [0, 1].
        DataError: A value is missing.

    Source:
        Burns et al. 2023, appendix C.3 (the easiest 30 or 50 %).
    """
    return _band(given, by, 0.0, share("frac", frac))


@rule(tables=(2, None))
def easiest_for_models(given: Given, *, frac: float = 0.5) -> pa.Table:
    """The easiest examples, where models say how hard each is.

    The difficulty of an example is the place of the smallest model from which on all larger ones predict
    it right; one that the largest gets wrong is the hardest. Of equally hard ones, random ones are kept.

    Args:
        given: The truth, then the predictions of models of growing compute, none of which has learned
            these examples.
        frac: Share kept, rounded up.

    Raises:
        ConfigError: `frac` is outside [0, 1].

    Source:
        Burns et al. 2023, appendix C.2.
    """
    truth_N, *predictions = padded(given.labels).best_MN
    right_MN = np.stack([predicted_N == truth_N for predicted_N in predictions])
    # How many models, from the largest down, are right before the first that is not.
    lasting_N = np.cumprod(right_MN[::-1], axis=0).sum(axis=0)
    return _between(given.labels[0], len(right_MN) - lasting_N, 0.0, share("frac", frac))
