"""The command line. Every command is a thin shell around what Python can call too."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from surpass.errors import ConfigError, Stopped, SurpassError
from surpass.ladder.commands import ladder_app
from surpass.stages import Stage
from surpass.study import Study

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Weak-to-strong generalization: can a weak supervisor elicit what a stronger model knows?",
)
app.add_typer(ladder_app, name="ladder")
store_app = typer.Typer(no_args_is_help=True, help="Look after the store of artifacts.")
app.add_typer(store_app, name="store")

StudyName = Annotated[str, typer.Argument(help="A study (see `surpass list`) or your_module:function.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes: pairs=2-4,3-4 seeds=5 num_train=2000 epochs=3 learning_rate=2e-3 ..."),
]
StoreFolder = Annotated[
    Path, typer.Option("--store", envvar="SURPASS_STORE", help="Folder of all that was computed.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DEFAULT_STORE = Path("surpass-store")


def find_study(name: str, overrides: Sequence[str] | None) -> Study:
    """The study of a name, or of a function `module:function`, with overrides applied.

    Raises:
        ConfigError: There is no such study, or an override makes no sense.
    """
    from surpass.overrides import override
    from surpass.recipes import find_recipe

    module, colon, function = name.partition(":")
    if not colon:
        return override(find_recipe(name), overrides or ())
    sys.path.insert(0, os.getcwd())
    try:
        study = getattr(import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"no study {name!r} ({error}); name it as your_module:function") from None
    if not isinstance(study, Study):
        raise ConfigError(f"{name} returned {type(study).__name__}; it must return a surpass.Study")
    return override(study, overrides or ())


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks the run to save and stop, the second ends it at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        typer.echo("stopping after this step; press Ctrl-C again to stop at once", err=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@app.command()
def run(
    study: StudyName,
    overrides: Overrides = None,
    store: StoreFolder = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="Folder for results; by default results/STUDY-ID.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch; by default its own choice.")
    ] = None,
    micro_batch: Annotated[
        int | None, typer.Option(min=1, help="Examples per forward pass at most, for less memory.")
    ] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="How often a fit saves its state.")] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Compute what is missing of a study and show the results.

    Interrupted, it goes on where it was when run again; finished, it only shows the table.
    """
    from rich.console import Console

    from surpass.engine.inline import Settings
    from surpass.engine.progress import Display, Silent, Terminal
    from surpass.experiment import run as run_study
    from surpass.report.terminal import print_results
    from surpass.store import Store

    chosen = find_study(study, overrides)
    folder = out or Path("results") / f"{chosen.name}-{chosen.id[:8]}"
    progress = Console(stderr=True)
    stages: list[int] = []
    began = time.monotonic()

    def display(to_do: Sequence[Stage]) -> Display:
        stages.append(len(to_do))
        return Silent() if quiet else Terminal(to_do, progress)

    with stop_on_signals() as stop:
        settings = Settings(
            threads=threads, checkpoint_seconds=checkpoint_seconds, micro_batch=micro_batch, stop=stop
        )
        results = run_study(chosen, Store(store), settings=settings, display=display)
    folder.mkdir(parents=True, exist_ok=True)
    results.to_parquet(folder / "results.parquet")
    results.to_json(folder / "results.json")
    if as_json:
        typer.echo((folder / "results.json").read_text(), nl=False)
        return
    print_results(results, noun="test puzzles" if chosen.task.name == "chess" else "test examples")
    took = time.monotonic() - began
    count = f"{stages[0]} stages computed" if stages[0] else "nothing to compute"
    progress.print(f"{count}, {took:.1f} s; results in {folder}", highlight=False, soft_wrap=True)


@app.command()
def plan(
    study: StudyName, overrides: Overrides = None, store: StoreFolder = DEFAULT_STORE, as_json: Json = False
) -> None:
    """Show what a study consists of: what is done, what is left, what is shared; compute nothing."""
    from surpass.report.listing import plan_of, print_plan

    entries = plan_of(find_study(study, overrides), store)
    if as_json:
        typer.echo(json.dumps([entry._asdict() for entry in entries], indent=1))
    else:
        print_plan(entries)


@app.command("list")
def list_(store: StoreFolder = DEFAULT_STORE, as_json: Json = False) -> None:
    """Show the studies, models and methods there are, and what the store holds."""
    from surpass.report.listing import inventory, print_inventory

    found = inventory(store)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        print_inventory(found)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="The id of an artifact, or how it begins, or its folder's name.")],
    store: StoreFolder = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Show one artifact: what it is, what it was made from and by whom it is used."""
    from surpass.report.listing import describe, print_description
    from surpass.store import Store

    if not store.exists():
        raise ConfigError(f"no store at {store}; name one with --store, or run a study first")
    description = describe(Store(store), id)
    if as_json:
        typer.echo(json.dumps(description, indent=1))
    else:
        print_description(description)


@app.command()
def doctor(store: StoreFolder = DEFAULT_STORE, as_json: Json = False) -> None:
    """Check the installation and say what is missing; exits 1 if anything is."""
    from surpass.doctor import examine, print_findings

    findings = examine(store)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        print_findings(findings)
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


@store_app.command("verify")
def store_verify(store: StoreFolder = DEFAULT_STORE) -> None:
    """Read every byte of the store and say what is wrong; exits 1 if anything is."""
    from surpass.store import Store

    if not store.exists():
        raise ConfigError(f"no store at {store}; name one with --store, or run a study first")
    problems = Store(store).verify()
    for problem in problems:
        typer.echo(f"{problem.path}: {problem.reason}")
    typer.echo(f"{len(problems)} problems" if problems else "the store is sound")
    if problems:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        app()
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        typer.echo("stopped at once; run the same command again to go on from the last checkpoint", err=True)
        sys.exit(130)
    except SurpassError as error:
        typer.echo("error: " + " ".join(str(error).split()), err=True)
        sys.exit(2)
