"""CIFAR-10 as JPEG, from its archive, through the task."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from surpass.tasks import find_task

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SURPASS_SHARED_DATA", ROOT / "../shared/data"))
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the folder of published data is not here: set SURPASS_SHARED_DATA"
    ),
]
SECONDS = 120
"""Far more than is needed: seven seconds to read it first, one to start again."""


def test_cifar10(tmp_path, monkeypatch):
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path))
    start = time.monotonic()
    task = find_task(f"cifar10(source={DATA / 'cifar10_images'})")
    assert task.digests()["images"] == find_task(f"images:{DATA / 'cifar10_images'}").digests()["images"]
    assert task.class_names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    found = {part: task.examples(part=part, size=None, seed=0) for part in task.parts}
    assert Counter(found["test"].truth["truth"].to_pylist()) == dict.fromkeys(range(10), 1000)
    sizes = {part: tables.inputs.num_rows for part, tables in found.items()}
    assert sizes == {"weak": 22_401, "student": 22_507, "validation": 5_092, "test": 10_000}
    ids = [name for tables in found.values() for name in tables.inputs["id"].to_pylist()]
    assert len(set(ids)) == 60_000
    assert list(found["weak"].notes.values()) == [1]
    assert time.monotonic() - start < SECONDS
