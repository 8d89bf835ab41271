"""The command line. Every command is a thin shell around what Python can call too."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surpass.commands.figure import figure, table
from surpass.commands.options import (
    DEFAULT_STORE,
    Json,
    MicroBatch,
    Overrides,
    ResultsFolder,
    SaveMemory,
    StoreFolder,
    StudyName,
    Threads,
    Track,
    existing_store,
    print_json,
)
from surpass.commands.profile import profile
from surpass.commands.report import report, report_of_run
from surpass.commands.rewards import reasoning
from surpass.commands.store import store_app
from surpass.errors import ConfigError, SurpassError
from surpass.interrupt import end_with_failures, stop_on_signals
from surpass.ladder.commands import ladder_app
from surpass.models.commands import models_app
from surpass.recipes.finding import find_study
from surpass.world.commands import world_app

if TYPE_CHECKING:
    from surpass.results import Results
    from surpass.study import Study

# What click raises where a command line makes no sense, wherever this typer keeps its click.
UsageError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Weak-to-strong generalization: can a weak supervisor elicit what a stronger model knows?",
)
app.add_typer(ladder_app, name="ladder")
app.add_typer(world_app, name="world")
app.add_typer(models_app, name="models")
app.add_typer(store_app, name="store")
app.command("reasoning")(reasoning)
app.command("profile")(profile)

Engine = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What computes: auto, inline (this process), pool, ray or slurm."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Stages at a time, that share threads; says pool.")
]
Mesh = Annotated[
    str | None,
    typer.Option(metavar="AXIS=N,...", help="Devices of one fit: data=2, shard=4 or data=2,model=2."),
]
Address = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster: HOST:PORT or auto; says ray.")
]
Slurm = Annotated[
    str, typer.Option(metavar="NAME=VALUE,...", help="What jobs ask for, as partition=gpu; says slurm.")
]
CheckpointSeconds = Annotated[
    float, typer.Option(metavar="S", min=0, help="Seconds between checkpoints of a fit.")
]
OneStage = Annotated[
    str | None,
    typer.Option("--stage", metavar="ID", help="Compute one stage and what it needs; tell its folder."),
]


def print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from surpass import __version__

        typer.echo(f"surpass {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Set what holds for all commands."""


