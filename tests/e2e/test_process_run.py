"""A study of steps by the command line, as docs/process.md has it, and the page on judges of one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from processes import nursery
from reference.language import save_tiny

PAGE = (Path(__file__).parents[2] / "docs" / "process.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("process")
    rows = [
        {
            "problem": f"w{n % 50} w1 w2",
            "steps": [f"w{20 + n % 30} w7", f"w{30 + n % 20} w{5 if n % 2 else 8}", "w9 w7"],
            "ratings": [1, -1, None] if n % 2 else [1, 1, 1],
        }
        for n in range(160)
    ]
    for name in ("mine.jsonl", "new.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, kind in (("small", "bert"), ("MODEL", "llama")):
        save_tiny(folder / name, kind)
    return folder


def test_run_again_and_analyse(folder):
    study = (
        "processbench-small",
        "task=process:mine.jsonl",
        "pairs=dir:small>dir:MODEL",
        "seeds=2",
        "num_train=20",
        "num_test=12",
        "num_validation=4",
        "epochs=2",
    )
    planned = nursery().run("plan", *study, cwd=folder)
    assert planned.code == 0, planned.err
    first = nursery().run("run", *study, cwd=folder)
    assert first.code == 0, first.err
    assert "small" in first.out
    second = nursery().run("run", *study, cwd=folder)
    assert second.code == 0, second.err
    assert not re.search(r"\d+/\d+ (fit|features|label)", second.err)
    analysed = nursery().run("analyse", *study, "--json", cwd=folder)
    assert analysed.code == 0, analysed.err
    metrics = {(entry["method"], entry["metric"]) for entry in json.loads(analysed.out)["steps"]}
    assert len(metrics) == 2 * 3
    assert ("naive", "first-error F1") in metrics


def test_the_example_of_the_page(folder, monkeypatch):
    monkeypatch.chdir(folder)
    example = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "Fit(" in code)
    names: dict[str, object] = {}
    exec(compile(example.replace("epochs=2", "epochs=1"), "process.md", "exec"), names)
    scores, solutions = names["scores"], names["solutions"]
    assert [len(row) for row in scores] == [len(one.steps) for one in solutions]
    assert all(((row >= 0) & (row <= 1)).all() for row in scores)


def test_without_steps_there_is_no_task(folder):
    (folder / "empty.jsonl").write_text('{"problem": "w1", "steps": []}\n')
    named = "pairs=dir:small>dir:MODEL"
    ended = nursery().run("run", "processbench-small", "task=process:empty.jsonl", named, cwd=folder)
    assert ended.code != 0
    assert "rows without steps: 1" in ended.err
