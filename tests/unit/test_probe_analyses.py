"""Concept saliency, accuracy by group, and layer sweeps of finished studies."""

from __future__ import annotations

import io
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from reference.language import WORDS, save_tiny, some_texts
from surpass import run
from surpass.analyses.finding import found
from surpass.analyses.saliency import STRATEGIES, Closed, saliency, saliency_study
from surpass.analyses.worst_groups import by_group
from surpass.errors import ConfigError, StoreError
from surpass.layers import Layer, at_layer, by_layer, layer_study
from surpass.report.probes import groups_table, layers_table, saliency_table
from surpass.results import Results
from surpass.running.scoring import read_correct
from surpass.stats import estimate_pgr, mean_interval
from surpass.store import Store
from surpass.study import Study
from surpass.tasks import find_task
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

PAIR = ("linear:6", "mlp:allx16")


def study(**changes: object) -> Study:
    return Study(
        name="planted",
        task=PlantedTask(num_features=20, spurious=0.9),
        pairs=(PAIR,),
        methods=("naive", "dfr", "divdis"),
        seeds=(0, 1),
        num_train=400,
        num_test=500,
        num_validation=300,
        recipe=Recipe(epochs=5, learning_rate=1e-2),
    ).replace(**changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("analyses") / "store")


@pytest.fixture(scope="module")
def asked(store: Store) -> Study:
    """With the five strategies, finished."""
    asked = saliency_study(study())
    run(asked, store)
    return asked


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return run(study(), store)


class TestSaliency:
    def correct(self, asked: Study, store: Store, method: str) -> np.ndarray:
        rows = [row for row in asked.rows() if row.method == method]
        return np.stack([read_correct(found(row.student_score, store)) for row in rows])

    def test_the_study(self):
        asked = saliency_study(study())
        assert asked.methods == ("probe", "probe_truth", "naive", "saliency", "fit_truth")
        assert asked.name == "planted-saliency"
        assert asked.pairs == (PAIR,)

    def test_probes_with_a_rate_of_their_own(self, store):
        asked = saliency_study(study(seeds=(0,)), rate_factor=10.0, epochs=7)
        own = "(rate_factor=10.0, epochs=7)"
        assert asked.methods == (f"probe{own}", f"probe_truth{own}", "naive", f"saliency{own}", "fit_truth")
        probes = [row.student.recipe for row in asked.rows() if row.method.endswith(own)]
        assert {(recipe.learning_rate, recipe.epochs) for recipe in probes} == {(0.1, 7)}
        run(asked, store)
        both = asked.replace(methods=(*asked.methods, "probe"))
        run(both, store)
        assert saliency(asked, store) == saliency(both, store)
        assert len(saliency(both, store)[0].strategies) == 5

    @pytest.mark.parametrize(("rate_factor", "epochs"), [(0.0, 0), (math.nan, 0), (1.5, -1), (1.5, 2.5)])
    def test_rates_that_make_no_sense(self, rate_factor, epochs):
        with pytest.raises(
            ConfigError, match=r"rate_factor=.* must be above 0, and epochs=.* a whole number"
        ):
            saliency_study(study(), rate_factor=rate_factor, epochs=epochs).rows()

    def test_five_rows_in_order(self, asked, store):
        (entry,) = saliency(asked, store)
        assert (entry.weak_model, entry.strong_model) == ("linear-6", "mlp-allx16")
        assert [row.name for row in entry.strategies] == [
            *("lp(weak)", "lp(truth)", "ft(weak)", "ft(weak) + lp(truth)", "ft(truth)")
        ]
        for row in entry.strategies:
            correct = self.correct(asked, store, STRATEGIES[row.name])
            assert row.accuracy == mean_interval(correct)
            assert row.accuracy.value == correct.mean()
            assert row.accuracy.num_seeds == 2

    def test_the_share_that_is_closed(self, asked, store):
        closed = saliency(asked, store)[0].closed
        names = ("probe_truth", "saliency", "fit_truth")
        expected = estimate_pgr(*(self.correct(asked, store, name) for name in names))
        assert closed.gap == expected.gap
        if expected.valid:
            assert closed.reason is None
            assert (closed.value, closed.low, closed.high) == (expected.value, expected.low, expected.high)
        else:
            assert "ft(truth) does not beat lp(truth) beyond noise" in str(closed.reason)
            assert math.isnan(closed.value)

    def test_ft_of_truth_is_the_ceiling(self, asked, store):
        for row in asked.rows():
            if row.method == "fit_truth":
                assert row.student_score == row.ceiling_score

    def test_without_a_gap_it_says_why(self, store):
        """A linear student has nothing below its head, so that ft is lp."""
        asked = saliency_study(study(pairs=(("linear:6", "linear:all"),), seeds=(0,)))
        run(asked, store)
        closed = saliency(asked, store)[0].closed
        assert math.isnan(closed.value)
        assert closed.gap == 0
        assert closed.reason == ("ft(truth) does not beat lp(truth) beyond noise: +0.0 points [+0.0, +0.0]")

    def test_only_where_all_five_are(self, store):
        assert saliency(study(methods=("naive",)), store) == []

    def test_of_heads_alone_there_is_none(self, store):
        probes = study(adapter="frozen")
        with pytest.raises(ConfigError, match="adapter=frozen trains heads alone; with full or lora"):
            saliency_study(probes)
        assert saliency(probes.replace(methods=tuple(STRATEGIES.values())), store) == []

    def test_not_finished(self, tmp_path):
        with pytest.raises(StoreError, match="run the study first"):
            saliency(saliency_study(study()), Store(tmp_path / "empty"))


