"""`surpass profile`: where the time of a stage goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from surpass.commands.options import (
    DEFAULT_STORE,
    Json,
    MicroBatch,
    Overrides,
    SaveMemory,
    StoreFolder,
    StudyName,
    Threads,
    print_json,
)
from surpass.interrupt import stop_on_signals
from surpass.recipes.finding import find_study

if TYPE_CHECKING:
    from surpass.profiling import Profile

StageName = Annotated[
    str, typer.Argument(metavar="STAGE", help="How its id in `surpass plan` begins, or its label.")
]


def profile(
    stage: StageName,
    study: StudyName,
    overrides: Overrides = None,
    store: StoreFolder = DEFAULT_STORE,
    threads: Threads = None,
    micro_batch: MicroBatch = None,
    save_memory: SaveMemory = False,
    as_json: Json = False,
) -> None:
    """Run a stage once more, and show where its time goes.

    What it takes from is computed first if it is missing; of the stage itself nothing is kept.
    """
    from surpass.engine.work import Settings
    from surpass.profiling import profile as run_profile
    from surpass.store.opening import open_store

    chosen = find_study(study, overrides or ())
    with stop_on_signals() as stop:
        settings = Settings(threads=threads, micro_batch=micro_batch, save_memory=save_memory, stop=stop)
        found = run_profile(chosen, stage, open_store(store), settings)
    if as_json:
        print_json(found.plain())
    else:
        print_profile(found)


def print_profile(found: Profile) -> None:
    """A line for each thing that time is spent on, the whole, and the peak of memory."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from surpass.memory import in_words
    from surpass.report.listing import print_plain

    print_plain(Text(f"{found.stage.kind} {found.stage.label}", no_wrap=True, overflow="ellipsis"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("spent on")
    for heading in ("seconds", "share", "times"):
        table.add_column(heading, justify="right")
    total = found.total
    for kind, seconds in found.seconds.items():
        calls = found.calls[kind]
        share = f"{seconds / total:.1%}" if total else ""
        table.add_row(kind, f"{seconds:.3f}", share, f"{calls:,}" if calls else "")
    table.add_section()
    table.add_row("all", f"{total:.3f}", "", "")
    print_plain(table)
    if found.peak:
        print_plain(Text(f"memory of this process, at most: {in_words(found.peak)}"))
