"""The stages from which every experiment is composed: what each takes, its identity, what it runs.

A stage is a frozen description. Its id is a digest of all that can change its result: its fields,
the ids of the stages it takes from, and the digests of files from outside. Importing this module
imports no torch; running a stage that needs it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from surpass.artifact import Artifact
from surpass.identity import digest_of, execution_field, identity_fields
from surpass.labels import find_rule
from surpass.models.sources import resolve
from surpass.tasks import Task
from surpass.train.recipe import Recipe

TRUTH: Literal["truth"] = "truth"
"""Named in place of labels by a stage that may see the truth."""

_FLOPS_PER_EXAMPLE_READ = 5e6
_BACKWARD = 3.0


@dataclass(frozen=True)
class Context:
    """What a running stage is given.

    Attributes:
        find: The artifact of a stage it takes from.
        out: Folder for its files.
        work: Folder that outlives an interrupted run.
        report: Called with the share that is done, in [0, 1].
        stop: True when the run shall end: long stages save a checkpoint and raise `Stopped`.
        checkpoint_seconds: How often a long stage saves its state.
        micro_batch: Examples per forward pass at most, for bounded memory; None for no bound.
    """

    find: Callable[[Stage], Artifact]
    out: Path
    work: Path
    report: Callable[[float], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    checkpoint_seconds: float = 30.0
    micro_batch: int | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all stages share."""

    kind: ClassVar[str]
    version: ClassVar[int]
    runs_in: ClassVar[str] = "surpass.stages"
    """The module that running it imports; the engine does so before the clock starts."""

    @property
    def label(self) -> str:
        """A short name for people; no part of the identity."""
        raise NotImplementedError

    @property
    def cost(self) -> float:
        """Estimate of the work, in floating-point operations."""
        return 1e7

    def outside(self) -> dict[str, str]:
        """Digests of files from outside, by role."""
        return {}

    def run(self, context: Context) -> dict[str, Any]:
        """Compute the files of the artifact.

        Returns:
            What the manifest shall say beside the usual.
        """
        raise NotImplementedError

    @cached_property
    def upstream(self) -> tuple[Stage, ...]:
        """The stages it takes from."""
        values = [getattr(self, field.name) for field in fields(self)]
        flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
        return tuple(item for item in flat if isinstance(item, Stage))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that can change the result; stages it takes from by their ids."""
        fields_ = identity_fields(self)
        return {"stage": self.kind, "version": self.version, "fields": fields_, "outside": self.outside()}

    @cached_property
    def id(self) -> str:
        """Digest of the identity, 64 hex digits."""
        return digest_of(self.identity)


@dataclass(frozen=True, kw_only=True)
class Examples(Stage):
    """Examples of one part of a task; their truth lies in a file of its own.

    Files: `inputs.parquet` and `truth.parquet`, row for row (see `tasks.base.ExampleTables`).
    """

    kind: ClassVar[str] = "examples"
    version: ClassVar[int] = 1

    task: Task
    part: str
    size: int | None
    seed: int
    mix: str = "all"

    @property
    def label(self) -> str:
        """Task, part, size, seed."""
        mix = "" if self.mix == "all" else f"-{self.mix}"
        return f"{self.task.name}-{self.part}{mix}-{self.size or 'all'}-s{self.seed}"

    @property
    def cost(self) -> float:
        """Reading and encoding them."""
        return _FLOPS_PER_EXAMPLE_READ * (self.size or 10_000)

    def outside(self) -> dict[str, str]:
        """The task's own files."""
        return {"task": self.task.name} | self.task.digests()

    def run(self, context: Context) -> dict[str, Any]:
        """Draw and encode the examples."""
        import pyarrow.parquet as pq

        from surpass.labels import require_unique

        tables = self.task.examples(part=self.part, size=self.size, seed=self.seed, mix=self.mix)
        require_unique(tables.inputs["id"].to_pylist(), f"examples of {self.label}")
        pq.write_table(tables.inputs, context.out / "inputs.parquet")
        pq.write_table(tables.truth, context.out / "truth.parquet")
        return {"num_examples": tables.inputs.num_rows}


