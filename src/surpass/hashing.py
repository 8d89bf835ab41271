"""Random numbers that belong to a key: the same whatever other keys there are, in any order."""

from __future__ import annotations

from hashlib import sha256


def unit(key: str, *, seed: int, purpose: str) -> float:
    """A number in [0, 1), uniform over keys; independent for every seed and purpose."""
    digest = sha256(f"{purpose}/{seed}/{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
