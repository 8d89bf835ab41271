"""A chess policy as a model that chooses among candidates: the legal moves of each position.

Shape suffixes: N examples, C candidates (the longest row of the batch), B packed bytes (34).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from surpass.boards import PACKED_BYTES
from surpass.models.policy import Policy, PolicyConfig


class MoveExamples(NamedTuple):
    """Positions and their candidates: those of row i are `candidates[ends[i - 1] : ends[i]]`."""

    boards_NB: npt.NDArray[np.uint8]
    candidates: npt.NDArray[np.int64]
    ends_N: npt.NDArray[np.int64]

    @property
    def num_candidates_N(self) -> npt.NDArray[np.int64]:
        """How many candidates each example has."""
        return np.diff(self.ends_N, prepend=0)


class MoveChoice(nn.Module):
    """Scores the legal moves of positions with a policy."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    @classmethod
    def load(cls, path: Path) -> Self:
        """The pretrained policy of a weights file."""
        with safe_open(path, "pt") as file:
            card = json.loads(file.metadata()["card"])
        policy = Policy(PolicyConfig(**card["config"]))
        policy.load_state_dict(load_file(path))
        return cls(policy)

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
            boards_NB.reshape(-1, PACKED_BYTES),
            values[offsets[0] : offsets[-1]],
            offsets[1:] - offsets[0],
        )

    def forward(self, examples: MoveExamples, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits of the candidates of some examples, float32 (N, C); -inf behind the last candidate."""
        moves_NC = padded(examples.candidates, examples.ends_N, rows)
        logits_NM = self.policy(torch.from_numpy(examples.boards_NB[rows]))
        chosen_NC = torch.from_numpy(moves_NC)
        logits_NC: Tensor = logits_NM.gather(1, chosen_NC.clamp(min=0))
        return logits_NC.masked_fill(chosen_NC < 0, -torch.inf)


def padded(
    values: npt.NDArray[np.int64], ends_N: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Ragged rows as a rectangle (N, C), -1 behind the end of each."""
    ends = ends_N[rows]
    starts = np.where(rows > 0, ends_N[rows - 1], 0)
    places_NC = starts[:, None] + np.arange(int((ends - starts).max()))
    inside_NC = places_NC < ends[:, None]
    return np.where(inside_NC, values[np.where(inside_NC, places_NC, 0)], -1)
