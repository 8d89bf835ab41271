"""What `RollOuts` runs: solutions drawn to their end from behind each step, in shards that are kept."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surpass import labels as lb
from surpass.clock import spent
from surpass.errors import Stopped
from surpass.hashing import unit
from surpass.running.solution_table import distinct, read_solutions
from surpass.running.solving import Grading
from surpass.train.label import load_source
from surpass.world.sampling import Draw, sample

if TYPE_CHECKING:
    from surpass.stages import Context
    from surpass.stages.outcome import RollOuts

_SCHEMA = pa.schema({"prefix": pa.string(), "right": pa.int32()})


class Prefix(NamedTuple):
    """A problem and the first steps of a solution, each line ended; what makes it right."""

    problem_id: str
    problem: str
    text: str
    reference: str

    @property
    def prompt(self) -> str:
        """What is gone on from."""
        return f"{self.problem}\n{self.text}"


def run_rollouts(stage: RollOuts, context: Context) -> dict[str, Any]:
    """Draw, grade and count."""
    inputs = pq.read_table(context.find(stage.examples).file("inputs.parquet"))
    rows = {row["id"]: row for row in distinct(read_solutions(context.find(stage.examples.solutions)))}
    ids = inputs["id"].to_pylist()
    places = list(zip(inputs["solution"].to_pylist(), inputs["step"].to_pylist(), strict=True))
    prefixes = {
        (name, step): _prefix(rows[name], step)
        for name, step in places
        if step + 1 < len(rows[name]["steps"])
    }
    # Solutions of one problem begin alike: what is equal is gone on from once.
    asked = sorted(set(prefixes.values()), key=lambda each: unit(each.prompt, seed=0, purpose="roll-out"))
    right = _counted(stage, asked, context) if asked else {}
    share_N = np.array(
        [
            right[prefixes[name, step]] / stage.num_samples
            if (name, step) in prefixes
            else float(rows[name]["correct"])
            for name, step in places
        ]
    )
    if stage.target == "hard":
        share_N = (share_N > 0).astype(np.float64)
    probs = np.stack([1 - share_N, share_N], axis=1).astype(np.float32)
    pq.write_table(lb.label_table(ids, list(probs)), context.out / "labels.parquet")
    return {
        "model": stage.model,
        "num_examples": len(ids),
        "num_prefixes": len(asked),
        "num_rollouts": len(asked) * stage.num_samples,
    }


def _prefix(row: dict[str, Any], step: int) -> Prefix:
    text = "".join(f"{line}\n" for line in row["steps"][: step + 1])
    return Prefix(row["problem_id"], row["problem"], text, row["reference"])


def _counted(stage: RollOuts, prefixes: list[Prefix], context: Context) -> dict[Prefix, int]:
    """How many roll-outs from behind each prefix end in a right answer."""
    names = [each.prompt for each in prefixes]
    inputs = pa.table(
        {
            "id": names,
            "prompt": names,
            "max_new_tokens": pa.array([stage.max_new_tokens] * len(names), pa.int32()),
        }
    )
    with spent("input/output"):
        model = load_source(stage.source, inputs, context)
    model.eval()
    with spent("data"):
        tokens = model.encode(inputs).tokens
    grading, found = Grading(stage.grader), dict[Prefix, int]()
    size = stage.prefixes_per_shard
    for start in range(0, len(prefixes), size):
        if context.stop():
            raise Stopped("stopped; run the same command again to go on from here")
        shard = prefixes[start : start + size]
        path = context.work / f"rollouts-{size}-{start // size:05d}.parquet"
        counts = _kept(path, shard)
        if counts is None:
            draws = [
                Draw(start + row, number) for row in range(len(shard)) for number in range(stage.num_samples)
            ]
            said = sample(
                model,
                tokens,
                names,
                draws,
                max_new_tokens=stage.max_new_tokens,
                temperature=stage.temperature,
                seed=stage.seed,
            )
            counts = [0] * len(shard)
            with spent("evaluation"):
                for draw, one in zip(draws, said, strict=True):
                    counts[draw.prompt - start] += one.ended and _is_right(
                        grading, prefixes[draw.prompt], one.text, stage.model
                    )
            draft = path.with_suffix(".draft")
            table = pa.table({"prefix": [each.prompt for each in shard], "right": counts}, schema=_SCHEMA)
            pq.write_table(table, draft)
            draft.replace(path)
        found |= dict(zip(shard, counts, strict=True))
        context.report(min(start + size, len(prefixes)) / len(prefixes))
    return found


def _is_right(grading: Grading, prefix: Prefix, text: str, source: str) -> bool:
    whole = prefix.text + text
    solution = grading.solution(prefix.problem_id, prefix.problem, whole, prefix.reference, source)
    return solution is not None and bool(solution.correct)


def _kept(path: Path, shard: list[Prefix]) -> list[int] | None:
    """The counts of an earlier run; None where there is none that is whole."""
    with suppress(OSError, pa.ArrowInvalid):
        table = pq.read_table(path)
        if table.schema == _SCHEMA and table["prefix"].to_pylist() == [each.prompt for each in shard]:
            counts: list[int] = table["right"].to_pylist()
            return counts
    return None
