"""What every task promises."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import pyarrow as pa

from surpass.errors import ConfigError


class ExampleTables(NamedTuple):
    """Examples and their sealed truth, row for row.

    Attributes:
        inputs: What a model may see. A column `id` (string, unique, the same in every run), then
            the columns of the task.
        truth: Columns `id` (string, as in `inputs`) and `truth` (int16, the right candidate; for tasks of
            generation a string, the right completion).
        notes: What was left out of the data that they are drawn from, in words, with how many.
    """

    inputs: pa.Table
    truth: pa.Table
    notes: Mapping[str, int] = MappingProxyType({})


class Task(Protocol):
    """A source of examples with known answers, cut into parts that share nothing.

    A task whose students stop early by default, as in the paper, also has `stops_early = True`. A task of
    completions has `checked_by`, the name of what tells whether two say the same; where a task has none,
    its labels are probabilities over candidates.
    """

    @property
    def name(self) -> str:
        """The key in `TASKS`."""
        ...

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts: the supervisor's, the student's, for choosing, for the result."""
        ...

    @property
    def num_classes(self) -> int | None:
        """How many classes all examples share; None where each has candidates of its own."""
        ...

    @property
    def families(self) -> frozenset[str]:
        """The families of models that can read its examples."""
        ...

    @property
    def difficulty(self) -> str | None:
        """The column of `inputs` that is larger for harder examples, if there is one."""
        ...

    def digests(self) -> dict[str, str]:
        """The sha256 of every file from outside that the examples depend on, by role."""
        ...

    @property
    def mixes(self) -> tuple[str, ...]:
        """The ways of drawing examples from a part; the first is as they come."""
        ...

    def examples(self, *, part: str, size: int | None, seed: int, mix: str) -> ExampleTables:
        """Examples of one part.

        Args:
            part: One of `parts`.
            size: How many; None for all there are. A smaller size is a subset of a larger one.
            seed: Chooses which, and their order.
            mix: One of `mixes`.

        Raises:
            ConfigError: There is no such part, or it holds fewer than `size` examples.
        """
        ...


class CompletionTask:
    """What tasks of prompts to be completed have in common."""

    max_new_tokens: int

    def require_limit(self) -> None:
        """Refuse a length of completions that is none.

        Raises:
            ConfigError: It is below 1, or no whole number.
        """
        if type(self.max_new_tokens) is not int or self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens!r} must be a whole number of at least 1")

    @property
    def families(self) -> frozenset[str]:
        """Language models that write."""
        return frozenset({"causal"})

    @property
    def num_classes(self) -> None:
        """None: there are no candidates."""

    @property
    def stops_early(self) -> bool:
        """Not by default (Burns et al. 2023, appendix A.2)."""
        return False
