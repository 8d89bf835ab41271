"""What every engine does with stages that are ready: take their leases, compute them, publish them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from surpass.disk import disk_errors, is_disk_full, store_error
from surpass.engine.graph import Graph
from surpass.engine.logs import keep_traceback, log_path
from surpass.engine.manifests import manifest_of, versions
from surpass.engine.progress import Display
from surpass.errors import DataError, Stopped, StoreError, SurpassError
from surpass.lineage import reads
from surpass.stages import Context, Stage
from surpass.store import Draft, Store
from surpass.store.artifact import Artifact
from surpass.store.batch import DEAR_SECONDS
from surpass.store.uses import Claim
from surpass.train.mesh import Mesh

WAIT_SECONDS = 0.25
"""How soon to look again at stages that other processes are at."""

STOPPED = "stopped; run the same command again to go on from here"


def never() -> bool:
    """Go on."""
    return False


@dataclass(frozen=True)
class Settings:
    """How stages are carried out; nothing here changes a number beyond rounding.

    Attributes:
        threads: Threads of torch, of all workers together; None for its own choice.
        checkpoint_seconds: How often a long stage saves its state.
        micro_batch: Examples per forward pass at most; None for no bound.
        save_memory: Whether activations are computed twice rather than kept, by models that can.
        stop: Asked often; True ends the run after a checkpoint.
        workers: Processes that compute, for engines that have several; None for as many as there are
            devices or, without any, threads.
        mesh: The devices over which each fit is spread, such as `data=2,model=2`; None for one device.
        address: The Ray cluster, for the ray engine; None for `RAY_ADDRESS` or, without it, a new one here.
        slurm: Parameters of Slurm jobs, `name=value` with commas between, for the slurm engine.
        named: How the command line names the study, for workers that have to find it by themselves.
    """

    threads: int | None = None
    checkpoint_seconds: float = 30.0
    micro_batch: int | None = None
    save_memory: bool = False
    stop: Callable[[], bool] = never
    workers: int | None = None
    mesh: str | None = None
    address: str | None = None
    slurm: str = ""
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mesh is not None:
            Mesh.parse(self.mesh)


class Attempt(NamedTuple):
    """What became of stages that were tried.

    Attributes:
        finished: Published now, with the seconds that it took; or found to be there, with 0.
        busy: Other processes are at them.
        missing: What some of them take from, and is no longer there.
        failed: What went wrong, by stage; the errors name it.
    """

    finished: list[tuple[Stage, float]]
    busy: list[Stage]
    missing: list[Stage]
    failed: list[tuple[Stage, Exception]]


class Work:
    """One process's part in a run.

    Attributes:
        store: Where artifacts are.
        settings: How to carry it out.
        shown: Told what happens.
        graph: What is run in place of what.
    """

    def __init__(self, store: Store, settings: Settings, shown: Display, graph: Graph) -> None:
        self.store, self.settings, self.shown, self.graph = store, settings, shown, graph

    def attempt(self, group: Sequence[Stage]) -> Attempt:
        """Finish stages, together if they are several, or find out why not.

        Raises:
            Stopped: The run shall end.
            StoreError: The store cannot be read or written.
        """
        if self.settings.stop():
            raise Stopped(STOPPED)
        got = Attempt([], [], [], [])
        mine, claims = [], dict[str, Claim]()
        with ExitStack() as leases:
            for stage in group:
                needs = self.graph.needs(stage)
                claim = self.store.claim(stage.id, reads(needs))
                if claim is None:
                    got.busy.append(stage)
                    continue
                claims[stage.id] = leases.enter_context(claim)
                if self.store.find(stage.kind, stage.id, label=stage.label) is not None:
                    self.shown.started(stage)
                    self.shown.finished(stage, 0.0)
                    got.finished.append((stage, 0.0))
                elif missing := [s for s in needs if self.store.find(s.kind, s.id, label=s.label) is None]:
                    got.missing.extend(missing)
                else:
                    mine.append(stage)
            self._compute(mine, got)
            # What goes wrong after others have taken over is no failure: this process was away for long.
            lost = [each for each in got.failed if claims[each[0].id].is_lost()]
            got.busy.extend(stage for stage, _ in lost)
            got.failed[:] = [each for each in got.failed if each not in lost]
        for stage, error in got.failed:
            keep_traceback(self.store, stage, error)
        return got

    def _compute(self, stages: Sequence[Stage], got: Attempt) -> None:
        """Run stages whose leases we hold, and publish them."""
        if not stages:
            return
        with ExitStack() as drafts:
            opened = [
                drafts.enter_context(self.store.draft(stage.kind, stage.id, stage.label)) for stage in stages
            ]
            contexts = [self.context(stage, draft) for stage, draft in zip(stages, opened, strict=True)]
            began, results = self._results(stages, contexts)
            seconds = (time.monotonic() - began) / len(stages)
            if not isinstance(results, Exception):
                published = [
                    stage
                    for stage, draft, said in zip(stages, opened, results, strict=True)
                    if self._publish(stage, draft, seconds, said, got)
                ]
                self._drop_work(published, seconds)
                for stage in published:
                    got.finished.append((stage, seconds))
                    self.shown.finished(stage, seconds)
                return
        if len(stages) == 1 or isinstance(results, StoreError):
            got.failed.append((stages[0], results))
            return
        for stage in stages:  # each alone, to see whose fault it is
            self._compute([stage], got)

    def _results(
        self, stages: Sequence[Stage], contexts: Sequence[Context]
    ) -> tuple[float, list[Any] | Exception]:
        """When it began, and what running stages says; or the error that ended it, unless it is `Stopped`."""
        first = stages[0]
        began = time.monotonic()
        try:
            with _named(first):
                self.prepare(first)
                began = time.monotonic()
                if len(stages) == 1:
                    return began, [first.run(contexts[0])]
                return began, first.run_all(stages, contexts)
        except Stopped:
            raise
        except Exception as error:
            if is_disk_full(error) and not isinstance(error, SurpassError):
                return began, store_error(error, contexts[0].out)
            return began, error

    def prepare(self, stage: Stage) -> None:
        """What a stage needs before the clock starts."""
        import_module(stage.runs_in)

    def _publish(self, stage: Stage, draft: Draft, seconds: float, said: Any, got: Attempt) -> bool:
        """Put what a stage has written where it is found; False if it failed."""
        try:
            with _named(stage):
                if isinstance(said, SurpassError):
                    raise said
                if stage.outside() != stage.outside_then:
                    raise DataError("a file that it reads was changed meanwhile; run again")
                fields = manifest_of(stage) | {"seconds": seconds, "versions": versions(), "said": said}
                draft.publish(fields, seconds=seconds)
        except Exception as error:
            got.failed.append((stage, error))
            return False
        return True

    def _drop_work(self, stages: Sequence[Stage], seconds: float) -> None:
        """Forget what published stages would go on from; if many are dear, once they are on the disk."""
        if seconds < DEAR_SECONDS <= seconds * len(stages):
            self.store.batch.settle()
        for stage in stages:
            log_path(self.store, stage).unlink(missing_ok=True)  # most have nothing else there
            self.store.drop_work(stage.id)

    def context(self, stage: Stage, draft: Draft) -> Context:
        """What a stage is given."""
        return _Given(
            find=self.find,
            out=draft.path,
            work=self.store.root / "work" / stage.id,
            report=self.shown.started(stage),
            stop=self.settings.stop,
            checkpoint_seconds=self.settings.checkpoint_seconds,
            micro_batch=self.settings.micro_batch,
            save_memory=self.settings.save_memory,
            mesh=self.settings.mesh,
        )

    def find(self, stage: Stage) -> Artifact:
        """The artifact of a stage that another takes from.

        Raises:
            SurpassError: It is not there.
        """
        stage = self.graph.instead.get(stage.id, stage)
        artifact = self.store.find(stage.kind, stage.id, label=stage.label)
        if artifact is None:
            raise SurpassError(f"{stage.kind} {stage.label} was lost while others used it: run again")
        return artifact


class _Given(Context):
    """Its folder for scratch is made when it is asked for: most stages need none."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name == "work":
            with disk_errors(value):
                value.mkdir(parents=True, exist_ok=True)
        return value


