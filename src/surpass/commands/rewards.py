"""`surpass reasoning`: reward models of reasoning, compared by best-of-n."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from surpass.commands.options import DEFAULT_STORE, Json, ResultsFolder, StoreFolder, Threads
from surpass.errors import ConfigError
from surpass.interrupt import end_with_failures, stop_on_signals

RewardStudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="reasoning-world, or your_module:function.")
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=VALUE]...", help="Changes: num_train=100 test_samples=32 seeds=1 epochs=3 ..."
    ),
]


def reasoning(
    study: RewardStudyName = "reasoning-world",
    overrides: Changes = None,
    store: StoreFolder = DEFAULT_STORE,
    out: ResultsFolder = None,
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="What computes: inline, pool, ray or slurm.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stages at a time, that share threads.")
    ] = None,
    threads: Threads = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Compare process and outcome reward models by best-of-n.

    Interrupted, it goes on where it was when run again. Writes results.json and curves.svg.
    """
    from surpass.commands.watching import Shown
    from surpass.engine.engines import find_engine
    from surpass.engine.work import Settings
    from surpass.invocation import command
    from surpass.recipes.reasoning import find_reward_study
    from surpass.report.rewards import print_rewards
    from surpass.reward_results import gather
    from surpass.store.opening import open_store

    named = (study, *(overrides or ()))
    settings = Settings(threads=threads, workers=workers, named=named)
    if engine == "slurm":
        raise ConfigError("jobs of Slurm find studies of weak and strong models alone; use pool or ray")
    compute = find_engine(engine, settings)
    chosen = find_reward_study(study, overrides or ())
    opened = open_store(store)
    again = command(["reasoning", *named, "--store", store, "--engine", "inline"])
    shown = Shown(opened, lambda _: again, quiet=quiet)
    with stop_on_signals() as stop, end_with_failures(lambda: shown.failures > 0):
        compute(chosen.targets, opened, settings=replace(settings, stop=stop), display=shown)
    found = gather(chosen, opened)
    folder = out or Path("results") / f"{chosen.name}-{chosen.id[:8]}"
    text = write(found, folder)
    if as_json:
        typer.echo(text, nl=False)
    else:
        print_rewards(found)
    if not quiet:
        typer.echo(f"\n{shown.tally()}; results and curves in {folder}", err=True)


def write(found: dict[str, object], folder: Path) -> str:
    """Write results and picture into a folder, and return the results as text.

    Raises:
        StoreError: The folder cannot be written.
    """
    import json

    from surpass.disk import atomic_write, disk_errors
    from surpass.report.rewards import picture

    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / "results.json", text.encode())
        atomic_write(folder / "curves.svg", picture(found).encode())
    return text
