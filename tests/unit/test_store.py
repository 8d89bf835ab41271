from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import surpass.store as store_package
from surpass.disk import atomic_write
from surpass.errors import ConfigError, StoreError
from surpass.identity import digest_of
from surpass.owner import Owner
from surpass.store import Artifact, Store
from surpass.store import artifact as artifact_module

ID = digest_of("one")
OTHER = digest_of("other")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def publish(store: Store, id: str = ID, label: str = "chess-l3-s0", **fields: Any) -> Artifact:
    with store.draft("fit", id, label) as draft:
        (draft.path / "weights.bin").write_bytes(b"weights" * 100)
        (draft.path / "curves").mkdir()
        (draft.path / "curves" / "loss.json").write_text("[1, 2]")
        return draft.publish({"seed": 0, **fields})


def raising(code: int, only: Callable[..., bool] = lambda *args: True) -> Callable[[Any], Any]:
    """Wrap an os function so that it fails with `code` where `only` agrees."""

    def wrap(function: Any) -> Any:
        def failing(*args: Any, **kwargs: Any) -> Any:
            if only(*args):
                raise OSError(code, os.strerror(code), str(args[0]))
            return function(*args, **kwargs)

        return failing

    return wrap


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_published_is_found(store: Store) -> None:
    assert store.find("fit", ID) is None
    assert not store.contains("fit", ID)
    made = publish(store, timings={"fit_seconds": 1.0}, upstream=("a",))
    found = store.find("fit", ID)
    assert found == made
    assert store.contains("fit", ID)
    assert found.path == store.root / "fit" / f"chess-l3-s0-{ID[:16]}"
    assert found.file("weights.bin").read_bytes() == b"weights" * 100
    assert found.file("curves/loss.json").read_text() == "[1, 2]"
    assert sorted(os.listdir(found.path)) == ["curves", "manifest.json", "weights.bin"]
    assert list((store.root / "tmp").iterdir()) == []
    assert store.verify() == []


def test_manifest_says_what_it_is(store: Store) -> None:
    manifest = publish(store, timings={"fit_seconds": 1.0}, upstream=("a",)).manifest
    assert manifest["kind"] == "fit"
    assert manifest["id"] == ID
    assert manifest["label"] == "chess-l3-s0"
    assert manifest["format"] == 1
    assert manifest["host"] == os.uname().nodename
    assert manifest["pid"] == os.getpid()
    assert manifest["seed"] == 0
    assert manifest["upstream"] == ["a"]
    assert manifest["timings"] == {"fit_seconds": 1.0}
    assert manifest["files"]["weights.bin"]["size"] == 700
    assert sorted(manifest["files"]) == ["curves/loss.json", "weights.bin"]
    assert manifest["created"].endswith("+00:00")


def test_file_not_in_manifest_is_refused(store: Store) -> None:
    made = publish(store)
    (made.path / "stray").write_text("x")
    with pytest.raises(StoreError, match=r"no file 'stray' .*curves/loss.json, weights.bin") as caught:
        made.file("stray")
    one_line(caught)


def test_an_artifact_may_be_its_manifest_alone(store: Store) -> None:
    with store.draft("score", ID, "s") as draft:
        draft.publish({"accuracy": 0.5})
    found = store.find("score", ID)
    assert found is not None
    assert found.manifest["accuracy"] == 0.5
    assert found.manifest["files"] == {}


def test_a_draft_left_without_publish_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.draft("fit", ID, "x") as draft:
            (draft.path / "f").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.draft("fit", ID, "x"):
        pass
    assert list((store.root / "tmp").iterdir()) == []
    assert store.find("fit", ID) is None


def test_the_first_publish_wins(store: Store) -> None:
    first = publish(store, note="first")
    assert publish(store, note="second") == first
    assert publish(store, label="renamed", note="third") == first
    assert len(list(store.artifacts())) == 1