class TestGroups:
    def test_rows_have_the_worst_group(self, results):
        worst = {summary.key.method: summary.metrics["worst_group"] for summary in results.summary()}
        mean = {summary.key.method: summary.metrics["mean_group"] for summary in results.summary()}
        assert worst["dfr"] > worst["naive"] + 0.1
        assert all(worst[method] < mean[method] for method in worst)

    def test_supervisor_student_and_ceiling_side_by_side(self, results, store):
        entries = by_group(study(), store)
        assert [entry.method for entry in entries] == ["naive", "dfr", "divdis"]
        assert [entry.oracle for entry in entries] == [False, True, False]
        tests = study().task.examples(part="test", size=500, seed=0)
        truth_N = tests.truth["truth"].to_numpy()
        attribute_N = tests.inputs["attribute"].to_numpy()
        for entry in entries:
            rows = [row for row in study().rows() if row.method == entry.method]
            assert [(group.truth, group.attribute) for group in entry.groups] == [*product((0, 1), (0, 1))]
            for role in ("weak", "student", "ceiling"):
                right_SN = np.stack(
                    [read_correct(found(getattr(row, f"{role}_score"), store)) for row in rows]
                )
                by_hand = np.array(
                    [
                        [
                            right_N[(truth_N == t) & (attribute_N == a)].mean()
                            for t, a in product((0, 1), (0, 1))
                        ]
                        for right_N in right_SN
                    ]
                )
                shown = [getattr(group, role) for group in entry.groups]
                assert shown == pytest.approx(by_hand.mean(axis=0).tolist())
                assert getattr(entry, f"{role}_worst") == pytest.approx(by_hand.min(axis=1).mean())
            assert sum(group.num_examples for group in entry.groups) == 500

    def test_none_without_an_attribute(self, store):
        plain = study(task=PlantedTask(num_features=20), methods=("naive",), seeds=(0,))
        results = run(plain, store)
        assert by_group(plain, store) == []
        assert math.isnan(results.summary()[0].metrics["worst_group"])


