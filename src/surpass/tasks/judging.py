"""What examples of judging solutions have for a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from surpass.errors import ConfigError
from surpass.tasks.base import ExampleTables


@dataclass(frozen=True)
class Judging:
    """What examples of judging have for a task: they come from solutions, not from files.

    Attributes:
        name: What it is called in tables.
        num_classes: How many verdicts there are.
        reads_steps: Whether each example is a step.
    """

    name: str
    num_classes: int
    reads_steps: bool

    parts: ClassVar[tuple[str, ...]] = ("all",)
    mixes: ClassVar[tuple[str, ...]] = ("all",)
    families: ClassVar[frozenset[str]] = frozenset({"causal"})
    difficulty: ClassVar[None] = None
    stops_early: ClassVar[bool] = False

    def digests(self) -> dict[str, str]:
        """Nothing is read from outside."""
        return {}

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """There are none without solutions.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self.name} takes its examples from a stage of solutions; give it one")
