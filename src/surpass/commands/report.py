"""`surpass report`: the page of one study or of several side by side, and what `surpass run` leaves of it."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surpass.commands.options import DEFAULT_STORE, Json, StoreFolder, existing_store, print_json
from surpass.errors import ConfigError, StoreError
from surpass.recipes import RECIPES
from surpass.recipes.finding import find_study

if TYPE_CHECKING:
    from surpass.results import Results
    from surpass.store import Store
    from surpass.study import Study
    from surpass.upkeep.imported import ImportedStudy

_CHANGE = re.compile(r"[A-Za-z_]\w*=")

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY [NAME=VALUE]... [STUDY]...",
        help="Studies of `surpass list` or your_module:function, with their changes; folders of results.",
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where the page goes; by default beside the results of the study."),
]


def report(words: Words, store: StoreFolder = DEFAULT_STORE, out: Page = None, as_json: Json = False) -> None:
    """Write the page of finished studies, side by side.

    It is one HTML file that needs nothing else. A word without NAME= begins a study: `surpass report chess
    seeds=10 planted methods=all`. A folder of results stands for what is in its report.json, so that no store
    is needed.
    """
    named = sections(words)
    if out is not None:
        require_page(out)
    document = document_for(named, store)
    if as_json:
        print_json(document)
    if as_json and out is None:
        return
    path = out or _usual_place(named, document)
    size = write_page(document, path)
    if not as_json:
        from surpass.report.upkeep import in_words

        rows, studies = len(document["rows"]["summary"]), len(document["studies"])
        many = "studies" if studies > 1 else "study"
        typer.echo(f"{path}: {studies} {many}, {rows:,} row{'s' if rows > 1 else ''}, {in_words(size)}")


def require_page(path: Path) -> None:
    """Refuse what cannot name a page.

    Raises:
        ConfigError: It ends otherwise.
    """
    if path.suffix not in (".html", ".htm"):
        raise ConfigError(f"{path} must end in .html; its numbers go beside it, into a file .json")


def sections(words: Sequence[str]) -> list[list[str]]:
    """The words of each study: its name, then its changes.

    Raises:
        ConfigError: A change stands before any study, or behind a folder of results.
    """
    found: list[list[str]] = []
    for word in words:
        if not _CHANGE.match(word):
            found.append([word])
        elif not found:
            raise ConfigError(f"{word} changes no study: name the study before it")
        elif is_file(found[-1][0]):
            raise ConfigError(
                f"{word} cannot change {found[-1][0]}, which is finished: name a study, not its results"
            )
        else:
            found[-1].append(word)
    return found


def is_file(word: str) -> bool:
    """Whether a word names a folder of results or a file of one, not a study."""
    return word not in RECIPES and Path(word).exists()


def document_for(named: Sequence[Sequence[str]], store: str) -> dict[str, Any]:
    """The document of studies as they are named.

    Args:
        named: As `sections` gives them.
        store: Where those are that are no folders.

    Raises:
        ConfigError: There is no such study, store or folder; a study is not finished, or named twice.
        DataError: A folder holds no report.
    """
    from surpass.report.document import read_document
    from surpass.report.joining import joined

    documents = [read_document(words[0]) if is_file(words[0]) else _document(words, store) for words in named]
    ids = [study["id"] for document in documents for study in document["studies"]]
    if twice := [id for id in ids if ids.count(id) > 1]:
        raise ConfigError(f"a study is named twice ({twice[0][:12]}): name each once")
    return documents[0] if len(documents) == 1 else joined(documents, documents[-1]["made"])


def _document(words: Sequence[str], store: str) -> dict[str, Any]:
    from surpass.report.document import document_of

    study = find_study(words[0], words[1:])
    try:
        return document_of([(study, words)], existing_store(store), place=_place(store))
    except StoreError as error:
        raise _unfinished(study, words, store) or error from None


def _place(store: str) -> str | None:
    """How a store is named in commands."""
    return None if store == DEFAULT_STORE else store


def _unfinished(study: Study, words: Sequence[str], store: str) -> ConfigError | None:
    """What a study lacks; None where it lacks nothing."""
    from surpass.report.listing import plan_of

    entries = plan_of(study, store)
    missing = [entry for entry in entries if entry.state == "to do"]
    if not missing:
        return None
    place = _place(store)
    command = shlex.join(["surpass", "run", *words, *(["--store", place] if place else [])])
    return ConfigError(
        f"study {study.name} is not finished: {len(missing)} of {len(entries)} stages are to do, first "
        f"{missing[0].kind} {missing[0].label}; run `{command}`"
    )


def _usual_place(named: Sequence[Sequence[str]], document: dict[str, Any]) -> Path:
    """Beside the results of one study; of several in this folder."""
    from surpass.report.document_file import PAGE

    if len(named) > 1:
        return Path(PAGE)
    if is_file(named[0][0]):
        path = Path(named[0][0])
        return path / PAGE if path.is_dir() else path.with_suffix(".html")
    (study,) = document["studies"]
    return Path("results") / f"{study['name']}-{study['id'][:8]}" / PAGE


def write_page(document: dict[str, Any], path: Path) -> int:
    """Write a page, and its document beside it.

    Returns:
        The size of the page in bytes.

    Raises:
        StoreError: A file cannot be written.
    """
    from surpass.disk import atomic_write, disk_errors
    from surpass.report.document_file import write_document
    from surpass.report.page import page_of

    # Half of a surrogate pair, which text of others may hold, has no bytes.
    page = page_of(document).encode(errors="replace")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, page)
    # Behind the page: whoever finds the document finds its page.
    write_document(document, path.with_suffix(".json"))
    return len(page)


def write_imported(study: ImportedStudy, path: Path) -> None:
    """Write the page of an imported study, made here from its numbers.

    Raises:
        ConfigError: No report came along, or the page would have a name that is none.
        DataError: Its report cannot be read.
        StoreError: A file cannot be written.
    """
    from surpass.report.document_file import read_document

    require_page(path)
    if study.report is None:
        raise ConfigError(f"no report came with {study.description['name']}: export it again")
    write_page(read_document(study.report), path)


def report_of_run(
    study: Study, called: Sequence[str], results: Results, store: Store, place: str, folder: Path
) -> Path:
    """Write the page of a run beside its results, unless it lies there already.

    Args:
        study: What was run.
        called: The words that name it.
        results: Its results, which are in `results.json` of the folder.
        store: Where it was run.
        place: How that was named.
        folder: Where results are.

    Returns:
        The page.

    Raises:
        StoreError: It cannot be written, or the store cannot be read.
    """
    from importlib.metadata import version

    from surpass.identity import digest_of
    from surpass.report.document_file import NAME, PAGE, made_of

    digest = hashlib.sha256((folder / "results.json").read_bytes()).hexdigest()
    of = digest_of({"results": digest, "study": study.id, "called": list(called), "place": place})
    made = made_of(folder / NAME)
    page = folder / PAGE
    if not (page.is_file() and (made.get("surpass"), made.get("of")) == (version("surpass"), of)):
        from surpass.report.document import document_of

        document = document_of([(study, called)], store, place=_place(place), results=[results])
        write_page(document | {"made": document["made"] | {"of": of}}, page)
    return page