def test_a_changed_label_still_finds(store: Store) -> None:
    made = publish(store, label="old name")
    os.rename(made.path, made.path.with_name(f"new-{ID[:16]}"))
    found = store.find("fit", ID)
    assert found is not None
    assert found.path.name == f"new-{ID[:16]}"
    assert found.manifest["label"] == "old name"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("a/b c:d", "a-b-c-d-"),
        ("../..", ""),
        ("", ""),
        ("é", ""),
        ("x" * 300, "x" * 80 + "-"),
        (".hid", "hid-"),
    ],
)
def test_labels_become_safe_folder_names(store: Store, label: str, name: str) -> None:
    made = publish(store, label=label)
    assert made.path.name == name + ID[:16]
    assert made.manifest["label"] == label
    assert store.find("fit", ID) == made


def test_ids_that_share_their_first_digits_are_kept_apart(store: Store) -> None:
    twin = ID[:16] + OTHER[16:]
    publish(store)
    assert store.find("fit", twin) is None
    assert not store.contains("fit", twin)
    publish(store, twin, label="twin")
    found = [store.find("fit", id) for id in (ID, twin)]
    assert [artifact and artifact.id for artifact in found] == [ID, twin]
    with pytest.raises(StoreError, match="is in the way"):
        publish(store, ID[:16] + digest_of(3)[16:])


def test_kinds_are_kept_apart(store: Store) -> None:
    publish(store)
    assert store.find("label", ID) is None


@pytest.mark.parametrize("kind", ["tmp", "work", "leases", "damaged", "", "Fit", "../x", "a/b"])
def test_bad_kinds_are_refused(store: Store, kind: str) -> None:
    with pytest.raises(ValueError, match="cannot be a kind"):
        store.find(kind, ID)
    with pytest.raises(ValueError, match="cannot be a kind"), store.draft(kind, ID, "x"):
        pass


@pytest.mark.parametrize("id", ["", "abc", "../" + ID, ID.upper(), ID[:63]])
def test_bad_ids_are_refused(store: Store, id: str) -> None:
    for call in (store.work, store.drop_work, lambda id: store.find("fit", id)):
        with pytest.raises(ValueError, match="is no id"):
            call(id)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))  # two writes within a clock tick would have the same time


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("name", ["weights.bin", "curves/loss.json", "manifest.json"])
@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damaged_artifacts_are_never_served(
    store: Store, caplog: pytest.LogCaptureFixture, name: str, harm: Callable[[Path], None]
) -> None:
    made = publish(store)
    harm(made.path / name)
    (problem,) = store.verify()
    assert problem.path == made.path
    assert name in problem.reason
    with caplog.at_level(logging.WARNING, "surpass.store"):
        assert store.find("fit", ID) is None
    (message,) = caplog.messages
    assert name in message
    assert "computed again" in message
    (aside,) = (store.root / "damaged").iterdir()
    assert (aside / "weights.bin").exists() or name == "weights.bin"
    assert not store.contains("fit", ID)
    assert publish(store) == store.find("fit", ID)
    assert store.verify() == []


@pytest.mark.parametrize(
    "content", [b"[]", b'"x"', b"{}", b'{"sha256": 1}', b"\xff", b'{"sha256": "x", "a": NaN}']
)
def test_foreign_manifests_are_damage(store: Store, content: bytes) -> None:
    made = publish(store)
    (made.path / "manifest.json").write_bytes(content)
    assert list(store.artifacts()) == []
    assert not store.contains("fit", ID)
    assert store.find("fit", ID) is None


def test_every_bit_of_the_manifest_is_guarded(store: Store) -> None:
    made = publish(store)
    path = made.path / "manifest.json"
    content = path.read_bytes()
    for index in range(0, len(content), 3):
        changed = bytearray(content)
        changed[index] ^= 1 << index % 8
        path.write_bytes(changed)
        served = list(store.artifacts())
        assert served == [] or served == [made]  # white space may change
    path.write_bytes(content)
    assert store.find("fit", ID) == made


