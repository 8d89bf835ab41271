"""What reports need of an artifact whose weights are gone, or stayed on another machine.

A record is an artifact of its own, of kind `record`. In its folder `original/` lie the other's manifest as it
was sealed, and its small files (`KEPT`). Where an artifact is not there, a report asks `recorded`.
"""

from __future__ import annotations

import shutil

from surpass.identity import digest_of
from surpass.store.artifact import MANIFEST, Artifact, Damaged, read
from surpass.store.local import Store

RECORD = "record"
ORIGINAL = "original"
KEPT = ("curve.parquet",)
"""Files of an artifact that a report reads, beside those of scores and comparisons."""

_TOLD = ("stage", "upstream", "seconds", "versions", "said")


def record_id(kind: str, id: str) -> str:
    """The id of the record of an artifact."""
    return digest_of({"record": [kind, id]})


def recorded(store: Store, kind: str, id: str) -> Artifact | None:
    """An artifact that is not in the store, as far as a record of it goes.

    Its manifest is the original's, with those files that the record holds.

    Raises:
        StoreError: The store cannot be read.
    """
    record = store.find(RECORD, record_id(kind, id))
    if record is None:
        return None
    try:
        original = read(record.path / ORIGINAL)
    except (Damaged, FileNotFoundError):
        return None
    if (original.kind, original.id) != (kind, id):
        return None
    held = {name: file for name, file in original.manifest["files"].items() if _held(record, name)}
    return Artifact(kind, id, original.path, original.manifest | {"files": held})


def _held(record: Artifact, name: str) -> bool:
    return f"{ORIGINAL}/{name}" in record.manifest["files"]


def keep_record(store: Store, artifact: Artifact) -> Artifact:
    """Write down what reports need of an artifact, from its folder; it may hold fewer files than it should.

    Raises:
        StoreError: It cannot be written.
    """
    manifest = artifact.manifest
    with store.draft(
        RECORD, record_id(artifact.kind, artifact.id), f"{artifact.kind}-{manifest['label']}"
    ) as draft:
        (draft.path / ORIGINAL).mkdir()
        for name in (MANIFEST, *kept_files(artifact)):
            shutil.copyfile(artifact.path / name, draft.path / ORIGINAL / name)
        told = {name: manifest[name] for name in _TOLD if name in manifest}
        of = {"kind": artifact.kind, "id": artifact.id, "label": manifest["label"]}
        return draft.publish(told | {"of": of})


def kept_files(artifact: Artifact) -> list[str]:
    """The files of an artifact that a record of it holds."""
    return [name for name in KEPT if name in artifact.manifest["files"]]
