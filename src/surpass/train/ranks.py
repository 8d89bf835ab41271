"""One fit in several processes: what each computes of a step, and what they tell each other.

Weights, gradients and matrices in parts are PyTorch's business: `DistributedDataParallel`, `fully_shard`,
`parallelize_module`. Here is what they do not know: that a batch's target is one thing, made of the logits of
all its examples; that its mean is over all of them, however unevenly they are shared out; and that all
processes save and stop after the same step.

Shape suffixes: N examples of a step, M of them in this process, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from surpass.errors import DataError
from surpass.losses import Loss, Target, soft_cross_entropy
from surpass.models.device import Place
from surpass.models.layers import blocks_of
from surpass.train.mesh import AXES, Mesh
from surpass.train.mesh_plans import follow, split

Rows = Any


class OnePass(Place):
    """A place where all texts go through a model in one pass.

    Where weights are gathered for each pass, all processes must make the same number.
    """

    @property
    def pass_cost(self) -> int:
        """More than any padding."""
        return 1 << 40

    @property
    def one_pass(self) -> bool:
        """They have to."""
        return True


class _Opaque:
    """Examples, as something that PyTorch does not look into."""

    def __init__(self, examples: Any) -> None:
        self.examples = examples


class _Root(nn.Module):
    """What PyTorch wraps: the model, with what it hides in a list, and one entrance for all it can do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        hidden = getattr(model, "_causal", None)
        self.hidden = hidden[0] if hidden else None

    def forward(self, examples: _Opaque, rows: Rows, method: str) -> Any:
        given = getattr(self.model, method)(examples.examples, rows)
        # Logits may be a view, on which PyTorch's hooks could be lost.
        return given.clone() if isinstance(given, Tensor) else given


class Spread:
    """A model that is spread over processes; used as the model itself, which has all other attributes."""

    def __init__(self, model: nn.Module, root: nn.Module, ranks: Ranks, place: Place | None) -> None:
        self.model, self.root, self._ranks = model, root, ranks
        self._place = place

    def __call__(self, examples: Any, rows: Rows) -> Tensor:
        """As the model's `forward`; all processes must come here."""
        logits_NC: Tensor = self.root(_Opaque(examples), rows, "forward")
        return logits_NC

    def shared(self, examples: Any, rows: Rows) -> Tensor:
        """The same, each process going through its share of the examples."""
        mine = self._ranks.shares(len(rows))[self._ranks.own]
        with self.in_one_pass():
            logits_MC = self(examples, rows[counted(mine)])[: len(mine)]
        width = torch.tensor(logits_MC.shape[1])
        dist.all_reduce(width, dist.ReduceOp.MAX)
        return self._ranks.whole([logits_MC], len(rows), int(width))

    def complete(self, examples: Any, rows: Rows) -> Any:
        """As the model's, of one that generates; each process completes all."""
        return self.root(_Opaque(examples), rows, "complete")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def sending(self, last: bool) -> AbstractContextManager[object]:
        """Whether gradients are summed over processes after this pass, or kept for the next."""
        if isinstance(self.root, DistributedDataParallel) and not last:
            return self.root.no_sync()
        return nullcontext()

    @contextmanager
    def in_one_pass(self) -> Iterator[None]:
        """Let each call be one pass, where that matters."""
        if self._place is None:
            yield
            return
        model: Any = self.model
        model.place = OnePass(*self._place)
        try:
            yield
        finally:
            model.place = self._place


