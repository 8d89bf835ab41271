"""The pieces of the benchmark of frozen features, on inputs so small that their numbers say nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from reference.language import save_tiny, write_texts
from surpass.store import Store
from surpass.study import Study
from surpass.train.recipe import Recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield
    torch.set_num_threads(threads)


class Ran(NamedTuple):
    """A small study that has run, and what was measured of it."""

    study: Study
    store: Store
    measured: Any
    models: tuple[str, ...]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, _importable: None) -> Ran:
    folder = tmp_path_factory.mktemp("benchmark")
    write_texts(folder / "texts.jsonl", 300)
    kinds = ("bert", "distilbert", "mpnet")
    for number, kind in enumerate(kinds):
        save_tiny(folder / kind, kind, seed=number)
    models = tuple(f"dir:{folder / kind}" for kind in kinds)
    studies = import_module("probe_studies")
    sizes = studies.Sizes(train=24, test=20, validation=10, seeds=2)
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=1e-2)
    study = studies.probe_study("small", f"text:{folder / 'texts.jsonl'}", models, sizes, recipe)
    study = study.replace(pairs=study.pairs[:2], methods=("naive", "confidence", "gce", "top_confident"))
    measured, store = import_module("probes").study_cost(study, folder, threads=1)
    return Ran(study, store, measured, models)


def test_a_study_costs_more_than_its_passes(ran):
    assert ran.measured.value > 1
    stages = ran.measured.details["stages and their seconds"]
    passes = import_module("probe_studies").passes_of(ran.study)
    assert stages["features"][0] == len({(each.model, each.examples.part) for each in passes})
    assert stages["compare"][0] == len(ran.study.rows())


def test_all_heads_are_measured(ran, tmp_path):
    found = import_module("probe_heads").together(ran.study, ran.store, tmp_path, rounds=1)
    assert len(found) == 2
    for together in found:
        # Supervisors and ceilings of two pairs, of which one model is both, on its own half each.
        assert together.details["heads"] == [8, 2 * 2 * 4]
        assert together.details["measured alone"] == 24
        assert together.details["weights apart"] < 1e-6


@pytest.mark.parametrize(("loss", "ema"), [("xent", 0.9), ("elr", 0.0), ("confidence", 0.0)])
def test_a_script_trains_the_same_head(ran, tmp_path, loss, ema):
    heads = import_module("probe_heads")
    lane = import_module("probe_studies").heads_of(ran.study, ran.store, tmp_path)[0][0].lane
    lane = dataclasses.replace(lane, loss=loss, ema=ema)
    script, ours = heads.trained_by_script(lane), heads.trained_alone(lane)
    for name, value in ours.items():
        torch.testing.assert_close(script[name], value, atol=1e-6, rtol=1e-5)


def test_heads_begin_as_in_the_study(ran, tmp_path):
    from safetensors.torch import load_file

    from surpass.train.heads import fit_heads

    studies = import_module("probe_studies")
    heads = studies.heads_of(ran.study, ran.store, tmp_path)[0]
    find = studies.finder(ran.study, ran.store)
    for head, trained in zip(heads, fit_heads([head.lane for head in heads]), strict=True):
        published = load_file(find(head.fit).file("model.safetensors"))
        assert all(torch.equal(trained.head[name], value) for name, value in published.items())


def test_scikit_learn_comes_to_the_same(ran, tmp_path):
    heads = import_module("probe_heads")
    speed, points = heads.against_scikit_learn(ran.study, ran.store, tmp_path, rounds=1, threads=1)
    assert speed.details["heads"] == 8 + 2 * 2 * 2
    assert speed.details["furthest of one head"] <= 5  # one test example of twenty
    assert points.holds


def test_a_pass_is_held_against_the_forward_passes(ran, tmp_path):
    passes = import_module("probe_passes")
    store = Store(tmp_path / "store")
    measured = passes.against_forward(ran.models[0], ran.study.task, store, 40, tmp_path, rounds=1)
    assert 0 < measured.value < math.inf
    assert measured.details["tokens of an example"] > 2


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adamw"])
def test_a_head_on_a_large_file(ran, tmp_path, precision, optimizer):
    memory = import_module("probe_memory")
    memory.write(tmp_path, memory.Large(examples=3000, features=16, precision=precision))
    found = memory.probe(tmp_path, optimizer, ran.models[0], iterations=20)
    assert found["gigabytes"] > 0.05
    assert found["accuracy"] > {"lbfgs": 0.7, "adamw": 0.3}[optimizer]


def test_no_room(tmp_path, monkeypatch):
    memory = import_module("probe_memory")
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: memory.shutil._ntuple_diskusage(9, 8, 1000))
    with pytest.raises(SystemExit, match=r"0\.0 GB free and needs 2\.3; name another"):
        memory.peaks(tmp_path, memory.Large(), "dir:nothing", iterations=1)


def test_the_table_names_what_is_missed():
    measured = import_module("measured")
    found = [
        measured.Measured("as fast", 3.0, 20, False, {}),
        measured.Measured("cost", 1.2, 1.5, True, {}),
    ]
    assert measured.table(found) == (
        "as fast      3.00  at least 20     missed\ncost         1.20  at most 1.5"
    )


def _entry(value: float, *, most: bool = False, unit: str = "times", **more: Any) -> dict[str, Any]:
    measured = import_module("measured").Measured("this", value, 10, most, {"why": 1}, unit)
    return measured._asdict() | {"suite": "overhead", "machine": import_module("bench").machine()} | more


@pytest.mark.parametrize(
    ("old", "new", "worse"),
    [
        ({"value": 20.0}, {"value": 17.0}, False),
        ({"value": 20.0}, {"value": 16.0}, True),
        ({"value": 1.2, "most": True}, {"value": 1.4, "most": True}, False),
        ({"value": 1.2, "most": True}, {"value": 1.5, "most": True}, True),
        (
            {"value": 1.2, "most": True, "unit": "seconds"},
            {"value": 9.0, "most": True, "unit": "seconds"},
            False,
        ),
    ],
)
def test_a_ratio_that_is_a_fifth_worse_is_an_error(tmp_path, monkeypatch, capsys, old, new, worse):
    bench = import_module("bench")
    monkeypatch.setattr(bench, "KEPT", tmp_path / "measured.json")
    (tmp_path / "measured.json").write_text(json.dumps({"this": _entry(**old)}))
    monkeypatch.setattr(bench, "measure", lambda suites, data: [{"this": _entry(**new)}])
    assert bench.main(["--only", "overhead", "--check"]) == worse
    assert ("this: " in capsys.readouterr().out.splitlines()[-1]) == worse
    assert json.loads((tmp_path / "measured.json").read_text())["this"]["value"] == old["value"]


def test_a_suite_runs_in_a_process_of_its_own(tmp_path, monkeypatch):
    bench = import_module("bench")
    (tmp_path / "own_suite.py").write_text(
        "import os\nfrom measured import Measured\n"
        "def main(given):\n    return [Measured('process', os.getpid(), 1, False, {'given': given})]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(bench.SUITES, "own_suite", ("processes", ("this",)))
    (found,) = bench.measure(["own_suite"], tmp_path)
    assert found["process"]["value"] != os.getpid()
    assert found["process"]["details"] == {"given": [str(tmp_path / "this")]}
    assert found["process"]["suite"] == "own_suite"


def test_what_was_measured_is_kept_and_put_into_the_page(tmp_path, monkeypatch):
    bench = import_module("bench")
    monkeypatch.setattr(bench, "KEPT", tmp_path / "measured.json")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
    (tmp_path / "measured.json").write_text(json.dumps({"that": _entry(12.345) | {"what": "that"}}))
    monkeypatch.setattr(bench, "measure", lambda suites, data: [{"this": _entry(3.0)}])
    assert bench.main(["--only", "overhead"]) == 0
    assert {what: each["value"] for what, each in json.loads(bench.KEPT.read_text()).items()} == {
        "that": 12.345,
        "this": 3.0,
    }
    text = bench.PAGE.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| that | 12.3 | at least 10 |" in text
    assert "| this | **3** | at least 10 |" in text


def test_what_needs_data_is_left_out_without(capsys):
    assert list(import_module("bench").measure(["probes"], None)) == []
    assert "probes: left out" in capsys.readouterr().err


def test_the_page_is_what_was_kept():
    bench = import_module("bench")
    kept = json.loads(bench.KEPT.read_text())
    assert bench.page(kept).strip() in bench.PAGE.read_text()
