"""An artifact in the making."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surpass.disk import disk_errors
from surpass.store.artifact import Artifact, seal
from surpass.store.batch import DEAR_SECONDS

if TYPE_CHECKING:
    from surpass.store.local import Store


@dataclass(frozen=True)
class Draft:
    """An artifact in the making: write files into `path`, then `publish`."""

    store: Store
    kind: str
    id: str
    label: str
    path: Path

    def publish(self, manifest_fields: dict[str, Any], *, seconds: float = math.inf) -> Artifact:
        """Make the draft an artifact, all at once and for good.

        Args:
            manifest_fields: What the manifest says beside kind, id, label, format, files, created,
                host and pid; anything that has canonical JSON.
            seconds: What it took to compute. While the store's `batch` is open, what took less than
                `DEAR_SECONDS` outlasts a power cut only from when the batch is settled.

        Returns:
            The artifact, or the one that was there already; then the draft is dropped.

        Raises:
            StoreError: It cannot be written; the store is as it was.
            ValueError: `manifest_fields` uses a name that the store fills in.
        """
        with disk_errors(self.path):
            durable = seconds >= DEAR_SECONDS or not self.store.batch.is_open
            sealed = seal(self.path, self.kind, self.id, self.label, manifest_fields, durable=durable)
            published = self.store._install(sealed, durable=durable)
            if not durable:
                self.store.batch.risk(seconds)
            return published