def test_damage_is_found_by_a_process_that_has_read_the_file_before(store: Store) -> None:
    made = publish(store)
    assert store.find("fit", ID) == made
    flip(made.path / "weights.bin")
    assert store.contains("fit", ID)  # sizes only
    assert store.find("fit", ID) is None


def test_digests_are_read_once_per_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digest = artifact_module.file_digest
    monkeypatch.setattr(artifact_module, "file_digest", lambda path: read.append(path) or digest(path))
    made = publish(store)
    written = len(read)
    assert written == 2
    store.find("fit", ID)
    assert len(read) == written
    artifact_module.known_digests.clear()
    store.find("fit", ID)
    store.find("fit", ID)
    assert len(read) == written + 2
    os.utime(made.path / "weights.bin", ns=(1, 1))
    store.find("fit", ID)
    assert len(read) == written + 3
    assert store.verify() == []
    assert len(read) == written + 5


def test_manifests_are_read_until_they_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    parsed = artifact_module.parsed
    monkeypatch.setattr(artifact_module, "parsed", lambda *given: read.append(given[1]) or parsed(*given))
    made = publish(store)
    manifest = made.path / "manifest.json"
    for _ in range(3):
        assert store.find("fit", ID) == made
    assert len(read) == 1
    os.utime(manifest, ns=(1, 1))
    assert store.find("fit", ID) == made
    assert len(read) == 2
    store.verify()
    assert len(read) == 3
    manifest.rename(store.root / "elsewhere")
    manifest.symlink_to(store.root / "elsewhere")
    assert store.find("fit", ID) is None
    assert len(read) == 3


def test_publishing_over_a_damaged_artifact_replaces_it(store: Store) -> None:
    made = publish(store)
    flip(made.path / "weights.bin")
    assert publish(store, note="again").manifest["note"] == "again"
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_a_plain_file_in_the_place_of_an_artifact_is_moved_aside(store: Store) -> None:
    publish(store, OTHER)
    place = store.root / "fit" / f"chess-l3-s0-{ID[:16]}"
    place.write_text("mine")
    assert publish(store) == store.find("fit", ID)
    (aside,) = (store.root / "damaged").iterdir()
    assert aside.read_text() == "mine"


def test_an_artifact_published_again_meanwhile_is_put_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(store)
    good = shutil.copytree(made.path, tmp_path / "good")
    flip(made.path / "weights.bin")

    def swap(source: Path, target: Path) -> None:
        monkeypatch.undo()
        shutil.move(made.path, tmp_path / "bad")
        os.rename(good, made.path)
        os.rename(source, target)

    monkeypatch.setattr(os, "rename", swap)
    assert store.find("fit", ID) is None
    assert list((store.root / "damaged").iterdir()) == []
    assert store.find("fit", ID) == made


def test_an_artifact_that_vanishes_meanwhile_is_just_gone(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(store)
    monkeypatch.setattr(store, "_candidates", lambda kind, id, *_: [made.path, made.path.with_name("gone")])
    shutil.rmtree(made.path)
    assert store.find("fit", ID) is None
    assert not store.contains("fit", ID)
    assert caplog.messages == []


def test_listing_is_refreshed_when_the_folder_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store)
    listed: list[Path] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or listdir(path))
    store.find("fit", OTHER)
    store.find("fit", OTHER)
    assert len(listed) == 2  # just changed: not to be relied on
    os.utime(store.root / "fit", ns=(1, 1))
    store.find("fit", OTHER)
    store.find("fit", OTHER)
    assert len(listed) == 3
    publish(Store(store.root), OTHER)
    assert store.find("fit", OTHER) is not None


