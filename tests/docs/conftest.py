"""One folder in which the commands of all pages run, one after another, with one store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import made_up
from rules import SHOWN_STUDY

import processes
from processes import Nursery


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands run."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def workspace(folder: Path) -> Path:
    """The same with made-up data, models and files."""
    made_up.data(folder / "data")
    made_up.packaged_models(folder / "cache")
    made_up.language_models(folder)
    made_up.files(folder)
    return folder


@pytest.fixture(scope="session")
def surpass(folder: Path) -> Iterator[Nursery]:
    """Runs commands with that data and those models, and without a network."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made_up.variables(folder).items():
            patch.setitem(processes.ENVIRONMENT, name, value)
        nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def shown_store(workspace: Path, surpass: Nursery) -> Path:
    """A folder with the finished study whose store is shown on the page of stores."""
    shown = workspace / "shown"
    shown.mkdir()
    ended = surpass.run("run", "chess", "pairs=1-2", *SHOWN_STUDY, "--quiet", cwd=shown)
    assert ended.code == 0, ended.err
    return shown
