"""The slurm engine: on submitit's processes here, and on a Slurm that is three small scripts."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_pool import Watch, digests, until

from reference.studies import Note
from surpass import experiment
from surpass.engine import slurm
from surpass.engine.crew import Lost
from surpass.engine.engines import find_engine
from surpass.engine.graph import Graph
from surpass.engine.mail import Inbox, Outbox
from surpass.engine.messages import (
    Broken,
    Ended,
    Failure,
    Finished,
    Halt,
    Halted,
    Hello,
    Order,
    Record,
    Share,
    Started,
)
from surpass.engine.slurm_parameters import Parameters
from surpass.engine.work import Settings
from surpass.errors import ConfigError, Stopped
from surpass.recipes.finding import find_study
from surpass.results import Results
from surpass.stages import Stage
from surpass.store import Store
from surpass.study import Study

NAMED = ("planted", "seeds=1", "num_train=64", "num_test=64")


class TestMail:
    MESSAGES = (
        Hello(),
        Started("a"),
        Share("a", 0.5),
        Finished("a", 1.25),
        Record("surpass.store", 30, "two\nlines"),
        Ended(["a"], ["b"], [Failure("c", "DataError", "no"), Failure("d", "", "ä")]),
        Halted(),
        Broken(Failure("", "", "gone")),
        Order(["a", "b"]),
        Halt(),
    )

    def test_what_is_sent_is_received_once_and_in_order(self, tmp_path):
        outbox, inbox = Outbox(tmp_path / "box"), Inbox(tmp_path / "box")
        assert inbox.receive() == []
        received = []
        for count, message in enumerate(self.MESSAGES):
            outbox.send(message)
            if count % 3:
                received += inbox.receive()
        received += inbox.receive()
        assert received == list(self.MESSAGES)
        assert [type(each) for each in received] == [type(each) for each in self.MESSAGES]
        assert inbox.receive() == []

    def test_half_a_line_is_waited_for(self, tmp_path):
        path, inbox = tmp_path / "box", Inbox(tmp_path / "box")
        path.write_text('["Started", "a"]\n["Sta')
        assert inbox.receive() == [Started("a")]
        with open(path, "a") as file:
            file.write('rted", "b"]\n')
        assert inbox.receive() == [Started("b")]

    def test_nothing_else_is_made_of_it(self, tmp_path):
        (tmp_path / "box").write_text('["os.system", "true"]\n')
        with pytest.raises(ValueError, match=r"'os.system' is no message"):
            Inbox(tmp_path / "box").receive()


class TestParameters:
    def test_are_read(self):
        given = Parameters.of("partition=gpu, timeout_min=240,gpus_per_node=1,folder=jobs,exclusive=true")
        assert given.values == {"partition": "gpu", "timeout_min": 240, "gpus_per_node": 1, "exclusive": True}
        assert (given.cluster, given.folder, given.cpus) == ("slurm", Path("jobs").absolute(), None)
        assert Parameters.of("").values == {}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("partition", "'partition' must be name=value"),
            ("nodes=2", "nodes is not for choice: each worker is one job of one task"),
            ("cluster=moon", "cluster='moon' must be one of slurm, local"),
            ("timeout_min=long", "timeout_min='long' must be a whole number"),
        ],
    )
    def test_that_make_no_sense(self, text, message):
        with pytest.raises(ConfigError, match=message):
            Parameters.of(text)

    def test_they_say_slurm(self):
        assert find_engine(None, Settings(slurm="partition=gpu")) is slurm.run
        with pytest.raises(ConfigError, match="slurm=partition=gpu is for engine slurm, got engine inline"):
            find_engine("inline", Settings(slurm="partition=gpu"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def study() -> Study:
    return find_study(NAMED[0], NAMED[1:])


@pytest.fixture(scope="module")
def inline(study, tmp_path_factory) -> tuple[Results, dict[str, Any]]:
    store = Store(tmp_path_factory.mktemp("inline") / "store")
    return experiment.run(study, store, settings=Settings(threads=1)), digests(store)


def settings(tmp_path: Path, cluster: str = "local", *, more: str = "", **others: Any) -> Settings:
    given = f"cluster={cluster},folder={tmp_path / 'jobs'}{more}"
    return Settings(**{"workers": 2, "threads": 2, "named": NAMED, "slurm": given} | others)


class TestWithoutJobs:
    def test_what_to_install(self, study, store, tmp_path, monkeypatch):
        monkeypatch.setattr(slurm, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"engine slurm needs submitit: pip install 'surpass\[slurm\]'"):
            experiment.run(study, store, engine="slurm", settings=settings(tmp_path))

    def test_a_study_without_a_name(self, study, store, tmp_path):
        with pytest.raises(ConfigError, match="engine slurm needs a study that its jobs can find"):
            experiment.run(study, store, engine="slurm", settings=settings(tmp_path, named=()))

    def test_where_there_is_no_slurm(self, study, store, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(ConfigError, match=r"no jobs with cluster=slurm: .*cluster=local tries it on"):
            experiment.run(study, store, engine="slurm", settings=settings(tmp_path, "slurm"))


class Handle:
    """What submitit would give back for a job, with a queue that never moves by itself."""

    def __init__(self, folder: str, name: str) -> None:
        self.state, self.paths = "PENDING", SimpleNamespace(stderr="err")
        self.news, self.orders = Outbox(Path(folder) / f"{name}.news"), Inbox(Path(folder) / f"{name}.orders")

    def done(self, *, force_check: bool) -> bool:
        return self.state == "CANCELLED"

    def cancel(self, *, check: bool) -> None:
        self.state = "CANCELLED"


@pytest.fixture
def jobs(store, tmp_path, monkeypatch) -> slurm.Jobs:
    """Two jobs that wait in the queue, each with a stage to compute."""
    submitting = SimpleNamespace(submit=lambda work, folder, name: Handle(folder, name))
    monkeypatch.setattr(Parameters, "executor", lambda self, folder, threads: submitting)
    stages = [Note(name=str(number)) for number in range(3)]
    jobs = slurm.Jobs(store, settings(tmp_path), Graph(stages, [], {}, {}))
    for stage in stages[:2]:
        jobs.give([stage])
    return jobs


class TestQueue:
    def test_who_starts_takes_over_and_who_is_not_needed_is_given_back(self, jobs, monkeypatch):
        first, second = jobs.jobs
        assert jobs.free() == 0
        second.handle.news.send(Hello())
        assert list(jobs.news(0.0)) == []
        assert second.handle.orders.receive() == [Order([jobs.stages[1].id])]
        second.handle.news.send(Ended([], [], []))
        ((worker, message),) = jobs.news(0.0)
        assert (worker, message) == (second, Ended([], [], []))
        worker.relieve()
        assert list(jobs.news(0.0)) == []
        assert second.handle.orders.receive() == [Order([jobs.stages[0].id])]
        assert (first.occupied, second.occupied, jobs.free()) == (False, True, 1)
        monkeypatch.setattr(slurm, "_IDLE_SECONDS", 0.0)
        assert list(jobs.news(0.0)) == []
        assert (first.handle.state, second.handle.state) == ("CANCELLED", "PENDING")
        assert list(jobs.news(0.0)) == [(first, Lost("ended (CANCELLED, see err)", blamed=False))]
        assert (jobs.workers, jobs.stillborn, jobs.free()) == ([second], 0, 1)

    def test_jobs_that_never_start(self, jobs):
        said = []
        for _ in range(3):
            jobs.give([jobs.stages[2]]) if len(jobs.jobs) < 2 else None
            jobs.jobs[0].handle.cancel(check=False)
            said += [message for _, message in jobs.news(0.0)]
        assert [type(message) for message in said] == [Lost, Lost, Broken]
        assert not said[0].blamed
        assert said[2].failure.text == "jobs end before they have started (CANCELLED); see err"

    def test_a_halt_is_for_those_that_run(self, jobs):
        first, second = jobs.jobs
        first.handle.news.send(Hello())
        assert list(jobs.news(0.0)) == []
        jobs.halt()
        assert first.handle.orders.receive()[-1] == Halt()
        assert (first.occupied, second.occupied) == (True, False)


class Preempt(Watch):
    """Lets the first job that computes know that its time is up."""

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal, self.pids = signal, []

    def started(self, stage: Stage) -> Any:
        if not self.pids:
            self.pids = until(jobs_here)
            os.kill(self.pids[0], self.signal)
        return super().started(stage)


def jobs_here() -> list[int]:
    """The processes of jobs that processes of ours have begun."""
    import psutil

    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie counts as none
            found += [each.pid] if "submitit.core._submit" in each.cmdline() else []
    return found


def test_jobs_here_give_the_same_and_one_is_preempted(study, inline, store, tmp_path):
    watch = Preempt(signal.SIGTERM)
    results = experiment.run(study, store, engine="slurm", settings=settings(tmp_path), display=watch)
    assert digests(store) == inline[1]
    estimates = [[each.estimate for each in found.summary()] for found in (results, inline[0])]
    assert estimates[0] == estimates[1]
    assert watch.computed == len(inline[1])
    assert not any("trying again" in text for text in watch.told), "to be asked to end is no fault of a stage"
    assert jobs_here() == []
    assert list((tmp_path / "jobs").iterdir()) == [], "nothing went wrong, so nothing is kept"
    assert store.verify() == []


SCRIPTS = {
    "sbatch": """
