"""Work side by side in threads of this process, each with one of torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

Calls = Sequence[Callable[[], Any]]


@contextmanager
def side_by_side(num_threads: int) -> Iterator[Callable[[Calls], list[Any]]]:
    """What carries out so many calls at a time, the first of them in this thread, and gives their results.

    It returns, or raises what one of them has raised, when all are done. Meanwhile torch has a single thread
    in each, also in this one, and afterwards as many as before.
    """
    if num_threads == 1:
        yield _one_by_one
        return
    before = torch.get_num_threads()
    with ThreadPoolExecutor(num_threads - 1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        torch.set_num_threads(1)
        try:
            yield partial(_together, pool)
        finally:
            torch.set_num_threads(before)


def _one_by_one(calls: Calls) -> list[Any]:
    return [call() for call in calls]


def _together(pool: ThreadPoolExecutor, calls: Calls) -> list[Any]:
    first, *others = calls
    running = [pool.submit(call) for call in others]
    try:
        own = first()
    finally:
        wait(running)
    return [own, *(each.result() for each in running)]