class TestLayerNames:
    @pytest.mark.parametrize(
        ("model", "layer", "expected"),
        [
            ("package:mpnet", 6, "package:mpnet(layer=6)"),
            ("package:mpnet", None, "package:mpnet"),
            ("package:mpnet(tokens=128)", 6, "package:mpnet(tokens=128, layer=6)"),
            (
                "hub:org/name@rev(tokens=64, pooling=mean)",
                1,
                "hub:org/name@rev(tokens=64, pooling=mean, layer=1)",
            ),
        ],
    )
    def test_names(self, model, layer, expected):
        assert at_layer(model, layer) == expected

    @pytest.mark.parametrize("model", ["linear:4", "ladder:chess-2"])
    def test_models_without_layers(self, model):
        with pytest.raises(ConfigError, match=f"{model} has no layers to read"):
            at_layer(model, 2)

    def test_a_layer_that_is_named_already(self):
        with pytest.raises(ConfigError, match="names a layer already"):
            at_layer("package:mpnet(layer=3)", 2)

    def test_no_layer(self):
        with pytest.raises(ConfigError, match="layers is empty and end=False"):
            layer_study(study(), [], end=False)


class TestLayerSweep:
    """Of two tiny encoders of two blocks; their numbers mean nothing."""

    @pytest.fixture
    def texts(self, tmp_path: Path) -> Study:
        rows = [
            {"text": f"{number} {text} {WORDS[-1 - number % 2]}", "label": number % 2}
            for number, text in enumerate(some_texts(120, seed=3))
        ]
        (tmp_path / "texts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        small, large = (
            save_tiny(tmp_path / name, "bert", seed=name == "large") for name in ("small", "large")
        )
        return Study(
            name="tiny",
            task=find_task(f"text:{tmp_path}/texts.jsonl"),
            pairs=((f"dir:{small}", f"dir:{large}"),),
            methods=("naive", "fit_truth"),
            seeds=(0, 1),
            num_train=24,
            num_test=12,
            num_validation=4,
            learning_rates=((f"dir:{large}", 0.01),),
            recipe=Recipe(epochs=1, batch_size=8, learning_rate=1e-2),
        )

    def test_the_study(self, texts):
        swept = layer_study(texts, [2, 1, 2])
        weak, strong = texts.pairs[0]
        names = [f"{strong}(layer=2)", f"{strong}(layer=1)", strong]
        assert swept.pairs == tuple((weak, name) for name in names)
        assert (swept.name, swept.adapter) == ("tiny-layers", "frozen")
        assert set(swept.learning_rates) == {(name, 0.01) for name in names}
        without = layer_study(texts, [1], end=False)
        assert without.pairs == ((weak, names[1]),)
        assert without.learning_rates == ((names[1], 0.01),)

    def test_accuracy_and_pgr_by_layer(self, texts, tmp_path):
        swept = layer_study(texts, [2, 1])
        results = run(swept, str(tmp_path / "store"))
        rows = by_layer(swept, results)
        assert [(row.method, row.layer) for row in rows] == [*product(("naive", "fit_truth"), (1, 2, None))]
        assert {(row.weak_model, row.strong_model) for row in rows} == {("small", "large")}
        by_name = {
            (summary.key.strong_model, summary.key.method): summary.estimate for summary in results.summary()
        }
        for row in rows:
            name = "large" if row.layer is None else f"large-layer{row.layer}"
            estimate = by_name[name, row.method]
            assert (row.weak, row.student, row.ceiling) == (estimate.weak, estimate.student, estimate.ceiling)
            assert row.oracle == (row.method == "fit_truth")
            assert row.reason == estimate.reason
            assert row.pgr == estimate.value or math.isnan(row.pgr)
            if row.method == "fit_truth":
                assert row.student == row.ceiling


