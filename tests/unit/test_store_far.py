"""Object stores that err: lost writes, broken connections, publishers that are killed, and few requests."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reference.object_stores import BUCKET, change, environment, erring, flipped
from reference.studies import diamonds
from surpass.engine import inline
from surpass.errors import StoreError
from surpass.identity import digest_of
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.store.far_artifacts import key_of
from surpass.store.objects import Objects
from surpass.store.urls import UrlStore

ID, OTHER = digest_of("one"), digest_of("other")
CONTENT = b"weights" * 100
TESTS = Path(__file__).parent.parent


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}/store"


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Callable[..., UrlStore]:
    """A machine of a name, with a cache of its own."""
    return lambda name, url=url, **more: UrlStore(url, cache=tmp_path / name, **more)


def publish(store: UrlStore, id: str = ID, content: bytes = CONTENT, **fields: Any) -> Artifact:
    with store.draft("fit", id, "label") as draft:
        (draft.path / "weights.safetensors").write_bytes(content)
        (draft.path / "curve.parquet").write_bytes(b"curve")
        return draft.publish({"seed": 0, **fields})


def served(store: UrlStore, id: str = ID) -> bytes | None:
    found = store.find("fit", id)
    return None if found is None else found.file("weights.safetensors").read_bytes()


class TestLostWrites:
    @pytest.mark.parametrize("what", ["weights", "curve", "manifests/"])
    def test_one_that_is_lost_is_written_again(self, machine, what: str) -> None:
        store = machine("a")
        faults = erring(store.objects)
        left = [1]

        def lost(key: str) -> bool:
            if what in key and left:
                left.pop()
                return True
            return False

        faults.lost = lost
        publish(store)
        assert not left
        assert served(machine("b")) == CONTENT

    @pytest.mark.parametrize("what", ["weights", "manifests/"])
    def test_a_store_that_loses_all_is_an_error_and_nothing_is_lost(self, machine, what: str) -> None:
        store = machine("a")
        faults = erring(store.objects)
        faults.lost = lambda key: what in key
        with pytest.raises(StoreError, match=r"was written 3 times and is not there.*next run sends it"):
            publish(store, note="computed once")
        assert machine("b").find("fit", ID) is None
        faults.lost = lambda key: False
        found = machine("a").find("fit", ID)
        assert found is not None
        assert found.manifest["note"] == "computed once"
        assert served(machine("b")) == CONTENT

    def test_one_that_is_cut_short_is_written_again(self, machine) -> None:
        store = machine("a")
        faults = erring(store.objects)
        cuts = [1]
        faults.changed = lambda key, content: content[:-1] if cuts and cuts.pop() else content
        publish(store)
        assert served(machine("b")) == CONTENT

    def test_one_that_is_changed_on_the_way_is_not_served(self, machine) -> None:
        store = machine("a")
        erring(store.objects).changed = lambda key, content: flipped(content)
        publish(store)
        assert machine("b").find("fit", ID) is None
        assert served(machine("a")) == CONTENT  # of its own cache

    def test_an_artifact_that_is_lost_later_is_written_again_by_whoever_has_it(self, machine) -> None:
        publish(machine("a"))
        store = machine("b")
        assert served(store) == CONTENT
        store.objects.remove(list(store.objects.below("manifests")) + list(store.objects.below("files")))
        assert machine("c").find("fit", ID) is None
        assert served(machine("b")) == CONTENT
        assert served(machine("c")) == CONTENT


class TestBrokenConnections:
    @pytest.mark.parametrize("what", ["weights", "manifests/"])
    def test_what_was_computed_is_kept_and_sent_by_the_next_run(self, machine, what: str) -> None:
        store = machine("a")
        erring(store.objects).broken = lambda key: what in key
        with pytest.raises(StoreError, match=r"connection broke.*next run sends it"):
            publish(store)
        assert served(machine("a")) == CONTENT
        assert served(machine("b")) == CONTENT
        assert machine("b").verify() == []

    def test_what_others_have_published_meanwhile_takes_its_place(self, machine) -> None:
        store = machine("a")
        erring(store.objects).broken = lambda key: "manifests/" in key
        with pytest.raises(StoreError):
            publish(store, content=b"mine" * 9)
        publish(machine("b"))
        assert served(machine("a")) == CONTENT
        assert served(machine("c")) == CONTENT
        assert len(machine("c").objects.below("files")) == 2
        assert machine("c").verify() == []

    def test_a_cache_that_cannot_send_is_used_with_a_warning(
        self, machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(machine("a"))
        store = machine("a")
        store.objects.remove([key_of("fit", ID)])
        erring(store.objects).broken = lambda key: True
        assert served(store) == CONTENT
        assert "of the cache is used" in caplog.text


class TestTwoPublishers:
    def test_the_files_of_one_do_not_mix_with_the_manifest_of_the_other(self, machine) -> None:
        a, b = machine("a"), machine("b")
        send = a.objects.send

        def meanwhile(files: Any) -> None:
            send(files)
            publish(b, content=b"theirs")

        a.objects.send = meanwhile
        mine = publish(a, content=b"mine")
        assert mine.file("weights.safetensors").read_bytes() == b"theirs"
        assert [served(machine(name)) for name in "abc"] == [b"theirs"] * 3
        assert len(a.objects.below("files")) == 2  # of the one that lost, nothing is left
        assert machine("d").verify() == []

    def test_a_damaged_artifact_is_replaced_once(self, machine) -> None:
        publish(machine("a"))
        a, b, c = machine("a2"), machine("b"), machine("c")
        change(a.objects, [k for k in a.objects.below("files") if "weights" in k], flipped)
        for store in (a, b):
            assert store.find("fit", ID) is None
        publish(a, content=b"again")
        assert publish(b, content=b"later").file("weights.safetensors").read_bytes() == b"again"
        assert served(c) == b"again"
        assert a.contains("fit", ID)
        assert b.contains("fit", ID)

    def test_what_another_machine_has_computed_again_is_found(self, machine) -> None:
        publish(machine("a"))
        a, b = machine("a2"), machine("b")
        change(a.objects, [k for k in a.objects.below("files") if "weights" in k], lambda content: None)
        assert a.find("fit", ID) is None
        assert b.find("fit", ID) is None
        publish(b, content=b"again")
        with a.claim(ID, []):
            assert served(a) == b"again"


KILLED = """
import os, signal, sys
from pathlib import Path
from surpass.identity import digest_of
from surpass.store.objects import Objects
from surpass.store.urls import UrlStore

