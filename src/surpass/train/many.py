"""What fits of heads on frozen states run: all that are ready, together; and what such a head says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from torch import Tensor

from surpass import labels as lb
from surpass.clock import spent
from surpass.errors import DataError, SurpassError
from surpass.models.adapters import find_adapter
from surpass.models.heads import Scored, new_head, with_hidden
from surpass.store.artifact import Artifact
from surpass.train.features import lost_tokens, own_head, shape_of_states, states_of
from surpass.train.heads import fit_heads
from surpass.train.lanes import Lane, Trained
from surpass.train.linear import PREFIX, HeadState, head_logits, head_of
from surpass.train.loop import Labels, Running, snapshot_steps
from surpass.train.run import INITIAL_WEIGHTS, labels_of, save_weights
from surpass.train.way import Way

if TYPE_CHECKING:
    from surpass.stages import Context, Features, Fit, Label, Stop

_LABELLED_AT_ONCE = 8192


def run_all(stages: Sequence[Fit | Stop], contexts: Sequence[Context]) -> list[dict[str, Any] | SurpassError]:
    """Train all heads, and write the files of each.

    Returns:
        What the manifest of each shall say, or why it has none.

    Raises:
        Stopped: The run shall end; all have saved where they are.
    """
    results: list[dict[str, Any] | SurpassError] = []
    ready: list[_Ready | SurpassError] = []
    for stage, context in zip(stages, contexts, strict=True):
        try:
            with spent("data"):
                ready.append(_prepared(stage, context))
        except SurpassError as error:
            ready.append(error)
    lanes = [each.lane for each in ready if isinstance(each, _Ready)]
    # Products and losses; what else it does, profiles tell apart (`profiling.SAID_HERE`).
    with spent("forward"):
        trained = iter(fit_heads(lanes))
    for each, stage, context in zip(ready, stages, contexts, strict=True):
        outcome = each if isinstance(each, SurpassError) else next(trained)
        if isinstance(each, SurpassError) or isinstance(outcome, SurpassError):
            results.append(outcome)  # type: ignore[arg-type]
        else:
            with spent("input/output"):
                results.append(_finished(each, stage, context, outcome))
    return results


class _Ready(NamedTuple):
    """A head that can be trained, and, with early stopping, what has been seen on its way."""

    lane: Lane
    fit: Fit
    way: Way | None


def _prepared(stage: Fit | Stop, context: Context) -> _Ready:
    fit: Fit = getattr(stage, "fit", stage)  # type: ignore[arg-type]
    assert fit.features is not None
    examples = Candidates.read(context.find(fit.examples))
    labels = labels_of(fit, context.find(fit.examples), examples.ids, examples.num_candidates, context)
    if not labels.num_rows:
        raise DataError("no example has a label left; let the rule keep more of them")
    known = states_of(context, fit.features, examples.ids)
    way, look, snapshots = None, _no_look, 0
    if stage is not fit:
        way, look = _judged(stage, context)  # type: ignore[arg-type]
        snapshots = stage.snapshots  # type: ignore[union-attr]
    lane = Lane(
        known=known,
        rows_N=_places(labels["id"], examples.ids),
        labels=Labels(lb.rows(labels), lb.weights(labels)),
        loss=fit.loss,
        recipe=fit.recipe,
        seed=fit.seed,
        ema=fit.ema,
        head=_initial_head(fit, context, examples.num_classes),
        running=Running(
            checkpoint=context.work / "checkpoint.safetensors",
            checkpoint_seconds=context.checkpoint_seconds,
            report=context.report,
            stop=context.stop,
            snapshots=snapshots,
        ),
        look=look,
    )
    return _Ready(lane, fit, way)


def _no_look(_number: int, _head: HeadState) -> None:
    """Nobody judges it on its way."""


class Candidates(NamedTuple):
    """Examples without what a body would read of them."""

    ids: list[str]
    num_candidates: list[int]

    @classmethod
    def read(cls, artifact: Artifact) -> Candidates:
        """Those of an artifact of examples.

        Raises:
            DataError: They are prompts.
        """
        table = lb.read_candidates(artifact.file("inputs.parquet"))
        num_candidates = lb.num_candidates_of(table)
        if num_candidates is None:
            raise DataError("there are no candidates to score; a head on frozen states needs classes")
        return cls(table["id"].to_pylist(), num_candidates)

    @property
    def num_classes(self) -> int:
        """How many candidates all have.

        Raises:
            DataError: Their numbers differ.
        """
        found = sorted(set(self.num_candidates))
        if len(found) != 1:
            raise DataError(f"examples have {found} candidates; a head needs the same classes for all")
        return found[0]


def _places(wanted: pa.ChunkedArray, ids: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    places: np.ndarray[Any, np.dtype[np.int64]] = (
        pc.index_in(wanted.combine_chunks(), pa.array(ids, pa.string())).to_numpy().astype(np.int64)
    )
    return places


def _initial_head(fit: Fit, context: Context, num_classes: int) -> HeadState:
    """The head of the model that it begins with, or of the pretrained one."""
    if fit.start is not None and fit.start.features_source is not None:
        return load_head(context.find(fit.start))
    assert fit.features is not None
    hidden = find_adapter(fit.adapter).keywords.get("hidden", 0)
    return pretrained_head(context, fit.features, num_classes, hidden=hidden, seed=fit.seed)


def pretrained_head(
    context: Context, features: Features, num_classes: int, *, hidden: int, seed: int
) -> HeadState:
    """The head that the model has of its own for so many classes, or a new one that the seed decides."""
    own, shape = own_head(context, features), shape_of_states(context, features)
    pairs = len(shape) == 2
    outputs = 1 if pairs else num_classes
    if own is not None and not hidden and own["weight"].shape == (outputs, shape[-1]):
        return head_of(own)
    torch.default_generator.manual_seed(seed + INITIAL_WEIGHTS)  # of the processor alone, far faster
    head: Any = new_head(shape[-1], Scored(num_classes, pairs))
    if hidden:
        head = with_hidden(head, hidden)
    return head_of({name: value.detach() for name, value in head.state_dict().items()})


def load_head(artifact: Artifact) -> HeadState:
    """The head that a fit has written."""
    state = load_file(artifact.file("model.safetensors"))
    return head_of({name.removeprefix(PREFIX): value for name, value in state.items()})


def _judged(stage: Stop, context: Context) -> tuple[Way, Any]:
    """What looks at a head on its way."""
    assert stage.features is not None
    held_out = Candidates.read(context.find(stage.examples))
    labels = labels_of(stage, context.find(stage.examples), held_out.ids, held_out.num_candidates, context)
    if not labels.num_rows:
        raise DataError(f"no example of {stage.examples.label} has a label to stop by; label some of them")
    known = states_of(context, stage.features, held_out.ids)
    states = known[_places(labels["id"], held_out.ids)]
    best_N = torch.tensor([int(row.argmax()) for row in lb.rows(labels)])
    way = Way(context.work)

    def look(number: int, head: HeadState) -> None:
        with spent("evaluation"):
            said_N = head_logits(head, states).argmax(1)
            accuracy = float((said_N == best_N).double().mean())
            way.passed(number, accuracy, lambda path: save_weights(head, path))

    return way, look


def _finished(ready: _Ready, stage: Fit | Stop, context: Context, trained: Trained) -> dict[str, Any]:
    """Write the files, and say what the manifest shall."""
    said: dict[str, Any] = {
        "model": ready.fit.model,
        "num_examples": len(ready.lane.rows_N),
        "num_steps": len(trained.losses),
        "last_loss": float(trained.losses[-1]),
    }
    if ready.way is None:
        save_weights(trained.head, context.out / "model.safetensors")
        pq.write_table(pa.table({"loss": trained.losses.numpy()}), context.out / "curve.parquet")
        return said
    os.replace(ready.way.weights, context.out / "model.safetensors")
    return said | ready.way.written(
        snapshot_steps(len(trained.losses), ready.lane.running.snapshots), context.out
    )


def label_by_head(stage: Label, features: Features, context: Context) -> dict[str, Any]:
    """Label examples with a head on frozen states; the body is not loaded."""
    with spent("input/output"):
        examples = Candidates.read(context.find(stage.examples))
        head = _head_of(stage, features, context, examples.num_classes)
    with spent("data"):
        known = states_of(context, features, examples.ids)
    probs: list[Tensor] = []
    with spent("forward"):
        for part, states in known.chunks(_LABELLED_AT_ONCE):
            probs.append(head_logits(head, states).softmax(1))
            context.report(part.stop / len(known))
    with spent("input/output"):
        labels = lb.label_table(examples.ids, torch.cat(probs).numpy())
        pq.write_table(labels, context.out / "labels.parquet")
        lost = lost_tokens(context, features, examples.ids)
    return {"num_examples": len(examples.ids)} | ({"truncated": lost} if lost else {})


def _head_of(stage: Label, features: Features, context: Context, num_classes: int) -> HeadState:
    if not isinstance(stage.source, str):
        return load_head(context.find(stage.source))
    own = own_head(context, features)
    if own is None:
        raise DataError(
            f"{stage.source} has no head of its own for these {num_classes} classes, so it cannot label "
            "untrained; train it, or name another"
        )
    return head_of(own)