import os, subprocess, sys
from pathlib import Path
here, script = Path(__file__).parent, Path(sys.argv[1])
number = str(len(list(here.glob("*.job"))) + 1)
(here / f"{number}.job").write_text(script.read_text())
output = open(here / f"{number}.out", "w")
environment = os.environ | {
    "SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
    "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here",
}
job = subprocess.Popen(["bash", str(script)], env=environment, stdout=output, stderr=output, process_group=0)
(here / f"{number}.pid").write_text(str(job.pid))
print("Submitted batch job", number)
""",
    "srun": """
import os, sys
rest = sys.argv[1:]
while rest[0].startswith("-"):
    rest = rest[2 if rest[0] in ("--output", "--error") else 1:]
os.execvp(rest[0], rest)
""",
    "sacct": """
import os, sys
from pathlib import Path
here = Path(__file__).parent
print("JobID|State|NodeList")
for number in (word for word in sys.argv if word.isdecimal()):
    pid = int((here / f"{number}.pid").read_text())
    try:
        running = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        running = False
    print(f"{number}|{'RUNNING' if running else 'NODE_FAIL'}|here")
""",
    "scancel": """
import os, signal, sys
from contextlib import suppress
from pathlib import Path
pid = int((Path(__file__).parent / f"{sys.argv[-1]}.pid").read_text())
with suppress(ProcessLookupError):
    os.killpg(pid, signal.SIGTERM)
