"""What is removed from a store, beside runs that go on, and why stages are missed."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reference import upkeep as twin
from reference.studies import Note, ToyTask, diamonds, some_examples, write_model
from surpass.commands.store import seconds_of, study_of
from surpass.engine.inline import manifest_of, run
from surpass.errors import ConfigError, StoreError, SurpassError
from surpass.identity import digest_of, execution_field
from surpass.lineage import reads
from surpass.recipes.chess import FINE_TUNING
from surpass.report.upkeep import in_words, words
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.layout import kinds
from surpass.store.lease import acquire
from surpass.store.records import RECORD, keep_record, recorded
from surpass.store.usage import held, usage
from surpass.store.uses import busy
from surpass.study import Study, targets
from surpass.upkeep.explain import DONE, distance, explain, explain_one, flat, nearest
from surpass.upkeep.planning import SCRATCH, Plan, Rules, plan, reachable, rules_for
from surpass.upkeep.sweeping import sweep

DAY = 86400.0
GONE_OWNER = {"host": "elsewhere", "boot": "", "namespace": "", "pid": 1, "started": ""}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    models = [write_model(tmp_path, name, flops=flops) for name, flops in (("small", 1e6), ("large", 2e6))]
    return Study(
        name="toys",
        task=ToyTask(),
        pairs=((models[0], models[1]),),
        methods=("naive", "bootstrap"),
        seeds=(0, 1),
        num_train=8,
        num_test=6,
        recipe=FINE_TUNING,
    )


def put(store: Store, stage: Stage, *, weights: bool | None = None) -> None:
    """Publish made-up files for a stage."""
    with store.draft(stage.kind, stage.id, stage.label) as draft:
        if stage.kind in ("fit", "stop", "features") if weights is None else weights:
            (draft.path / "model.safetensors").write_bytes(b"w" * 1000)
        (draft.path / "curve.parquet").write_bytes(b"curve")
        draft.publish(manifest_of(stage) | {"seconds": 1.5, "versions": {}, "said": {"num_examples": 8}})


def stages_of(study: Study) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    ahead = [stage for row in study.rows() for stage in targets(row)]
    while ahead:
        stage = ahead.pop()
        found[stage.id] = stage
        ahead += stage.upstream
    return found


def ids(store: Store) -> set[str]:
    return {artifact.id for artifact in store.artifacts()}


def age(store: Store, id: str, seconds: float) -> None:
    (folder,) = store.root.glob(f"*/*-{id[:16]}")
    when = time.time() - seconds
    os.utime(folder / "manifest.json", (when, when))


def gc(store: Store, rules: Rules) -> tuple[set[str], set[str]]:
    swept = sweep(store, plan(store, rules), rules)
    return {entry.id for entry in swept.gone}, {entry.id for entry in swept.stayed}


class TestReachable:
    def test_is_all_that_any_path_leads_to(self, study):
        rows = [stage for row in study.rows() for stage in targets(row)]
        slow = set().union(*map(twin.behind, rows))
        assert reachable(study) == slow | {study.id}

    def test_counts_passes_that_give_features_of_several(self):
        from surpass.engine.graph import outstanding
        from surpass.overrides import override
        from surpass.recipes import find_recipe

        frozen = override(find_recipe("planted"), ["seeds=2"])
        wanted = [stage for row in frozen.rows() for stage in targets(row)]
        assert {stage.id for stage in outstanding(wanted, lambda _: False).to_do} <= reachable(frozen)

    def test_what_studies_share_stays_and_the_rest_goes(self, study, store):
        other = study.replace(seeds=(1, 2))
        for stage in (stages_of(study) | stages_of(other)).values():
            put(store, stage)
        gone, stayed = gc(store, rules_for([study]))
        assert gone == set(stages_of(other)) - set(stages_of(study))
        assert not stayed
        assert ids(store) == set(stages_of(study))
        assert store.verify() == []


class TestRules:
    def test_without_a_rule_no_artifact_goes(self, study, store):
        for stage in stages_of(study).values():
            put(store, stage)
        assert plan(store, Rules()).goes == []

    def test_age_is_that_in_this_store(self, study, store):
        first, *others = stages_of(study).values()
        for stage in (first, *others):
            put(store, stage)
        age(store, first.id, 31 * DAY)
        assert [entry.id for entry in plan(store, Rules(older_than=30 * DAY)).goes] == [first.id]
        assert plan(store, Rules(older_than=32 * DAY)).goes == []

    @pytest.mark.parametrize("seed", range(20))
    def test_any_mix_of_rules_does_what_the_slow_twin_says(self, seed, store, tmp_path):
        rng = random.Random(seed)
        made: list[Note] = []
        for number in range(rng.randint(1, 14)):
            before = tuple(rng.sample(made, min(len(made), rng.randint(0, 3))))
            made.append(Note(name=f"n{number}", before=before))
        ages = {}
        for stage in made:
            put(store, stage, weights=rng.random() < 0.6)
            ages[stage.id] = rng.choice([DAY, 40 * DAY])
            age(store, stage.id, ages[stage.id])
        needed = frozenset(s.id for s in made if rng.random() < 0.4) if rng.random() < 0.7 else None
        rules = Rules(older_than=rng.choice([None, 30 * DAY]), needed=needed, keep_results=rng.random() < 0.5)
        used = {stage.id for stage in made if rng.random() < 0.2}
        manifests = [artifact.manifest for artifact in store.artifacts()]
        claim = store.claim(digest_of("running"), used)
        assert claim is not None
        with claim:
            found = plan(store, rules)
            expected = twin.goes(
                manifests,
                ages=ages,
                older_than=rules.older_than,
                needed=None if needed is None else set(needed),
                keep_results=rules.keep_results,
                used=used,
            )
            assert {entry.id for entry in found.goes} == expected
            before = ids(store)
            sweep(store, found, rules)
        assert {a.id for a in store.artifacts("note")} == before - expected
        assert store.verify() == []

    def test_results_are_kept_and_what_reports_read_of_weights(self, study, store):
        for stage in stages_of(study).values():
            put(store, stage)
        fits = {stage.id for stage in stages_of(study).values() if stage.kind in ("fit", "stop")}
        before = {a.id: a.manifest for a in store.artifacts()}
        gone, _ = gc(store, Rules(keep_results=True))
        assert gone == fits
        for id in fits:
            kept = recorded(store, before[id]["kind"], id)
            assert kept is not None
            assert kept.file("curve.parquet").read_bytes() == b"curve"
            assert kept.manifest == before[id] | {
                "files": {"curve.parquet": before[id]["files"]["curve.parquet"]}
            }
            with pytest.raises(StoreError, match=r"no file 'model\.safetensors'"):
                kept.file("model.safetensors")
        assert gc(store, Rules(keep_results=True)) == (set(), set())
        assert store.verify() == []

    def test_a_record_stays_as_long_as_its_original_is_needed(self, study, store):
        stage = next(s for s in stages_of(study).values() if s.kind == "fit")
        put(store, stage)
        gc(store, Rules(keep_results=True))
        assert plan(store, rules_for([study])).goes == []
        other = study.replace(seeds=(7,))
        assert [entry.kind for entry in plan(store, rules_for([other])).goes] == [RECORD]

    def test_a_damaged_record_is_no_record(self, study, store):
        stage = next(s for s in stages_of(study).values() if s.kind == "fit")
        put(store, stage)
        artifact = store.find(stage.kind, stage.id)
        assert artifact is not None
        record = keep_record(store, artifact)
        (record.path / "original" / "manifest.json").write_text("{}")
        assert recorded(store, stage.kind, stage.id) is None

    @pytest.mark.parametrize(
        ("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("30d", 30 * DAY), ("2w", 14 * DAY)]
    )
    def test_ages(self, text, seconds):
        assert seconds_of(text) == seconds

    @pytest.mark.parametrize("text", ["30", "d", "-1d", "1y", "1d2h", ""])
    def test_what_is_no_age(self, text):
        with pytest.raises(ConfigError, match="is no age; write 12h, 30d or 8w"):
            seconds_of(text)

    def test_studies_with_changes_are_one_text(self):
        assert study_of("planted seeds=2").seeds == (0, 1)
        for text in ("", "'planted"):
            with pytest.raises(ConfigError, match="names no study"):
                study_of(text)


class TestScratch:
    def test_of_the_dead_goes_after_a_day_and_of_finished_stages_at_once(self, store, study):
        stages = list(stages_of(study).values())
        done, old, fresh, alive = stages[:4]
        put(store, done)
        for stage in (done, old, fresh, alive):
            (store.work(stage.id) / "checkpoint.safetensors").write_bytes(b"c" * 10)
        for stage in (old, alive):
            for path in (store.work(stage.id), *store.work(stage.id).iterdir()):
                os.utime(path, (time.time() - 2 * DAY,) * 2)
        lease = acquire(store.leases, alive.id)
        assert lease is not None
        with lease:
            found = plan(store, Rules())
            assert {(entry.what, entry.id, entry.bytes) for entry in found.goes} == {
                (SCRATCH, done.id, 10),
                (SCRATCH, old.id, 10),
            }
            # What a named study would go on with stays.
            assert {e.id for e in plan(store, rules_for([study])).goes} == {done.id}
            assert {e.id for e in sweep(store, found, Rules()).gone} == {done.id, old.id}
        assert {path.name for path in (store.root / "work").iterdir()} == {fresh.id, alive.id}

    def test_that_somebody_took_up_meanwhile_stays(self, store):
        id = digest_of("x")
        os.utime(store.work(id), (0, 0))
        found = plan(store, Rules())
        lease = acquire(store.leases, id)
        assert lease is not None
        with lease:
            (entry,) = sweep(store, found, Rules()).stayed
        assert entry.reason == "another process is at it"
        assert store.work(id).exists()

    def test_leftovers_and_old_damage_go(self, store):
        (store.root / "tmp" / "half").mkdir(parents=True)
        os.utime(store.root / "tmp" / "half", (0, 0))
        (store.root / "damaged" / "one").mkdir(parents=True)
        found = plan(store, Rules(), now=time.time() + 3 * DAY)
        assert {entry.what for entry in found.goes} == {"left over", "damaged"}
        assert plan(store, Rules(), now=time.time() + 1).goes != found.goes
        sweep(store, found, Rules())
        assert list((store.root / "tmp").iterdir()) == list((store.root / "damaged").iterdir()) == []


class TestBesideOthers:
    def test_what_is_computed_or_read_stays(self, store, tmp_path):
        first, second = (Note(name=name) for name in ("first", "second"))
        put(store, first)
        put(store, second)
        running = Note(name="running", before=(first,))
        claim = store.claim(running.id, reads([first]))
        assert claim is not None
        with claim:
            (one,) = busy(store.leases)
            assert (one.id, one.uses) == (running.id, frozenset({first.id}))
            found = plan(store, Rules(older_than=0), now=time.time() + 1)
            assert [entry.id for entry in found.goes] == [second.id]
            ((held_, reason),) = [(entry.id, entry.reason) for entry in found.held]
            assert held_ == first.id
            assert reason.startswith(f"process {os.getpid()} on ")
        assert busy(store.leases) == []
        assert {e.id for e in plan(store, Rules(older_than=0), now=time.time() + 1).goes} == {
            first.id,
            second.id,
        }

    def test_nothing_goes_while_it_is_not_known_what_is_read(self, store, study):
        stages = stages_of(study)
        fit = next(stage for stage in stages.values() if stage.kind == "fit")
        for stage in stages.values():
            if stage is not fit:
                put(store, stage)
        lease = acquire(store.leases, fit.id)
        assert lease is not None
        with lease:
            found = plan(store, Rules(older_than=0), now=time.time() + 1)
            assert not found.goes
            assert "nothing says what that reads" in found.held[0].reason
            # A study that is named says it.
            named = rules_for([study], older_than=0)
            assert named.reads[fit.id] == {before.id for before in fit.upstream}
            assert not any("nothing says" in e.reason for e in plan(store, named).held)

    def test_who_begins_to_read_while_it_goes_finds_it(self, store, monkeypatch):
        stage, reader = Note(name="read"), Note(name="reader")
        put(store, stage)
        found = plan(store, Rules(older_than=0), now=time.time() + 1)
        claim = store.claim(reader.id, {stage.id})
        assert claim is not None
        with claim:
            swept = sweep(store, found, Rules(older_than=0))
        assert [entry.id for entry in swept.stayed] == [stage.id]
        assert store.find(stage.kind, stage.id) is not None
        assert list((store.root / "tmp").iterdir()) == []

    def test_two_do_not_sweep_at_once(self, store):
        lease = acquire(store.leases, "gc")
        assert lease is not None
        with lease, pytest.raises(StoreError, match="another process removes artifacts"):
            sweep(store, Plan([], [], []), Rules())

    def test_an_owner_elsewhere_counts_until_it_is_long_silent(self, store):
        path = store.leases / f"{digest_of('far')}.lease"
        path.parent.mkdir()
        path.write_text(json.dumps(GONE_OWNER | {"token": "t"}))
        assert [one.who for one in busy(store.leases)] == ["process 1 on elsewhere"]
        os.utime(path, (time.time() - 3600,) * 2)
        assert busy(store.leases) == []
        path.write_text("half")
        assert [one.who for one in busy(store.leases)] == ["an unknown process"]

    def test_runs_finish_while_everything_is_swept(self, store, tmp_path):
        top = diamonds(str(tmp_path / "log"), depth=12, seconds=0.01)
        rules, failures, swept = Rules(older_than=0), [], 0
        finished = threading.Event()

        def go() -> None:
            try:
                for _ in range(60):  # "was lost while others used it: run again"
                    with suppress(SurpassError):
                        run([top], Store(store.root))
                        return
                failures.append("never done")
            except BaseException as error:
                failures.append(repr(error))

        runs = [threading.Thread(target=go) for _ in range(2)]

        def sweeping() -> None:
            nonlocal swept
            while not finished.is_set():
                now = time.time() + 1
                with suppress(StoreError):
                    swept += len(sweep(store, plan(store, rules, now=now), rules).gone)
                time.sleep(0.05)

        sweepers = [threading.Thread(target=sweeping) for _ in range(2)]
        for thread in (*runs, *sweepers):
            thread.start()
        for thread in runs:
            thread.join()
        finished.set()
        for thread in sweepers:
            thread.join()
        assert not failures
        run([top], store)
        artifact = store.find("note", top.id)
        assert artifact is not None
        alone = Store(tmp_path / "alone")
        run([top], alone)
        undisturbed = alone.find("note", top.id)
        assert undisturbed is not None
        assert artifact.file("note.txt").read_text() == undisturbed.file("note.txt").read_text()
        assert store.verify() == []


class TestUsage:
    def test_adds_up_to_what_lies_there(self, store, study):
        stages = list(stages_of(study).values())
        for stage in stages:
            put(store, stage)
        store.work(digest_of("x"))
        needed = reachable(study.replace(seeds=(0,)))
        found = usage(store, needed, largest=3)
        for kind, share in found.kinds.items():
            files = [path for path in (store.root / kind).rglob("*") if path.is_file()]
            assert share == (len({path.parent for path in files}), sum(p.stat().st_size for p in files))
        assert found.study is not None
        assert sum(share.number for share in found.study.values()) == len(needed & set(stages_of(study)))
        assert [one.bytes for one in found.largest] == sorted(
            (one.bytes for one in found.largest), reverse=True
        )
        assert found.scratch == (1, 0)
        assert set(found.kinds) == set(kinds(store.root))

    def test_a_field_called_size_is_no_file(self, store):
        put(store, some_examples(size=10))
        (one,) = held(store)
        assert one.bytes == sum(path.stat().st_size for path in (store.root / "examples").rglob("*.*"))

    @pytest.mark.parametrize(
        ("size", "text"),
        [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_960, "100 kB"), (1.1e9, "1.1 GB")],
    )
    def test_sizes_in_words(self, size, text):
        assert in_words(size) == text


@dataclass(frozen=True, kw_only=True)
class Tuned(Note):
    """A note with fields of all kinds."""

    kind: ClassVar[str] = "tuned"
    number: int = 0
    rates: dict[str, float] | None = None
    host: str = execution_field("")

    def outside(self) -> dict[str, str]:
        return {"file": digest_of(self.name)}


class TestExplain:
    @pytest.mark.parametrize("seed", range(20))
    def test_the_nearest_is_that_of_the_slow_twin(self, seed, store):
        rng = random.Random(seed)

        def some() -> Tuned:
            rates = {name: rng.choice([0.1, 0.2]) for name in rng.sample("abc", rng.randint(0, 3))}
            return Tuned(name=rng.choice("xyz"), number=rng.randint(0, 2), rates=rng.choice([None, rates]))

        stage = some()
        manifests = [
            manifest_of(other) | {"id": other.id, "label": other.label, "created": str(rng.randint(0, 1))}
            for other in (some() for _ in range(rng.randint(0, 8)))
        ]
        found = nearest(stage, manifests)
        assert (None if found is None else found["id"]) == twin.nearest(stage, manifests)

    def test_flat_values(self):
        values = flat(Tuned(name="x", rates={"a": 0.5}).identity)
        assert values["rates.a"] == 0.5
        assert values["version"] == 1
        assert set(values) == {"version", "name", "before", "number", "rates.a", "file file"}
        assert distance(values, values) == 0

    def test_a_finished_study_has_nothing_to_explain(self, store, study):
        for stage in stages_of(study).values():
            put(store, stage)
        assert explain(study, store) == []
        fit = next(s for s in stages_of(study).values() if s.kind == "fit")
        assert [one.state for one in explain_one(study, store, fit.id[:12])] == [DONE]

    def test_the_first_upstream_cause(self, store, study):
        for stage in stages_of(study).values():
            put(store, stage)
        other = study.replace(recipe=replace(study.recipe, learning_rate=0.5))
        found = explain(other, store)
        causes = [one for one in found if one.stage in one.first]
        assert {one.stage.kind for one in causes} == {"fit"}
        assert all(not one.differences for one in found if one not in causes)
        for one in causes:
            assert one.nearest is not None
            assert one.nearest.label == one.stage.label
            assert [d.field for d in one.differences] == ["recipe.learning_rate"]
        (said,) = {words(d) for one in causes for d in one.differences}
        assert said == f"recipe.learning_rate 0.5, there {study.recipe.learning_rate}"
        assert {one.stage.kind for one in found if one not in causes} == {"label", "score", "compare"}

    def test_of_a_finished_upstream_what_differs_is_named(self, store):
        small, large = some_examples(size=10), some_examples(size=20)
        from surpass.stages import Truth

        put(store, small)
        put(store, large)
        put(store, Truth(examples=small))
        wanted = Truth(examples=large)
        (one,) = _explained(store, [wanted])
        assert [(d.of.kind, d.field, d.here, d.there) for d in one.differences] == [
            ("examples", "size", 20, 10)
        ]

    def test_removed_damaged_running_and_recorded_are_told_apart(self, store, study):
        stages = stages_of(study)
        for stage in stages.values():
            put(store, stage)
        fits = [stage for stage in stages.values() if stage.kind == "fit"]
        behind = [stage for stage in stages.values() if stage.kind in ("label", "score")]
        score = next(stage for stage in behind if stage.kind == "score")
        for stage in behind:
            _drop(store, stage)
        (folder,) = store.root.glob(f"fit/*-{fits[0].id[:16]}")
        (folder / "curve.parquet").unlink()
        fit = store.find("fit", fits[1].id)
        assert fit is not None
        keep_record(store, fit)
        _drop(store, fits[1])
        lease = acquire(store.leases, score.id)
        assert lease is not None
        with lease:
            notes = {one.stage.id: one.note for one in explain(study, store)}
        assert notes[score.id].endswith("is computing it now")
        assert notes[fits[0].id] == "it is damaged: curve.parquet is missing"
        assert notes[fits[1].id] == "its weights were removed; a record of it is there"
        assert any(note.startswith("it was removed, or not imported: ") for note in notes.values())

    def test_versions_and_files(self, store, monkeypatch):
        put(store, Tuned(name="x"))
        monkeypatch.setattr(Tuned, "version", 2)
        (one,) = _explained(store, [Tuned(name="x")])
        assert [words(d) for d in one.differences] == [
            "version 2, there 1: it is computed in another way now"
        ]
        monkeypatch.undo()
        (other,) = _explained(store, [Tuned(name="y", rates={"a": 1.0})])
        said = [words(difference) for difference in other.differences]
        assert said[0].startswith("file file ")
        assert "rates.a 1.0, not set there" in said

    def test_without_a_store_or_artifacts(self, store, study):
        assert {one.note for one in explain(study, None)} == {"there is no store yet"}
        first = [one for one in explain(study, store) if one.stage in one.first]
        assert {one.note for one in first} == {"the store holds no artifact of kind examples"}

    def test_names_nobody_has(self, store, study):
        with pytest.raises(ConfigError, match="it has no such stage"):
            explain_one(study, store, "ffff")
        with pytest.raises(ConfigError, match="stages are called so"):
            explain_one(study, store, "")


def _drop(store: Store, stage: Stage) -> None:
    import shutil

    for folder in store.root.glob(f"{stage.kind}/*-{stage.id[:16]}"):
        shutil.rmtree(folder)


class _Rows:
    """A study of any stages."""

    def __init__(self, wanted: Sequence[Stage]) -> None:
        self.wanted = wanted
        self.name = "any"


def _explained(store: Store, wanted: Sequence[Stage]) -> list[Any]:
    import surpass.upkeep.explain as module

    study: Any = _Rows(wanted)
    study.rows = lambda: [wanted]
    before = module.targets
    module.targets = lambda row: row
    try:
        return explain(study, store)
    finally:
        module.targets = before
