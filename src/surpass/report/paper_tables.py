"""Tables of a report for papers: in LaTeX, Markdown and text the terminal's numbers, in CSV all digits."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from surpass.errors import ConfigError
from surpass.report.figures.reading import Shown, damaged
from surpass.report.methods import NOTE, methods_table, percent, table_of
from surpass.report.table_records import RECORDS, csv_text
from surpass.report.table_source import Part, parts_of
from surpass.report.terminal import WIDTH, summary_table

if TYPE_CHECKING:
    from rich.table import Table

FORMATS = ("latex", "markdown", "csv", "text")
WHAT = ("summary", "methods", "rows")
BOLD_NOTE = "bold: differs from naive beyond noise."
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "…": r"\dots{}",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")
_SIGNED = re.compile(r"(?<![\w.$-])((?:[+-]|\\textless\{\})\d[\d.,]*\d|[+-]\d)")


class Line(NamedTuple):
    """A line of a table: a heading over all columns, or its cells."""

    cells: tuple[str, ...]
    heading: bool = False
    bold: bool = False


class PaperTable(NamedTuple):
    """A table as text, before it is written in some format."""

    caption: str
    label: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def table_text(document: Mapping[str, Any], *, format: str = "latex", what: str = "summary") -> str:
    """The tables of a document, one for each study; in CSV one for all.

    Args:
        document: As `report.document.document_of` makes it.
        format: One of `FORMATS`.
        what: One of `WHAT`.

    Raises:
        ConfigError: One of these is something else, or there is nothing to show.
        DataError: The document is none.
    """
    if format not in FORMATS:
        raise ConfigError(f"--format {format} must be one of {', '.join(FORMATS)}")
    if format == "csv":
        return csv_text(records(document, what=what))
    _require(what)
    try:
        parts = parts_of(Shown(document))
    except (KeyError, TypeError, IndexError) as error:
        raise damaged(error) from None
    tables = [_SOURCES[what](part) for part in parts]
    if format == "text":
        pieces = [_as_text(*table) for table in tables]
    else:
        write = as_latex if format == "latex" else as_markdown
        pieces = [
            write(_read(table, part, what, notes)) for part, (table, notes) in zip(parts, tables, strict=True)
        ]
    return "\n".join(pieces)


def records(document: Mapping[str, Any], *, what: str = "summary") -> list[dict[str, Any]]:
    """The same with all digits, as plain data.

    Raises:
        ConfigError: `what` is none of `WHAT`.
        DataError: The document is none.
    """
    _require(what)
    try:
        return list(RECORDS[what](Shown(document)))
    except (KeyError, TypeError, IndexError) as error:
        raise damaged(error) from None


def _require(what: str) -> None:
    if what not in WHAT:
        raise ConfigError(f"--what {what} must be one of {', '.join(WHAT)}")


def _summary(part: Part) -> tuple[Table, list[str]]:
    return summary_table(part.results), list(part.footnotes)


def _methods(part: Part) -> tuple[Table, list[str]]:
    if not any(rank.comparison for rank in part.results.ranks):
        raise ConfigError(
            f"{part.name} has no method to compare with naive fine-tuning; run it with methods=naive,... or "
            "show another table"
        )
    return methods_table(part.results.ranks), [NOTE, *part.footnotes]


def _rows(part: Part) -> tuple[Table, list[str]]:
    """Every student, seed by seed."""
    from rich.text import Text

    table = table_of("pair, method", "seed", "weak", "student", "ceiling", "PGR %", "agreement")
    pair = None
    for row in part.rows:
        if (here := f"{row['weak']} → {row['strong']}") != pair:
            if pair is not None:
                table.add_row()
            pair = here
            table.add_row(Text(here, style="bold", no_wrap=True, overflow="ellipsis"))
        table.add_row(
            f"  {row['name']}",
            str(row["seed"]),
            *(percent(row[name]) for name in ("weak_acc", "student_acc", "ceiling_acc", "pgr", "agreement")),
        )
    gone = ["- where the ceiling of a seed does not beat its supervisor"] if part.undefined_rows else []
    return table, [*gone, *part.footnotes]


_SOURCES: dict[str, Callable[[Part], tuple[Table, list[str]]]] = {
    "summary": _summary,
    "methods": _methods,
    "rows": _rows,
}
_CAPTIONS = {
    "summary": "Test accuracy (%) and performance gap recovered (PGR) on {}.",
    "methods": "Methods side by side on {}.",
    "rows": "Test accuracy (%) and performance gap recovered (PGR) by seed on {}.",
}


def _read(table: Table, part: Part, what: str, notes: Sequence[str]) -> PaperTable:
    """What stands in a table of the terminal, letter by letter."""
    columns = [[_plain(cell) for cell in column.cells] for column in table.columns]
    lines: list[Line] = []
    bold = False
    for cells, row in zip(zip(*columns, strict=True), table.rows, strict=True):
        if not any(cells):
            continue
        if not any(cells[1:]):
            before = lines.pop().cells[0] if lines and lines[-1].heading else ""
            lines.append(Line((f"{before} {cells[0]}".strip(),), heading=True))
            continue
        strong = row.style == "bold"
        bold = bold or strong
        lines.append(Line(tuple(cells), bold=strong))
    return PaperTable(
        caption=_CAPTIONS[what].format(part.setting),
        label=re.sub(r"[^a-z0-9-]+", "-", f"{part.name}-{what}".lower()),
        columns=tuple(_plain(column.header) for column in table.columns),
        lines=tuple(lines),
        notes=(*([BOLD_NOTE] if bold else []), *notes),
    )


def _plain(cell: Any) -> str:
    """The text of a cell, on one line; blanks that only align digits are left out."""
    text = f"{cell.name}{cell.behind}" if hasattr(cell, "behind") else getattr(cell, "plain", str(cell))
    text = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
    indented = text.startswith("  ")
    text = re.sub(r" +", " ", text.strip()).replace("[ ", "[")
    return f"  {text}" if indented else text


def _as_text(table: Table, notes: Sequence[str]) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    drawn = [line.rstrip() for line in capture.get().strip("\n").splitlines()]
    wrapped = [textwrap.fill(note, WIDTH) for note in notes]
    return "\n".join([*drawn, *([""] if wrapped else []), *wrapped]) + "\n"


def as_latex(table: PaperTable) -> str:
    """A table for LaTeX with the package booktabs."""
    number = len(table.columns)
    body: list[str] = []
    for line in table.lines:
        if line.heading:
            if body:
                body.append(r"    \addlinespace")
            body.append(rf"    \multicolumn{{{number}}}{{l}}{{{latex(line.cells[0])}}} \\")
            continue
        first, *others = line.cells
        name = latex(first.strip())
        name = rf"\textbf{{{name}}}" if line.bold else name
        # A brace or a space before it, as LaTeX reads [ or * behind \\ as an option.
        lead = r"\quad " if first.startswith("  ") else "{}"
        cells = [f"{lead}{name}", *(latex_number(cell) for cell in others)]
        body.append(f"    {' & '.join(cells)} \\\\")
    # Not \\, which would take a star at the beginning of the next note for its own.
    noted = r"\newline{} ".join(map(latex, table.notes))
    notes = [rf"  \par\smallskip{{\footnotesize {noted}\par}}"] if noted else []
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{latex(table.caption)}}}",
            rf"  \label{{tab:{table.label}}}",
            rf"  \begin{{tabular}}{{l{'r' * (number - 1)}}}",
            r"    \toprule",
            f"    {' & '.join(map(latex, table.columns))} \\\\",
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    """Text for LaTeX; what it cannot print is a question mark."""
    return "".join(_LATEX.get(c, c if c.isprintable() else "?") for c in text)


def latex_number(cell: str) -> str:
    """A number for LaTeX, its sign as one of mathematics."""
    return _SIGNED.sub(lambda found: f"${found[1].replace(_LATEX['<'], '<')}$", latex(cell))


def as_markdown(table: PaperTable) -> str:
    """A table for Markdown, as GitHub and Pandoc read it."""
    lines = [f"| {' | '.join(map(markdown, table.columns))} |", f"|:---{'|---:' * (len(table.columns) - 1)}|"]
    for line in table.lines:
        cells = [markdown(cell.strip()) for cell in line.cells]
        if line.heading or line.bold:
            cells[0] = f"**{cells[0]}**"
        cells += [""] * (len(table.columns) - len(cells))
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"\n{markdown(note)}" for note in table.notes]
    return "\n".join([f"{markdown(table.caption)}\n", *lines, *notes, ""])


def markdown(text: str) -> str:
    """Text for Markdown, in which nothing is read as a mark."""
    return _MARKDOWN.sub(r"\\\1", text)
