"""What `Fit` and `Stop` run: model, examples and labels brought together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from surpass import labels as lb
from surpass.clock import spent
from surpass.errors import DataError
from surpass.models.adapters import find_adapter, settle
from surpass.models.families import load_model
from surpass.models.folders import WEIGHTS
from surpass.models.low_rank import merged_state
from surpass.models.sources import resolve
from surpass.tasks.checkers import same_answer
from surpass.train import loaded
from surpass.train.below import pretrained_below, with_below
from surpass.train.forms import Form, form_of
from surpass.train.frozen import frozen
from surpass.train.loop import Labels, Running, snapshot_steps
from surpass.train.mesh_launch import run_on_mesh
from surpass.train.mesh_state import gathered
from surpass.train.way import Way

if TYPE_CHECKING:
    from surpass.stages import Context, Fit, Stop
    from surpass.store.artifact import Artifact

INITIAL_WEIGHTS = 2**32
"""Beside the seed: what new weights start from, apart from the order of the examples."""


@dataclass(frozen=True)
class Inputs:
    """Examples without their truth.

    `num_candidates` is None where prompts are to be completed, `artifact` where these are not all of one.
    """

    table: pa.Table
    ids: list[str]
    num_candidates: list[int] | None
    artifact: Artifact | None = None

    @classmethod
    def read(cls, artifact: Artifact) -> Inputs:
        """Those of an artifact of examples."""
        return replace(cls.of(pq.read_table(artifact.file("inputs.parquet"))), artifact=artifact)

    @classmethod
    def of(cls, table: pa.Table) -> Inputs:
        """Those of a table."""
        return cls(table, table["id"].to_pylist(), lb.num_candidates_of(table))

    def having(self, labels: pa.Table) -> Inputs:
        """Those that have a label."""
        if labels.num_rows == len(self.ids):
            return self
        return Inputs.of(self.table.filter(pc.is_in(self.table["id"], labels["id"].combine_chunks())))


def read_labels(stage: Any, examples: Artifact, inputs: Inputs, context: Context) -> pa.Table:
    """The labels that a stage names, or the truth of its examples, in their order; some may lack one."""
    return labels_of(stage, examples, inputs.ids, inputs.num_candidates, context)


def labels_of(
    stage: Any, examples: Artifact, ids: list[str], num_candidates: list[int] | None, context: Context
) -> pa.Table:
    """The same for examples of which these are known."""
    if isinstance(stage.labels, str):
        return lb.truth_labels(
            pq.read_table(examples.file("truth.parquet"), use_threads=False), num_candidates
        )
    given = pq.read_table(context.find(stage.labels).file("labels.parquet"), use_threads=False)
    return lb.join(ids, num_candidates, given, subset=True)


def run_fit(stage: Fit, context: Context) -> dict[str, Any]:
    """Fine-tune the model on the labels of the examples, joined by id."""
    if context.mesh is not None and not stage.trains_head:
        return run_on_mesh(stage, stage.recipe, context)
    ready = prepare(stage, context)
    losses = ready.train(stage, context)
    save_fitted(ready.model, stage, context.out / WEIGHTS, write=writes(context))
    if writes(context):
        pq.write_table(pa.table({"loss": losses.numpy()}), context.out / "curve.parquet")
    ready.keep(stage, context)
    return ready.said(stage, losses)


def writes(context: Context) -> bool:
    """Whether this process writes: where there are several, the first."""
    return context.ranks is None or bool(context.ranks.first)


def run_stop(stage: Stop, context: Context) -> dict[str, Any]:
    """Fine-tune, hold the model against the labels on its way, and keep the first of the best."""
    if context.mesh is not None and not stage.fit.trains_head:
        return run_on_mesh(stage, stage.fit.recipe, context)
    examples = context.find(stage.examples)
    held_out = Inputs.read(examples)
    labels = read_labels(stage, examples, held_out, context)
    if not labels.num_rows:
        raise DataError(f"no example of {stage.examples.label} has a label to stop by; label some of them")
    held_out = held_out.having(labels)
    same = same_answer(stage.examples.task)
    ready = prepare(stage.fit, context)
    with spent("data"):
        encoded = loaded.encoded(ready.model, held_out.table, held_out.artifact)
    judged = on_known_states(ready.model, encoded, len(held_out.ids), context)
    encoded = on_known_layers(judged, encoded, len(held_out.ids), context, passes=stage.snapshots)
    way = Way(context.work, write=writes(context))

    def look(number: int) -> None:
        said = ready.form.label(judged, encoded, held_out.table, micro_batch=context.micro_batch)
        ready.model.train()
        accuracy = float(lb.agreement(said, labels, same).mean())
        if context.ranks is not None:  # all have to save at the same time
            accuracy = context.ranks.told(accuracy)
        write = writes(context)
        way.passed(number, accuracy, lambda path: save_fitted(ready.model, stage.fit, path, write=write))

    losses = ready.train(stage.fit, context, snapshots=stage.snapshots, snapshot=look)
    steps = snapshot_steps(len(losses), stage.snapshots)
    if writes(context):
        os.replace(way.weights, context.out / WEIGHTS)
    if steps[way.best - 1] == len(losses):
        ready.keep(stage, context)
    return ready.said(stage.fit, losses) | way.written(steps, context.out)


class Ready(NamedTuple):
    """A model with what it is to learn.

    Attributes:
        form: That of the labels.
        model: Loaded for `inputs`.
        examples: Those inputs, in the form that the model takes.
        labels: Row for row.
        inputs: What can be seen of the examples.
        begun: The model's buffers that are not written, as they were.
    """

    form: Form
    model: Any
    examples: Any
    labels: Labels
    inputs: pa.Table
    begun: loaded.Buffers

    def train(
        self,
        stage: Fit,
        context: Context,
        *,
        snapshots: int = 0,
        snapshot: Callable[[int], None] = lambda _: None,
    ) -> Tensor:
        """Train in place, and return the loss of each step in nats.

        Raises:
            DataError: Training diverged.
        """
        losses = self.form.fit(
            self.model,
            self.examples,
            self.labels,
            loss=stage.loss,
            recipe=stage.recipe,
            seed=stage.seed,
            ema=stage.ema,
            running=Running(
                checkpoint=context.work / "checkpoint.safetensors",
                checkpoint_seconds=context.checkpoint_seconds,
                micro_batch=context.micro_batch,
                report=context.report,
                stop=context.stop,
                snapshots=snapshots,
                snapshot=snapshot,
                ranks=context.ranks,
            ),
        )
        if not losses.isfinite().all():
            raise DataError(
                f"training diverged at step {int(losses.isfinite().int().argmin()) + 1} of {len(losses)}; "
                f"lower learning_rate={stage.recipe.learning_rate:g}"
            )
        return losses

    def keep(self, stage: Fit | Stop, context: Context) -> None:
        """Leave the model as it was written to the labels that follow; there is no training on it after."""
        if context.ranks is None:
            loaded.keep_fitted(self.model, stage, context.out / WEIGHTS, self.inputs, self.begun)

    def said(self, stage: Fit, losses: Tensor) -> dict[str, Any]:
        """What the manifest says."""
        said: dict[str, Any] = {
            "model": stage.model,
            "num_examples": len(self.labels.probs),
            "num_steps": len(losses),
            "last_loss": float(losses[-1]),
        }
        return said | truncation(self.examples)


def on_known_states(model: Any, examples: Any, num_examples: int, context: Context) -> Any:
    """A model for many passes or one: with its states computed, if its body is as pretrained."""
    if model.origin is None or not hasattr(model, "from_states"):
        return model
    return frozen(model, examples, num_examples, context.micro_batch, context.stop)


def on_known_layers(model: Any, examples: Any, num_examples: int, context: Context, *, passes: int) -> Any:
    """Examples for so many passes: with what the layers give that are as pretrained, where that pays."""
    if context.ranks is not None or getattr(model, "origin_below", None) is None:
        return examples
    return with_below(model, examples, num_examples, passes=passes, folder=context.work, stop=context.stop)


def truncation(examples: Any) -> dict[str, int]:
    """How many encoded examples lost tokens, where some did."""
    count = int(getattr(examples, "truncated", 0))
    return {"truncated": count} if count else {}


def prepare(stage: Fit, context: Context) -> Ready:
    """The model of a fit, ready to be trained, and what it learns."""
    examples = context.find(stage.examples)
    with spent("input/output"):
        inputs = Inputs.read(examples)
        labels = read_labels(stage, examples, inputs, context)
    if not labels.num_rows:
        raise DataError("no example has a label left; let the rule keep more of them")
    inputs = inputs.having(labels)
    loaded.make_way()
    torch.manual_seed(stage.seed + INITIAL_WEIGHTS)
    with spent("input/output"):
        model = load_model(resolve(stage.model), inputs.table)
        if stage.start is not None:
            stage.start.load_into(model, context)
    begun = loaded.unsaved(model)
    if context.ranks is not None:
        context.ranks.split(model)
    model.origin, model.origin_below = stage.origin, pretrained_below(stage)
    find_adapter(stage.adapter)(model)
    if context.save_memory and hasattr(model, "save_memory"):
        model.save_memory()
    form = form_of(inputs.table)
    with spent("data"):
        encode = partial(loaded.encoded, model, artifact=inputs.artifact)
        encoded, taught = form.encode(model, inputs.table, labels, encode)
    model = model if context.ranks is None else context.ranks.spread(model)
    return Ready(form, model, encoded, taught, inputs.table, begun)


def save_fitted(model: nn.Module, stage: Fit, path: Path, *, write: bool = True) -> None:
    """Write what a fit has made of a model: all of it, or only what its adapter trains.

    A fit that begins with another's weights, or with random ones, is written whole. Of several processes all
    have to come here, and one has to write.
    """
    with gathered(model), spent("input/output"):
        if not write:
            return
        if not stage.keeps_changes:
            save_weights(merged_state(model), path)
            return
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        save_weights(trained | dict(model.named_buffers()), path)


def load_fitted(model: nn.Module, adapter: str, path: Path) -> None:
    """Make of a pretrained model what a fit made of it, in place."""
    state = load_file(path)
    if state.keys() >= model.state_dict().keys():
        model.load_state_dict(state)
        return
    find_adapter(adapter)(model)
    model.load_state_dict(state, strict=False)
    settle(model)


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write the state of a model."""
    save_file({name: value.detach().contiguous() for name, value in state.items()}, path)
