"""What `plan`, `list` and `show` print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from surpass.data.catalog import DATA_SETS
from surpass.data.solutions_catalog import FORMS
from surpass.durations import duration
from surpass.engine.graph import outstanding
from surpass.engine.progress import Estimate
from surpass.errors import ConfigError
from surpass.methods import describe_method, method_names
from surpass.models.packaged.table import PACKAGED
from surpass.models.sources import ladder_names, reasoner_names, resolve
from surpass.recipes import RECIPES
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.store.far_root import is_there
from surpass.store.objects import is_url
from surpass.store.urls import UrlStore
from surpass.store.usage import held as held_by
from surpass.study import Study, targets
from surpass.tasks import TASKS
from surpass.tasks.process import PUBLISHED

_ID_DIGITS = 8
_DIGEST_DIGITS = 64


class PlanEntry(NamedTuple):
    """One stage of a plan."""

    kind: str
    label: str
    id: str
    state: str
    uses: int
    seconds: float


def find_store(folder: str | Path) -> Store | None:
    """The store in a folder or at a URL, or None where there is none yet; nothing is written.

    Raises:
        StoreError: The folder holds something else, or cannot be read.
    """
    if is_url(folder):
        return UrlStore(str(folder), make=False) if is_there(str(folder)) else None
    path = Path(folder)
    empty = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    return None if empty else Store(folder)


def plan_of(study: Study, folder: str | Path) -> list[PlanEntry]:
    """All stages of a study, each with whether it is done and a guess of its time; nothing is written."""
    wanted = [stage for row in study.rows() for stage in targets(row)]
    store = find_store(folder)
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


def print_plan(entries: Sequence[PlanEntry]) -> None:
    """A line per stage, and a sum."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("stage", "", "id", "uses", "to do"):
        right = heading in ("uses", "to do")
        # Only the labels give way where a line is too narrow.
        table.add_column(heading, no_wrap=heading != "", justify="right" if right else "left")
    for entry in entries:
        left = duration(entry.seconds) if entry.state == "to do" else entry.state.replace("not needed", "-")
        uses = f"{entry.uses}x" if entry.uses > 1 else ""
        style = "" if entry.state == "to do" else "dim"
        label = Text(entry.label, no_wrap=True, overflow="ellipsis")
        table.add_row(entry.kind, label, entry.id[:_ID_DIGITS], uses, left, style=style)
    print_plain(table)
    to_do = [entry for entry in entries if entry.state == "to do"]
    saved = sum(entry.uses - 1 for entry in entries)
    left = f"{len(to_do)} to do, about {duration(sum(e.seconds for e in to_do))}" if to_do else "all done"
    print_plain(Text(f"\n{len(entries)} stages (sharing saves {saved}): {left}"))


def inventory(folder: str | Path) -> dict[str, Any]:
    """Everything that can be named, and what the store holds, as plain data."""
    models = {}
    shipped = [f"ladder:{name}" for name in ladder_names()]
    shipped += [f"reasoner:{name}" for name in reasoner_names()]
    for name in shipped:
        source = resolve(name)
        models[source.name] = {"parameters": source.parameters, "pretraining_flops": source.pretraining_flops}
    store = find_store(folder)
    held: dict[str, int] = {}
    size = 0
    for artifact in held_by(store) if store is not None else ():
        held[artifact.kind] = held.get(artifact.kind, 0) + 1
        size += artifact.bytes
    return {
        "studies": _first_lines(RECIPES),
        "methods": {name: describe_method(name) for name in method_names()},
        "tasks": _first_lines({name: make() for name, make in TASKS.items()}),
        "data_sets": {name: f"{entry.title} ({entry.kind})" for name, entry in DATA_SETS.items()}
        | {name: f"{FORMS[name].title} (steps)" for name in PUBLISHED},
        "models": models,
        "packaged_models": {
            f"package:{name}": f"{entry.what}, {entry.megabytes:.0f} MB to fetch"
            for name, entry in PACKAGED.items()
        },
        "store": {"path": str(folder), "artifacts": held, "bytes": size},
    }


