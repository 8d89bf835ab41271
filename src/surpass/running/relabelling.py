"""What `Relabel` runs: labels of the same examples brought into one order, and a rule applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from surpass.errors import DataError
from surpass.labels import require_unique
from surpass.rules import find_rule
from surpass.rules.given import Given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surpass.stages import Context, LabelStage, Relabel


def run_relabel(stage: Relabel, context: Context) -> dict[str, Any]:
    """Apply the rule."""
    tables = _read(stage.labels, context)
    ids = tables[0]["id"].to_pylist()
    inputs = None
    if stage.examples is not None:
        inputs = aligned(pq.read_table(context.find(stage.examples).file("inputs.parquet")), ids, "inputs")
    given = Given(
        labels=tables,
        inputs=inputs,
        features_ND=None if stage.features is None else _features(stage, ids, context),
        reference=_read(stage.reference, context) if stage.reference else (),
        num_classes=stage.num_classes,
    )
    after = find_rule(stage.rule)(given)
    pq.write_table(after, context.out / "labels.parquet")
    return {"num_examples": after.num_rows, "num_before": len(ids)}


def aligned(table: pa.Table, ids: Sequence[str], what: str) -> pa.Table:
    """The rows of these ids, in their order.

    Raises:
        DataError: An id is missing or doubled.
    """
    found = table["id"].to_pylist()
    if found == list(ids):
        return table
    require_unique(found, what)
    place = {example: row for row, example in enumerate(found)}
    missing = [example for example in ids if example not in place]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{what} lack {missing[0]!r}{more}; use those of all examples")
    return table.take(pa.array([place[example] for example in ids], pa.int64()))


def _read(stages: Sequence[LabelStage], context: Context) -> tuple[pa.Table, ...]:
    first, *others = (pq.read_table(context.find(stage).file("labels.parquet")) for stage in stages)
    ids = first["id"].to_pylist()
    require_unique(ids, "labels")
    return (first, *(aligned(other, ids, "labels") for other in others))


def _features(stage: Relabel, ids: Sequence[str], context: Context) -> npt.NDArray[np.float32]:
    from surpass.train.features import read_states

    assert stage.features is not None
    states = read_states(context, stage.features, ids)
    # Of a pair the first less the second.
    features_ND: npt.NDArray[np.float32] = (
        states[:, 0] - states[:, 1] if states.dim() == 3 else states
    ).numpy()
    return features_ND
