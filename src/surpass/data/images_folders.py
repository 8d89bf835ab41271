"""Class folders: `cat/1.jpg`, or `train/cat/1.jpg` and `test/cat/2.jpg`, in folders or inside archives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from surpass.data.images_content import ENDINGS
from surpass.data.images_layout import SPLITS, TRAIN, Layout, Problem, Row, by_rows
from surpass.data.images_stored import Stored
from surpass.errors import DataError

BESIDE = "files beside the class folders, whose names are not those of images"
CLUTTER = "files of a desktop (Thumbs.db and others)"
_OUTSIDE = "images outside class folders"
_EMPTY = "empty class folders"
_DESKTOP = ("thumbs.db", "desktop.ini", "ehthumbs.db")

_Path = tuple[str, ...]


class _Tree(NamedTuple):
    """Where class folders are.

    Attributes:
        base: The folder that holds them, or the splits.
        splits: What splits are called there; empty where there are none.
    """

    base: _Path
    splits: Mapping[str, str]


def by_folders(names: Mapping[str, Stored], folders: Collection[str], place: str) -> Layout:
    """The images of class folders; a class is what its folder is called, whatever folders are in it.

    Folders that hold nothing but one other folder are gone through. There are splits if a folder `train` (or
    `training`) has folders in it.

    Args:
        names: Files by their path below the place, archives as folders.
        folders: Folders likewise, also empty ones.
        place: For messages.

    Raises:
        DataError: There are no class folders.
    """
    paths = {tuple(name.split("/")): stored for name, stored in names.items()}
    tree = _tree([path for path in paths if is_image_name(path[-1])] or list(paths))
    depth = len(tree.base) + bool(tree.splits)
    rows: list[Row] = []
    problems: list[Problem] = []
    notes: Counter[str] = Counter()
    for path, stored in paths.items():
        if path[-1].lower() in _DESKTOP:
            notes[CLUTTER] += 1
        elif path[: len(tree.base)] != tree.base or len(path) < depth + 2:
            _beside(path, stored, problems, notes)
        elif tree.splits and path[depth - 1] not in tree.splits:
            said = f"{stored} is in the folder {path[depth - 1]}, beside {' and '.join(tree.splits)}"
            problems.append(Problem(said, _OUTSIDE))
        else:
            split = tree.splits[path[depth - 1]] if tree.splits else TRAIN
            rows.append(Row(stored, split, path[depth], None, ""))
    filled = {path[:end] for path in paths for end in range(len(path))}
    problems += [
        Problem(f"the class folder {folder} is empty", _EMPTY)
        for folder in sorted(folders)
        if _is_class(tuple(folder.split("/")), tree) and tuple(folder.split("/")) not in filled
    ]
    layout = by_rows(rows, problems, notes)
    if not layout.classes:
        raise DataError(
            f"{place} holds no class folders with images; make it CLASS/IMAGE.jpg, or train/CLASS/IMAGE.jpg "
            "and test/CLASS/IMAGE.jpg"
        )
    return layout


def is_image_name(name: str) -> bool:
    """Whether a file must be an image, by the ending of its name."""
    return name.lower().endswith(ENDINGS)


def _tree(paths: list[_Path]) -> _Tree:
    base: _Path = ()
    while True:
        below = [path[len(base) :] for path in paths if path[: len(base)] == base]
        children = {path[0] for path in below if len(path) > 1}
        deep = {path[0] for path in below if len(path) > 2}
        splits = {name: SPLITS[name.lower()] for name in sorted(children & deep) if name.lower() in SPLITS}
        if TRAIN in splits.values() or (splits and children == set(splits)):
            return _Tree(base, splits)
        if len(children) != 1 or not deep:
            return _Tree(base, {})
        base = (*base, *children)


def _is_class(path: _Path, tree: _Tree) -> bool:
    if path[: len(tree.base)] != tree.base:
        return False
    rest = path[len(tree.base) :]
    return (len(rest) == 2 and rest[0] in tree.splits) if tree.splits else len(rest) == 1


def _beside(path: _Path, stored: Stored, problems: list[Problem], notes: Counter[str]) -> None:
    if is_image_name(path[-1]):
        problems.append(Problem(f"{stored} is in no class folder", _OUTSIDE))
    else:
        notes[BESIDE] += 1
