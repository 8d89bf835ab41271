"""The world as a task: prompts are problems, and a completion is right if its answer is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import pyarrow as pa

from surpass.errors import ConfigError
from surpass.tasks.base import CompletionTask, ExampleTables
from surpass.world.authors import solve
from surpass.world.checker import answer_of
from surpass.world.problems import MIXES, PARTS, Problem, problems

MOST = 10_000
"""Problems of a part that are drawn at most, all families together."""


def answers_agree(completion: str, other: str) -> bool:
    """Whether two solutions state the same answer behind `#`; those without an answer agree with nothing.

    Source:
        Lightman et al. 2023: solutions are graded by their final answer alone.
    """
    mine, yours = (answer_of(text.strip().split("\n")) for text in (completion, other))
    return mine is not None and mine == yours


@dataclass(frozen=True)
class WorldTask(CompletionTask):
    """Problems of the world, to be completed with their steps; a hash of each says which part it is of.

    Attributes:
        name: What the task is called in tables.
        max_new_tokens: How many tokens a completion has at most, its end token included.
    """

    name: str = "world"
    max_new_tokens: int = 200

    def __post_init__(self) -> None:
        self.require_limit()

    @property
    def checked_by(self) -> str:
        """The checker of its completions: the same answer."""
        return "surpass.world.task:answers_agree"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; `problems.PARTS` holds their sizes. Reasoners have read `pretrain`."""
        return tuple(PARTS)

    @property
    def mixes(self) -> tuple[str, ...]:
        """From which families and levels problems are drawn, evenly; see `problems.MIXES`."""
        return tuple(MIXES)

    @property
    def difficulty(self) -> str:
        """The column of levels; those of different families have nothing to do with each other."""
        return "level"

    def digests(self) -> dict[str, str]:
        """Nothing: problems are made, not read."""
        return {}

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Problems of one part; kinds take turns.

        Args:
            part: One of `parts`.
            size: How many; there is no end of them, so a number is needed. A smaller size is a prefix.
            seed: Another is another stream; two streams may have problems in common.
            mix: One of `mixes`.

        Returns:
            `inputs` with `id` string, `prompt` string (the problem and a new line), `family` string, `level`
            int32, `length` int32 in characters and `max_new_tokens` int32; `truth` with `id` and a right
            completion, string.

        Raises:
            ConfigError: Part or mix is unknown, or the size is more than 10,000, or not said.
        """
        if size is None or not 0 <= size <= MOST:
            raise ConfigError(
                f"{'all' if size is None else size} problems of the world asked for; ask for at most {MOST}"
            )
        found = _drawn(part, size, seed, mix)
        names = pa.array([problem.id for problem in found], pa.string())
        inputs = {
            "id": names,
            "prompt": pa.array([problem.text + "\n" for problem in found], pa.string()),
            "family": pa.array([problem.family for problem in found], pa.string()),
            "level": pa.array([problem.level for problem in found], pa.int32()),
            "length": pa.array([len(problem.text) for problem in found], pa.int32()),
            "max_new_tokens": pa.array([self.max_new_tokens] * len(found), pa.int32()),
        }
        truth = pa.array(["\n".join(solve(problem.text)) for problem in found], pa.string())
        return ExampleTables(pa.table(inputs), pa.table({"id": names, "truth": truth}))


@lru_cache(maxsize=8)
def _drawn(part: str, size: int, seed: int, mix: str) -> tuple[Problem, ...]:
    return tuple(islice(problems(part, mix, seed=seed), size))