class TestOfTextsAndPairs:
    """Heads on the states of tiny encoders, through the engine; their numbers mean nothing."""

    @pytest.mark.parametrize("adapter", ["full", "frozen"])
    @pytest.mark.parametrize("kind", ["text", "preference"])
    def test_every_head_is_scored(self, tmp_path, kind, adapter):
        texts = some_texts(200, seed=7)
        ends = [f"{text} {WORDS[-1 - number % 2]}" for number, text in enumerate(texts)]
        rows = {
            "text": [{"text": f"{n} {text}", "label": n % 2, "page": n % 3} for n, text in enumerate(ends)],
            "preference": [
                {"prompt": str(n), "chosen": f" {one}", "rejected": f" {other}"}
                for n, (one, other) in enumerate(zip(ends[::2], ends[1::2], strict=True))
            ],
        }[kind]
        (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        small, large = (
            save_tiny(tmp_path / name, "bert", seed=name == "large") for name in ("small", "large")
        )
        attribute = ", attribute=page" if kind == "text" else ""
        asked = Study(
            name="tiny",
            task=find_task(f"{kind}(path={tmp_path}/rows.jsonl{attribute})"),
            pairs=((f"dir:{small}", f"dir:{large}"),),
            methods=("naive", "dfr", "dfr_weak", "divdis", "divdis_truth", "saliency"),
            seeds=(0, 1),
            num_train=16,
            num_test=10,
            num_validation=4,
            adapter=adapter,
            early_stopping=False,
            recipe=Recipe(epochs=1, batch_size=8, learning_rate=1e-2),
        )
        results = run(asked, str(tmp_path / "store"))
        assert {row["method"]: row["oracle"] for row in results.rows()} == {
            "naive": False,
            "dfr": True,
            "dfr_weak": False,
            "divdis": False,
            "divdis_truth": True,
            "saliency": True,
        }
        assert all(math.isnan(row["worst_group"]) == (kind != "text") for row in results.rows())


class TestTables:
    """What people read of the three."""

    def test_groups(self, results, store):
        shown = plain(groups_table(by_group(study(), store)))
        assert "weak, worst" in shown[0]
        assert [name for name in ("0/0", "0/1", "1/0", "1/1") if name in shown[0]] == [
            "0/0",
            "0/1",
            "1/0",
            "1/1",
        ]
        assert any(line.startswith("  dfr*") for line in shown)
        (naive,) = (entry for entry in by_group(study(), store) if entry.method == "naive")
        (line,) = (line for line in shown if line.startswith("  naive "))
        worst = (naive.weak_worst, naive.student_worst, naive.ceiling_worst)
        accuracies = [group.student for group in naive.groups]
        assert line.split()[1:] == [f"{round(100 * value, 1):.1f}" for value in (*worst, *accuracies)]

    def test_saliency(self, asked, store):
        entry = saliency(asked, store)[0]
        shown = plain(saliency_table([entry]))
        assert [line.strip().rpartition("  ")[0].split("  ")[0] for line in shown[3:8]] == list(STRATEGIES)
        undefined = entry._replace(closed=entry.closed._replace(reason="too small"))
        assert any("gap closed: undefined" in line for line in plain(saliency_table([undefined])))
        sure = entry._replace(closed=Closed(0.6, 0.4, 0.8, 0.95, 0.1, None))
        (line,) = (line for line in plain(saliency_table([sure])) if "gap closed" in line)
        assert line.split()[-4:] == ["60.0", "40.0", "to", "80.0"]

    def test_layers(self):
        rows = [
            Layer("small", "large", layer, "naive", False, 0.6, 0.7, 0.8, 0.5, 0.4, 0.6, None)
            for layer in (1, None)
        ]
        nan = math.nan
        rows.append(Layer("small", "large", 2, "dfr", True, 0.6, 0.7, 0.6, nan, nan, nan, "no gap"))
        shown = plain(layers_table(rows))
        assert [line.split()[:2] for line in shown[3:]] == [
            ["naive,", "1"],
            ["naive,", "end"],
            ["dfr,", "2*"],
        ]
        assert shown[3].split()[2:] == ["60.0", "70.0", "80.0", "50.0", "40.0", "to", "60.0"]
        assert shown[5].split()[2:] == ["60.0", "70.0", "60.0", "-"]

    def test_nothing_to_show(self):
        assert groups_table([]) is saliency_table([]) is layers_table([]) is None


def plain(table: object) -> list[str]:
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]
