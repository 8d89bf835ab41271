"""What every store promises, in a folder, in memory and in S3."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reference.object_stores import BUCKET, change, environment, flipped
from surpass.errors import ConfigError, MissingExtraError, StoreError
from surpass.identity import digest_of
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.store.far_root import open_far_root
from surpass.store.objects import Objects
from surpass.store.opening import open_store
from surpass.store.urls import UrlStore

ID, OTHER = digest_of("one"), digest_of("other")
Opens = Callable[[str], Store]


@pytest.fixture(params=["folder", "memory", "s3"])
def opens(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opens:
    """Opens one store, as the machine of a name does: each has a cache of its own."""
    if request.param == "folder":
        return lambda machine: Store(tmp_path / "store")
    url = f"memory://{tmp_path.name}/store"
    if request.param == "s3":
        for name, value in environment().items():
            monkeypatch.setenv(name, value)
        url = f"s3://{BUCKET}/{os.urandom(8).hex()}/store"
    return lambda machine: UrlStore(url, cache=tmp_path / machine)


@pytest.fixture
def store(opens: Opens) -> Store:
    return opens("a")


def publish(
    store: Store, id: str = ID, label: str = "chess-l3-s0", kind: str = "fit", **fields: Any
) -> Artifact:
    with store.draft(kind, id, label) as draft:
        (draft.path / "weights.safetensors").write_bytes(b"weights" * 100)
        (draft.path / "curves").mkdir()
        (draft.path / "curves" / "loss.json").write_text("[1, 2]")
        return draft.publish({"seed": 0, **fields})


def harm(store: Store, artifact: Artifact, name: str, how: Callable[[bytes], bytes | None]) -> None:
    """Damage a file of an artifact where it is kept."""
    if isinstance(store, UrlStore):
        keys = [key for key in store.objects.below("") if key.endswith(name)]
        change(store.objects, keys, how)
        store.forget(artifact)
        return
    path = artifact.path / name
    content = how(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def test_what_one_publishes_the_other_finds(opens: Opens) -> None:
    a = opens("a")
    assert a.find("fit", ID) is None
    assert not a.contains("fit", ID)
    made = publish(a, timings={"fit_seconds": 1.0})
    assert a.find("fit", ID) == made
    assert a.contains("fit", ID)
    b = opens("b")
    assert b.contains("fit", ID)
    for label in (None, "chess-l3-s0", "another"):
        found = b.find("fit", ID, label=label)
        assert found is not None
        assert found.manifest == made.manifest
        assert found.file("weights.safetensors").read_bytes() == b"weights" * 100
        assert found.file("curves/loss.json").read_text() == "[1, 2]"
    assert b.find("fit", OTHER) is None
    assert b.find("label", ID) is None
    assert a.verify() == b.verify() == []
    assert list((b.root / "tmp").glob("*")) == []


def test_an_artifact_may_be_its_manifest_alone(opens: Opens) -> None:
    with opens("a").draft("score", ID, "s") as draft:
        draft.publish({"accuracy": 0.5})
    found = opens("b").find("score", ID)
    assert found is not None
    assert found.manifest["accuracy"] == 0.5


def test_the_first_publish_wins(opens: Opens) -> None:
    first = publish(opens("a"), note="first")
    for machine in ("a", "b"):
        second = publish(opens(machine), note="second", label="renamed")
        assert second.manifest == first.manifest
    assert len(list(opens("c").artifacts())) == 1
    assert opens("c").verify() == []


def test_a_draft_left_without_publish_leaves_nothing(opens: Opens) -> None:
    store = opens("a")
    with store.draft("fit", ID, "x") as draft:
        (draft.path / "f").write_text("x")
    assert store.find("fit", ID) is None
    assert list(opens("b").artifacts()) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "loss.json"])
@pytest.mark.parametrize("how", [flipped, lambda content: content[:-1], lambda content: None])
def test_damaged_artifacts_are_never_served(
    opens: Opens, caplog: pytest.LogCaptureFixture, name: str, how: Callable[[bytes], bytes | None]
) -> None:
    made = publish(opens("a"))
    harm(opens("a"), made, "curves/loss.json" if name == "loss.json" else name, how)
    store = opens("b")
    (problem,) = store.verify()
    assert problem.reason
    assert store.find("fit", ID) is None
    (message,) = caplog.messages
    assert "computed again" in message
    assert not store.contains("fit", ID)
    again = publish(store, note="again")
    assert again.manifest["note"] == "again"
    for machine in ("b", "c"):
        found = opens(machine).find("fit", ID)
        assert found is not None
        assert found.manifest == again.manifest
        assert found.file("weights.safetensors").read_bytes() == b"weights" * 100
    assert opens("d").verify() == []


@pytest.mark.parametrize("how", [flipped, lambda content: b"[1"])
def test_damaged_manifests_are_never_served(opens: Opens, how: Callable[[bytes], bytes]) -> None:
    made = publish(opens("a"))
    harm(opens("a"), made, f"{ID}.json" if isinstance(opens("a"), UrlStore) else "manifest.json", how)
    store = opens("b")
    assert len(store.verify()) >= 1
    assert store.find("fit", ID) is None
    assert list(store.artifacts()) == []
    assert publish(store, note="again").manifest["note"] == "again"
    found = opens("c").find("fit", ID)
    assert found is not None
    assert found.manifest["note"] == "again"


def test_bad_kinds_and_ids_are_refused(store: Store) -> None:
    for kind in ("tmp", "work", "leases", "damaged", "", "Fit", "../x", "a/b"):
        for call in (store.find, store.contains, store.part):
            with pytest.raises(ValueError, match="cannot be a kind"):
                call(kind, ID)
    finds = (lambda id: store.find("fit", id), lambda id: store.part("fit", id))
    for bad in ("", "abc", "../" + ID, ID.upper(), ID[:63]):
        for ask in (store.work, store.drop_work, *finds):
            with pytest.raises(ValueError, match="is no id"):
                ask(bad)


def test_labels_do_not_lead_out(opens: Opens) -> None:
    for number, label in enumerate(("../..", "a/b\0c", "", "/etc/passwd", "x" * 300)):
        id = digest_of(number)
        made = publish(opens("a"), id, label=label)
        found = opens("b").find("fit", id, label=label)
        assert found is not None
        assert found.manifest["label"] == label
        for artifact in (made, found):
            assert artifact.path.parent.name == "fit"
            assert artifact.path.name.endswith(id[:16])
            assert "/" not in artifact.path.name


def test_one_process_at_a_time_has_a_claim(opens: Opens) -> None:
    a, b = opens("a"), opens("b")
    claim = a.claim(ID, [OTHER])
    assert claim is not None
    assert claim.held()
    assert a.claim(ID, []) is None
    assert b.claim(ID, []) is None
    other = b.claim(OTHER, [])
    assert other is not None
    busy = {one.id: one for one in b.busy()}
    assert busy.keys() == {ID, OTHER}
    assert busy[ID].uses == {OTHER}
    assert busy[ID].who == f"process {os.getpid()} on {os.uname().nodename}"
    claim.release()
    other.release()
    assert a.busy() == b.busy() == []
    with opens("c").claim(ID, []) or pytest.fail("given up, and not to be had") as again:
        assert again.held()


def test_scratch_goes_on_elsewhere(opens: Opens) -> None:
    a, b = opens("a"), opens("b")
    with a.claim(ID, []) or pytest.fail("not to be had"):
        (a.work(ID) / "checkpoint").write_bytes(b"half")
        (a.work(ID) / "more").mkdir()
        (a.work(ID) / "more" / "state").write_bytes(b"of it")
    with b.claim(ID, []) or pytest.fail("not to be had"):
        assert (b.work(ID) / "checkpoint").read_bytes() == b"half"
        assert (b.work(ID) / "more" / "state").read_bytes() == b"of it"
        b.drop_work(ID)
    assert list(opens("c").work(ID).iterdir()) == []


def test_artifacts_are_listed(opens: Opens) -> None:
    store = opens("a")
    publish(store, OTHER, label="b")
    publish(store, ID, label="a")
    publish(store, ID, kind="label", label="c")
    found = {(artifact.kind, artifact.id, artifact.path.name) for artifact in opens("b").artifacts()}
    assert found == {
        ("fit", ID, f"a-{ID[:16]}"),
        ("fit", OTHER, f"b-{OTHER[:16]}"),
        ("label", ID, f"c-{ID[:16]}"),
    }
    assert opens("b").kinds() == ["fit", "label"]
    assert {a.id for a in opens("b").artifacts("fit")} == {ID, OTHER}
    assert {m["label"] for _, m in opens("b").manifests("fit")} == {"a", "b"}
    assert list(opens("b").artifacts("score")) == []


def test_parts_have_their_manifest_and_the_files_that_are_named(opens: Opens) -> None:
    made = publish(opens("a"))
    store = opens("b")
    part = store.part("fit", ID, ["curves/loss.json"])
    assert part is not None
    assert part.manifest == made.manifest
    assert part.file("curves/loss.json").read_text() == "[1, 2]"
    if isinstance(store, UrlStore):
        assert not part.file("weights.safetensors").exists()
        part.file("curves/loss.json").write_text("[9, 9]")
        part = opens("b").part("fit", ID, ["curves/loss.json"])
        assert part is not None
        assert part.file("curves/loss.json").read_text() == "[1, 2]"
    assert store.part("fit", OTHER) is None


def test_expected_artifacts_are_found(opens: Opens) -> None:
    for number in range(4):
        publish(opens("a"), digest_of(number), label=str(number))
    store = opens("b")
    store.expect([("fit", digest_of(number)) for number in range(6)])
    assert [store.find("fit", digest_of(n)) is not None for n in range(6)] == [True] * 4 + [False] * 2


class TestOpening:
    def test_a_folder(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "x")
        assert type(store) is Store
        assert open_store(store) is store
        assert store.where == str(tmp_path / "x")
        assert store.is_shared

    def test_a_url(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SURPASS_CACHE", str(tmp_path))
        store = open_store(f"memory://{tmp_path.name}/x/")
        assert isinstance(store, UrlStore)
        assert store.where == f"memory://{tmp_path.name}/x"
        assert not store.is_shared

    def test_a_url_has_one_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SURPASS_CACHE", str(tmp_path))
        for name, value in environment().items():
            monkeypatch.setenv(name, value)
        one, two = (open_store(f"s3://{BUCKET}/{tmp_path.name}/{n}") for n in "ab")
        assert one.root.is_relative_to(tmp_path / "stores")
        assert one.root != two.root
        assert one.is_shared
        assert open_store(one.where).root == one.root

    @pytest.mark.parametrize(
        ("url", "match"),
        [
            ("nope://a/b", "nope"),
            ("s3://", "names no place"),
            ("s3://key:secret@bucket/x", "credentials"),
            ("file:///tmp/x", "is a folder"),
            ("memory://a/../b", "no plain URL"),
            ("s3://bucket/x?versionId=1", "no plain URL"),
        ],
    )
    def test_bad_urls(self, url: str, match: str) -> None:
        with pytest.raises(ConfigError, match=match) as caught:
            open_store(url)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_package_that_is_missing_is_named(self) -> None:
        with pytest.raises(MissingExtraError, match="pip install 'gcsfs'"):
            open_store("gs://bucket/store")

    def test_there_must_be_a_bucket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in environment().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StoreError, match="make the bucket first"):
            open_store("s3://no-such-bucket/store")

    def test_what_is_no_store_is_refused(self, tmp_path: Path) -> None:
        url = f"memory://{tmp_path.name}/y"
        objects = UrlStore(url).objects
        objects.remove(["STORE.json"])
        objects.write("thesis.txt", b"x")
        with pytest.raises(StoreError, match=r"thesis\.txt.*no Surpass store"):
            open_store(url)
        for content in (b"", b"[]", b"{"):
            objects.write("STORE.json", content)
            with pytest.raises(StoreError, match="is damaged"):
                open_store(url)
        objects.write("STORE.json", b'{"format": 99, "layout": "objects"}')
        with pytest.raises(StoreError, match="update Surpass"):
            open_store(url)

    @pytest.mark.parametrize(
        "damage",
        [flipped, lambda mark: mark.replace(b"cts", b"ctr"), lambda mark: mark[:10], lambda mark: b""],
    )
    def test_a_mark_that_was_damaged_when_it_was_made_is_made_again(
        self, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        url = f"memory://{tmp_path.name}/v"
        objects = UrlStore(url, cache=tmp_path / "a").objects
        mark = objects.read("STORE.json")
        assert mark is not None
        objects.write("STORE.json", damage(mark))
        publish(UrlStore(url, cache=tmp_path / "b"))
        assert objects.read("STORE.json") == mark
        objects.write("STORE.json", damage(mark))  # now it marks something: somebody should look
        with pytest.raises(StoreError, match=r"is damaged|update Surpass"):
            open_store(url)

    def test_a_mark_of_others_stays(self, tmp_path: Path) -> None:
        objects = Objects(f"memory://{tmp_path.name}/u")
        objects.write("STORE.json", b'{"books": 3}')
        with pytest.raises(StoreError, match="is damaged"):
            open_store(objects.url)
        assert objects.read("STORE.json") == b'{"books": 3}'

    def test_another_process_may_make_it_at_the_same_time(self, tmp_path: Path) -> None:
        url = f"memory://{tmp_path.name}/w"
        objects = Objects(url)
        read = objects.read

        def read_and_be_late(key: str) -> bytes | None:
            content = read(key)
            if content is None:
                publish(UrlStore(url, cache=tmp_path / "b"))
            return content

        objects.read = read_and_be_late  # type: ignore[method-assign]
        open_far_root(objects, make=True)
        assert UrlStore(url, cache=tmp_path / "c").contains("fit", ID)

    def test_nothing_is_made_unless_asked_for(self, tmp_path: Path) -> None:
        url = f"memory://{tmp_path.name}/z"
        with pytest.raises(StoreError, match="no store at"):
            open_store(url, make=False)
        assert UrlStore(f"memory://{tmp_path.name}/other").objects.names() == ["STORE.json"]
        with pytest.raises(StoreError, match="no store at"):
            open_store(url, make=False)
