"""Archives of others brought into a store: verified as a whole before anything of them can be seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from surpass.disk import disk_errors, fsync_path
from surpass.errors import ConfigError, DataError, SurpassError
from surpass.identity import digest_of, file_digest
from surpass.results import Results
from surpass.store import Store
from surpass.store.archive import ARTIFACTS, RECORDS, REPORT, TOP, Member, extract
from surpass.store.artifact import MANIFEST, Artifact, Damaged, read
from surpass.store.layout import make_temporary
from surpass.store.records import KEPT, RECORD, keep_record, record_id

STUDY = "study"
_LONGEST_MANIFEST = 16 << 20


class Imported(NamedTuple):
    """What came of an archive.

    Attributes:
        name: The study's.
        command: How it is named on the command line.
        id: Of the artifact that holds its results.
        new: Artifacts that were not there before.
        records: Records that were not there before.
        there: What was there already, and was left as it was.
    """

    name: str
    command: str
    id: str
    new: int
    records: int
    there: int


def import_archive(path: Path, store: Store) -> Imported:
    """Bring an archive into a store.

    Nothing can be seen before every byte is verified. A kill in the middle of what follows leaves whole
    artifacts, and no study; import again.

    Raises:
        DataError: The archive is refused; nothing was imported.
        StoreError: It cannot be read, or the store cannot be written.
    """
    with disk_errors(store.root):
        temporary = make_temporary(store.root, "import")
        try:
            folder = temporary / "files"
            members = extract(path, folder)
            try:
                description = _check_top(folder, members)
                wholes = _check_artifacts(folder, members, ARTIFACTS)
                records = _check_artifacts(folder, members, RECORDS)
            except DataError as error:
                raise DataError(f"{path} is refused: {error}; nothing was imported") from None
            _to_disk(wholes)
            return _publish(store, folder, description, wholes, records)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_top(folder: Path, members: Iterable[Member]) -> dict[str, Any]:
    """The study's description, if what describes it can be read.

    A page that came along is left behind: it is a program of others, and is made anew of its data.
    """
    names = {member.name for member in members}
    if missing := sorted(set(TOP) - names):
        raise DataError(f"{missing[0]} is missing")
    try:
        Results.from_json(folder / "results.json")
        for name in ("analysis.json", *({REPORT} & names)):
            json.loads((folder / name).read_bytes())
        description = json.loads((folder / "study.json").read_bytes())
        texts = [description["name"], description["command"], description["id"]]
        kept: dict[str, Any] = description
        digest_of(kept)
    except (ValueError, KeyError, TypeError, RecursionError, SurpassError) as error:
        raise DataError(f"its results cannot be read ({error})") from None
    if not all(isinstance(text, str) for text in texts):
        raise DataError("study.json does not describe a study")
    return kept


def _check_artifacts(folder: Path, members: Iterable[Member], section: str) -> list[Artifact]:
    """Hold the folders of one section against their manifests."""
    folders: dict[str, dict[str, Member]] = {}
    for member in members:
        if member.name.startswith(f"{section}/"):
            _, kind, id, name = member.name.split("/", 3)
            folders.setdefault(f"{kind}/{id}", {})[name] = member
    return [_check(folder / section / place, place, files, section) for place, files in folders.items()]


def _check(folder: Path, place: str, files: dict[str, Member], section: str) -> Artifact:
    kind, _, id = place.partition("/")
    manifest = files.pop(MANIFEST, None)
    if manifest is None or manifest.size > _LONGEST_MANIFEST or kind in (RECORD, STUDY):
        raise DataError(f"{section}/{place} has no manifest that can be used")
    try:
        artifact = read(folder)
        sealed, label, stage = (artifact.manifest[name] for name in ("files", "label", "stage"))
        listed = {name: (file["size"], file["sha256"]) for name, file in sealed.items()}
        is_its_own = digest_of(stage) == artifact.id and isinstance(label, str)
    except (Damaged, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise DataError(f"{section}/{place}/{MANIFEST} cannot be used ({error})") from None
    if (artifact.kind, artifact.id) != (kind, id) or not is_its_own:
        raise DataError(f"{section}/{place}/{MANIFEST} is that of another artifact")
    for name, member in files.items():
        if listed.get(name) != (member.size, member.sha256):
            raise DataError(f"{member.name!r} is not in its manifest")
        if section == RECORDS and name not in KEPT:
            raise DataError(f"{member.name!r} has no place in a record")
    if section == ARTIFACTS and (missing := sorted(listed.keys() - files.keys())):
        raise DataError(f"{missing[0]!r} of {section}/{place} is missing")
    held = {name: file for name, file in sealed.items() if name in files}
    return Artifact(kind, id, folder, artifact.manifest | {"files": held})


def _to_disk(artifacts: Iterable[Artifact]) -> None:
    for artifact in artifacts:
        for path in (*artifact.path.rglob("*"), artifact.path):
            fsync_path(path)


def _publish(
    store: Store,
    folder: Path,
    description: dict[str, Any],
    wholes: Iterable[Artifact],
    records: Iterable[Artifact],
) -> Imported:
    new = recorded = there = 0
    for artifact in wholes:
        if store.find(artifact.kind, artifact.id) is not None:
            there += 1
            continue
        store._install(artifact)
        new += 1
    for artifact in records:
        held = (artifact.kind, artifact.id), (RECORD, record_id(artifact.kind, artifact.id))
        if any(store.find(kind, id) is not None for kind, id in held):
            there += 1
            continue
        keep_record(store, artifact)
        recorded += 1
    name, command, id = description["name"], description["command"], _study_id(folder)
    if store.find(STUDY, id) is None:
        with store.draft(STUDY, id, name) as draft:
            for each in (*TOP, REPORT):
                if (folder / each).exists():
                    shutil.copyfile(folder / each, draft.path / each)
            told: dict[str, Any] = {"upstream": [], "seconds": 0.0, "versions": {}, "said": description}
            told["stage"] = {"stage": STUDY, "version": 1, "fields": {}, "outside": {}}
            draft.publish(told | {"of": {"kind": STUDY, "id": description["id"], "label": name}})
    return Imported(name, command, id, new, recorded, there)


def _study_id(folder: Path) -> str:
    """Of results: the same file is one study, and other digits for it are another."""
    return digest_of({STUDY: {name: file_digest(folder / name) for name in TOP}})
