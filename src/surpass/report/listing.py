"""What `plan`, `list` and `show` print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from surpass.artifact import Artifact
from surpass.engine.graph import outstanding
from surpass.engine.progress import Estimate, duration
from surpass.errors import ConfigError
from surpass.methods import METHODS
from surpass.models.sources import ladder_names, resolve
from surpass.recipes import RECIPES
from surpass.stages import Stage
from surpass.store import Store
from surpass.study import Study, targets
from surpass.tasks import TASKS


class PlanEntry(NamedTuple):
    """One stage of a plan."""

    kind: str
    label: str
    id: str
    state: str
    uses: int
    seconds: float


def plan_of(study: Study, folder: Path) -> list[PlanEntry]:
    """All stages of a study, each with whether it is done and a guess of its time; nothing is written."""
    wanted = [stage for row in study.rows() for stage in targets(row)]
    store = Store(folder) if folder.exists() else None
    whole = outstanding(wanted, lambda _: False)

    def done(stage: Stage) -> bool:
        return store is not None and store.contains(stage.kind, stage.id)

    left = {stage.id for stage in outstanding(wanted, done).to_do}
    entries = []
    for stage in whole.to_do:
        state = "to do" if stage.id in left else "done" if done(stage) else "not needed"
        seconds = Estimate([stage]).seconds() if state == "to do" else 0.0
        entries.append(PlanEntry(stage.kind, stage.label, stage.id, state, whole.shared[stage.id], seconds))
    return entries


def print_plan(entries: list[PlanEntry]) -> None:
    """A line per stage, and a sum."""
    console = Console()
    table = _table("stage", "", "state", "uses", "about")
    for entry in entries:
        style = "dim" if entry.state != "to do" else ""
        uses = f"{entry.uses}x" if entry.uses > 1 else ""
        about = duration(entry.seconds) if entry.seconds else ""
        table.add_row(
            entry.kind, Text(entry.label, overflow="ellipsis"), entry.state, uses, about, style=style
        )
    console.print(table)
    to_do = [entry for entry in entries if entry.state == "to do"]
    seconds = sum(entry.seconds for entry in to_do)
    shared = sum(entry.uses - 1 for entry in entries)
    console.print(
        f"{len(entries)} stages (sharing saves {shared}), {len(to_do)} to do, "
        f"about {duration(seconds)} on a machine like the one we measured",
        highlight=False,
    )


def inventory(folder: Path) -> dict[str, Any]:
    """Everything that can be named, and what the store holds, as plain data."""
    models = {}
    for name in ladder_names():
        source = resolve(f"ladder:{name}")
        models[source.name] = {"parameters": source.parameters, "pretraining_flops": source.pretraining_flops}
    studies = {name: (recipe.__doc__ or "").strip().split("\n")[0] for name, recipe in RECIPES.items()}
    methods = {name: (method.__doc__ or "").strip().split("\n")[0] for name, method in METHODS.items()}
    held: dict[str, int] = {}
    if folder.exists():
        for artifact in Store(folder).artifacts():
            held[artifact.kind] = held.get(artifact.kind, 0) + 1
    return {
        "studies": studies,
        "tasks": sorted(TASKS),
        "models": models,
        "methods": methods,
        "store": {"path": str(folder), "artifacts": held},
    }


def print_inventory(found: dict[str, Any]) -> None:
    """The inventory for people."""
    console = Console()
    table = _table("", "")
    for heading in ("studies", "methods"):
        for place, (name, text) in enumerate(found[heading].items()):
            table.add_row(heading if place == 0 else "", f"[bold]{name}[/]  {text}")
    for place, (name, model) in enumerate(found["models"].items()):
        text = f"{model['parameters']:>9,} parameters, {model['pretraining_flops']:.1e} FLOPs of pretraining"
        table.add_row("models" if place == 0 else "", f"[bold]{name}[/]  {text}")
    table.add_row("tasks", ", ".join(found["tasks"]))
    held = found["store"]["artifacts"]
    counts = ", ".join(f"{count} {kind}" for kind, count in held.items()) or "empty"
    table.add_row("store", f"{found['store']['path']}: {counts}")
    console.print(table)


def find_artifact(store: Store, text: str) -> Artifact:
    """The artifact whose id begins with a text, or whose folder has that name.

    Raises:
        ConfigError: None or several do.
    """
    name = text.rstrip("/").rpartition("/")[2]
    found = [a for a in store.artifacts() if a.id.startswith(name) or a.path.name == name]
    if not found:
        raise ConfigError(
            f"no artifact {text!r} in {store.root}; `surpass plan STUDY` names the ids of a study"
        )
    if len(found) > 1:
        raise ConfigError(
            f"{text!r} begins {len(found)} ids: {', '.join(a.id[:16] for a in found[:4])}; give more digits"
        )
    return found[0]


def describe(store: Store, text: str) -> dict[str, Any]:
    """An artifact's manifest, where it is, and which artifacts were made from it."""
    artifact = find_artifact(store, text)
    users = [
        {"kind": other.kind, "label": other.manifest["label"], "id": other.id}
        for other in store.artifacts()
        if artifact.id in {before["id"] for before in other.manifest.get("upstream", [])}
    ]
    return artifact.manifest | {"path": str(artifact.path), "used_by": users}


def print_description(description: dict[str, Any]) -> None:
    """The description for people: why it exists, what it is made of, what it holds."""
    console = Console()
    table = _table("", "")
    table.add_row("stage", f"{description['kind']} {description['label']}")
    table.add_row("id", description["id"])
    table.add_row("where", description["path"])
    table.add_row(
        "computed", f"{description['created']} on {description['host']}, {description['seconds']:.1f} s"
    )
    for name, value in description["stage"]["fields"].items():
        shown = value if isinstance(value, str) else json.dumps(value)
        table.add_row(name, shown)
    for name, value in description["stage"]["outside"].items():
        table.add_row(f"{name} (outside)", value)
    for name, value in description["said"].items():
        table.add_row(name, json.dumps(value))
    for heading, others in (("made from", description["upstream"]), ("used by", description["used_by"])):
        for place, other in enumerate(others):
            table.add_row(
                heading if place == 0 else "", f"{other['kind']} {other['label']} {other['id'][:16]}"
            )
    for place, (name, file) in enumerate(description["files"].items()):
        table.add_row(
            "files" if place == 0 else "", f"{name}, {file['size']:,} bytes, sha256 {file['sha256'][:16]}"
        )
    versions = ", ".join(f"{name} {version}" for name, version in description["versions"].items())
    table.add_row("versions", versions)
    console.print(table)


def _table(*headings: str) -> Table:
    shown = any(headings)
    table = Table(box=box.SIMPLE_HEAD if shown else None, show_header=shown, show_edge=False, pad_edge=False)
    for heading in headings:
        right = heading in ("uses", "about")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    return table