def require_writable(folder: Path) -> None:
    """Refuse a folder for results before hours are spent on them.

    Raises:
        ConfigError: It is no folder, or cannot be written.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "cannot be written" if there.is_dir() else "is no folder"
        raise ConfigError(f"results cannot go to {folder}: {there} {reason}; name another folder with --out")


@app.command()
def run(
    study: StudyName,
    overrides: Overrides = None,
    store: StoreFolder = DEFAULT_STORE,
    out: ResultsFolder = None,
    engine: Engine = None,
    workers: Workers = None,
    mesh: Mesh = None,
    address: Address = None,
    slurm: Slurm = "",
    threads: Threads = None,
    micro_batch: MicroBatch = None,
    checkpoint_seconds: CheckpointSeconds = 30.0,
    save_memory: SaveMemory = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    only: OneStage = None,
    track: Track = "",
    as_json: Json = False,
) -> None:
    """Compute what is missing of a study and show the results.

    Interrupted, it goes on where it was when run again; finished, it only shows the table.
    """
    from surpass.commands.watching import Shown, print_stage, reproducing
    from surpass.engine.engines import engine_of_command
    from surpass.engine.work import Settings
    from surpass.experiment import run as run_study
    from surpass.experiment import run_stage, stage_of
    from surpass.store.opening import open_store

    settings = Settings(
        threads=threads,
        checkpoint_seconds=checkpoint_seconds,
        micro_batch=micro_batch,
        save_memory=save_memory,
        workers=workers,
        mesh=mesh,
        address=address,
        slurm=slurm,
        named=(study, *(overrides or ())),
    )
    engine = engine_of_command(engine, settings)
    chosen = find_study(study, overrides or ())
    stage = None if only is None else stage_of(chosen, only)
    if stage is not None and track:
        raise ConfigError("--track follows whole studies: leave it out where --stage is given")
    folder = out or Path("results") / f"{chosen.name}-{chosen.id[:8]}"
    if stage is None:
        require_writable(folder)
    opened = open_store(store)
    shown = Shown(opened, reproducing(settings, store), quiet=quiet)
    with stop_on_signals() as stop:
        settings = replace(settings, stop=stop)
        with end_with_failures(lambda: shown.failures > 0):
            if stage is not None:
                artifact = run_stage(stage, opened, engine=engine, settings=settings, display=shown)
                print_stage(artifact, shown.tally(), as_json=as_json)
                return
            results = run_study(chosen, opened, engine=engine, settings=settings, display=shown, track=track)
    results = conclude(chosen, results, folder, as_json=as_json)
    page = report_of_run(chosen, settings.named, results, opened, store, folder)
    if not quiet:
        typer.echo(f"\n{shown.tally()}{saved_by(chosen)}; results in {folder}, page {page}", err=True)


def conclude(study: Study, results: Results, folder: Path, *, as_json: bool) -> Results:
    """Write the results of a study down, beside published ones, and print them; returns what was written."""
    from surpass.report.study_entry import noun_of, with_published
    from surpass.report.terminal import print_results

    results = with_published(study, results)
    results.write(folder)
    if as_json:
        typer.echo((folder / "results.json").read_text(), nl=False)
    else:
        print_results(results, noun=noun_of(study.task.name))
    return results


def saved_by(study: Study) -> str:
    """How many fits were saved because equal stages are one; empty where none were."""
    from surpass.study import sharing

    asked, distinct = sharing(study.rows())
    return f"; sharing saved {asked - distinct:,} of {asked:,} fits" if asked > distinct else ""


app.command("report")(report)
app.command("figure", short_help="Draw a figure of a finished study for a paper.")(figure)
app.command("table", short_help="Print a table of a finished study for a paper.")(table)


@app.command()
def plan(
    study: StudyName, overrides: Overrides = None, store: StoreFolder = DEFAULT_STORE, as_json: Json = False
) -> None:
    """Show the stages of a study, done or to do; computes nothing."""
    from surpass.report.listing import plan_of, print_plan

    entries = plan_of(find_study(study, overrides or ()), store)
    if as_json:
        print_json([entry._asdict() for entry in entries])
    else:
        print_plan(entries)


@app.command()
def analyse(
    study: StudyName, overrides: Overrides = None, store: StoreFolder = DEFAULT_STORE, as_json: Json = False
) -> None:
    """Show whose errors students make and what labels are worth."""
    from surpass.experiment import gather
    from surpass.report.analysis import analysis, print_analysis

    chosen, found = find_study(study, overrides or ()), existing_store(store)
    results = gather(chosen, found)
    if as_json:
        print_json(analysis(results, chosen, found))
    else:
        print_analysis(results, chosen, found)


@app.command("list")
def list_(store: StoreFolder = DEFAULT_STORE, as_json: Json = False) -> None:
    """Show what can be named, and what the store holds."""
    from surpass.report.listing import inventory, print_inventory

    found = inventory(store)
    if as_json:
        print_json(found)
    else:
        print_inventory(found)


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="How an artifact's id begins, or its folder.")],
    store: StoreFolder = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Show what an artifact is, and what it was made from."""
    from surpass.report.listing import describe, print_description

    description = describe(existing_store(store), id)
    if as_json:
        print_json(description)
    else:
        print_description(description)


@app.command()
def doctor(store: StoreFolder = DEFAULT_STORE, as_json: Json = False) -> None:
    """Check the installation; exits 1 if something is wrong."""
    from surpass.doctor import examine, print_findings

    findings = examine(store)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_findings(findings)
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        sys.exit(app(prog_name="surpass", standalone_mode=False))
    except UsageError as error:
        complaint = usage_complaint(error)
    except SurpassError as error:
        complaint = str(error)
    except OSError as error:
        complaint = f"{error.filename or 'a file'}: {error.strerror or error}; check the path and the disk"
    typer.echo("error: " + " ".join(complaint.split()), err=True)
    sys.exit(2)


def usage_complaint(error: Any) -> str:
    """What is wrong with a command line, and where help is; without any command, help itself."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(2)
    message = error.format_message().strip().rstrip(".")
    options = getattr(getattr(error, "param", None), "opts", ())
    given = [value for option, value in pairwise(sys.argv) if option in options]
    got = f", got {given[-1]!r}" if given else ""
    command = error.ctx.command_path if error.ctx is not None else "surpass"
    return f"{message[:1].lower()}{message[1:]}{got} (see `{command} --help`)"
