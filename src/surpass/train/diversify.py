"""What `Diversify` runs: all heads trained at once on states, then one of them chosen.

Shape suffixes: H heads, N labelled examples of a batch, M target examples, C classes, D features, P pairs
of heads, Q examples that the judge labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surpass import labels as lb
from surpass.clock import spent
from surpass.errors import DataError, Stopped
from surpass.train.features import states_of
from surpass.train.gradient import padded_probs
from surpass.train.order import batches
from surpass.train.run import Inputs, read_labels

if TYPE_CHECKING:
    from surpass.stages import Context
    from surpass.stages.diversify import Diversify
    from surpass.train.features import Known

Rows = npt.NDArray[np.int64]

INITIAL_HEADS, TARGET = 2**32 + 1, 2**32 + 2
"""Beside the seed: where heads begin, and the order of target examples."""

SMALL = 0.02
LEAST = 1e-12
"""Probabilities below count as this in logarithms, so that what is impossible has a finite price."""

_AT_ONCE = 4096


class Heads(NamedTuple):
    """Linear heads, one behind the other; of pairs one row for the reward, and no bias."""

    weight_HCD: Tensor
    bias_HC: Tensor | None

    def __call__(self, states: Tensor) -> Tensor:
        """Logits (H, N, C) of states (N, D), or (H, N, 2) of those of pairs (N, 2, D)."""
        if self.bias_HC is None:
            return torch.einsum("npd,hcd->hnp", states, self.weight_HCD)
        return torch.einsum("nd,hcd->hnc", states, self.weight_HCD) + self.bias_HC[:, None]

    @property
    def parts(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        named = {"weight": self.weight_HCD, "bias": self.bias_HC}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def initial_heads(num_heads: int, num_classes: int, shape: tuple[int, ...], seed: int) -> Heads:
    """Small random weights, and biases of zero, for states of a shape: (D,), or (2, D) of pairs."""
    generator = torch.Generator().manual_seed(seed + INITIAL_HEADS)
    pairs = len(shape) == 2
    num_rows = 1 if pairs else num_classes
    weight_HCD = SMALL * torch.randn(num_heads, num_rows, shape[-1], generator=generator)
    return Heads(weight_HCD, None if pairs else torch.zeros(num_heads, num_classes))


def pairs_of(num_heads: int) -> tuple[Tensor, Tensor]:
    """First and second of every pair of heads, (P,) each."""
    first_P, second_P = torch.triu_indices(num_heads, num_heads, offset=1)
    return first_P, second_P


def mutual_information(probs_HMC: Tensor) -> Tensor:
    """Of the predictions of each pair of heads over some examples, in nats (P,).

    KL between the mean over examples of the outer product of the two heads' probabilities, and the
    outer product of their means.
    """
    first_P, second_P = pairs_of(len(probs_HMC))
    joint_PCC = torch.einsum("pma,pmb->pab", probs_HMC[first_P], probs_HMC[second_P]) / probs_HMC.shape[1]
    mean_HC = probs_HMC.mean(dim=1)
    apart_PCC = mean_HC[first_P][:, :, None] * mean_HC[second_P][:, None, :]
    return (joint_PCC * (_log(joint_PCC) - _log(apart_PCC))).sum(dim=(1, 2))


def objective(
    logits_HNC: Tensor,
    labels_NC: Tensor,
    weight_N: Tensor,
    target_HMC: Tensor,
    prior_C: Tensor,
    *,
    mutual: float,
    prior: float,
) -> Tensor:
    """The loss of a step in nats; see `stages.diversify.Diversify`.

    Args:
        logits_HNC: Logits of labelled examples.
        labels_NC: Their label probabilities.
        weight_N: How much each counts.
        target_HMC: Logits of target examples.
        prior_C: Share of each class among the labels.
        mutual: Weight of the mutual information.
        prior: Weight of the divergence of mean predictions from the share of each class.
    """
    losses_HN = -(labels_NC * torch.log_softmax(logits_HNC, dim=2)).sum(dim=2)
    total = (losses_HN * weight_N).mean(dim=1).sum()
    probs_HMC = torch.softmax(target_HMC, dim=2)
    mean_HC = probs_HMC.mean(dim=1)
    divergence_H = (mean_HC * (_log(mean_HC) - _log(prior_C))).sum(dim=1)
    loss: Tensor = total + mutual * mutual_information(probs_HMC).mean() + prior * divergence_H.sum()
    return loss


def _log(probs: Tensor) -> Tensor:
    return probs.clamp_min(LEAST).log()


class Learned(NamedTuple):
    """Labelled examples: states, label probabilities (N, C) and weights (N,)."""

    states: Known
    labels_NC: Tensor
    weight_N: Tensor


def run_diversify(stage: Diversify, context: Context) -> dict[str, Any]:
    """Train the heads, and keep the one that the judge agrees with."""
    with spent("data"):
        learned = _learned(stage, context)
        target_inputs = Inputs.read(context.find(stage.target.examples))
        target = states_of(context, stage.target, target_inputs.ids)
    heads, losses = train(stage, learned, target, context)
    with spent("evaluation"):
        probs_HMC = predicted(heads, target)
        judge = _judged(stage, target_inputs, context)
        rows = disputed(probs_HMC, np.flatnonzero(judge >= 0), stage.queries)
        right_HQ = probs_HMC[:, rows].argmax(dim=2).numpy() == judge[rows]
        kept = int(right_HQ.sum(axis=1).argmax())
    chosen = {f"head.{name}": tensor[kept].contiguous() for name, tensor in heads.parts.items()}
    save_file(chosen, context.out / "model.safetensors")
    save_file(heads.parts, context.out / "heads.safetensors")
    pq.write_table(pa.table({"loss": losses.numpy()}), context.out / "curve.parquet")
    accuracy_H = right_HQ.mean(axis=1).tolist()
    pq.write_table(pa.table({"accuracy": accuracy_H}), context.out / "judged.parquet")
    best_HM = probs_HMC.argmax(dim=2)
    first_P, second_P = pairs_of(stage.num_heads)
    return {
        "num_examples": len(learned.weight_N),
        "num_steps": len(losses),
        "last_loss": float(losses[-1]),
        "kept": kept,
        "judged": accuracy_H,
        "num_judged": len(rows),
        "mutual_information": float(mutual_information(probs_HMC).mean()),
        "disagreement": float((best_HM[first_P] != best_HM[second_P]).double().mean()),
    }


def _learned(stage: Diversify, context: Context) -> Learned:
    examples = context.find(stage.examples)
    inputs = Inputs.read(examples)
    labels = read_labels(stage, examples, inputs, context)
    if not labels.num_rows:
        raise DataError("no example has a label left; let the rule keep more of them")
    inputs = inputs.having(labels)
    rows = lb.rows(labels)
    labels_NC = padded_probs(rows)
    return Learned(
        states_of(context, stage.features, inputs.ids), labels_NC, torch.from_numpy(lb.weights(labels))
    )


def _judged(stage: Diversify, inputs: Inputs, context: Context) -> Rows:
    """The class of each target example by the judge; -1 where it says nothing."""
    artifact = context.find(stage.target.examples)
    if isinstance(stage.judge, str):
        truth = pq.read_table(artifact.file("truth.parquet"))
        labels = lb.truth_labels(truth, inputs.num_candidates)
    else:
        given = pq.read_table(context.find(stage.judge).file("labels.parquet"))
        labels = lb.join(inputs.ids, inputs.num_candidates, given, subset=True)
    said = {
        name: int(probs.argmax())
        for name, probs in zip(labels["id"].to_pylist(), lb.rows(labels), strict=True)
    }
    if not said:
        raise DataError(f"no example of {stage.target.examples.label} has a label to choose a head by")
    return np.array([said.get(name, -1) for name in inputs.ids], np.int64)


def train(stage: Diversify, learned: Learned, target: Known, context: Context) -> tuple[Heads, Tensor]:
    """All heads after training, and the loss of each step in nats.

    Raises:
        DataError: Training diverged.
        Stopped: The context said so; nothing is kept, since all of it takes seconds.
    """
    recipe, num_examples = stage.recipe, len(learned.weight_N)
    num_steps = recipe.num_steps(num_examples)
    weight_HCD, bias_HC = initial_heads(stage.num_heads, learned.labels_NC.shape[1], target.shape, stage.seed)
    heads = Heads(nn.Parameter(weight_HCD), None if bias_HC is None else nn.Parameter(bias_HC))
    optimizer = torch.optim.AdamW(
        list(heads.parts.values()), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    share_C = (learned.labels_NC * learned.weight_N[:, None]).sum(dim=0)
    prior_C = share_C / share_C.sum()
    others = target_batches(len(target), recipe.batch_size, stage.seed)
    losses = torch.zeros(num_steps)
    for step, rows in enumerate(batches(num_examples, recipe, stage.seed)):
        optimizer.param_groups[0]["lr"] = recipe.rate(step, num_steps)
        optimizer.zero_grad(set_to_none=True)
        with spent("forward"):
            loss = objective(
                heads(learned.states[rows]),
                learned.labels_NC[rows],
                learned.weight_N[rows],
                heads(target[next(others)]),
                prior_C,
                mutual=stage.mutual,
                prior=stage.prior,
            )
        with spent("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with spent("optimizer"):
            optimizer.step()
        losses[step] = loss.detach()
        context.report((step + 1) / num_steps)
        if context.stop():
            raise Stopped("stopped; run the same command again, and this stage begins anew")
    if not losses.isfinite().all():
        raise DataError(
            f"training diverged at step {int(losses.isfinite().int().argmin()) + 1} of {num_steps}; "
            f"lower learning_rate={recipe.learning_rate:g}"
        )
    return Heads(weight_HCD, bias_HC), losses


def target_batches(num_examples: int, batch_size: int, seed: int) -> Iterator[Rows]:
    """Rows of a batch of target examples for every step, without end; of every pass the rest is left out."""
    size = min(batch_size, num_examples)
    passes = 0
    while True:
        order = np.random.default_rng((seed, TARGET, passes)).permutation(num_examples)
        for start in range(0, num_examples - size + 1, size):
            yield order[start : start + size]
        passes += 1


@torch.no_grad()
def predicted(heads: Heads, states: Known) -> Tensor:
    """Probabilities of all examples by each head, (H, M, C)."""
    return torch.cat([torch.softmax(heads(part), dim=2) for _, part in states.chunks(_AT_ONCE)], dim=1)


def disputed(probs_HMC: Tensor, among: Rows, queries: int) -> Rows:
    """The rows on which heads differ most, mean over pairs of the L1 distance; the first of equals."""
    first_P, second_P = pairs_of(len(probs_HMC))
    apart_M = torch.stack(
        [
            (probs_HMC[one] - probs_HMC[other]).abs().sum(dim=1)
            for one, other in zip(first_P.tolist(), second_P.tolist(), strict=True)
        ]
    ).mean(dim=0)
    order = np.argsort(-apart_M.double().numpy()[among], kind="stable")
    rows: Rows = among[order[:queries]]
    return rows
