"""Examples, what else a model may see of them, and their truth as labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from surpass.calls import code_digest
from surpass.errors import ConfigError
from surpass.identity import identity_field
from surpass.stages.base import Context, ExampleStage, LabelStage, Stage
from surpass.tasks import ExampleTables, Task

_FLOPS_PER_EXAMPLE_READ = 5e6


@dataclass(frozen=True, kw_only=True)
class Examples(ExampleStage):
    """Examples of one part of a task; their truth lies in a file of its own.

    Files: `inputs.parquet` and `truth.parquet`, row for row (see `tasks.base.ExampleTables`).

    Attributes:
        task: Where they come from.
        part: One of the task's parts.
        size: How many; None for all there are.
        seed: Chooses which, and their order.
        mix: How they are drawn; one of the task's mixes.
        skip: How many are left to others: examples with the same seed, another `skip` and no
            overlap are fresh.
    """

    kind: ClassVar[str] = "examples"
    version: ClassVar[int] = 1
    work: ClassVar[str] = "data"

    task: Task
    part: str
    size: int | None
    seed: int
    mix: str = "all"
    skip: int = identity_field(0, since_default=True)

    def __post_init__(self) -> None:
        if self.skip < 0 or (self.skip and self.size is None):
            raise ConfigError(f"skip={self.skip} must be at least 0, and needs a size")

    @cached_property
    def label(self) -> str:
        """Task, part, size, seed."""
        mix = "" if self.mix == "all" else f"-{self.mix}"
        skip = f"-behind-{self.skip}" if self.skip else ""
        return f"{self.task.name}-{self.part}{mix}-{self.size or 'all'}{skip}-s{self.seed}"

    @property
    def cost(self) -> float:
        """Reading and encoding them."""
        return _FLOPS_PER_EXAMPLE_READ * (self.size or 10_000)

    def outside(self) -> dict[str, str]:
        """The task's own files; of a task from outside its code too."""
        kind = type(self.task)
        code = code_digest(f"{kind.__module__}:{kind.__name__}")
        return {"task": self.task.name} | self.task.digests() | code

    def run(self, context: Context) -> dict[str, Any]:
        """Draw and encode the examples."""
        import pyarrow.parquet as pq

        from surpass.labels import require_unique

        tables = self._drawn()
        require_unique(tables.inputs["id"].to_pylist(), f"examples of {self.label}")
        # Of images a row group of all would be read as one piece of many gigabytes.
        rows = 1000 if "image" in tables.inputs.column_names else None
        pq.write_table(tables.inputs, context.out / "inputs.parquet", row_group_size=rows)
        pq.write_table(tables.truth, context.out / "truth.parquet")
        said: dict[str, Any] = {"num_examples": tables.inputs.num_rows}
        return said | ({"notes": dict(tables.notes)} if tables.notes else {})

    def _drawn(self) -> ExampleTables:
        def draw(size: int | None) -> ExampleTables:
            return self.task.examples(part=self.part, size=size, seed=self.seed, mix=self.mix)

        if not self.skip or self.size is None:
            return draw(self.size)
        import pyarrow.compute as pc

        # A smaller size is a subset of a larger one, for every task.
        taken, tables = draw(self.skip).inputs["id"], draw(self.skip + self.size)
        fresh = pc.invert(pc.is_in(tables.inputs["id"], taken.combine_chunks()))
        return ExampleTables(tables.inputs.filter(fresh), tables.truth.filter(fresh), tables.notes)


@dataclass(frozen=True, kw_only=True)
class Hint(ExampleStage):
    """Examples with a label shown to the model beside the input: a test of trivial imitation.

    Files as in `Examples`; `inputs.parquet` has a column `hint`, the probabilities of the labels.

    Source:
        Burns et al. 2023, appendix E.3.
    """

    kind: ClassVar[str] = "hint"
    version: ClassVar[int] = 1
    work: ClassVar[str] = "data"

    examples: Examples
    labels: LabelStage

    @property
    def task(self) -> Task:  # type: ignore[override]
        """Where they come from."""
        return self.examples.task

    @property
    def size(self) -> int | None:  # type: ignore[override]
        """How many; None for all there are."""
        return self.examples.size

    @cached_property
    def label(self) -> str:
        """Whose labels are shown."""
        return f"{self.examples.label}-hint-{self.labels.teacher}"

    def like(self, examples: Examples) -> Hint:
        """Other examples with labels of the same origin."""
        return replace(self, examples=examples, labels=self.labels.on(examples))

    def run(self, context: Context) -> dict[str, Any]:
        """Add the labels as a column."""
        import pyarrow.parquet as pq

        from surpass.labels import join, num_candidates_of

        examples = context.find(self.examples)
        inputs = pq.read_table(examples.file("inputs.parquet"))
        labels = pq.read_table(context.find(self.labels).file("labels.parquet"))
        shown = join(inputs["id"].to_pylist(), num_candidates_of(inputs), labels)["probs"]
        pq.write_table(inputs.append_column("hint", shown), context.out / "inputs.parquet")
        pq.write_table(pq.read_table(examples.file("truth.parquet")), context.out / "truth.parquet")
        return {"num_examples": inputs.num_rows}


@dataclass(frozen=True, kw_only=True)
class Truth(LabelStage):
    """The truth as labels, for rules that may see it; file as in `Label`."""

    kind: ClassVar[str] = "truth"
    version: ClassVar[int] = 1
    work: ClassVar[str] = "data"

    examples: ExampleStage

    @cached_property
    def label(self) -> str:
        """Of what."""
        return f"of-{self.examples.label}"

    @cached_property
    def teacher(self) -> str:
        """The truth itself."""
        return "truth"

    @property
    def truth_of(self) -> Stage:
        """The examples, whatever is shown beside them."""
        return self.examples.examples if isinstance(self.examples, Hint) else self.examples

    def on(self, examples: ExampleStage) -> Truth:
        """The truth of other examples."""
        return replace(self, examples=examples)

    def run(self, context: Context) -> dict[str, Any]:
        """One-hot labels."""
        import pyarrow.parquet as pq

        from surpass.labels import num_candidates_of, read_candidates, truth_labels

        examples = context.find(self.examples)
        sizes = num_candidates_of(read_candidates(examples.file("inputs.parquet")))
        labels = truth_labels(pq.read_table(examples.file("truth.parquet")), sizes)
        pq.write_table(labels, context.out / "labels.parquet")
        return {"num_examples": labels.num_rows}