def test_artifacts_are_sorted_and_half_written_ones_are_skipped(store: Store) -> None:
    publish(store, OTHER, label="b")
    publish(store, ID, label="a")
    with store.draft("examples", ID, "z") as draft:
        draft.publish({})
    (store.root / "fit" / "half").mkdir()
    (store.root / "fit" / "stray").write_text("x")
    with store.draft("fit", digest_of(3), "open"):
        names = [(artifact.kind, artifact.manifest["label"]) for artifact in store.artifacts()]
    assert names == [("examples", "z"), ("fit", "a"), ("fit", "b")]
    assert [artifact.kind for artifact in store.artifacts("examples")] == ["examples"]
    assert list(store.artifacts("label")) == []


def test_verify_lists_all_that_is_strange(store: Store) -> None:
    made = publish(store)
    (made.path / "extra").write_text("x")
    (store.root / "fit" / "stray").write_text("x")
    (store.root / "Strange").mkdir()
    (store.root / "note.txt").write_text("x")
    misplaced = store.root / "label"
    misplaced.mkdir()
    shutil.copytree(made.path, misplaced / made.path.name)
    (store.root / "label" / made.path.name / "extra").unlink()
    found = {(str(problem.path.relative_to(store.root)), problem.reason) for problem in store.verify()}
    assert found == {
        ("Strange", "unknown entry"),
        ("note.txt", "unknown entry"),
        ("fit/stray", "unknown file"),
        (f"fit/{made.path.name}", "unknown file extra"),
        (f"label/{made.path.name}", f"is fit {ID} and not found under this name"),
    }
    assert store.find("fit", ID) == made
    assert store.find("label", ID) is None
    assert (misplaced / made.path.name).exists()


def temporary(store: Store, name: str, owner: Owner | None, age_days: float = 0.0) -> Path:
    folder = store.root / "tmp" / name
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "f").write_text("x")
    if owner is not None:
        (folder / "owner.json").write_text(json.dumps(asdict(owner)))
    then = time.time() - age_days * 86400
    for path in (folder / "files" / "f", folder / "files", folder / "owner.json", folder):
        if path.exists():
            os.utime(path, (then, then))
    return folder


def test_clean_tmp_removes_what_nobody_writes_any_more(store: Store) -> None:
    here = Owner.here()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = {
        temporary(store, "dead", replace(here, pid=ended.pid)),
        temporary(store, "pid-reused", replace(here, started="1")),
        temporary(store, "other-host-old", replace(here, host="elsewhere"), 1.1),
        temporary(store, "nobody-old", None, 1.1),
    }
    kept = {
        temporary(store, "alive", here, 9.0),
        temporary(store, "other-host", replace(here, host="elsewhere"), 0.9),
        temporary(store, "other-container", replace(here, namespace="pid:[1]", pid=ended.pid), 0.9),
        temporary(store, "nobody", None, 0.9),
    }
    assert {problem.path for problem in store.verify()} == gone
    assert set(store.clean_tmp()) == gone
    assert set((store.root / "tmp").iterdir()) == kept
    assert store.clean_tmp() == []


def test_work_stays_until_it_is_dropped(store: Store) -> None:
    folder = store.work(ID)
    (folder / "state").write_text("step 3")
    assert (Store(store.root).work(ID) / "state").read_text() == "step 3"
    assert store.verify() == []
    store.drop_work(ID)
    store.drop_work(ID)
    assert not folder.exists()
    assert list((store.root / "tmp").iterdir()) == []
    assert list(store.work(ID).iterdir()) == []


def test_a_store_is_marked_and_opens_again(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    Store(root)
    assert json.loads((root / "STORE.json").read_text()) == {"format": 1}
    publish(Store(root))
    assert Store(str(root)).find("fit", ID) is not None


def test_a_relative_store_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    monkeypatch.chdir("/")
    publish(store)
    assert (tmp_path / "here" / "fit").is_dir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: (root / "thesis.tex").write_text("x"), "is not empty and no Surpass store"),
        (
            lambda root: (root / "STORE.json").write_text('{"format": 2}'),
            "has store format 2, .* update Surpass",
        ),
        (lambda root: (root / "STORE.json").write_text('{"form'), "is damaged: write"),
        (lambda root: (root / "STORE.json").write_text("[]"), "is damaged: write"),
    ],
)
def test_folders_that_are_no_store_are_refused(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    make(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StoreError, match=message) as caught:
        Store(tmp_path)
    assert str(tmp_path) in one_line(caught)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_marker_that_another_process_is_writing_is_not_foreign(tmp_path: Path) -> None:
    (tmp_path / ".STORE.json.0123.tmp").write_text("{")
    assert publish(Store(tmp_path)).path.exists()


def test_a_file_or_a_url_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="file") as caught:
            Store(root)
        one_line(caught)
    with pytest.raises(StoreError, match="open_store"):
        Store("s3://bucket/store")


