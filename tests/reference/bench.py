"""Runs stages in folders, without store or engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from torch import Tensor

from surpass.stages import Context, Stage
from surpass.store.artifact import Artifact


@dataclass
class Bench:
    """Artifacts of stages in sub-folders of `root`; `said` is what the last run told the manifest."""

    root: Path
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)

    def folder(self, stage: Stage) -> Path:
        return self.root / stage.id

    def find(self, stage: Stage) -> Artifact:
        folder = self.folder(stage)
        files = {"files": {path.name: {} for path in folder.iterdir()}}
        return Artifact(stage.kind, stage.id, folder, files | self.manifests.get(stage.id, {}))

    def run(self, stage: Stage, **settings: Any) -> Artifact:
        """Run one stage, in the folders that an interrupted run may have left."""
        self.folder(stage).mkdir(exist_ok=True)
        work = self.root / "work" / stage.id
        work.mkdir(parents=True, exist_ok=True)
        self.said = stage.run(Context(find=self.find, out=self.folder(stage), work=work, **settings))
        self.manifests[stage.id] = {"said": self.said}
        return self.find(stage)

    def run_all(self, stage: Stage) -> Artifact:
        """Run a stage and whatever it takes from."""
        for before in stage.upstream:
            if not self.folder(before).exists():
                self.run_all(before)
        return self.run(stage)

    def put(self, stage: Stage, table: pa.Table) -> None:
        """Labels in place of what a stage would give."""
        self.folder(stage).mkdir(exist_ok=True)
        pq.write_table(table, self.folder(stage) / "labels.parquet")


def table_of(artifact: Artifact, name: str = "labels") -> pa.Table:
    return pq.read_table(artifact.file(f"{name}.parquet"))


def state_of(artifact: Artifact, name: str = "model") -> dict[str, Tensor]:
    return load_file(artifact.file(f"{name}.safetensors"))


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
