import numpy as np
import pytest

from surpass.ragged import rectangle


def slow(values, sizes, fill):
    width, rows, begin = max(sizes, default=0), [], 0
    for size in sizes:
        rows.append([*values[begin : begin + size], *[fill] * (width - size)])
        begin += size
    return rows


@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [2], [2, 1, 0, 4], [3, 3, 3]])
@pytest.mark.parametrize("fill", [0, -1])
def test_equals_the_loop(sizes, fill):
    values = np.arange(10, 10 + sum(sizes), dtype=np.int16)
    found = rectangle(values, np.array(sizes, np.int64), fill=fill)
    assert found.tolist() == slow(values.tolist(), sizes, fill)
    assert found.shape == (len(sizes), max(sizes, default=0))
    assert found.dtype == np.int16


def test_random_rows():
    random = np.random.default_rng(0)
    sizes_N = random.integers(0, 6, 40)
    values = random.standard_normal(sizes_N.sum()).astype(np.float32)
    found = rectangle(values, sizes_N, fill=-np.inf)
    assert found.tolist() == slow(values.tolist(), sizes_N.tolist(), -np.inf)
    assert found.dtype == np.float32
