"""Each data set from a folder laid out like its repository on the hub, through the loader."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference.catalog import ROWS_BY_TRUTH
from surpass.data.catalog import DATA_SETS
from surpass.data.loading import find, load

pytest.importorskip(
    "datasets", reason="hub repositories are read with `datasets`: pip install 'surpass[text]'"
)


def rows_of(name: str) -> list[dict]:
    if name == "gsm8k":
        return [{"question": f"Half of {2 * n}?", "answer": f"{n}\n#### {n}"} for n in range(3)]
    make, num_truths = ROWS_BY_TRUTH[name, 0]
    return [row for truth in range(num_truths) for row in make(truth)]


@pytest.mark.parametrize("name", [name for name, known in DATA_SETS.items() if known.forms])
def test_a_clone_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data_set = DATA_SETS[name]
    rows = rows_of(name)
    config = data_set.hub.config
    for split in {*data_set.hub.train, *data_set.hub.test}:
        if data_set.hub.revision == "main":
            file = tmp_path / (config or "data") / f"{split}-00000-of-00001.parquet"
        else:
            file = tmp_path / (config or "default") / split / "0000.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), file)
    loaded = load(find(data_set, str(tmp_path)))
    expected = tuple(item for row in rows for item in data_set.forms[0].items(row))
    assert loaded.items == {"train": expected, "test": expected}
    assert loaded.notes == {}