def test_a_later_manifest_is_neither_served_nor_moved(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(artifact_module, "FORMAT", 2)
        made = publish(store)
    with pytest.raises(StoreError, match="has format 2, later than 1: update Surpass"):
        store.find("fit", ID)
    assert made.path.exists()


@pytest.mark.parametrize("fields", [{"id": "x"}, {"files": {}}, {"sha256": "x"}, {"host": 1, "pid": 2}])
def test_manifest_fields_of_the_store_are_refused(store: Store, fields: dict[str, Any]) -> None:
    with store.draft("fit", ID, "x") as draft, pytest.raises(ValueError, match="filled in by the store"):
        draft.publish(fields)


@pytest.mark.parametrize(
    ("prepare", "fields", "kind", "message"),
    [
        (lambda path: (path / "manifest.json").write_text("{}"), {}, ValueError, "written by the store"),
        (lambda path: (path / "link").symlink_to("/etc"), {}, StoreError, "made of plain files"),
        (lambda path: os.mkfifo(path / "pipe"), {}, StoreError, "made of plain files"),
        (lambda path: None, {"loss": float("nan")}, ConfigError, r"value\.loss is nan"),
    ],
)
def test_drafts_that_cannot_be_artifacts_are_refused(
    store: Store, prepare: Callable[[Path], Any], fields: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with store.draft("fit", ID, "x") as draft:
        prepare(draft.path)
        with pytest.raises(kind, match=message):
            draft.publish(fields)
    assert list(store.artifacts()) == []
    assert list((store.root / "tmp").iterdir()) == []


CHANGING = ("mkdir", "rename", "replace")


def make_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer for a read-only disk: permissions would not stop a root who runs the tests."""
    for name in CHANGING:
        monkeypatch.setattr(os, name, raising(errno.EROFS)(getattr(os, name)))


def test_a_read_only_store_serves_and_says_why_it_cannot_write(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = publish(store)
    damaged = publish(store, OTHER)
    flip(damaged.path / "weights.bin")
    make_read_only(monkeypatch)
    reader = Store(store.root)
    assert reader.find("fit", ID) == made
    assert [problem.path for problem in reader.verify()] == [damaged.path]
    for _ in range(2):
        assert reader.find("fit", OTHER) is None
    assert "cannot be moved" in caplog.text
    assert damaged.path.exists()
    for call in (
        lambda: publish(reader, digest_of(3)),
        lambda: reader.work(ID),
        lambda: Store(store.root / "n"),
    ):
        with pytest.raises(StoreError, match="read-only store, cannot write") as caught:
            call()
        assert str(store.root) in one_line(caught)


def test_permission_denied_names_the_path(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = publish(store)
    publish(store, OTHER)
    artifact_module.known_digests.clear()
    denied = raising(errno.EACCES)(None)
    monkeypatch.setattr(artifact_module, "file_digest", denied)
    with pytest.raises(StoreError, match=f"permission denied at {made.path}") as caught:
        store.find("fit", ID)
    one_line(caught)
    monkeypatch.setattr(os, "listdir", denied)
    for call in (lambda: store.find("fit", ID), lambda: Store(store.root)):
        with pytest.raises(StoreError, match="permission denied at"):
            call()
    assert made.path.exists()


def test_an_input_error_is_not_taken_for_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = publish(store)
    artifact_module.known_digests.clear()
    monkeypatch.setattr(artifact_module, "file_digest", raising(errno.EIO)(None))
    with pytest.raises(StoreError, match=r"cannot use .*weights.bin|curves/loss.json \(Input/output error\)"):
        store.find("fit", ID)
    assert made.path.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", ["fsync", "mkdir", "rename"])
def test_full_disk_harms_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, code: int, name: str) -> None:
    made = publish(store, OTHER)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, raising(code)(getattr(os, name)))
        with pytest.raises(
            StoreError, match=r"disk full at .*: free space or use another store; nothing"
        ) as caught:
            publish(store)
    one_line(caught)
    assert list((store.root / "tmp").iterdir()) == []
    assert list(store.artifacts()) == [made]
    assert publish(store) == store.find("fit", ID)


class NativeWriterError(Exception):
    """As safetensors raises: no errno, the reason is in the text."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        NativeWriterError('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'),
    ],
)
def test_full_disk_while_the_stage_writes_its_files(store: Store, error: Exception) -> None:
    with pytest.raises(StoreError, match="disk full at") as caught, store.draft("fit", ID, "x"):
        raise error
    assert str(store.root) in one_line(caught)
    assert caught.value.__cause__ is error
    assert list((store.root / "tmp").iterdir()) == []


