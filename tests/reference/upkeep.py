"""Slow twins: what studies need, what goes and is held, what is nearest, and how a tar is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from surpass.stages import Stage


def behind(stage: Stage) -> set[str]:
    """Ids of a stage and of all it takes from, by walking every path."""
    return {stage.id}.union(*(behind(before) for before in stage.upstream))


def goes(
    manifests: Iterable[Mapping[str, Any]],
    *,
    ages: Mapping[str, float],
    older_than: float | None,
    needed: set[str] | None,
    keep_results: bool,
    used: set[str],
) -> set[str]:
    """Ids of artifacts that go, found by asking of each until nothing changes."""
    manifests = list(manifests)

    def weights(manifest: Mapping[str, Any]) -> bool:
        return any(name.endswith(".safetensors") for name in manifest["files"])

    if older_than is None and needed is None and not keep_results:
        return set()
    going = {
        manifest["id"]
        for manifest in manifests
        if (older_than is None or ages[manifest["id"]] > older_than)
        and (needed is None or manifest["id"] not in needed)
        and (not keep_results or weights(manifest))
        and manifest["id"] not in used
    }
    while True:
        spared = {
            before["id"]
            for manifest in manifests
            if weights(manifest) and manifest["id"] not in going
            for before in manifest["upstream"]
            if before["id"] in going
            and any(other["id"] == before["id"] and weights(other) for other in manifests)
        }
        if not spared:
            return going
        going -= spared


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """All values within dicts, by the keys that lead to them."""
    if not isinstance(value, dict) or (not value and path):
        return {path: value}
    return {at: leaf for key, part in value.items() for at, leaf in leaves(part, (*path, key)).items()}


def nearest(stage: Stage, manifests: Iterable[Mapping[str, Any]]) -> str | None:
    """The id of the manifest with the same label, then fewest other values, then the latest."""

    def differing(manifest: Mapping[str, Any]) -> int:
        names = ("version", "fields", "outside")
        mine, theirs = (leaves({n: i[n] for n in names}) for i in (stage.identity, manifest["stage"]))
        return sum(
            1 for at in {*mine, *theirs} if at not in mine or at not in theirs or mine[at] != theirs[at]
        )

    ranked = sorted(manifests, key=lambda m: (m["created"], m["id"]), reverse=True)
    ranked.sort(key=differing)
    ranked.sort(key=lambda m: m["label"] != stage.label)
    return ranked[0]["id"] if ranked else None


def members(path: Path) -> dict[str, bytes]:
    """The files of a plain tar, read by the format's description of 1988."""
    content, found = path.read_bytes(), {}
    while content[:512].strip(b"\0"):
        name, size, prefix = content[:100], int(content[124:135], 8), content[345:500]
        whole = b"/".join(part.rstrip(b"\0") for part in (prefix, name) if part.strip(b"\0"))
        found[whole.decode()] = content[512 : 512 + size]
        content = content[512 + -(-size // 512) * 512 :]
    assert content == bytes(1024)
    return found


def is_sound(files: Mapping[str, bytes]) -> bool:
    """Whether the index names all other files with their digests."""
    index = json.loads(files["archive.json"])
    named = {name: (size, digest) for name, size, digest in index["members"]}
    held = {n: (len(c), hashlib.sha256(c).hexdigest()) for n, c in files.items() if n != "archive.json"}
    return named == held
