"""Models by name: one string means the same model everywhere, and has a digest.

`ladder:chess-3` is a rung that ships with Surpass; `dir:PATH` is a weights file of `surpass ladder
train`. Resolving reads the header of the file only, and imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from surpass.errors import ConfigError, DataError
from surpass.identity import file_digest
from surpass.models.card import read_card

LADDER = Path(__file__).parent.parent / "assets" / "ladder"


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded.

    Attributes:
        name: The string it was resolved from.
        path: Its weights.
        digest: Their sha256; part of the identity of whatever is computed from them.
        parameters: How many there are.
        flops: Floating-point operations of one forward pass for one example.
        pretraining_flops: Floating-point operations of its pretraining.
    """

    name: str
    path: Path
    digest: str
    parameters: int
    flops: float
    pretraining_flops: float

    @property
    def short_name(self) -> str:
        """What labels of stages and tables say: `chess-3`."""
        return self.path.stem


def ladder_names() -> list[str]:
    """The rungs that ship with Surpass, weakest first."""
    return sorted(path.stem for path in LADDER.glob("*.safetensors"))


def ladder_pairs() -> tuple[tuple[str, str], ...]:
    """Every rung supervising every larger one, as model names."""
    return tuple(combinations([f"ladder:{name}" for name in ladder_names()], 2))


def resolve(name: str) -> ModelSource:
    """The model of this name.

    Raises:
        ConfigError: There is no such kind of name, or no such model.
        DataError: The weights file is damaged or something else.
    """
    kind, _, rest = name.partition(":")
    if kind == "ladder":
        if rest not in ladder_names():
            raise ConfigError(f"no rung {rest!r} on the ladder; there are: {', '.join(ladder_names())}")
        path = LADDER / f"{rest}.safetensors"
    elif kind == "dir":
        path = Path(rest).expanduser().absolute()
        if not path.is_file():
            raise ConfigError(f"no weights at {path}; name a .safetensors file of `surpass ladder train`")
    else:
        raise ConfigError(f"no model {name!r}; name one as ladder:chess-1 (see `surpass list`) or dir:PATH")
    status = path.stat()
    return _source(name, path, (status.st_ino, status.st_size, status.st_mtime_ns))


@cache
def _source(name: str, path: Path, stamp: tuple[int, int, int]) -> ModelSource:
    # The stamp is there for the cache: a file may be trained again while this process lives.
    card = read_card(path)
    try:
        return ModelSource(
            name=name,
            path=path,
            digest=file_digest(path),
            parameters=int(card["parameters"]),
            flops=float(card["flops"]),
            pretraining_flops=float(card["training"]["flops"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no weights file of the ladder (its card lacks {error})") from None