class Ranks:
    """The processes of a fit, of which this is one.

    Attributes:
        mesh: Of how many along each axis.
        place: Where models that can leave the CPU run in this process.
    """

    def __init__(self, mesh: Mesh, place: Place) -> None:
        self.mesh, self.place = mesh, place
        self.number = dist.get_rank()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.number == 0

    @property
    def own(self) -> int:
        """Which share of a batch is this process's: all along the axis `model` have the same."""
        return self.number // self.mesh.model

    @cached_property
    def _meshes(self) -> dict[str, DeviceMesh]:
        return {}

    def _devices(self, model: Any) -> DeviceMesh:
        kind = self.place.device.type if hasattr(model, "place") else "cpu"
        if kind not in self._meshes:
            self._meshes[kind] = init_device_mesh(kind, tuple(self.mesh), mesh_dim_names=AXES)
        return self._meshes[kind]

    def split(self, model: Any) -> None:
        """Cut the matrices of a pretrained model in parts, in place, if the mesh says so.

        Raises:
            ConfigError: It has no plan for that, or cannot be shared out evenly.
        """
        if self.mesh.model > 1:
            split(model, self._devices(model)["model"])

    def spread(self, model: Any) -> Spread:
        """The model over all processes; what an adapter adds to it must be there."""
        devices = self._devices(model)
        root: nn.Module = _Root(model)
        if hasattr(model, "place"):
            model.place = self.place
        if self.mesh.size == self.mesh.data:
            root.to(devices.device_type if devices.device_type == "cpu" else self.place.device)
            # Parts of a model may have no part in a loss.
            return Spread(model, DistributedDataParallel(root, find_unused_parameters=True), self, None)
        if self.mesh.model > 1:
            follow(model, devices["model"])
        for parameter in root.parameters():
            if not parameter.is_contiguous():  # convolutions, channels last; shards are rows
                parameter.data = parameter.data.contiguous()
        over = devices["data", "shard"] if self.mesh.data > 1 or self.mesh.shard == 1 else devices["shard"]
        body: Any = getattr(model, "body", None)
        if hasattr(body, "config"):
            for block in blocks_of(body):
                fully_shard(block, mesh=over)
        fully_shard(root, mesh=over, reshard_after_forward=True)
        return Spread(model, root, self, getattr(model, "place", None))

    def accumulate_gradient(
        self, model: Spread, examples: Any, batch: Any, loss: Loss, progress: float, micro_batch: int | None
    ) -> Tensor:
        """As `loop.accumulate_gradient`: the same gradient, and the same loss in all processes.

        Each goes through its share of the batch, in as many passes as the others. One that has nothing left
        goes through an example that counts nothing.
        """
        shares = self.shares(len(batch.rows))
        mine, most = shares[self.own], len(shares[0])
        size = micro_batch or most
        parts = [mine[start : start + size] for start in range(0, most, size)]
        with model.in_one_pass():
            return self._accumulate(model, examples, batch, loss, progress, parts)

    def _accumulate(
        self, model: Spread, examples: Any, batch: Any, loss: Loss, progress: float, parts: list[Rows]
    ) -> Tensor:
        num_rows, width = batch.labels_NC.shape
        target: Target | None = None
        if not loss.per_example and (loss.labels_only or len(parts) > 1):
            with torch.no_grad():
                logits_NC = batch.labels_NC
                if not loss.labels_only:
                    passed = [model(examples, batch.rows[counted(part)])[: len(part)] for part in parts]
                    logits_NC = self.whole(passed, num_rows, width)
                target = loss.function(logits_NC, batch.labels_NC, progress)
        total = torch.zeros(())
        memories = []
        for number, part in enumerate(parts, 1):
            places = counted(part)
            with model.sending(last=number == len(parts)):
                logits_MC = model(examples, batch.rows[places])
                here = logits_MC.shape[1]
                if loss.per_example:
                    memory = {} if batch.memory_NC is None else {"memory_NC": batch.memory_NC[places, :here]}
                    losses_M = loss.function(logits_MC, batch.labels_NC[places, :here], progress, **memory)
                    memories += [value[: len(part)] for value in memory.values()]
                else:
                    if target is None:
                        with torch.no_grad():
                            whole_NC = self.whole([logits_MC.detach()[: len(part)]], num_rows, width)
                            target = loss.function(whole_NC, batch.labels_NC, progress)
                    goal = Target(target.target_NC[places, :here], target.weight_N[places])
                    losses_M = soft_cross_entropy(logits_MC, goal)
                weight_M = batch.weight_N[places] * (1.0 if len(part) else 0.0)
                mean = (losses_M * weight_M).sum() / len(batch.rows)
                # PyTorch takes the mean of the gradients of all shares.
                (mean * self.mesh.num_shares).backward()
            total += mean.detach()
        if batch.memory_NC is not None:
            batch.memory_NC.copy_(self.whole(memories, num_rows, width, 0.0))
        dist.all_reduce(total)
        return total / self.mesh.model

    def shares(self, num_rows: int) -> list[Rows]:
        """Places of a batch by share; the first are the largest."""
        return np.array_split(np.arange(num_rows), self.mesh.num_shares)

    def whole(self, parts: list[Tensor], num_rows: int, width: int, beyond: float = -torch.inf) -> Tensor:
        """Rows of all shares in the order of the batch, (N, C), from those of this one."""
        shares = self.shares(num_rows)
        mine = torch.full((len(shares[0]), width), beyond)
        start = 0
        for part in parts:
            mine[start : start + len(part), : part.shape[1]] = part
            start += len(part)
        everyone = [torch.empty_like(mine) for _ in range(self.mesh.size)]
        dist.all_gather(everyone, mine)
        different = everyone[:: self.mesh.model]
        return torch.cat([rows[: len(share)] for rows, share in zip(different, shares, strict=True)])

    def agreed(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """Whether any process was asked to stop, and whether the first finds it time to save."""
        asked = torch.tensor([float(stop), float(due and self.first)])
        dist.all_reduce(asked)
        return bool(asked[0]), bool(asked[1])

    def require_same(self, step: int) -> None:
        """Refuse to go on from another step than the first process.

        Raises:
            DataError: This process has found another state, or none.
        """
        first = int(self.told(step))
        if step != first:
            raise DataError(
                f"rank {self.number} goes on from step {step} and rank 0 from step {first}; run again"
            )

    def told(self, value: float) -> float:
        """A number as the first process has it."""
        said = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(said, 0)
        return float(said)


def counted(part: Rows) -> Rows:
    """Places of a batch to go through, of which there must be one."""
    return part if len(part) else np.zeros(1, np.int64)
