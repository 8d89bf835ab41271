"""Labels: per example id, probabilities over its candidates or a completion; joined by id, not by position.

A table of labels has the columns `id` (string) and `probs` (list of float32, one per candidate of
that example, summing to 1), or, where models complete prompts and there are no candidates,
`completion` (string) in its place. It may have `weight` (float32, at least 0: how much the example
counts for whoever learns from it). Which of the two forms labels have follows from the examples:
`num_candidates_of` their inputs is None for completions. Numpy and pyarrow only.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surpass.errors import DataError
from surpass.ragged import rectangle

SCHEMA = pa.schema([("id", pa.string()), ("probs", pa.list_(pa.float32()))])
COMPLETIONS = pa.schema([("id", pa.string()), ("completion", pa.string())])
_WEIGHT = pa.field("weight", pa.float32())
_SUM_TOLERANCE = 1e-3

Floats = npt.NDArray[np.float32]


def label_table(
    ids: Sequence[str], probs: Sequence[Floats] | Floats, weights: Floats | None = None
) -> pa.Table:
    """A table of labels: ids, their probabilities, as rows or (N, C), and weights where they differ."""
    if isinstance(probs, np.ndarray) and probs.ndim == 2:
        ends_N = np.arange(len(probs) + 1, dtype=np.int32) * probs.shape[1]
        flat = pa.array(np.ascontiguousarray(probs).reshape(-1), pa.float32())
        column = pa.ListArray.from_arrays(pa.array(ends_N), flat)
    else:
        column = pa.array(probs, pa.list_(pa.float32()))
    return _weighted(pa.table({"id": list(ids), "probs": column}, schema=SCHEMA), weights)


def completion_table(ids: Sequence[str], texts: Sequence[str], weights: Floats | None = None) -> pa.Table:
    """A table of labels from ids, one completion each, and weights where they differ."""
    return _weighted(pa.table({"id": list(ids), "completion": list(texts)}, schema=COMPLETIONS), weights)


def _weighted(table: pa.Table, weights: Floats | None) -> pa.Table:
    return table if weights is None else table.append_column(_WEIGHT, pa.array(weights, pa.float32()))


def num_candidates_of(inputs: pa.Table) -> list[int] | None:
    """How many candidates each example has; None where models complete prompts instead."""
    if "candidates" not in inputs.column_names:
        return None
    counts: list[int] = pc.list_value_length(inputs["candidates"]).to_pylist()
    return counts


def read_candidates(path: Path) -> pa.Table:
    """Of a file of inputs what joins labels need: `id`, and `candidates` where it has them.

    What was read last is kept: many stages of a study ask for the same.
    """
    status = os.stat(path)
    return _candidates_at(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=8)
def _candidates_at(path: Path, stamp: tuple[int, int, int]) -> pa.Table:
    present = pq.read_schema(path).names
    columns = [name for name in ("id", "candidates") if name in present]
    return pq.read_table(path, columns=columns, use_threads=False)


def truth_labels(truth: pa.Table, num_candidates: Sequence[int] | None) -> pa.Table:
    """Truth as labels: probability 1 on the right candidate, or the right completion.

    Args:
        truth: Columns `id` and `truth` (number of the right candidate, or the completion).
        num_candidates: How many candidates each example has, in the same order; None for completions.

    Raises:
        DataError: The truth of an example is none of its candidates, or no text.
    """
    ids = truth["id"].to_pylist()
    if num_candidates is None:
        texts = truth["truth"].to_pylist()
        _check_texts(ids, texts, "truth")
        return completion_table(ids, texts)
    rights = truth["truth"].to_pylist()
    for example, right, count in zip(ids, rights, num_candidates, strict=True):
        if right is None or not 0 <= right < count:
            raise DataError(f"truth of {example!r} is {right}; its candidates are 0 to {count - 1}")
    ends_N = np.cumsum(num_candidates, dtype=np.int32)
    starts_N = ends_N - np.asarray(num_candidates, np.int32)
    flat = np.zeros(ends_N[-1] if len(ends_N) else 0, np.float32)
    flat[starts_N + np.asarray(rights, np.int32)] = 1.0
    offsets = np.concatenate([np.zeros(1, np.int32), ends_N])
    probs = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
    return pa.table({"id": ids, "probs": probs}, schema=SCHEMA)


def _flat(labels: pa.Table) -> tuple[Floats, npt.NDArray[np.int32]]:
    """All probabilities one behind the other, and where each row of them begins and the last one ends."""
    _require_column(labels, "probs")
    column = labels["probs"].combine_chunks()
    values = column.values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values, column.offsets.to_numpy()


def rows(labels: pa.Table) -> list[Floats]:
    """The probabilities of each row as arrays.

    Raises:
        DataError: They are completions, which have none.
    """
    values, offsets = _flat(labels)
    return [values[start:end] for start, end in pairwise(offsets.tolist())]


def probabilities(labels: pa.Table) -> Floats | list[Floats]:
    """The probabilities as one array (N, C) where all examples have as many candidates, else as `rows`.

    Raises:
        DataError: They are completions, which have none.
    """
    square_NC = _square(labels)
    return rows(labels) if square_NC is None else square_NC


def _square(labels: pa.Table) -> Floats | None:
    """The probabilities as one array (N, C), where all examples have as many candidates."""
    values, offsets = _flat(labels)
    width = int(offsets[1] - offsets[0]) if len(offsets) > 1 else 0
    if not width or (np.diff(offsets) != width).any():
        return None
    return values[offsets[0] : offsets[-1]].reshape(-1, width)


def completions(labels: pa.Table) -> list[str]:
    """The completion of each row.

    Raises:
        DataError: They are probabilities.
    """
    _require_column(labels, "completion")
    texts: list[str] = labels["completion"].to_pylist()
    return texts


def _require_column(labels: pa.Table, name: str) -> None:
    if name not in labels.column_names:
        raise DataError(
            f"labels have no column {name!r}, they have {', '.join(labels.column_names)}: take labels of "
            f"examples {'with' if name == 'probs' else 'without'} candidates"
        )


def agreement(left: pa.Table, right: pa.Table, same: Callable[[str, str], bool]) -> npt.NDArray[np.bool_]:
    """Where two tables of labels, row for row, give the same answer, (N,).

    The answer is the first of the most probable candidates, or the completion.

    Args:
        left: Labels.
        right: Labels of the same form and examples.
        same: Whether a completion of `left` says the same as one of `right`; not asked about probabilities.
    """
    if "completion" in left.column_names:
        pairs = zip(completions(left), completions(right), strict=True)
        return np.array([same(first, second) for first, second in pairs], np.bool_)
    if left.num_rows != right.num_rows:
        raise ValueError(f"{left.num_rows} labels cannot be held against {right.num_rows}")
    same_N: npt.NDArray[np.bool_] = _best(left) == _best(right)
    return same_N


def _best(labels: pa.Table) -> npt.NDArray[np.int64]:
    """The place of the first of the most probable candidates of each row."""
    values, offsets = _flat(labels)
    sizes_N = np.diff(offsets)
    padded_NC = rectangle(values[offsets[0] : offsets[-1]], sizes_N, fill=-np.inf)
    return padded_NC.argmax(axis=1) if padded_NC.size else np.zeros(len(sizes_N), np.int64)


def weights(labels: pa.Table) -> Floats:
    """The weight of each row, float32 (N,); 1 where the table has none."""
    if "weight" not in labels.column_names:
        return np.ones(labels.num_rows, np.float32)
    weight_N: Floats = labels["weight"].to_numpy().astype(np.float32)
    return weight_N


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
    ids: Sequence[str], num_candidates: Sequence[int] | None, labels: pa.Table, *, subset: bool = False
) -> pa.Table:
    """The labels of these examples in their order.

    Args:
        ids: The examples.
        num_candidates: How many candidates each of them has; None where they are completed.
        labels: Labels in any order.
        subset: Allow examples without a label (a rule may have dropped them); they are left out.

    Raises:
        DataError: A missing, doubled or foreign id, a wrong number of candidates, or probabilities
            that are negative, not finite, or do not sum to 1; a completion that is missing; a weight
            that is negative or not finite. The message names the id. Or labels of the other form.
    """
    label_ids = labels["id"].to_pylist()
    require_unique(ids, "examples")
    joined = labels if label_ids == ids else _in_order(ids, label_ids, labels, subset=subset)
    weight_N = weights(joined)
    if bad := np.flatnonzero(~(np.isfinite(weight_N) & (weight_N >= 0))).tolist():
        raise DataError(
            f"weight of {joined['id'][bad[0]].as_py()!r} is {weight_N[bad[0]]:g}; it must be at least 0"
        )
    if num_candidates is None:
        _check_texts(joined["id"].to_pylist(), completions(joined), "completion")
    else:
        _check_rows(joined, dict(zip(ids, num_candidates, strict=True)))
    return joined


def _in_order(ids: Sequence[str], label_ids: list[str], labels: pa.Table, *, subset: bool) -> pa.Table:
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
    return labels.take(pa.array([place[example] for example in ids if example in place], pa.int64()))


def _check_texts(ids: Sequence[str], texts: Sequence[object], what: str) -> None:
    """Refuse what is no text; an empty one may be what a model says."""
    for example, text in zip(ids, texts, strict=True):
        if not isinstance(text, str):
            raise DataError(f"{what} of {example!r} is {text!r}; it must be a text")


def _check_rows(labels: pa.Table, sizes: Mapping[str, int]) -> None:
    """Refuse rows of a wrong length, and what is no distribution."""
    flat, offsets = _flat(labels)
    label_ids = labels["id"].to_pylist()
    length_N = np.diff(offsets)
    wanted_N = np.array([sizes[example] for example in label_ids], np.int64)
    for row in np.flatnonzero(length_N != wanted_N)[:1].tolist():
        raise DataError(
            f"label of {label_ids[row]!r} has {length_N[row]} candidates; the example has {wanted_N[row]}"
        )
    flat = flat[offsets[0] : offsets[-1]]
    owner = np.repeat(np.arange(len(length_N)), length_N)
    sound_N = np.abs(np.bincount(owner, flat, len(length_N)) - 1) < _SUM_TOLERANCE
    sound_N[owner[~(np.isfinite(flat) & (flat >= 0))]] = False
    for row in np.flatnonzero(~sound_N)[:1].tolist():
        shown = rows(labels)[row].tolist()[:5]
        raise DataError(f"label of {label_ids[row]!r} is no distribution: {shown}; it must sum to 1")
