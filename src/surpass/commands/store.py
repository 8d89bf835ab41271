"""`surpass store`: look after artifacts, and carry studies from one store to another."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surpass.commands.options import (
    DEFAULT_STORE,
    Json,
    Overrides,
    StoreFolder,
    StudyName,
    existing_store,
    print_json,
)
from surpass.errors import ConfigError
from surpass.recipes.finding import find_study

if TYPE_CHECKING:
    from surpass.study import Study

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}

store_app = typer.Typer(no_args_is_help=True, help="Look after the store of artifacts, and carry studies.")

Age = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Only what came into the store before: 12h, 30d, 8w."),
]
Studies = Annotated[
    list[str] | None,
    typer.Option(
        "--unreachable-from",
        metavar="STUDY",
        help="Only what this study does not need; in quotes with changes, 'chess seeds=5'. Name it again "
        "for each study to spare.",
    ),
]


@store_app.command("clean")
def clean(store: StoreFolder = DEFAULT_STORE, as_json: Json = False) -> None:
    """Remove what processes that were killed have left over."""
    removed = existing_store(store).clean_tmp()
    if as_json:
        print_json([str(path) for path in removed])
    else:
        typer.echo(f"{len(removed)} left-over folder{'s' if len(removed) != 1 else ''} removed")


@store_app.command("verify")
def verify(store: StoreFolder = DEFAULT_STORE, as_json: Json = False) -> None:
    """Read every byte of the store; exits 1 if something is wrong."""
    from surpass.report.upkeep import print_problems

    problems = existing_store(store).verify()
    if as_json:
        print_json([{"path": str(problem.path), "reason": problem.reason} for problem in problems])
    else:
        print_problems(problems, store)
    if problems:
        raise typer.Exit(1)


@store_app.command("du")
def du(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Show also what of it this study needs.")
    ] = None,
    overrides: Overrides = None,
    store: StoreFolder = DEFAULT_STORE,
    largest: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many of the largest artifacts to name.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Show what takes how much room."""
    from surpass.report.upkeep import print_usage
    from surpass.store.usage import usage
    from surpass.upkeep.planning import reachable

    needed = None if study is None else reachable(find_study(study, overrides or ()))
    found = usage(existing_store(store), needed, largest=largest)
    if as_json:
        shares = found._asdict() | {
            name: getattr(found, name)._asdict() for name in ("scratch", "leftovers", "damaged")
        }
        shares["kinds"] = {kind: share._asdict() for kind, share in found.kinds.items()}
        if found.study is not None:
            shares["study"] = {kind: share._asdict() for kind, share in found.study.items()}
        print_json(shares | {"largest": [one._asdict() for one in found.largest]})
    else:
        print_usage(found, study)


