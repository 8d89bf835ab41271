"""Reading solutions and problems from a file, a folder, $SURPASS_DATA or the hub.

A row that cannot be read is never dropped in silence: it is counted under what is wrong with it, and the
first few of each kind are named by file and line. With `strict` the first one is an error.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from surpass.data.base import DataSet, Row
from surpass.data.files import FilePart, is_archive, members, opened, require_content
from surpass.data.formats import rows_of
from surpass.data.hub_rows import hub_rows
from surpass.data.loading import ROLES, Found, find
from surpass.data.solutions_catalog import FORMS
from surpass.data.solutions_forms import (
    STRANGE,
    TOO_LONG,
    MalformedRow,
    Notes,
    SolutionForm,
    counted,
    row_text,
)
from surpass.data.solutions_problems import PROBLEMS
from surpass.errors import ConfigError, DataError
from surpass.reasoning.solutions import Problem, Solution

NO_JSON = "lines that are no JSON"
LONGEST = 50_000
"""Characters of a problem and its steps together; more is a damaged row, or a model that never stopped."""
_NAMED = 5

T = TypeVar("T", Solution, Problem)


@dataclass(frozen=True, kw_only=True)
class SolutionSet:
    """Solutions that were read.

    Attributes:
        solutions: In the order of the files.
        notes: What was left out, and what was kept in spite of something, in words, and how often.
        named: Of each kind of malformed row, the first few: file, line, and what is wrong.
    """

    solutions: tuple[Solution, ...]
    notes: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProblemSet:
    """Problems that were read; `notes` and `named` as in `SolutionSet`."""

    problems: tuple[Problem, ...]
    notes: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_solutions(
    source: str = "",
    form: str = "solutions",
    *,
    roles: Sequence[str] = ROLES,
    strict: bool = False,
    longest: int = LONGEST,
) -> SolutionSet:
    """Reads solutions.

    Args:
        source: A file (JSON lines, JSON or Parquet, also compressed, or in an archive of one), or a folder
            with the files that the form is published in. Empty for the folder called like the form in
            $SURPASS_DATA, else the hub.
        form: A key of `FORMS`.
        roles: "train" and "test": which of the published files. A single file is read whatever it is for.
        strict: Whether a malformed row is an error.
        longest: Characters of problem and steps together; longer ones are malformed.

    Raises:
        ConfigError: There is no such form, role or source.
        DataError: A file is damaged or of other columns; nothing is left; or, with `strict`, a row is
        malformed. MissingExtraError: The files are a hub repository's, and `datasets` is not installed.
    """
    described = _described(form)
    reader: _Reader[Solution] = _Reader(described, strict, longest)

    def read(row: Row, notes: Notes) -> list[Solution]:
        solutions = list(described.read(row, notes))
        for solution in solutions:
            reader.require_short(len(solution.problem) + len(solution.text))
        return solutions

    solutions = tuple(reader.read_all(source, roles, read))
    return SolutionSet(solutions=solutions, notes=reader.notes, named=reader.named)


def find_solutions(source: str, form: str) -> Found:
    """The files that `read_solutions` would read, without reading them; arguments and errors as there."""
    return _found(_described(form), source)


def _described(form: str) -> SolutionForm:
    if form not in FORMS:
        raise ConfigError(f"there is no form {form!r} of solutions; allowed are {', '.join(FORMS)}")
    return FORMS[form]


def read_problems(
    source: str = "",
    form: str = "math",
    *,
    roles: Sequence[str] = ROLES,
    strict: bool = False,
    longest: int = LONGEST,
) -> ProblemSet:
    """Reads problems with their true answers; arguments and errors as in `read_solutions`.

    Args:
        source: As in `read_solutions`.
        form: A key of `PROBLEMS`: "math" or "gsm8k".
        roles: As in `read_solutions`.
        strict: As in `read_solutions`.
        longest: Characters of the problem.
    """
    if form not in PROBLEMS:
        raise ConfigError(f"there is no form {form!r} of problems; allowed are {', '.join(PROBLEMS)}")
    described, read_one = PROBLEMS[form]
    reader: _Reader[Problem] = _Reader(described, strict, longest)

    def read(row: Row, notes: Notes) -> list[Problem]:
        problem = read_one(row, notes)
        reader.require_short(len(problem.problem))
        return [problem]

    return ProblemSet(
        problems=tuple(reader.read_all(source, roles, read)), notes=reader.notes, named=reader.named
    )


class _Reader(Generic[T]):
    """Reads rows of files, and counts and names those that cannot be read."""

    def __init__(self, form: SolutionForm, strict: bool, longest: int) -> None:
        self.form, self.strict, self.longest = form, strict, longest
        self.notes: Notes = {}
        self.named: dict[str, tuple[str, ...]] = {}

    def require_short(self, length: int) -> None:
        if length > self.longest:
            raise MalformedRow(TOO_LONG, f"{length} characters; at most {self.longest} are read")

    def read_all(
        self, source: str, roles: Sequence[str], read: Callable[[Row, Notes], list[T]]
    ) -> Iterator[T]:
        found = _found(self.form, source)
        parts = _parts(found, self.form, roles)
        is_empty = True
        for part in parts:
            require_content(part)
            is_first = True
            for place, row in self._rows(part, found):
                if is_first:
                    self._require_columns(part, row)
                    is_first = False
                for item in self._of_row(part, place, row, read):
                    is_empty = False
                    yield item
        if is_empty:
            said = "; ".join(f"{kind}: {times}" for kind, times in self.notes.items()) or "there are no rows"
            raise DataError(f"{', '.join(map(str, parts))} has nothing to read as {self.form.name} ({said})")

    def _of_row(self, part: FilePart, place: str, row: Row, read: Callable[[Row, Notes], list[T]]) -> list[T]:
        notes: Notes = {}
        try:
            missing = [column for column in self.form.columns if column not in row]
            if missing:
                raise MalformedRow(STRANGE, f"there is no {missing[0]!r}")
            items = read(row, notes)
        except MalformedRow as error:
            self._count(part, place, error)
            return []
        # A value of another type than is published, deep inside.
        except (DataError, LookupError, TypeError, ValueError, AttributeError) as error:
            self._count(part, place, MalformedRow(STRANGE, f"{error} in {row_text(row)}"))
            return []
        for kind, times in notes.items():
            counted(self.notes, kind, times)
        return items

    def _count(self, part: FilePart, place: str, error: MalformedRow) -> None:
        if self.strict:
            raise DataError(f"{part}, {place}: {error}; mend it, or read it without strict") from None
        counted(self.notes, error.kind)
        before: tuple[str, ...] = self.named.get(error.kind, ())
        if len(before) < _NAMED:
            self.named[error.kind] = (*before, f"{part}, {place}: {error}")

    def _require_columns(self, part: FilePart, row: Row) -> None:
        missing = [column for column in self.form.columns if column not in row]
        if len(missing) == len(self.form.columns):
            raise DataError(
                f"{part} has the columns {', '.join(map(str, row))[:200]}; {self.form.name} needs "
                f"{', '.join(self.form.columns)}"
            )

    def _rows(self, part: FilePart, found: Found) -> Iterator[tuple[str, Row]]:
        if found.layout is not None:
            rows: Iterator[Row] = hub_rows(part, found.layout)
        elif part.format == ".jsonl" or (part.format == ".json" and _has_lines(part)):
            yield from self._lines(part)
            return
        else:
            rows = rows_of(part)
        for number, row in enumerate(rows):
            yield f"row {number}", row

    def _lines(self, part: FilePart) -> Iterator[tuple[str, Row]]:
        with opened(part) as stream:
            for number, line in enumerate(stream, start=1):
                place = f"line {number}"
                text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
                if not text:
                    continue
                try:
                    row: Any = json.loads(text)
                except (ValueError, RecursionError) as error:
                    self._count(part, place, MalformedRow(NO_JSON, str(error).partition(": line")[0]))
                    continue
                if not isinstance(row, dict):
                    self._count(part, place, MalformedRow(STRANGE, f"{text[:40]!r} is no object"))
                    continue
                yield place, row


def _has_lines(part: FilePart) -> bool:
    with opened(part) as stream:
        return stream.read(io.DEFAULT_BUFFER_SIZE).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def _found(form: SolutionForm, source: str) -> Found:
    return find(
        DataSet(
            name=form.name,
            title=form.title,
            kind="generation",
            hub=form.hub,
            forms=(),
            published=form.published,
        ),
        source,
    )


def _parts(found: Found, form: SolutionForm, roles: Sequence[str]) -> list[FilePart]:
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise ConfigError(f"roles={list(roles)}; allowed are {' and '.join(ROLES)}")
    everything = [part for role in ROLES for part in found.files.get(role, ())]
    wanted = [part for role in ROLES if role in roles for part in found.files.get(role, ())]
    parts = everything if len(everything) == 1 else wanted
    if not parts:
        raise ConfigError(f"{form.name} has no files of {' and '.join(roles)} in {found.place}")
    if len(parts) == 1 and is_archive(parts[0].path) and not parts[0].member:
        inside = [member for member in members(parts[0].path) if member.format]
        if len(inside) != 1:
            raise DataError(f"{parts[0]} holds {len(inside)} files of data; take out the one to be read")
        return inside
    return parts