""",
}


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch) -> Iterator[Path]:
    """Commands that do what those of Slurm do, in processes of this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in SCRIPTS.items():
        path = folder / name
        path.write_text(f"#!{sys.executable}{text}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "_ASK_SECONDS", 0.5)
    yield folder
    for path in folder.glob("*.pid"):
        try:
            os.killpg(int(path.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_a_job_of_slurm_whose_node_fails(study, inline, store, tmp_path, fake_slurm):
    class Fail(Watch):
        def started(self, stage: Stage) -> Any:
            if not self.told:
                os.killpg(int((fake_slurm / "1.pid").read_text()), signal.SIGKILL)
            return super().started(stage)

    given = settings(
        tmp_path, "slurm", more=",partition=dev,timeout_min=30,reservation=mine", workers=1, threads=1
    )
    watch = Fail()
    experiment.run(study, store, engine="slurm", settings=given, display=watch)
    assert digests(store) == inline[1]
    flags = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", (fake_slurm / "1.job").read_text(), re.M))
    wanted = {"partition": "dev", "time": "30", "reservation": "mine", "no-requeue": "", "cpus-per-task": "1"}
    assert wanted.items() <= flags.items()
    assert flags["signal"] == "USR2@90"
    assert len(list(fake_slurm.glob("*.job"))) == 2
    (kept,) = (tmp_path / "jobs").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert json.loads((kept / "task.json").read_text())["named"] == list(NAMED)


def test_stopped_and_jobs_that_know_other_stages(study, store, tmp_path):
    watch = Watch()
    given = settings(tmp_path, workers=1, threads=1, stop=lambda: watch.computed > 0)
    with pytest.raises(Stopped):
        experiment.run(study, store, engine="slurm", settings=given, display=watch)
    assert jobs_here() == []
    assert store.verify() == []
    other = settings(tmp_path, workers=1, threads=1, named=(*NAMED, "epochs=2"))
    with pytest.raises(ConfigError, match=r"expands to other stages in a job: \d+ of \d+ are unknown there"):
        experiment.run(study, store, engine="slurm", settings=other)
