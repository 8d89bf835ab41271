"""A head on a small body that nobody trains, of a policy say: the states between the two are computed once.

(Those of language and image models are read once for a whole study: `stages.features`.)

They are kept in this process for whoever asks next: all fits and labels of one model that train its head
alone share one pass over the same examples. They are computed in the same passes in any case, so that it
makes no difference to the last bit who came first.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from surpass.clock import spent
from surpass.errors import Stopped
from surpass.models.kept import Kept

Rows = npt.NDArray[np.int64]
AT_ONCE = 256
LARGEST = 1 << 30
"""Bytes of all states at most; more of them are computed at every step."""

_known = Kept(lambda: LARGEST)
"""States by what they are of."""


class Frozen:
    """A model whose states are known; called as the model, it runs the head alone."""

    def __init__(self, model: Any, states: Tensor) -> None:
        self.model = model
        self.states = states

    def __call__(self, examples: Any, rows: Rows) -> Tensor:
        """Logits (N, C) of these rows."""
        states = self.states[torch.from_numpy(rows)]
        logits_NC: Tensor = self.model.from_states(states, examples, rows)
        return logits_NC

    def eval(self) -> Frozen:
        """It is: the body is never trained."""
        return self


def only_head(model: Any, trained: Iterable[nn.Parameter]) -> bool:
    """Whether these are parameters of the head, on states that the model tells."""
    if not hasattr(model, "from_states"):
        return False
    head = {id(parameter) for parameter in model.head_parameters()}
    return all(id(parameter) in head for parameter in trained)


@torch.no_grad()
def frozen(
    model: Any,
    examples: Any,
    num_examples: int,
    micro_batch: int | None,
    stop: Callable[[], bool] = lambda: False,
) -> Any:
    """The model with its states computed, or the model itself where they would take too much memory.

    Args:
        model: The model. Where it has an attribute `origin`, a digest of all below its head, its states are
            kept for the next one with the same, if its examples say what they are (`digest`).
        examples: What its `encode` gave.
        num_examples: How many those are.
        micro_batch: How many go through the model together at most.
        stop: Asked between passes.

    Raises:
        Stopped: `stop` said so.
    """
    size = min(AT_ONCE, micro_batch or AT_ONCE)
    key = key_of(getattr(model, "origin", None), examples, num_examples, size)
    known = _known.get(key)
    if known is not None:
        return Frozen(model, known)
    parts: list[Tensor] = []
    for start in range(0, num_examples, size):
        if start and stop():
            raise Stopped("stopped; run the same command again to go on from here")
        rows = np.arange(start, min(start + size, num_examples))
        with spent("forward"):
            parts.append(model.states(examples, rows))
        if parts[0][0].nbytes * num_examples > LARGEST:
            return model
    states = torch.cat(parts)
    if key:
        _known.put(key, states, states.nbytes)
    return Frozen(model, states)


def key_of(origin: str | None, examples: Any, num_examples: int, how: object) -> str:
    """What states are of: weights, examples, and how they are read; empty where nobody knows."""
    digest = getattr(examples, "digest", None)
    if origin is None or digest is None:
        return ""
    return sha256(f"{origin} {digest()} {num_examples} {how} {torch.get_num_threads()}".encode()).hexdigest()
