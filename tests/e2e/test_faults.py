"""A short campaign of faults, one of each family; the long one is run by hand (docs/faults.md)."""

from __future__ import annotations

import pytest

from faults.campaign import BEGINS, run, summary, write
from faults.kinds import KINDS

SHORT = (
    "driver killed",
    "worker killed",
    "driver and workers killed",
    "stopped by a signal",
    "asleep, taken over from, awake",
    "writes refused",
    "files flipped",
    "manifests truncated",
    "checkpoint damaged",
    "clock jumps",
    "two drivers",
    "writes reported, not stored",
)


@pytest.mark.timeout(600)
def test_a_short_campaign(tmp_path):
    assert set(SHORT) <= KINDS.keys()
    done = run(0, 3, engines=("inline", "pool"), stores=("folder",), works=("graph",), names=SHORT[:-1])
    lost = run(0, 3, engines=("inline",), stores=("s3",), works=("graph",), names=SHORT[-1:])
    done["faults"] += lost["faults"]
    kinds = [fault["kind"] for fault in done["faults"]]
    # One that comes when its run has ended hits nothing, and does not count.
    assert kinds == [kind for kind in SHORT if kind in kinds]
    assert len(kinds) >= 8
    assert [fault for fault in done["faults"] if fault["wrong"]] == []
    assert sum(fault["computed"] for fault in done["faults"]) > 0
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGINS}\nold\n<!-- end of counts -->\nafter\n")
    write(page, [done])
    text = page.read_text()
    assert (text.startswith("before\n"), text.endswith("\nafter\n"), "\nold\n" in text) == (True, True, False)
    assert summary([done]) in text
    assert f"- {len(kinds)} faults (" in text
    assert "All promises were kept." in text
    assert text.count("\n| ") == 2 + len(kinds)
