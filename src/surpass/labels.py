"""Labels: per example id, probabilities over its candidates; joined by id, never by position.

A table of labels has the columns `id` (string) and `probs` (list of float32, one per candidate of
that example, summing to 1). Pure: numpy and pyarrow only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import ConfigError, DataError

SCHEMA = pa.schema([("id", pa.string()), ("probs", pa.list_(pa.float32()))])
_SUM_TOLERANCE = 1e-3

Floats = npt.NDArray[np.float32]


def label_table(ids: Sequence[str], probs: Sequence[Floats]) -> pa.Table:
    """A table of labels from ids and one array of probabilities each."""
    return pa.table({"id": list(ids), "probs": pa.array(probs, pa.list_(pa.float32()))}, schema=SCHEMA)


def truth_labels(truth: pa.Table, num_candidates: Sequence[int]) -> pa.Table:
    """Truth as labels: probability 1 on the right candidate.

    Args:
        truth: Columns `id` and `truth` (number of the right candidate).
        num_candidates: How many candidates each example has, in the same order.

    Raises:
        DataError: The truth of an example is none of its candidates.
    """
    ids, probs = truth["id"].to_pylist(), []
    for example, right, count in zip(ids, truth["truth"].to_pylist(), num_candidates, strict=True):
        if right is None or not 0 <= right < count:
            raise DataError(f"truth of {example!r} is {right}; its candidates are 0 to {count - 1}")
        row = np.zeros(count, np.float32)
        row[right] = 1.0
        probs.append(row)
    return label_table(ids, probs)


def rows(labels: pa.Table) -> list[Floats]:
    """The probabilities of each row as arrays."""
    column = labels["probs"].combine_chunks()
    values = column.values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    offsets = column.offsets.to_numpy()
    return [values[start:end] for start, end in pairwise(offsets.tolist())]


def _named(ids: Sequence[str]) -> str:
    shown = ", ".join(repr(example) for example in ids[:3])
    return f"{shown} and {len(ids) - 3} more" if len(ids) > 3 else shown


def require_unique(ids: Sequence[str], what: str) -> None:
    """Refuse ids that occur more than once.

    Raises:
        DataError: Names the doubled ids.
    """
    doubled = sorted(example for example, count in Counter(ids).items() if count > 1)
    if doubled:
        raise DataError(f"{what} have doubled ids: {_named(doubled)}; each example is labelled once")


def join(
    ids: Sequence[str], num_candidates: Sequence[int], labels: pa.Table, *, subset: bool = False
) -> pa.Table:
    """The labels of these examples in their order.

    Args:
        ids: The examples.
        num_candidates: How many candidates each of them has.
        labels: Labels in any order.
        subset: Allow examples without a label (a rule may have dropped them); they are left out.

    Raises:
        DataError: A missing, doubled or foreign id, a wrong number of candidates, or probabilities
            that are negative, not finite, or do not sum to 1; the message names the id.
    """
    label_ids = labels["id"].to_pylist()
    require_unique(ids, "examples")
    require_unique(label_ids, "labels")
    place = {example: row for row, example in enumerate(label_ids)}
    known = set(ids)
    if foreign := [example for example in label_ids if example not in known]:
        raise DataError(
            f"labels for examples that are not here: {_named(foreign)}; label these examples instead"
        )
    missing = [example for example in ids if example not in place]
    if missing and not subset:
        raise DataError(f"no labels for {_named(missing)}; label all {len(ids)} examples")
    joined = labels.take(pa.array([place[example] for example in ids if example in place], pa.int64()))
    sizes = dict(zip(ids, num_candidates, strict=True))
    for example, probs in zip(joined["id"].to_pylist(), rows(joined), strict=True):
        if len(probs) != sizes[example]:
            raise DataError(
                f"label of {example!r} has {len(probs)} candidates; the example has {sizes[example]}"
            )
        if not (
            np.isfinite(probs).all() and (probs >= 0).all() and abs(float(probs.sum()) - 1) < _SUM_TOLERANCE
        ):
            raise DataError(
                f"label of {example!r} is no distribution: {probs.tolist()[:5]}; it must sum to 1"
            )
    return joined


def harden(labels: pa.Table) -> pa.Table:
    """Probability 1 on the likeliest candidate (the first of equals): greedy labels.

    Source:
        Burns et al. 2023, appendix A.2 (chess: greedy completions).
    """
    hard = []
    for probs in rows(labels):
        row = np.zeros_like(probs)
        row[int(probs.argmax())] = 1.0
        hard.append(row)
    return label_table(labels["id"].to_pylist(), hard)


RULES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "harden": harden,
}


def find_rule(name: str) -> Callable[[pa.Table], pa.Table]:
    """The relabelling rule of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in RULES:
        raise ConfigError(f"no relabelling rule {name!r}; there are: {', '.join(sorted(RULES))}")
    return RULES[name]
