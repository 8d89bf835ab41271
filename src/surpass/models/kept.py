"""What this process has made and is likely to need again, as long as it takes little memory.

Fitted models until their labels are made, examples in the form that models take, and states that nobody
trains (`train.frozen`, `train.below`). All of it can be made again to the same bits, so that nothing but time
depends on what is here; nobody may change it.
"""

from __future__ import annotations

import gc
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surpass.memory import available

SHARE = 1 / 16
MOST = 1 << 30
_UNKNOWN = 1 << 28
_OF_OBJECT = 120  # bytes of an array beside its numbers

_off: list[bool] = []


class Kept:
    """Things by what they are of; of more than there is room for, those last used.

    Args:
        most: Says how many bytes there are for all; None for `room`.
        guest: Whether one thing that is too large stays, too, until `make_way`.
    """

    def __init__(self, most: Callable[[], float] | None = None, *, guest: bool = False) -> None:
        self._most, self._guest = most, guest
        self._things: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._things)

    @property
    def num_bytes(self) -> int:
        """Bytes of all."""
        return sum(size for _, size in self._things.values())

    @property
    def _room(self) -> float:
        return room() if self._most is None else self._most()

    def get(self, key: Hashable) -> Any:
        """What was kept of it; None where nothing is."""
        if _off or key not in self._things:
            return None
        self._things.move_to_end(key)
        return self._things[key][0]

    def put(self, key: Hashable, thing: Any, num_bytes: int) -> None:
        """Keep it, if there is room, at the cost of what was not used for longest."""
        self.drop(key)
        if _off or (num_bytes > self._room and not self._guest):
            return
        self.make_way()
        self._things[key] = thing, num_bytes
        while self.num_bytes > self._room and len(self._things) > 1:
            self._things.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Forget one."""
        self._things.pop(key, None)

    def make_way(self) -> None:
        """Forget what is too large to stay beside another; its memory is free at once."""
        guests = [key for key, (_, size) in self._things.items() if size > self._room]
        for key in guests:
            self.drop(key)
        if guests:
            gc.collect()  # language models refer to themselves

    def clear(self) -> None:
        """Forget all."""
        self._things.clear()


models = Kept(guest=True)
"""Models that only read from here on."""

examples = Kept()
"""Examples as some model's `encode` gave them."""


def room() -> int:
    """Bytes for each kind of thing: a sixteenth of this process's part of the memory, and 1 GB at most.

    Its part is that of the machine's threads: where several processes share a machine, they share those.
    """
    memory = available()
    if memory is None:
        return _UNKNOWN
    part = min(1.0, torch.get_num_threads() / (os.cpu_count() or 1))
    return min(MOST, int(memory * part * SHARE))


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Inside, everything is made anew, and what there was is forgotten."""
    for each in (models, examples):
        each.clear()
    _off.append(True)
    try:
        yield
    finally:
        _off.pop()


def bytes_of(thing: Any) -> int:
    """About how much memory something takes: arrays, tensors, modules, and what is made of them."""
    if isinstance(thing, np.ndarray | Tensor):
        return thing.nbytes + _OF_OBJECT
    if isinstance(thing, nn.Module):
        return sum(map(bytes_of, (*thing.parameters(), *thing.buffers())))
    if isinstance(thing, tuple | list):
        return sum(map(bytes_of, thing))
    if is_dataclass(thing):
        return sum(bytes_of(getattr(thing, field.name)) for field in fields(thing))
    return _OF_OBJECT
