"""The artifacts of a finished study, or what records keep of them."""

from __future__ import annotations

from surpass.errors import StoreError
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.store.records import KEPT, recorded


def known(stage: Stage, store: Store) -> Artifact | None:
    """The artifact of a stage, or what a record keeps of it: its manifest and small files."""
    part = store.part(stage.kind, stage.id, KEPT, label=stage.label)
    return part or recorded(store, stage.kind, stage.id)


def found(stage: Stage, store: Store) -> Artifact:
    """The artifact of a stage of a finished study, or what a record keeps of it.

    Raises:
        StoreError: It is not there.
    """
    artifact = store.find(stage.kind, stage.id, label=stage.label) or recorded(store, stage.kind, stage.id)
    if artifact is None:
        raise StoreError(f"{stage.kind} {stage.label} is not in {store.where}: run the study first")
    return artifact