@dataclass(frozen=True, kw_only=True)
class Fit(Stage):
    """A pretrained model fine-tuned on labels, or, by name, on the truth.

    Files: `model.safetensors`, and `curve.parquet` with the loss of each step in nats.
    """

    kind: ClassVar[str] = "fit"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.train.run"

    model: str = execution_field()
    examples: Examples
    labels: Stage | Literal["truth"]
    loss: str = "xent"
    recipe: Recipe
    seed: int

    @property
    def label(self) -> str:
        """Model, whom it learns from, loss, seed."""
        labels = self.labels
        while isinstance(labels, Relabel):
            labels = labels.labels
        if isinstance(labels, Label):
            origin = labels.source.model if isinstance(labels.source, Fit) else labels.source
            teacher = f"from-{resolve(origin).short_name}"
        else:
            teacher = TRUTH if labels == TRUTH else "from-labels"
        return f"{resolve(self.model).short_name}-{teacher}-{self.loss}-s{self.seed}"

    @property
    def cost(self) -> float:
        """Forward and backward passes."""
        passes = self.recipe.epochs * (self.examples.size or 10_000)
        return _BACKWARD * resolve(self.model).flops * passes

    def outside(self) -> dict[str, str]:
        """The pretrained weights, which count by their bytes, whatever they are called."""
        return {"model": resolve(self.model).digest}

    def run(self, context: Context) -> dict[str, Any]:
        """Fine-tune."""
        from surpass.train.run import run_fit

        return run_fit(self, context)


@dataclass(frozen=True, kw_only=True)
class Label(Stage):
    """A model's probabilities over the candidates of each example.

    File: `labels.parquet`, columns as in `labels.SCHEMA`. The source is a fit, or the name of a
    pretrained model, which then labels as it is (zero-shot).
    """

    kind: ClassVar[str] = "label"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.train.run"

    source: Fit | str
    examples: Examples

    @property
    def label(self) -> str:
        """Who labels what."""
        name = self.source.label if isinstance(self.source, Fit) else resolve(self.source).short_name
        return f"{name}-on-{self.examples.label}"

    @property
    def cost(self) -> float:
        """Forward passes."""
        model = self.source.model if isinstance(self.source, Fit) else self.source
        return resolve(model).flops * (self.examples.size or 10_000)

    def outside(self) -> dict[str, str]:
        """The weights of a pretrained source."""
        return {} if isinstance(self.source, Fit) else {"model": resolve(self.source).digest}

    def run(self, context: Context) -> dict[str, Any]:
        """Label."""
        from surpass.train.run import run_label

        return run_label(self, context)


@dataclass(frozen=True, kw_only=True)
class Relabel(Stage):
    """Labels made from labels by a rule of `labels.RULES`; file as in `Label`."""

    kind: ClassVar[str] = "relabel"
    version: ClassVar[int] = 1

    labels: Label | Relabel
    rule: str

    def __post_init__(self) -> None:
        find_rule(self.rule)

    @property
    def label(self) -> str:
        """Rule and origin."""
        return f"{self.rule}-{self.labels.label}"

    def run(self, context: Context) -> dict[str, Any]:
        """Apply the rule."""
        import pyarrow.parquet as pq

        before = pq.read_table(context.find(self.labels).file("labels.parquet"))
        after = find_rule(self.rule)(before)
        pq.write_table(after, context.out / "labels.parquet")
        return {"num_examples": after.num_rows}


@dataclass(frozen=True, kw_only=True)
class Score(Stage):
    """Labels held against the truth.

    Files: `score.json` (without log loss where a truth has probability 0), and `examples.parquet` with
    `id`, `prediction` int16, `correct` bool, `truth_prob` and `confidence` float32 per example, in the
    order of the examples.
    """

    kind: ClassVar[str] = "score"
    version: ClassVar[int] = 1

    labels: Label | Relabel
    examples: Examples

    @property
    def label(self) -> str:
        """Whose labels."""
        return self.labels.label

    def run(self, context: Context) -> dict[str, Any]:
        """Compute the metrics."""
        from surpass.scoring import run_score

        return run_score(self, context)


STAGES: dict[str, type[Stage]] = {stage.kind: stage for stage in (Examples, Fit, Label, Relabel, Score)}