def print_inventory(found: dict[str, Any]) -> None:
    """The inventory for people: a block for each kind of name, with how such a name is used."""
    parameters = {name: f"{model['parameters']:,}" for name, model in found["models"].items()}
    width = max(map(len, parameters.values()), default=0)
    models = {
        name: f"{parameters[name]:>{width}} parameters, pretrained with {model['pretraining_flops']:.1e} FLOP"
        for name, model in found["models"].items()
    }
    store = found["store"]
    counts = ", ".join(f"{count} {kind}" for kind, count in store["artifacts"].items())
    held = f"{counts} ({store['bytes'] / 1e6:.1f} MB)" if counts else "nothing yet"
    for heading, usage, named in (
        ("Studies", "surpass run NAME", found["studies"]),
        ("Methods", "methods=NAME,NAME(setting=value),...", found["methods"]),
        ("Tasks", "task=NAME", found["tasks"]),
        ("Data sets", "task=NAME(source=FOLDER)", found["data_sets"]),
        ("Models", "pairs=NAME>NAME", models),
        ("Packaged models", "after surpass models fetch", found["packaged_models"]),
        ("Store", "--store PLACE", {store["path"]: held}),
    ):
        _print_block(heading, usage, named)


def _print_block(heading: str, usage: str, named: dict[str, str]) -> None:
    """A heading, and a line or more for each name, with as much room for texts as its longest name leaves."""
    print_plain(Text.assemble((heading, "bold"), (f": {usage}", "dim")))
    table = Table.grid("", "", padding=(0, 2, 0, 0))
    for name, text in named.items():
        table.add_row(Text(f"  {name}", no_wrap=True, overflow="fold"), Text(text))
    print_plain(table)
    print_plain(Text(""))


def find_artifact(store: Store, text: str) -> Artifact:
    """The artifact whose id begins with a text, or whose folder has that name.

    Raises:
        ConfigError: None or several do.
    """
    name = text.rstrip("/").rpartition("/")[2]
    found = [a for a in store.artifacts() if a.id.startswith(name) or a.path.name == name]
    if not found:
        raise ConfigError(
            f"no artifact {text!r} in {store.where}; `surpass plan STUDY` names the ids of a study"
        )
    if len(found) > 1:
        raise ConfigError(
            f"{text!r} begins {len(found)} ids: {', '.join(a.id[:16] for a in found[:4])}"
            f"{', ...' if len(found) > 4 else ''}; give more digits"
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
    table = Table.grid("", "", padding=(0, 1, 0, 0))
    created = description["created"].replace("T", " ").replace("+00:00", " UTC")
    upstream = {before["id"]: before for before in description["upstream"]}
    table.add_row("stage", Text(f"{description['kind']} {description['label']}", style="bold"))
    table.add_row("id", description["id"])
    table.add_row("folder", Text(_near(description["path"]), overflow="fold"))
    table.add_row("computed", f"{created} on {description['host']} in {description['seconds']:.1f} s")
    for name, value in description["stage"]["fields"].items():
        made_by = upstream.get(value) if isinstance(value, str) else None
        table.add_row(name, _reference(made_by) if made_by else _plain(value))
    for name, value in (description["stage"]["outside"] | description["said"]).items():
        is_digest = isinstance(value, str) and len(value) == _DIGEST_DIGITS
        table.add_row(f"{name} file" if is_digest else name, _plain(value))
    sizes = {name: f"{file['size']:,} bytes" for name, file in description["files"].items()}
    blocks = {
        "made from": [_reference(other) for other in description["upstream"]],
        "used by": [_reference(other) for other in description["used_by"]],
        "files": [Text(f"{name}, {size}") for name, size in sizes.items()],
    }
    for heading, lines in blocks.items():
        for place, line in enumerate(lines):
            table.add_row(heading if place == 0 else "", line)
    table.add_row("versions", ", ".join(f"{name} {text}" for name, text in description["versions"].items()))
    print_plain(table)


def print_plain(what: Table | Text) -> None:
    """Print to standard output: as wide as a terminal is; elsewhere 80 columns without trailing blanks."""
    console = Console()
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as capture:
        console.print(what)
    lines = "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
    console.file.write(lines.encode(console.encoding, "replace").decode(console.encoding))


def _first_lines(named: dict[str, Any]) -> dict[str, str]:
    return {name: (thing.__doc__ or "").strip().split("\n")[0] for name, thing in named.items()}


def _reference(other: dict[str, str]) -> Text:
    line = f"{other['id'][:_ID_DIGITS]} {other['kind']} {other['label']}"
    return Text(line, no_wrap=True, overflow="ellipsis")


def _plain(value: Any) -> Text:
    """A value of a manifest as a person would write it."""
    if isinstance(value, dict):
        return Text(" ".join(f"{name}={_plain(part)}" for name, part in value.items()))
    return Text(f"{value:.5g}" if isinstance(value, float) else "none" if value is None else str(value))


def _near(path: str | Path) -> str:
    """A path as seen from here, if it is below."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
