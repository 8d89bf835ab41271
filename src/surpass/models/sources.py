"""Models by name: one string means the same model everywhere, and has a digest.

`ladder:chess-3` is a rung that ships with Surpass; `dir:PATH` is a weights file of `surpass ladder
train`, or a folder with a language model as `save_pretrained` writes it; `hub:org/name@revision` is
such a folder of the Hugging Face hub; `linear:10` and `mlp:all` are untrained models of feature
vectors. Resolving digests files and reads their headers, and imports no torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from surpass.errors import ConfigError, DataError
from surpass.identity import digest_of, file_digest
from surpass.models.card import read_card
from surpass.models.folders import CONFIG, read_folder
from surpass.models.hub import hub_folder
from surpass.models.names import tabular_shape

TABULAR = ("linear", "mlp")
SKILLS = {
    "zero_shot": "answer before it is trained",
    "hint": "be shown a label beside its input",
    "prompt": "be prompted",
    "generate": "generate text",
}
"""What some families of models can do and others cannot, in words."""
_SKILLS = {
    "policy": frozenset({"zero_shot"}),
    "tabular": frozenset({"hint"}),
    "language": frozenset(SKILLS),
}
_FLOPS_UNTRAINED = 1e4
_TYPICAL_TOKENS = 128
LADDER = Path(__file__).parent.parent / "assets" / "ladder"


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded.

    Attributes:
        name: The string it was resolved from.
        family: Its key in `families.FAMILIES`.
        path: Its weights, or the folder they are in; None for a model that begins untrained.
        digest: Their sha256, or that of the name; part of the identity of whatever is computed from them.
        parameters: How many there are.
        flops: Floating-point operations of one forward pass for one example; for a language model an
            estimate, two for each parameter and each of 128 tokens.
        pretraining_flops: Floating-point operations of its pretraining; 0 where they are unknown.
    """

    name: str
    family: str
    path: Path | None
    digest: str
    parameters: int
    flops: float
    pretraining_flops: float

    @property
    def skills(self) -> frozenset[str]:
        """What its family can do, of `SKILLS`."""
        return _SKILLS[self.family]

    @property
    def short_name(self) -> str:
        """What labels of stages and tables say: `chess-3`; for a hub's model `name`, or `name@revision`."""
        if self.family == "language" and self.path is not None:
            hub = self.name.partition(":")[0] == "hub"
            return self.name.partition("/")[2] if hub else self.path.name
        return self.name.replace(":", "-") if self.path is None else self.path.stem


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
        MissingExtraError: It has to be downloaded, and the package that does so is missing.
    """
    kind, _, rest = name.partition(":")
    if kind in TABULAR:
        tabular_shape(name)
        return ModelSource(name, "tabular", None, digest_of(name), 0, _FLOPS_UNTRAINED, 0.0)
    if kind == "ladder":
        if rest not in ladder_names():
            raise ConfigError(f"no rung {rest!r} on the ladder; there are: {', '.join(ladder_names())}")
        path = LADDER / f"{rest}.safetensors"
    elif kind == "hub":
        return _language(name, hub_folder(rest))
    elif kind == "dir":
        path = Path(rest).expanduser().absolute()
        if (path / CONFIG).is_file():
            return _language(name, Path(os.path.abspath(path)))
        if not path.is_file():
            raise ConfigError(
                f"no weights at {path}; name a .safetensors file of `surpass ladder train`, or a folder with "
                "a language model as save_pretrained writes it"
            )
    else:
        raise ConfigError(
            f"no model {name!r}; name one as ladder:chess-1 (see `surpass list`), dir:PATH, "
            "hub:org/name, linear:10 or mlp:all"
        )
    status = path.stat()
    return _source(name, path, (status.st_ino, status.st_size, status.st_mtime_ns))


@cache
def _source(name: str, path: Path, stamp: tuple[int, int, int]) -> ModelSource:
    # The stamp is there for the cache: a file may be trained again while this process lives.
    card = read_card(path)
    try:
        return ModelSource(
            name=name,
            family="policy",
            path=path,
            digest=file_digest(path),
            parameters=int(card["parameters"]),
            flops=float(card["flops"]),
            pretraining_flops=float(card["training"]["flops"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no weights file of the ladder (its card lacks {error})") from None


def _language(name: str, path: Path) -> ModelSource:
    folder = read_folder(path)
    return ModelSource(
        name=name,
        family="language",
        path=path,
        digest=folder.digest,
        parameters=folder.parameters,
        flops=2.0 * folder.parameters * _TYPICAL_TOKENS,
        pretraining_flops=0.0,
    )