def test_other_errors_of_the_stage_pass_unchanged(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match="absent"), store.draft("fit", ID, "x"):
        Path("absent").read_text()


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "state"
    atomic_write(path, b"one")
    atomic_write(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_atomic_write_keeps_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "state"
    atomic_write(path, b"one")
    monkeypatch.setattr(os, name, raising(errno.ENOSPC)(getattr(os, name)))
    with pytest.raises(StoreError, match="disk full"):
        atomic_write(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["state"]
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"cannot use .*missing"):
        atomic_write(tmp_path / "missing" / "state", b"x")


def test_file_systems_without_folder_fsync_are_served(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    is_folder = lambda descriptor: os.path.isdir(f"/proc/self/fd/{descriptor}")  # noqa: E731
    monkeypatch.setattr(os, "fsync", raising(errno.EINVAL, is_folder)(os.fsync))
    assert publish(store) == store.find("fit", ID)


def test_everything_is_on_the_disk_before_it_is_visible(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def spy_fsync(descriptor: int) -> None:
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def spy_rename(source: Path, target: Path) -> None:
        events.append(("rename", target.name))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "rename", spy_rename)
    made = publish(store)
    assert sorted(events[:3]) == [("fsync", "curves"), ("fsync", "loss.json"), ("fsync", "weights.bin")]
    assert events[3:] == [
        ("fsync", "manifest.json"),
        ("fsync", "files"),
        ("fsync", store.root.name),
        ("rename", made.path.name),
        ("fsync", "fit"),
    ]


def test_importing_the_store_is_light() -> None:
    code = """
import importlib.util, sys, types
package = types.ModuleType("surpass")  # without what the package itself imports
package.__path__ = importlib.util.find_spec("surpass").submodule_search_locations
sys.modules["surpass"] = package
import surpass.store, surpass.store.lease, surpass.identity
print(sorted({"numpy", "pyarrow", "torch", "rich", "chess", "asyncio", "subprocess"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names() -> None:
    assert store_package.__all__ == ["Artifact", "Draft", "Problem", "Store"]


def test_scratch_of_a_stage_that_is_published_is_cleaned(tmp_path):
    """As a process leaves it that is killed between the two."""
    store = Store(tmp_path / "store")
    done, other = "a" * 64, "b" * 64
    with store.draft("fit", done, "done") as draft:
        (draft.path / "model").write_bytes(b"weights")
        draft.publish({})
    for id in (done, other):
        (store.work(id) / "checkpoint").write_bytes(b"half")
    assert store.clean_tmp() == [store.root / "work" / done]
    assert [folder.name for folder in (store.root / "work").iterdir()] == [other]
