"""Wheels and packaged models made up for tests."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from surpass.models.packaged.table import PACKAGED, Packaged


def write_wheel(folder: Path, project: str, members: dict[str, bytes]) -> Path:
    """A wheel `name==version` with these files and a little metadata."""
    name, _, version = project.partition("==")
    plain = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plain}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in members.items():
            wheel.writestr(member, content)
        wheel.writestr(f"{plain}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
    return path


def sliced(content: bytes, count: int) -> list[bytes]:
    """So many pieces, the last the shortest."""
    size = -(-len(content) // count)
    return [content[start : start + size] for start in range(0, len(content), size)]


def packaged(monkeypatch, name: str, content: bytes = b"", **settings) -> Packaged:
    """An entry of the table for as long as the test runs."""
    known = {
        "what": "made up",
        "projects": (f"{name}==1.0",),
        "member": "*",
        "form": "zip",
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "none",
        "megabytes": 1.0,
        "parameters": 22,
        "family": "causal",
    }
    entry = Packaged(**(known | settings))
    monkeypatch.setitem(PACKAGED, name, entry)
    return entry
