"""Where artifacts are kept: in a folder (`local`) or at a URL (`urls`), found by what they are made of."""

from surpass.store.artifact import Artifact
from surpass.store.draft import Draft
from surpass.store.local import Problem, Store

__all__ = ["Artifact", "Draft", "Problem", "Store"]
