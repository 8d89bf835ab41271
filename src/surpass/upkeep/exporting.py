"""A finished study as one archive, from which another machine shows the same table to the digit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from surpass.disk import disk_errors
from surpass.engine.graph import outstanding
from surpass.errors import ConfigError, StoreError, SurpassError
from surpass.experiment import gather
from surpass.identity import file_digest
from surpass.lineage import ancestry
from surpass.models.sources import resolve
from surpass.report.document import document_of
from surpass.report.document_file import as_bytes
from surpass.report.study_entry import with_published
from surpass.results import Results
from surpass.stages import Compare, Features, Score, Stage
from surpass.store import Store
from surpass.store.archive import ARTIFACTS, PAGE, RECORDS, REPORT, Member, describe, write_archive
from surpass.store.artifact import MANIFEST, Artifact
from surpass.store.records import KEPT, kept_files, recorded
from surpass.study import Study, targets

WITH = ("results", "weights", "features", "all")
"""What an archive may hold beside results: nothing, the weights of models, also features, everything."""

_WEIGHTS = ".safetensors"
Contents = dict[Member, "bytes | Path"]


class Exported(NamedTuple):
    """What an archive holds."""

    artifacts: int
    records: int
    bytes: int


def export(
    study: Study,
    store: Store,
    path: Path,
    *,
    overrides: Sequence[str] = (),
    called: str | None = None,
    along: str = "results",
) -> Exported:
    """Write a finished study into an archive.

    Args:
        study: Which.
        store: Where it was run.
        path: The archive; replaced as a whole.
        overrides: How it was changed, for whoever shows it.
        called: How it is named on the command line; by default its name.
        along: One of `WITH`.

    Raises:
        ConfigError: `along` is something else.
        StoreError: The study is not finished, or the archive cannot be written.
    """
    if along not in WITH:
        raise ConfigError(f"--with {along} must be one of {', '.join(WITH)}")
    results = with_published(study, gather(study, store))
    document = _document(study, [called or study.name, *overrides], results, store)
    top = {
        "results.json": _as_written(results),
        "analysis.json": _json(_analysed(results, study, store)),
        "study.json": _json(_described(study, overrides, called)),
        REPORT: as_bytes(document),
        PAGE: _page(document),
    }
    contents: Contents = {describe(name, content): content for name, content in top.items()}
    counts = {ARTIFACTS: 0, RECORDS: 0}
    with disk_errors(store.root):
        for section, artifact in _chosen(study, store, along):
            counts[section] += 1
            contents |= _members(section, artifact)
    return Exported(counts[ARTIFACTS], counts[RECORDS], write_archive(path, contents))


def _document(study: Study, called: Sequence[str], results: Results, store: Store) -> dict[str, Any]:
    """The report, as made when the last of its stages was: the same study gives the same bytes."""
    document = document_of([(study, called)], store, results=[results])
    last = max((stage["created"] or "" for stage in document["stages"]), default="")
    return document | {"made": document["made"] | {"on": last}}


def _page(document: dict[str, Any]) -> bytes:
    from surpass.report.page import page_of

    return page_of(document).encode(errors="replace")


def _analysed(results: Results, study: Study, store: Store) -> dict[str, Any]:
    """What `surpass analyse --json` says, or why it says nothing."""
    from surpass.report.analysis import analysis

    try:
        return analysis(results, study, store)
    except StoreError:
        raise
    except SurpassError as error:
        return {"error": str(error)}


def _as_written(results: Results) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        results.to_json(Path(folder) / "results.json")
        return (Path(folder) / "results.json").read_bytes()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode("ascii")


def _described(study: Study, overrides: Sequence[str], called: str | None) -> dict[str, Any]:
    """What the study was, for people who cannot expand it."""
    return {
        "name": study.name,
        "id": study.id,
        "command": " ".join((called or study.name, *overrides)),
        "task": study.task.name,
        "pairs": [[resolve(model).short_name for model in pair] for pair in study.pairs],
        "methods": list(study.methods),
        "seeds": list(study.seeds),
        "num_stages": len(_stages(study)),
    }


def _stages(study: Study) -> dict[str, Stage]:
    """All stages of a study, and passes that give features of several."""
    wanted = [stage for row in study.rows() for stage in targets(row)]
    found = {id: stage for target in wanted for id, stage in ancestry(target).items()}
    return found | {stage.id: stage for stage in outstanding(wanted, lambda _: False).to_do}


def _chosen(study: Study, store: Store, along: str) -> Iterator[tuple[str, Artifact]]:
    """What goes along, as it is or as a record."""
    for stage in _stages(study).values():
        artifact = store.part(stage.kind, stage.id, KEPT)
        if artifact is not None and _goes_whole(artifact, along):
            artifact = store.find(stage.kind, stage.id)
        if artifact is None:
            record = recorded(store, stage.kind, stage.id)
            if record is not None:
                yield RECORDS, record
        elif _goes_whole(artifact, along):
            yield ARTIFACTS, artifact
        else:
            yield RECORDS, artifact


def _goes_whole(artifact: Artifact, along: str) -> bool:
    if artifact.kind in (Score.kind, Compare.kind) or along == "all":
        return True
    if artifact.kind == Features.kind:
        return along == "features"
    has_weights = any(name.endswith(_WEIGHTS) for name in artifact.manifest["files"])
    return has_weights and along in ("weights", "features")


def _members(section: str, artifact: Artifact) -> Contents:
    files = artifact.manifest["files"]
    folder = f"{section}/{artifact.kind}/{artifact.id}"
    contents: Contents = {
        Member(f"{folder}/{name}", files[name]["size"], files[name]["sha256"]): artifact.path / name
        for name in (files if section == ARTIFACTS else kept_files(artifact))
    }
    manifest = artifact.path / MANIFEST
    member = Member(f"{folder}/{MANIFEST}", manifest.stat().st_size, file_digest(manifest))
    return contents | {member: manifest}
