"""Random numbers that belong to a key: the same whatever other keys there are, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

_TAKEN = 8
"""Bytes of a digest that a number is made of; of their bits the first 53."""


def unit(key: str, *, seed: int, purpose: str) -> float:
    """A number in [0, 1), uniform over keys; independent for every seed and purpose."""
    digest = sha256(f"{purpose}/{seed}/{key}".encode()).digest()
    return (int.from_bytes(digest[:_TAKEN], "big") >> 11) / 2**53


def units(keys: Iterable[str], *, seed: int, purpose: str) -> list[float]:
    """The number of each key, as `unit` gives it, in half the time."""
    import numpy as np

    begin = f"{purpose}/{seed}/".encode()
    first = b"".join([sha256(begin + key.encode()).digest()[:_TAKEN] for key in keys])
    numbers: list[float] = ((np.frombuffer(first, ">u8") >> np.uint64(11)) / 2.0**53).tolist()
    return numbers
