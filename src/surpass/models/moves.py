"""A chess policy as a model that chooses among candidates: the legal moves of each position.

Shape suffixes: N examples, C candidates (the longest row of the batch), B packed bytes (34).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from surpass.boards import PACKED_BYTES
from surpass.models.depth import Below, entered
from surpass.models.layers import states_of_layers
from surpass.models.planes import NUM_PLANES, attacks, decode, input_planes
from surpass.models.policy import Policy, PolicyConfig
from surpass.models.sources import ModelSource
from surpass.ragged import rectangle

_DECODED_AT_ONCE = 256


class MoveExamples(NamedTuple):
    """Positions and their candidates.

    The planes that a policy sees are made once, as a fit comes by each position many times: float16
    (N, 8, 8, P), which holds their halves and quarters exactly, 4 kB a position. `moves_NC` int16 holds
    the candidates, ascending, -1 behind the last of each row; `num_candidates_N` int64 counts them.
    `below` is what the lower layers of a policy give for them, where that is known.
    """

    planes_NRFP: Tensor
    moves_NC: npt.NDArray[np.int16]
    num_candidates_N: npt.NDArray[np.int64]
    below: Below | None = None

    def digest(self) -> str:
        """The sha256 of all planes; candidates are nothing to the states of squares."""
        return sha256(self.planes_NRFP.numpy().tobytes()).hexdigest()


class MoveChoice(nn.Module):
    """Scores the legal moves of positions with a policy."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table | None = None) -> Self:
        """The pretrained policy of a weights file, whatever the inputs."""
        assert source.path is not None
        with safe_open(source.path, "pt") as file:
            card = json.loads(file.metadata()["card"])
        policy = Policy(PolicyConfig(**card["config"]))
        policy.load_state_dict(load_file(source.path))
        return cls(policy)

    @staticmethod
    def encoding() -> tuple[Any, ...]:
        """What decides, beside the inputs, what `encode` gives: nothing, all policies see the same."""
        return (MoveExamples,)

    @staticmethod
    def encode(inputs: pa.Table) -> MoveExamples:
        """Examples as arrays; columns `board` and `candidates` as the chess task has them."""
        boards = inputs["board"].combine_chunks()
        start = boards.offset * PACKED_BYTES
        packed = memoryview(boards.buffers()[1])[start : start + len(inputs) * PACKED_BYTES]
        candidates = inputs["candidates"].combine_chunks()
        offsets = candidates.offsets.to_numpy().astype(np.int64)
        values = candidates.values.to_numpy()[offsets[0] : offsets[-1]]
        boards_NB = torch.from_numpy(np.frombuffer(packed, np.uint8).reshape(-1, PACKED_BYTES).copy())
        sizes_N = np.diff(offsets)
        moves_NC = rectangle(values.astype(np.int16), sizes_N, fill=-1)
        return MoveExamples(planes_of(boards_NB), moves_NC, sizes_N)

    def forward(self, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits of the candidates of some examples, float32 (N, C); -inf behind the last candidate."""
        if examples.below is not None:
            return self.from_states(self.states(examples, rows), examples, rows)
        moves_NC = torch.from_numpy(chosen_moves(examples, rows))
        return self.policy.moves(chosen_planes(examples, rows), moves_NC)

    def passed(
        self, examples: MoveExamples, rows: npt.NDArray[np.int64]
    ) -> tuple[Tensor, Callable[[Tensor], None]] | None:
        """As `forward`, and the way back; None where autograd has to find it. See `WrittenGradient`."""
        if examples.below is not None:
            return None
        moves_NC = torch.from_numpy(chosen_moves(examples, rows))
        passed = self.policy.passed(chosen_planes(examples, rows), moves_NC)
        return None if passed is None else (passed.logits_NL, passed.backward)

    def states(self, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """The trunk's features of every square of some examples, float32 (N, D, 8, 8)."""
        if examples.below is not None:
            with entered(self.blocks, examples.below.cut, examples.below.of(rows)):
                return self.tried()
        return self.policy.features(chosen_planes(examples, rows))

    def from_states(self, states: Tensor, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits of the candidates of the examples whose states these are; as `forward`."""
        return self.policy.chosen(states, torch.from_numpy(chosen_moves(examples, rows)))

    def embed(self, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """The trunk's features, averaged over the squares, float32 (N, D)."""
        return self.states(examples, rows).mean(dim=(2, 3))

    @property
    def blocks(self) -> list[nn.Module]:
        """The residual blocks."""
        return list(self.policy.blocks)

    def tried(self) -> Tensor:
        """The trunk's features of one board without pieces."""
        return self.policy.trunk(torch.zeros(1, NUM_PLANES, 8, 8))

    def knowing(self, examples: MoveExamples, below: Below) -> MoveExamples:
        """Examples with what the lower layers give for them."""
        return examples._replace(below=below)

    def read_below(
        self, examples: MoveExamples, layer: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], Tensor]]:
        """Of all positions, in passes: which, and their features (N, D, 8, 8) behind a layer."""
        for start in range(0, len(examples.num_candidates_N), _DECODED_AT_ONCE):
            rows = np.arange(start, min(start + _DECODED_AT_ONCE, len(examples.num_candidates_N)))
            run = partial(self.policy.trunk, chosen_planes(examples, rows))
            yield rows, states_of_layers(self.blocks, [layer], run)[layer]

    def head_parameters(self) -> list[nn.Parameter]:
        """The bilinear form that turns features of squares into moves."""
        policy = self.policy
        heads = (policy.origin, policy.target, policy.underpromotion)
        return [parameter for layer in heads for parameter in layer.parameters()]


def planes_of(boards_NB: Tensor) -> Tensor:
    """What a policy sees of packed positions, float16 (N, 8, 8, P)."""
    planes_NRFP = torch.empty(len(boards_NB), 8, 8, NUM_PLANES, dtype=torch.float16)
    for start in range(0, len(boards_NB), _DECODED_AT_ONCE):
        position = decode(boards_NB[start : start + _DECODED_AT_ONCE])
        planes = input_planes(position, attacks(position))
        planes_NRFP[start : start + len(planes)] = planes.permute(0, 2, 3, 1)
    return planes_NRFP


def chosen_planes(examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
    """Planes of some examples as `input_planes` gives them, float32 (N, P, 8, 8), channels last."""
    # Of flat rows index_select is a copy of each; indexing four dimensions takes eight times as long.
    flat_NX = examples.planes_NRFP.flatten(1).index_select(0, torch.from_numpy(rows))
    return flat_NX.float().view(-1, 8, 8, NUM_PLANES).permute(0, 3, 1, 2)


def chosen_moves(examples: MoveExamples, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Candidates of some examples, int64 (N, C), -1 behind the last of each."""
    longest = int(examples.num_candidates_N[rows].max())
    return examples.moves_NC[rows, :longest].astype(np.int64)
