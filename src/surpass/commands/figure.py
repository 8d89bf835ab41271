"""`surpass figure` and `surpass table`: figures and tables of a finished study for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surpass.commands.options import DEFAULT_STORE, Json, StoreFolder, print_json
from surpass.commands.report import document_for, is_file, sections
from surpass.errors import ConfigError

if TYPE_CHECKING:
    from surpass.report.figures.reading import Shown

ALL = "list"

FigureName = Annotated[
    str, typer.Argument(metavar="NAME", help="A figure of `surpass figure list`, or list itself.")
]
Studies = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STUDY [NAME=VALUE]...",
        help="A study of `surpass list` with its changes, or a folder with its results; or several of them.",
    ),
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="KIND", help="pdf, svg or png; pdf by default.")
]
TableFormat = Annotated[str, typer.Option("--format", metavar="KIND", help="latex, markdown, csv or text.")]
What = Annotated[
    str, typer.Option("--what", metavar="ROWS", help="summary: by pair and method; methods; rows: by seed.")
]


def figure(
    name: FigureName,
    studies: Studies = None,
    store: StoreFolder = DEFAULT_STORE,
    format: Format = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes; by default beside the results.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Draw the numbers of Burns et al. 2023 too, though models differ.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw a figure of a finished study for a paper, and print what stands below it.

    `surpass figure list` shows what there is, `surpass figure list STUDY` also what a study has data for.
    """
    from surpass.report.figures.catalog import picture_of

    if name == ALL:
        _print_list(_shown(studies, store) if studies else None, as_json=as_json)
        return
    if not studies:
        raise ConfigError(f"name a study behind {name}, as in `surpass figure {name} chess`")
    kind = _kind(format, out)
    shown = _shown(studies, store)
    picture = picture_of(name, shown)
    from surpass.disk import atomic_write, disk_errors
    from surpass.report.figures.axes import printable
    from surpass.report.figures.drawing import rendered
    from surpass.report.figures.published import with_published

    picture = with_published(picture, shown, paper=paper)
    content = rendered(picture, kind)
    path = out or _folder(studies, shown) / f"{name}.{kind}"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
        atomic_write(path.with_suffix(".txt"), f"{printable(picture.caption)}\n".encode())
    if as_json:
        print_json({"name": name, "file": str(path), "caption": picture.caption})
        return
    typer.echo(printable(picture.caption))
    typer.echo(f"\n{path}: {len(content):,} bytes; the caption in {path.with_suffix('.txt')}", err=True)


def table(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY [NAME=VALUE]...",
            help="A study of `surpass list` with its changes, or a folder with its results; or several.",
        ),
    ],
    store: StoreFolder = DEFAULT_STORE,
    format: TableFormat = "latex",
    what: What = "summary",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes; printed by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a table of a finished study for a paper; the numbers are those of `surpass run`."""
    from surpass.report.paper_tables import records, table_text

    document = _document(studies, store)
    if as_json:
        print_json(records(document, what=what))
        return
    text = table_text(document, format=format, what=what)
    if out is None:
        typer.echo(text, nl=False)
        return
    from surpass.disk import atomic_write, disk_errors

    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(out, text.encode())
    typer.echo(f"{out}: {len(text.splitlines()):,} lines", err=True)


def _document(studies: list[str], store: str) -> dict[str, Any]:
    return document_for(sections(studies), store)


def _shown(studies: list[str], store: str) -> Shown:
    from surpass.report.figures.reading import Shown

    return Shown(_document(studies, store))


def _kind(format: str | None, out: Path | None) -> str:
    """The format that is asked for, or how the name of the file ends.

    Raises:
        ConfigError: There is no such format, or the file ends otherwise.
    """
    from surpass.report.figures.drawing import FORMATS

    ending = out.suffix.lower().lstrip(".") if out is not None else ""
    kind = format or ending or FORMATS[0]
    if kind not in FORMATS:
        named = f"--format {format}" if format else f"--out {out}"
        raise ConfigError(f"{named}: a figure is one of {', '.join(FORMATS)}")
    if ending and ending != kind:
        raise ConfigError(f"--out {out} ends in {ending}, --format says {kind}: name one of them")
    return kind


def _folder(studies: list[str], shown: Shown) -> Path:
    """Beside the results of one study; for several this folder."""
    if len(shown.studies) > 1:
        return Path()
    if is_file(studies[0]):
        path = Path(studies[0])
        return path if path.is_dir() else path.parent
    return Path("results") / f"{shown.studies[0]['name']}-{str(shown.studies[0]['id'])[:8]}"


def _print_list(shown: Shown | None, *, as_json: bool) -> None:
    from surpass.report.figures.catalog import offers

    found = offers(shown)
    if as_json:
        print_json([offer._asdict() for offer in found])
        return
    from rich.table import Table
    from rich.text import Text

    from surpass.report.listing import print_plain

    grid = Table.grid(padding=(0, 2, 0, 0))
    for offer in found:
        about = offer.about if offer.lacks is None else f"{offer.about} Not here: {_why(offer.lacks)}."
        grid.add_row(
            Text(offer.name, no_wrap=True),
            Text(about, style="" if offer.lacks is None else "dim", overflow="fold"),
        )
    print_plain(grid)


def _why(lacks: str) -> str:
    """An error without its beginning, which names the figure."""
    return lacks.partition(": ")[2] or lacks