class Failures:
    """What went wrong in a run; the rest of it goes on."""

    def __init__(self) -> None:
        self.all: list[tuple[Stage, Exception]] = []

    def add(self, stage: Stage, error: Exception) -> None:
        """Keep one.

        Raises:
            StoreError: It is the store's, and nothing else would fare better.
        """
        if isinstance(error, StoreError):
            raise error
        self.all.append((stage, error))

    def check(self) -> None:
        """End a run.

        Raises:
            Exception: The first of them; with others, it names their stages.
        """
        if not self.all:
            return
        (_, first), *others = self.all
        if others and isinstance(first, SurpassError):
            names = ", ".join(f"{stage.kind} {stage.label}" for stage, _ in others[:3])
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            raise type(first)(f"{first}; failed too: {names}{more}") from first
        raise first


def together(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages by what they say of `together`."""
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(str(stage.together), []).append(stage)
    return list(groups.values())


@contextmanager
def _named(stage: Stage) -> Iterator[None]:
    """Let errors say which stage they are of."""
    try:
        yield
    except Stopped:
        raise
    except SurpassError as error:
        raise type(error)(f"{stage.kind} {stage.label}: {error}") from error
    except Exception as error:
        error.add_note(f"while computing {stage.kind} {stage.label} ({stage.id})")
        raise
