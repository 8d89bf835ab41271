"""A chess policy as a model that chooses among candidates: the legal moves of each position.

Shape suffixes: N examples, C candidates (the longest row of the batch), B packed bytes (34).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
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

_DECODED_AT_ONCE = 256


class MoveExamples(NamedTuple):
    """Positions and their candidates: those of row i are `candidates[ends[i - 1] : ends[i]]`.

    The planes that a policy sees are made once, as a fit comes by each position many times: float16
    (N, 8, 8, P), which holds their halves and quarters exactly, 4 kB a position. `below` is what the lower
    layers of a policy give for them, where that is known.
    """

    planes_NRFP: Tensor
    candidates: npt.NDArray[np.int64]
    ends_N: npt.NDArray[np.int64]
    below: Below | None = None

    @property
    def num_candidates_N(self) -> npt.NDArray[np.int64]:
        """How many candidates each example has."""
        return np.diff(self.ends_N, prepend=0)

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
        boards_NB = np.frombuffer(
            boards.buffers()[1], np.uint8, len(inputs) * PACKED_BYTES, boards.offset * PACKED_BYTES
        )
        candidates = inputs["candidates"].combine_chunks()
        offsets = candidates.offsets.to_numpy().astype(np.int64)
        values = candidates.values.to_numpy().astype(np.int64)
        return MoveExamples(
            planes_of(torch.from_numpy(boards_NB.reshape(-1, PACKED_BYTES).copy())),
            values[offsets[0] : offsets[-1]],
            offsets[1:] - offsets[0],
        )

    def forward(self, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits of the candidates of some examples, float32 (N, C); -inf behind the last candidate."""
        return self.from_states(self.states(examples, rows), examples, rows)

    def states(self, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """The trunk's features of every square of some examples, float32 (N, D, 8, 8)."""
        if examples.below is not None:
            with entered(self.blocks, examples.below.cut, examples.below.of(rows)):
                return self.tried()
        return self.policy.trunk(chosen_planes(examples, rows))

    def from_states(self, states: Tensor, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits of the candidates of the examples whose states these are; as `forward`."""
        moves_NC = padded(examples.candidates, examples.ends_N, rows)
        logits_NM = self.policy.head(states)
        chosen_NC = torch.from_numpy(moves_NC)
        logits_NC: Tensor = logits_NM.gather(1, chosen_NC.clamp(min=0))
        return logits_NC.masked_fill(chosen_NC < 0, -torch.inf)

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
        for start in range(0, len(examples.ends_N), _DECODED_AT_ONCE):
            rows = np.arange(start, min(start + _DECODED_AT_ONCE, len(examples.ends_N)))
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
    return examples.planes_NRFP[torch.from_numpy(rows)].float().permute(0, 3, 1, 2)


def padded(
    values: npt.NDArray[np.int64], ends_N: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Ragged rows as a rectangle (N, C), -1 behind the end of each."""
    ends = ends_N[rows]
    starts = np.where(rows > 0, ends_N[rows - 1], 0)
    places_NC = starts[:, None] + np.arange(int((ends - starts).max()))
    inside_NC = places_NC < ends[:, None]
    return np.where(inside_NC, values[np.where(inside_NC, places_NC, 0)], -1)
