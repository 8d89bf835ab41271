from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import surpass
from processes import STUDY
from surpass.errors import ConfigError, MissingExtraError, SurpassError
from surpass.overrides import override
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.trackers import TRACKERS, find_trackers
from surpass.trackers.following import POINTS, Following, config_of, curve_of, following

CHESS = override(surpass.find_recipe("chess"), STUDY[1:])


class Recorder:
    """Keeps what it is told; fails or waits where it is asked to."""

    def __init__(self, *, fails: str = "", waits: threading.Event | None = None) -> None:
        self.fails, self.waits = fails, waits
        self.calls: list[str] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.threads: set[int] = set()

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        self.name, self.config = name, dict(config)
        self._called("start")
        if self.waits is not None:
            self.waits.wait(20)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._called("log")
        self.logged.append((step, dict(metrics)))

    def finish(self) -> None:
        self._called("finish")

    def _called(self, what: str) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append(what)
        if what == self.fails:
            raise ConnectionError(f"no network at {what}")

    def values(self) -> dict[tuple[str, int], float]:
        flat = [((key, step), value) for step, metrics in self.logged for key, value in metrics.items()]
        assert len(dict(flat)) == len(flat), "a value was told twice"
        return dict(flat)


def tracker_of_ones_own() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tracked") / "store"


@pytest.fixture(scope="module")
def first(root) -> tuple[Recorder, surpass.Results]:
    recorder = Recorder()
    return recorder, surpass.run(CHESS, str(root), track=recorder)


def test_it_is_told_of_curves_scores_and_results(first, root):
    recorder, results = first
    assert recorder.calls == ["start", *["log"] * len(recorder.logged), "finish"]
    assert recorder.name == f"chess-{CHESS.id[:8]}"
    assert len(recorder.threads) == 1
    assert threading.get_ident() not in recorder.threads
    values = recorder.values()
    store, expected = Store(root), {}
    for fit in store.artifacts("fit"):
        losses = pq.read_table(fit.file("curve.parquet"))["loss"].to_pylist()
        assert losses
        name = f"fit/{fit.manifest['label']}/loss"
        expected |= {(name, step): loss for step, loss in enumerate(losses, 1)}
    for kind, part in (("score", "score"), ("compare", "comparison")):
        for artifact in store.artifacts(kind):
            said = artifact.manifest["said"][part]
            name = f"{kind}/{artifact.manifest['label']}"
            expected |= {(f"{name}/{key}", 0): value for key, value in said.items() if value is not None}
    (summary,) = results.summary()
    for role in ("weak", "student", "ceiling"):
        expected[f"results/chess-1-to-chess-2/naive/{role}", 0] = getattr(summary.estimate, role)
    undefined = {key for key in values if "/pgr" in key[0]} - expected.keys()
    assert bool(undefined) == summary.estimate.valid, "what is not defined is not told"
    assert {key: values[key] for key in values.keys() - undefined} == expected


def test_the_settings_of_the_run(first):
    config = first[0].config
    assert (config["study"], config["study_id"]) == ("chess", CHESS.id)
    assert (config["pairs"], config["seeds"]) == ([list(pair) for pair in CHESS.pairs], [0])
    assert config["surpass"] == surpass.__version__
    assert set(config) >= {"overrides", "methods", "recipe", "num_train", "torch"}


def test_a_finished_study_tells_the_same(first, root):
    again = Recorder()
    assert surpass.run(CHESS, str(root), track=[again]) == first[1]
    assert again.values() == first[0].values()
    assert again.config == first[0].config


@pytest.mark.parametrize("fails", ["start", "log", "finish"])
def test_one_that_fails_is_warned_of_once_and_the_rest_goes_on(first, root, caplog, fails):
    bad, good = Recorder(fails=fails), Recorder()
    with caplog.at_level(logging.WARNING):
        assert surpass.run(CHESS, str(root), track=[bad, good]) == first[1]
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith("tracker Recorder failed and is told no more; the run goes on (ConnectionError: ")
    assert bad.calls.count(fails) == 1
    assert bad.calls[-1] == fails
    assert good.values() == first[0].values()


