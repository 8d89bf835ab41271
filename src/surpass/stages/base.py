"""What all stages share: identity, what they take from, and what a running one is given.

A stage is a frozen description. Its id is a digest of all that can change its result: its fields,
the ids of the stages it takes from, and the digests of files from outside. Importing this package
imports no torch; running a stage that needs it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from surpass.clock import ELSEWHERE
from surpass.errors import SurpassError
from surpass.identity import digest_of, identity_fields
from surpass.store.artifact import Artifact
from surpass.tasks import Task

TRUTH: Literal["truth"] = "truth"
"""Named in place of labels by a stage that may see the truth."""


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
        save_memory: Whether models that can compute activations twice shall do so rather than keep them.
        mesh: The devices over which a fit is to be spread, such as `data=2,model=2`; None for one.
        ranks: The processes of a mesh, of which this is one.
    """

    find: Callable[[Stage], Artifact]
    out: Path
    work: Path
    report: Callable[[float], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    checkpoint_seconds: float = 30.0
    micro_batch: int | None = None
    save_memory: bool = False
    mesh: str | None = None
    ranks: Any = None


_NOTHING: dict[str, str] = {}  # one for all


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all stages share."""

    kind: ClassVar[str]
    version: ClassVar[int]
    runs_in: ClassVar[str] = "surpass.stages"
    """The module that running it imports; the engine does so before the clock starts."""

    work: ClassVar[str] = ELSEWHERE
    """What its time is spent on, but for what its code says (`clock.KINDS`): the one thing that it does."""

    @property
    def label(self) -> str:
        """A short name for people; no part of the identity."""
        raise NotImplementedError

    @property
    def cost(self) -> float:
        """Estimate of the work, in floating-point operations."""
        return 1e7

    @property
    def truth_of(self) -> Stage | None:
        """The examples whose truth it is given, if any."""
        return None

    def outside(self) -> dict[str, str]:
        """Digests of files from outside, by role."""
        return {}

    def run(self, context: Context) -> dict[str, Any]:
        """Compute the files of the artifact.

        Returns:
            What the manifest shall say beside the usual.
        """
        raise NotImplementedError

    @property
    def follows(self) -> tuple[Stage, ...]:
        """Stages it takes from that its fields imply and do not name; no part of its identity."""
        return ()

    @property
    def together(self) -> str | None:
        """Stages that say the same run faster together, once all of them can; None for one that runs alone.

        Such stages have `run_all`.
        """
        return None

    @staticmethod
    def run_all(stages: Sequence[Any], contexts: Sequence[Context]) -> list[Any]:
        """Run stages that say the same of `together`.

        Returns:
            Of each what `run` returns, or the `SurpassError` that it has met.
        """
        raise NotImplementedError

    @cached_property
    def upstream(self) -> tuple[Stage, ...]:
        """The stages it takes from."""
        values = [getattr(self, field.name) for field in fields(self)]
        flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
        return (*(item for item in flat if isinstance(item, Stage)), *self.follows)

    @property
    def revision(self) -> int:
        """Its version, unless that depends on its fields."""
        return self.version

    @property
    def identity(self) -> dict[str, Any]:
        """All that can change the result; stages it takes from by their ids.

        Made anew each time, as a study may have a million stages; with the files from outside as they were
        when it was asked for first.
        """
        fields_ = identity_fields(self)
        return {"stage": self.kind, "version": self.revision, "fields": fields_, "outside": self.outside_then}

    @cached_property
    def outside_then(self) -> dict[str, str]:
        """Digests of files from outside as they were when the id was made."""
        return self.outside() or _NOTHING

    @cached_property
    def id(self) -> str:
        """Digest of the identity, 64 hex digits."""
        return digest_of(self.identity)


class ExampleStage(Stage):
    """Gives examples of a task: `inputs.parquet`, and `truth.parquet` row for row; `size` None for all."""

    task: Task
    size: int | None


class ModelStage(Stage):
    """Gives a model: `model.safetensors`, the weights of a pretrained model that has learned.

    Attributes:
        model: The pretrained model.
        has_weights: Whether it has weights of its own, with which a fit may begin.
    """

    has_weights: ClassVar[bool] = True

    model: str

    @property
    def teacher(self) -> str:
        """Whom it learned from, for people."""
        raise NotImplementedError

    @property
    def origin(self) -> str | None:
        """The digest of the pretrained weights below the head, where this stage leaves them as they were."""
        return None

    @property
    def features_source(self) -> ModelStage | str | None:
        """Whose `Features` its head reads, where it is a head on states that it leaves as they are.

        `model.safetensors` then holds the head alone (`head.weight`, ...).
        """
        return None

    def sees(self, examples: ExampleStage) -> ExampleStage:
        """Examples in the form that it learned from."""
        return examples

    def load_into(self, model: Any, context: Context) -> None:
        """Make of the pretrained model what this stage made of it, in place."""
        from safetensors.torch import load_file

        model.load_state_dict(load_file(context.find(self).file("model.safetensors")))


class LabelStage(Stage):
    """Gives labels: `labels.parquet`, columns as in `labels.SCHEMA` or `labels.COMPLETIONS`."""

    @property
    def teacher(self) -> str:
        """Whose labels they are, for people."""
        raise NotImplementedError

    def on(self, examples: ExampleStage) -> LabelStage:
        """The labels that come about in the same way on other examples."""
        raise NotImplementedError


def only(results: Sequence[Any]) -> dict[str, Any]:
    """The one result of `run_all` for one stage.

    Raises:
        SurpassError: It is one.
    """
    (result,) = results
    if isinstance(result, SurpassError):
        raise result
    said: dict[str, Any] = result
    return said


def completes(examples: ExampleStage) -> bool:
    """Whether models complete prompts here: labels are then no probabilities."""
    return getattr(examples.task, "checked_by", None) is not None
