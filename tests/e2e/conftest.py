"""Folders in which a small study is finished, so that each test can begin where it wants."""

import shutil
from pathlib import Path

import pytest

from processes import STUDY, nursery


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    ended = nursery().run("run", *STUDY, cwd=folder)
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def finished(finished_once, tmp_path) -> Path:
    """A folder of its own with `surpass-store` and `results` of the study `STUDY`."""
    return shutil.copytree(finished_once, tmp_path / "finished")
