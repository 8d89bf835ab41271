"""What `Sample` runs: completions in shards, each kept as soon as it is there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from surpass.clock import spent
from surpass.errors import ConfigError, Stopped
from surpass.train.label import load_source
from surpass.train.run import Inputs, truncation
from surpass.world.sampling import Draw, sample

if TYPE_CHECKING:
    from surpass.stages import Context
    from surpass.stages.sampled import Sample

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "sample": pa.int32(),
        "text": pa.string(),
        "num_tokens": pa.int32(),
        "ended": pa.bool_(),
    }
)


def run_sample(stage: Sample, context: Context) -> dict[str, Any]:
    """Draw the samples; see `Sample`."""
    inputs = Inputs.read(context.find(stage.examples))
    if "prompt" not in inputs.table.column_names:
        raise ConfigError("samples are drawn for prompts, and these examples have none")
    with spent("input/output"):
        model = load_source(stage.source, inputs.table, context)
    model.eval()
    with spent("data"):
        examples = model.encode(inputs.table)
    shards = range(0, len(inputs.ids), stage.examples_per_shard)
    found: list[pa.Table] = []
    for number, start in enumerate(shards):
        if context.stop():
            raise Stopped("stopped; run the same command again to go on from here")
        ids = inputs.ids[start : start + stage.examples_per_shard]
        path = context.work / f"samples-{stage.examples_per_shard}-{number:05d}.parquet"
        shard = _kept(path, ids, stage.num_samples)
        if shard is None:
            draws = [Draw(start + row, draw) for row in range(len(ids)) for draw in range(stage.num_samples)]
            said = sample(
                model,
                examples.tokens,
                inputs.ids,
                draws,
                max_new_tokens=examples.max_new_tokens,
                temperature=stage.temperature,
                seed=stage.seed,
            )
            rows = [
                {"id": inputs.ids[draw.prompt], "sample": draw.sample, **one._asdict()}
                for draw, one in zip(draws, said, strict=True)
            ]
            shard = pa.Table.from_pylist(rows, SCHEMA)
            _keep(shard, path)
        found.append(shard)
        context.report((number + 1) / len(shards))
    table = pa.concat_tables(found) if found else SCHEMA.empty_table()
    pq.write_table(table, context.out / "samples.parquet")
    ended = table["ended"].to_pylist()
    return {
        "model": stage.model,
        "num_examples": len(inputs.ids),
        "num_samples": table.num_rows,
        "ended": sum(ended) / max(len(ended), 1),
    } | truncation(examples)


def _kept(path: Path, ids: list[str], num_samples: int) -> pa.Table | None:
    """A shard of an earlier run; None where there is none that is whole."""
    with suppress(OSError, pa.ArrowInvalid):
        table = pq.read_table(path)
        if table.schema == SCHEMA and table["id"].to_pylist() == [
            name for name in ids for _ in range(num_samples)
        ]:
            return table
    return None


def _keep(shard: pa.Table, path: Path) -> None:
    draft = path.with_suffix(".draft")
    pq.write_table(shard, draft)
    draft.replace(path)