@store_app.command("gc")
def gc(
    older_than: Age = None,
    unreachable_from: Studies = None,
    keep_results: Annotated[
        bool, typer.Option("--keep-results", help="Only weights and features; reports stay as they are.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this it is only shown.")] = False,
    store: StoreFolder = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Remove what is no longer wanted; only shown without --yes.

    Artifacts go that all rules given let go; without a rule none goes. Scratch goes of stages that are done
    or that nobody has touched for a day (or the age given), leftovers of processes that ended, and damaged
    artifacts that were moved aside. What a living process computes or reads stays.
    """
    from surpass.report.upkeep import entries_as_data, print_removal
    from surpass.upkeep.planning import plan, rules_for
    from surpass.upkeep.sweeping import sweep

    studies = [study_of(text) for text in unreachable_from or ()]
    rules = rules_for(studies, older_than=seconds_of(older_than), keep_results=keep_results)
    found = existing_store(store)
    planned = plan(found, rules)
    gone, stays = planned.goes, planned.held
    if yes:
        swept = sweep(found, planned, rules)
        gone, stays = swept.gone, [*planned.held, *swept.stayed]
    if as_json:
        print_json({"removed": yes, "goes": entries_as_data(gone), "stays": entries_as_data(stays)})
    else:
        print_removal(gone, stays, removed=yes)


@store_app.command("explain")
def explain(
    study: StudyName,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]... [ID]", help="Changes as of `surpass run`; a stage's id or label."
        ),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Show why stages are to do.

    Every stage that is missed is held against the nearest artifact of its kind, and what differs is said.
    """
    from surpass.report.listing import find_store
    from surpass.report.upkeep import explanations_as_data, print_explanations
    from surpass.upkeep.explain import explain as explain_all
    from surpass.upkeep.explain import explain_one

    ids = [text for text in changes or () if "=" not in text]
    if len(ids) > 1:
        raise ConfigError(f"{' '.join(ids)} names {len(ids)} stages: name one, or none for all")
    chosen = find_study(study, [text for text in changes or () if "=" in text])
    found = find_store(store)
    explanations = explain_one(chosen, found, ids[0]) if ids else explain_all(chosen, found)
    if as_json:
        print_json(explanations_as_data(explanations))
    else:
        print_explanations(explanations)


@store_app.command("export")
def export(
    study: StudyName,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.tar", help="By default STUDY-ID.tar.")] = None,
    along: Annotated[
        str,
        typer.Option("--with", metavar="WHAT", help="What goes along: results, weights, features or all."),
    ] = "results",
    store: StoreFolder = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Write a finished study into one file."""
    from surpass.report.upkeep import in_words
    from surpass.upkeep.exporting import export as write

    chosen = find_study(study, overrides or ())
    path = out or Path(f"{chosen.name}-{chosen.id[:8]}.tar")
    exported = write(
        chosen, existing_store(store), path, overrides=overrides or (), called=study, along=along
    )
    if as_json:
        print_json({"path": str(path)} | exported._asdict())
    else:
        held = f"{exported.artifacts} artifacts and {exported.records} records"
        typer.echo(f"{path}: {held}, {in_words(exported.bytes)}")


@store_app.command("import")
def import_(
    archive: Annotated[Path, typer.Argument(metavar="FILE.tar", help="What `surpass store export` wrote.")],
    store: StoreFolder = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Bring in what was exported, every byte verified before."""
    from surpass.report.upkeep import print_imported
    from surpass.store.opening import open_store
    from surpass.upkeep.importing import import_archive

    found = import_archive(archive, open_store(store))
    if as_json:
        print_json(found._asdict())
    else:
        print_imported(found)


@store_app.command("show-results")
def show_results(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A study that was imported, or how its id begins.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page of its report here too.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Show results that were imported.

    That needs no data and no models. Without a name it shows which there are.
    """
    from surpass.commands.report import write_imported
    from surpass.report.upkeep import print_studies, print_study
    from surpass.upkeep.imported import read_study, studies

    found = existing_store(store)
    if name is None and page is not None:
        raise ConfigError(f"--page {page} is of one study: name it")
    if name is None:
        listed = studies(found)
        if as_json:
            print_json([study._asdict() for study in listed])
        else:
            print_studies(listed)
        return
    study = read_study(found, name)
    if page is not None:
        write_imported(study, page)
    if as_json:
        print_json(study.as_data())
    else:
        print_study(study)


def study_of(text: str) -> Study:
    """The study that `NAME [NAME=VALUE]...` in one text names.

    Raises:
        ConfigError: There is none.
    """
    words: Sequence[str]
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} names no study ({error})") from None
    if not words:
        raise ConfigError("--unreachable-from names no study; write a name, in quotes with its changes")
    return find_study(words[0], words[1:])


def seconds_of(age: str | None) -> float | None:
    """`90s`, `30m`, `12h`, `30d`, `8w` in seconds.

    Raises:
        ConfigError: It is something else.
    """
    if age is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age)
    if match is None:
        raise ConfigError(f"--older-than {age} is no age; write 12h, 30d or 8w (s, m, h, d, w)")
    return float(match[1]) * _UNITS[match[2]]