url, cache, fatal = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
calls = 0
def doomed(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
store = UrlStore(url, cache=cache)
for name in ("send", "create", "replace", "below", "see", "read"):
    setattr(Objects, name, doomed(getattr(Objects, name)))
with store.draft("fit", digest_of("one"), "label") as draft:
    (draft.path / "weights.safetensors").write_bytes(b"weights" * 100)
    draft.publish({"seed": 0})
"""


def test_a_publisher_killed_at_any_request_leaves_no_half_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    base = f"s3://{BUCKET}/{os.urandom(8).hex()}"
    outcomes = []
    for fatal in range(1, 20):
        url, cache = f"{base}/{fatal}", tmp_path / str(fatal)
        command = [sys.executable, "-c", KILLED, url, str(cache), str(fatal)]
        done = subprocess.run(command, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        fresh = UrlStore(url, cache=tmp_path / f"{fatal}-fresh")
        outcomes.append(served(fresh))
        assert served(UrlStore(url, cache=cache)) == CONTENT  # its machine has it, and sends it
        assert served(UrlStore(url, cache=tmp_path / f"{fatal}-third")) == CONTENT
        assert fresh.verify() == []
    assert len(outcomes) >= 4
    assert outcomes == sorted(outcomes, key=lambda content: content is not None)
    assert set(outcomes) == {None, CONTENT}


class TestLeftOvers:
    def test_files_of_a_publisher_that_was_killed_are_removed_after_a_day(self, machine) -> None:
        store = machine("a")
        publish(store)
        store.objects.write(f"files/fit/{OTHER}/{'0' * 16}/weights.safetensors", b"x")
        store.objects.write(f"files/fit/{ID}/{'1' * 16}/weights.safetensors", b"x")
        assert store.verify() == []
        assert store.clean_tmp() == []
        from surpass.store.far_upkeep import left_over

        assert [one.name for one in left_over(store, 0.0)] == [
            f"files/fit/{ID}/{'1' * 16}",
            f"files/fit/{OTHER}/{'0' * 16}",
        ]

    def test_verify_names_what_has_no_place(self, machine) -> None:
        store = machine("a")
        publish(store)
        for key in ("notes.txt", "manifests/fit/x.json", f"manifests/Fit/{ID}.json"):
            store.objects.write(key, b"x")
        store.objects.write(key_of("label", ID), store.objects.read(key_of("fit", ID)))
        found = {(str(p.path).removeprefix(f"{store.where}/"), p.reason) for p in store.verify()}
        assert found == {
            ("notes.txt", "unknown entry"),
            ("manifests/fit/x.json", "unknown entry"),
            (f"manifests/Fit/{ID}.json", "unknown entry"),
            (f"manifests/label/{ID}.json", f"manifest.json is that of fit {ID}"),
        }
        assert machine("b").find("label", ID) is None


class TestRequests:
    def test_many_done_stages_cost_few_requests(self, machine) -> None:
        ids = [digest_of(number) for number in range(300)]
        store = machine("a")
        for id in ids:
            store.objects.write(key_of("score", id), b"{}")
        store = machine("b")
        faults = erring(store.objects)
        assert all(store.contains("score", id) for id in ids)
        assert faults.asked == [("below", "manifests/score")]

    def test_what_is_in_the_cache_costs_one_listing(self, machine) -> None:
        publish(machine("a"))
        store = machine("a")
        faults = erring(store.objects)
        for _ in range(3):
            assert store.find("fit", ID, label="label") is not None
        assert faults.asked == [("below", "manifests/fit")]

    def test_expected_artifacts_come_together(self, machine) -> None:
        ids = [digest_of(number) for number in range(20)]
        for id in ids:
            publish(machine("a"), id)
        store = machine("b")
        faults = erring(store.objects)
        store.expect([("fit", id) for id in ids])
        assert [name for name, _ in faults.asked] == ["below", "read_many", "bring"]
        assert all(store.find("fit", id) is not None for id in ids)
        assert len(faults.asked) == 3

    def test_weights_are_not_brought_for_a_manifest(self, machine) -> None:
        publish(machine("a"))
        store = machine("b")
        faults = erring(store.objects)
        part = store.part("fit", ID, ["curve.parquet"])
        assert part is not None
        assert part.file("curve.parquet").read_bytes() == b"curve"
        assert not any("weights.safetensors" in key for _, key in faults.asked)


class TestKeys:
    @pytest.mark.parametrize("key", ["../x", "a/../../x", "/x", "a//b", "a/./b"])
    def test_none_leads_out_of_the_url(self, machine, key: str) -> None:
        objects = machine("a").objects
        for call in (
            objects.read,
            objects.see,
            lambda key: objects.write(key, b""),
            lambda k: objects.remove([k]),
        ):
            with pytest.raises(StoreError, match="leads out of"):
                call(key)

    def test_names_of_files_cannot_lead_out_of_the_cache(self, machine, tmp_path: Path) -> None:
        """A manifest that whoever can write to the bucket has sealed with other names."""
        from surpass.identity import digest_of as digest

        publish(machine("a"))
        store = machine("b")
        content = json.loads(store.objects.read(key_of("fit", ID)))
        for name in ("../../escaped", "/tmp/escaped", "a/../../../escaped", "a\0b", "a//b"):
            manifest = {k: v for k, v in content.items() if k != "sha256"}
            manifest["files"] = {name: {"sha256": digest_of(1), "size": 1}}
            sealed = manifest | {"sha256": digest(manifest)}
            store.objects.write(key_of("fit", ID), json.dumps(sealed).encode())
            victim = machine(f"v{len(name)}")
            assert victim.find("fit", ID) is None
            assert victim.part("fit", ID, [name]) is None
            assert any("names" in problem.reason for problem in victim.verify())
        assert not list(tmp_path.rglob("*escaped*"))


class TestScratch:
    def test_it_is_sent_while_the_stage_runs(self, machine) -> None:
        a = machine("a", push_seconds=0.05)
        claim = a.claim(ID, [])
        (a.work(ID) / "checkpoint").write_bytes(b"1")
        deadline = time.monotonic() + 20
        index = f"work/{ID}/index.json"
        while a.objects.see(index) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        b = UrlStore(a.where, cache=a.root.parent.parent / "b")
        assert (b.work(ID) / "checkpoint").read_bytes() == b"1"
        (a.work(ID) / "checkpoint").write_bytes(b"22")
        while len(a.objects.below(f"work/{ID}")) > 2 or b"2" not in b"".join(
            a.objects.read_many(k for k in a.objects.below(f"work/{ID}") if "checkpoint" in k).values()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        a.drop_work(ID)
        assert a.objects.below("work") == {}
        claim.release()
        assert a.objects.below("work") == {}

    @pytest.mark.parametrize("how", [flipped, lambda content: None, lambda content: content[:-1]])
    @pytest.mark.parametrize("what", ["state", "index.json"])
    def test_what_is_damaged_is_not_gone_on_from(self, machine, how: Any, what: str) -> None:
        a = machine("a")
        with a.claim(ID, []):
            (a.work(ID) / "state").write_bytes(b"half of it")
        change(a.objects, [key for key in a.objects.below("work") if key.endswith(what)], how)
        assert list(machine("b").work(ID).iterdir()) == []

    @pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/../../escaped"])
    def test_names_cannot_lead_out(self, machine, tmp_path: Path, name: str) -> None:
        a = machine("a")
        index = {"push": "0" * 16, "files": {name: [1, digest_of(1)]}}
        a.objects.write(f"work/{ID}/index.json", json.dumps(index).encode())
        assert list(machine("b").work(ID).iterdir()) == []
        assert not list(tmp_path.rglob("*escaped*"))

    def test_logs_links_and_unfinished_files_stay(self, machine) -> None:
        a = machine("a")
        with a.claim(ID, []):
            work = a.work(ID)
            (work / "log.txt").write_text("said")
            (work / ".state.tmp").write_text("half")
            (work / "link").symlink_to("/etc/passwd")
        assert a.objects.below("work") == {}

    def test_a_network_that_is_away_is_no_error_at_the_end(
        self, machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        a = machine("a")
        with a.claim(ID, []):
            (a.work(ID) / "state").write_text("half")
            erring(a.objects).broken = lambda key: key.startswith("work/")
        assert "stays on this machine" in caplog.text
        assert (a.work(ID) / "state").read_text() == "half"


def test_objects_that_are_gone_are_none(machine) -> None:
    objects: Objects = machine("a").objects
    assert objects.read("a/b") is None
    assert objects.see("a/b") is None
    assert objects.below("a") == {}
    assert objects.names("a") == []
    assert objects.read_many(["a/b", "c"]) == {}
    objects.remove(["a/b"])
    assert not objects.replace("a/b", b"", "tag")
    assert objects.create("a/b", b"1")
    assert not objects.create("a/b", b"2")
    seen = objects.see("a/b")
    assert seen is not None
    assert objects.replace("a/b", b"3", seen.tag)
    assert not objects.replace("a/b", b"4", seen.tag)
    assert objects.read("a/b") == b"3"


def test_what_contradicts_the_servers_own_checksum_is_damaged(tmp_path: Path, monkeypatch) -> None:
    """A bit that turned on the way to the server, which kept the checksum of what was sent."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    store = UrlStore(f"s3://{BUCKET}/{tmp_path.name}", cache=tmp_path / "cache")
    publish(store)
    keys = store.objects.below("")
    name = next(key for key in keys if key.endswith("weights.safetensors"))
    wrong = {"Body": flipped(CONTENT), "ChecksumAlgorithm": "CRC32", "ChecksumCRC32": "AAAAAA=="}
    store.objects._fs.call_s3("put_object", Bucket=BUCKET, Key=f"{tmp_path.name}/{name}", **wrong)
    another = UrlStore(store.where, cache=tmp_path / "another")
    assert [problem.reason for problem in another.verify()] == [
        "weights.safetensors does not match its digest"
    ]
    assert served(another) is None
    assert publish(another).id == ID
    assert served(UrlStore(store.where, cache=tmp_path / "third")) == CONTENT


def test_random_faults(machine, tmp_path: Path) -> None:
    """After each, a rerun gives what an undisturbed run gives, and computes nothing again that is sound."""
    log, chance = str(tmp_path / "log"), random.Random(0)
    target = diamonds(log, depth=2)
    undisturbed = Store(tmp_path / "undisturbed")
    inline.run([target], undisturbed)
    counts = Counter(_disturb(chance, machine, number, target, undisturbed) for number in range(40))
    assert sum(counts.values()) == 40
    assert counts.keys() == set(FAULTS), counts


FAULTS = ("lost", "broken", "changed", "flipped", "truncated", "removed", "lost for good")


def _disturb(
    chance: random.Random, machine: Callable[..., UrlStore], number: int, target: Stage, undisturbed: Store
) -> str:
    fault = chance.choice(FAULTS)
    store = machine(f"{number}-a", url=f"memory://{number}-{os.urandom(4).hex()}/s")
    faults = erring(store.objects)
    place, count = chance.randrange(1, 60), [0]

    def now(key: str) -> bool:
        count[0] += 1
        return count[0] >= place if fault == "lost for good" else count[0] == place

    if fault in ("lost", "lost for good"):
        faults.lost = lambda key: now(key) and not key.startswith("owners/")
    elif fault == "broken":
        faults.broken = now
    elif fault == "changed":
        faults.changed = lambda key, content: flipped(content) if now(key) else content
    with suppress(StoreError):
        inline.run([target], store)
    faults.lost = faults.broken = lambda key: False
    faults.changed = lambda key, content: content
    harms = {"flipped": flipped, "truncated": lambda c: c[:-1], "removed": lambda c: None}
    if fault in harms:
        keys = [key for key in store.objects.below("") if key.startswith(("files/", "manifests/", "work/"))]
        change(store.objects, [chance.choice(sorted(keys))], harms[fault])
    for name in (f"{number}-a", f"{number}-b"):  # the same machine, and another
        again = machine(name, url=store.where)
        damaged = {str(problem.path)[-69:-5] for problem in again.verify()}
        sound = _digests(again).keys() - damaged
        computed = inline.run([target], again)
        assert computed <= 7 - len(sound), (number, fault)
        assert _digests(again).items() <= _digests(undisturbed).items(), (number, fault)
        found = again.find(target.kind, target.id)
        assert found is not None, (number, fault)
        wanted = undisturbed.find(target.kind, target.id)
        assert wanted is not None
        assert found.file("note.txt").read_text() == wanted.file("note.txt").read_text(), (number, fault)
    fresh = machine(f"{number}-c", url=store.where)
    assert inline.run([target], fresh) == 0, (number, fault)
    return fault


def _digests(store: Store) -> dict[str, Any]:
    return {a.id: {n: f["sha256"] for n, f in a.manifest["files"].items()} for a in store.artifacts()}