def test_one_that_is_slow_holds_up_nothing_for_long(first, root, caplog, monkeypatch):
    monkeypatch.setattr("surpass.trackers.following._PATIENCE_SECONDS", 0.05)
    end = threading.Event()
    slow = Recorder(waits=end)
    with caplog.at_level(logging.WARNING):
        assert surpass.run(CHESS, str(root), track=slow) == first[1]
    end.set()
    assert slow.calls[0] == "start"
    assert {r.getMessage() for r in caplog.records} == {
        "tracker Recorder takes long; the run goes on without waiting"
    }


def test_a_study_that_fails_ends_the_run_too(tmp_path):
    recorder = Recorder()
    with pytest.raises(SurpassError, match="1000000 puzzles asked for"):
        surpass.run(override(CHESS, ["num_test=1000000"]), str(tmp_path / "store"), track=recorder)
    assert (recorder.calls[0], recorder.calls[-1]) == ("start", "finish")
    assert any(key.startswith("fit/") for key, _ in recorder.values()), "what was computed is told"


def test_without_trackers_there_is_no_thread(root):
    before = threading.active_count()
    with following({}, CHESS, Store(root)) as followed:
        assert followed is None
        assert threading.active_count() == before


class TestNames:
    def test_several_and_ones_own(self, monkeypatch):
        found = find_trackers(f"tensorboard(folder=here),{__name__}:tracker_of_ones_own")
        assert list(found) == ["tensorboard(folder=here)", f"{__name__}:tracker_of_ones_own"]
        assert type(found[f"{__name__}:tracker_of_ones_own"]).__name__ == "Recorder"

    def test_none(self):
        assert find_trackers("") == find_trackers([]) == {}

    def test_unknown(self):
        with pytest.raises(ConfigError, match="no tracker 'tensorbord'; did you mean tensorboard"):
            find_trackers("tensorbord")

    @pytest.mark.parametrize("name", TRACKERS)
    def test_absence_is_explained(self, name, monkeypatch):
        package = "tensorboard.summary.writer.event_file_writer" if name == "tensorboard" else name
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'surpass\[{name}\]'"):
            find_trackers(name)

    def test_something_else(self):
        with pytest.raises(ConfigError, match="tracker object is a object; it needs start, log and finish"):
            find_trackers([object()])  # type: ignore[list-item]


@pytest.mark.parametrize("length", [1, POINTS, POINTS + 1, 2 * POINTS + 500])
def test_long_curves_are_thinned(tmp_path, length):
    pq.write_table(pa.table({"loss": [float(n) for n in range(1, length + 1)]}), tmp_path / "curve.parquet")
    artifact = Artifact("fit", "0" * 64, tmp_path, {"files": {"curve.parquet": {}}})
    points = list(curve_of(artifact))
    assert len(points) <= POINTS
    assert points[-1] == (length, {"loss": float(length)})
    assert all(values == {"loss": float(step)} for step, values in points)
    if length <= POINTS:
        assert len(points) == length


def test_curves_with_steps_of_their_own(tmp_path):
    pq.write_table(pa.table({"step": [10, 20], "accuracy": [0.5, 0.75]}), tmp_path / "curve.parquet")
    artifact = Artifact("fit", "0" * 64, tmp_path, {"files": {"curve.parquet": {}}})
    assert list(curve_of(artifact)) == [(10, {"accuracy": 0.5}), (20, {"accuracy": 0.75})]


def test_equal_labels_are_told_apart(root):
    followed = Following({}, CHESS, Store(root))
    one, other = (SimpleNamespace(kind="fit", label="a", id=digit * 64) for digit in "12")
    assert [followed._label(stage) for stage in (one, other, one)] == ["a", "a-22222222", "a"]


