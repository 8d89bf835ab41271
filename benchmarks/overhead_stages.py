"""Stages that do next to nothing, for `overhead.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from surpass.stages import Context, Stage


@dataclass(frozen=True, kw_only=True)
class Trivial(Stage):
    """Writes its number, once it has read those of the stages before it."""

    kind: ClassVar[str] = "trivial"
    version: ClassVar[int] = 1

    number: int
    before: tuple[Stage, ...] = ()

    @property
    def label(self) -> str:
        """The number."""
        return f"trivial-{self.number}"

    def run(self, context: Context) -> dict[str, Any]:
        """Read, and write."""
        total = sum(int(context.find(stage).file("number.txt").read_bytes()) for stage in self.before)
        (context.out / "number.txt").write_bytes(b"%d" % self.number)
        return {"number": self.number, "before": total}


def fan(number: int) -> list[Trivial]:
    """So many stages that all take from one."""
    source = Trivial(number=-1)
    return [Trivial(number=each, before=(source,)) for each in range(number)]
