"""What several commands take, and how they find their store and print plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surpass.errors import ConfigError

if TYPE_CHECKING:
    from surpass.store import Store

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A name of `surpass list`, or your_module:function.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=VALUE]...",
        help="Changes: pairs=2-4,3-4 seeds=5 num_train=2000 epochs=3 learning_rate=2e-3 ...",
    ),
]
StoreFolder = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PLACE",
        envvar="SURPASS_STORE",
        help="Where all that was computed is kept: a folder, or a URL such as s3://bucket/folder.",
    ),
]
Track = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="Send curves and results to mlflow, tensorboard, trackio or wandb too, or your_module:function.",
    ),
]
ResultsFolder = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where results go; by default results/STUDY-ID.")
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Threads of torch; by default its own choice.")
]
MicroBatch = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Examples per forward pass at most; saves memory.")
]
SaveMemory = Annotated[
    bool, typer.Option("--save-memory", help="Compute activations of large models twice, keep fewer.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DEFAULT_STORE = "surpass-store"


def existing_store(folder: str) -> Store:
    """The store in a folder that must be there.

    Raises:
        ConfigError: There is none.
    """
    from surpass.report.listing import find_store

    store = find_store(folder)
    if store is None:
        raise ConfigError(f"no store at {folder}; name one with --store, or run a study first")
    return store


def print_json(value: Any) -> None:
    """Print plain data."""
    typer.echo(json.dumps(value, indent=1))