class TestAdapters:
    """Each with its package, or where that is large with one that has the same functions."""

    LOGGED = (((1, {"fit/a/loss": 0.5})), (2, {"fit/a/loss": 0.25}), (1, {"fit/b:c(d=1)/loss": 3.0}))

    def play(self, tracker: Any) -> None:
        tracker.start("chess-12345678", config_of(CHESS))
        for step, metrics in self.LOGGED:
            tracker.log(step, metrics)
        tracker.finish()

    def test_tensorboard(self, tmp_path):
        reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        self.play(TRACKERS["tensorboard"](folder=str(tmp_path)))
        (folder,) = tmp_path.iterdir()
        assert folder.name.startswith("chess-12345678-")
        read = reading.EventAccumulator(str(folder)).Reload()
        assert read.Tags()["scalars"] == ["fit/a/loss", "fit/b:c(d=1)/loss"]
        assert [(e.step, e.value) for e in read.Scalars("fit/a/loss")] == [(1, 0.5), (2, 0.25)]
        (text,) = read.Tensors("config")
        assert b'"study": "chess"' in text.tensor_proto.string_val[0]

    def test_trackio(self, monkeypatch):
        calls: list[Any] = []
        run = SimpleNamespace(
            log=lambda metrics, step: calls.append((step, metrics)), finish=lambda: calls.append("finish")
        )

        def init(project, name=None, *, config, embed, auto_log_gpu, auto_log_cpu):
            calls.append((project, name.rpartition("-")[0].rpartition("-")[0], config["study"]))
            return run

        monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=init))
        self.play(TRACKERS["trackio"](project="mine"))
        assert calls == [("mine", "chess-12345678", "chess"), *self.LOGGED, "finish"]

    @pytest.mark.parametrize(
        ("mode", "login", "expected"),
        [("", False, "offline"), ("", True, "online"), ("disabled", True, "disabled")],
    )
    def test_wandb_goes_online_only_with_a_login(self, monkeypatch, mode, login, expected):
        monkeypatch.setenv("WANDB_MODE", mode)
        calls: list[Any] = []
        run = SimpleNamespace(
            define_metric=lambda name, step_metric: calls.append((name, step_metric)),
            log=calls.append,
            finish=lambda: calls.append("finish"),
        )

        def init(*, project, name, config, mode, reinit, settings):
            calls.append((project, name, config["study"], mode))
            return run

        fake = SimpleNamespace(
            init=init, Settings=lambda **_: None, login=lambda *, prompt: login and not prompt
        )
        monkeypatch.setitem(sys.modules, "wandb", fake)
        self.play(TRACKERS["wandb"]())
        told = [{**metrics, "step": step} for step, metrics in self.LOGGED]
        about = ("surpass", "chess-12345678", "chess", expected)
        assert calls == [about, ("*", "step"), *told, "finish"]

    @pytest.mark.parametrize("known", [True, False])
    def test_mlflow(self, monkeypatch, known):
        sent: list[Any] = []

        class Client:
            def get_experiment_by_name(self, name):
                return SimpleNamespace(experiment_id="7") if known else None

            def create_experiment(self, name):
                return "8"

            def create_run(self, experiment, *, run_name):
                sent.append((experiment, run_name))
                return SimpleNamespace(info=SimpleNamespace(run_id="r"))

            def log_param(self, run, key, value):
                assert isinstance(value, str)
                assert len(value) <= 500

            def log_batch(self, run, *, metrics):
                sent.append(metrics)

            def set_terminated(self, run):
                sent.append("finish")

        entities = SimpleNamespace(Metric=lambda name, value, moment, step: (name, value, step))
        monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client, entities=entities))
        tracker = TRACKERS["mlflow"](experiment="mine")
        self.play(tracker)
        name = "fit/b_c_d_1_/loss"  # it refuses other signs
        values = [("fit/a/loss", 0.5, 1), ("fit/a/loss", 0.25, 2), (name, 3.0, 1)]
        assert sent == [("7" if known else "8", "chess-12345678"), values, "finish"]

    @pytest.mark.parametrize("number", [499, 500, 501, 1100])
    def test_mlflow_is_sent_many_at_a_time(self, monkeypatch, number):
        sent: list[int] = []
        client = SimpleNamespace(
            log_batch=lambda run, *, metrics: sent.append(len(metrics)), set_terminated=lambda run: None
        )
        entities = SimpleNamespace(Metric=lambda *values: values)
        monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(entities=entities))
        tracker: Any = TRACKERS["mlflow"]()
        tracker._client, tracker._run = client, "r"
        for step in range(number):
            tracker.log(step, {"a": 1.0})
        tracker.finish()
        assert sum(sent) == number
        assert max(sent) <= 500
