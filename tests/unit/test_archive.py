"""Archives: the same bytes for the same study, the same table elsewhere, and nothing of a hostile one."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processes import STUDY
from reference import upkeep as twin
from surpass.errors import ConfigError, DataError, StoreError
from surpass.experiment import run
from surpass.identity import digest_of
from surpass.overrides import override
from surpass.recipes import find_recipe
from surpass.results import Results
from surpass.store import Store
from surpass.store import archive as archive_module
from surpass.store.archive import INDEX, Member, describe, extract, refusal, write_archive
from surpass.store.artifact import known_digests
from surpass.store.records import RECORD
from surpass.study import Study
from surpass.upkeep.exporting import WITH, export
from surpass.upkeep.imported import read_study, studies
from surpass.upkeep.importing import STUDY as KIND
from surpass.upkeep.importing import import_archive

CHANGES = (*STUDY[1:], "methods=naive,early_stop")


@pytest.fixture(scope="module")
def study() -> Study:
    return override(find_recipe("chess"), CHANGES)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory) -> tuple[Store, Results]:
    store = Store(tmp_path_factory.mktemp("finished") / "store")
    return store, run(study, store)


@pytest.fixture(scope="module")
def packed(study, finished, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "study.tar"
    export(study, finished[0], path, overrides=CHANGES)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def untouched(store: Store) -> bool:
    """Whether nothing was ever put into a store."""
    return {path.name for path in store.root.rglob("*")} <= {"STORE.json", "tmp"}


def refused(path: Path, store: Store, match: str) -> None:
    with pytest.raises(DataError, match=match) as refusal:
        import_archive(path, store)
    assert "nothing was imported" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert untouched(store)


class TestRoundTrip:
    def test_bytes_are_the_same_whenever_it_is_written(self, study, finished, packed, tmp_path):
        export(study, finished[0], tmp_path / "again.tar", overrides=CHANGES)
        assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()

    def test_any_tar_reads_it(self, packed):
        files = twin.members(packed)
        assert twin.is_sound(files)
        assert list(files) == [INDEX, *sorted(set(files) - {INDEX})]
        with tarfile.open(packed) as tar:
            members = tar.getmembers()
        assert [member.name for member in members] == list(files)
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in members} == {
            (0, 0, "", "", 0, 0o644)
        }

    def test_small_things_alone_go_along(self, packed):
        names = twin.members(packed)
        assert not any(name.endswith(".safetensors") for name in names)
        assert {name.split("/")[1] for name in names if name.startswith("artifacts/")} == {"score", "compare"}
        records = {name.split("/")[-1] for name in names if name.startswith("records/")}
        assert records == {"manifest.json", "curve.parquet"}

    def test_the_table_is_the_same_and_nothing_is_computed(self, study, finished, packed, store):
        found = import_archive(packed, store)
        assert (found.name, found.command) == ("chess", "chess " + " ".join(CHANGES))
        assert (found.new, found.records, found.there) == (6, 14, 0)
        again = run(study, store)
        assert not list(store.artifacts("fit"))
        assert again == finished[1]

    def test_out_of_what_was_imported_comes_the_same_archive(self, study, packed, store, tmp_path):
        import_archive(packed, store)
        export(study, store, tmp_path / "again.tar", overrides=CHANGES)
        assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()

    def test_again_it_changes_nothing(self, packed, store):
        first = import_archive(packed, store)
        before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}
        second = import_archive(packed, store)
        assert (second.new, second.records, second.there) == (0, 0, first.new + first.records)
        after = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}
        assert {path: time for path, time in after.items() if path.name != "owner.json"} == before
        assert store.verify() == []

    @pytest.mark.parametrize("along", WITH)
    def test_what_goes_along(self, along, study, finished, tmp_path, store):
        counts = export(study, finished[0], tmp_path / "x.tar", along=along)
        import_archive(tmp_path / "x.tar", store)
        held = {artifact.kind for artifact in store.artifacts()}
        assert (
            held
            == {
                "results": {"score", "compare", KIND, RECORD},
                "weights": {"score", "compare", "fit", "stop", KIND, RECORD},
                "features": {"score", "compare", "fit", "stop", KIND, RECORD},
                "all": {artifact.kind for artifact in finished[0].artifacts()} | {KIND},
            }[along]
        )
        assert counts.artifacts + counts.records == len(list(finished[0].artifacts()))
        assert store.verify() == []

    def test_more_can_be_added_later(self, study, finished, packed, store, tmp_path):
        import_archive(packed, store)
        export(study, finished[0], tmp_path / "all.tar", along="all")
        found = import_archive(tmp_path / "all.tar", store)
        assert (found.new, found.there) == (14, 6)

    def test_results_are_shown_without_the_study(self, finished, packed, store):
        import_archive(packed, store)
        (listed,) = studies(store)
        for name in ("chess", listed.id[:8]):
            shown = read_study(store, name)
            assert shown.results == Results.from_json(_results(packed, store))
        assert shown.as_data()["analysis"]["errors"]
        for name in ("", "chess-2"):
            with pytest.raises(ConfigError, match="was imported into"):
                read_study(store, name)

    def test_an_unfinished_study_is_not_exported(self, study, store, tmp_path):
        with pytest.raises(StoreError, match="run the study first"):
            export(study, store, tmp_path / "x.tar")
        with pytest.raises(ConfigError, match="--with dreams must be one of results, weights"):
            export(study, store, tmp_path / "x.tar", along="dreams")
        assert not (tmp_path / "x.tar").exists()

    def test_a_damaged_artifact_is_not_exported(self, study, finished, tmp_path):
        copy = Store(shutil.copytree(finished[0].root, tmp_path / "copy"))
        score = next(iter(copy.root.glob("score/*/score.json")))
        score.write_text("{}")
        with pytest.raises(StoreError, match="run the study first"):
            export(study, copy, tmp_path / "x.tar")

    def test_a_file_changed_after_it_was_read_is_noticed(self, tmp_path):
        (tmp_path / "a").write_bytes(b"longer")
        for content in (b"short", b"longEr", b"longer still"):
            with pytest.raises(StoreError, match="was changed meanwhile"):
                write_archive(tmp_path / "x.tar", {describe("study.json", content): tmp_path / "a"})
        assert {path.name for path in tmp_path.iterdir()} == {"a"}

    def test_beyond_8_gigabytes_sizes_are_binary(self):
        block = archive_module._header(Member("study.json", 20 << 30, ""))
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        assert (info.name, info.size) == ("study.json", 20 << 30)


def _results(packed: Path, store: Store) -> Path:
    path = store.root.parent / "results.json"
    path.write_bytes(twin.members(packed)["results.json"])
    return path


class TestDamage:
    @pytest.mark.parametrize("seed", range(60))
    def test_any_flipped_bit_is_noticed(self, seed, packed, store, tmp_path):
        content = bytearray(packed.read_bytes())
        place = random.Random(seed).randrange(8 * len(content))
        content[place // 8] ^= 1 << place % 8
        (tmp_path / "x.tar").write_bytes(content)
        refused(tmp_path / "x.tar", store, "is refused")

    @pytest.mark.parametrize("seed", range(30))
    def test_any_cut_is_noticed(self, seed, packed, store, tmp_path):
        content = packed.read_bytes()
        cut = random.Random(seed).choice([0, 1, 511, 512, 513, 1023, len(content) - 1, len(content) - 512])
        cut = cut if seed < 8 else random.Random(seed).randrange(len(content))
        (tmp_path / "x.tar").write_bytes(content[:cut])
        refused(tmp_path / "x.tar", store, "is refused")

    def test_whatever_is_appended_is_noticed(self, packed, store, tmp_path):
        for more in (b"\0", b"x", bytes(512), b"x" * 512):
            (tmp_path / "x.tar").write_bytes(packed.read_bytes() + more)
            refused(tmp_path / "x.tar", store, "something stands behind its end")

    def test_a_full_disk_leaves_nothing(self, packed, store, monkeypatch):
        def full(*_: Any) -> str:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(archive_module, "_copy", full)
        with pytest.raises(StoreError, match="disk full"):
            import_archive(packed, store)
        assert untouched(store)

    def test_a_kill_while_it_is_published_leaves_whole_artifacts(self, packed, store, monkeypatch):
        install, count = Store._install, []

        def dying(self: Store, sealed: Any) -> Any:
            count.append(sealed)
            if len(count) == 4:
                raise KeyboardInterrupt
            return install(self, sealed)

        monkeypatch.setattr(Store, "_install", dying)
        with pytest.raises(KeyboardInterrupt):
            import_archive(packed, store)
        monkeypatch.undo()
        assert store.verify() == []
        assert len(list(store.artifacts())) == 3
        assert studies(store) == []
        assert import_archive(packed, store).there == 3


def rewritten(packed: Path, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """An archive whose digests are right, and whose contents were changed by somebody who means ill."""
    files = twin.members(packed)
    del files[INDEX]
    change(files)
    return raw(path, files)


def raw(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of any names."""
    write_archive(path, {describe(name, content): content for name, content in files.items()})
    return path


def plain(path: Path, *members: tarfile.TarInfo, index: bytes = b"{}") -> Path:
    """A tar by somebody else."""
    first = tarfile.TarInfo(INDEX)
    first.size = len(index)
    content = first.tobuf(tarfile.USTAR_FORMAT) + index + bytes(-len(index) % 512)
    for member in members:
        content += member.tobuf(tarfile.GNU_FORMAT) + bytes(-(-member.size // 512) * 512)
    path.write_bytes(content + bytes(1024))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member


A = "a" * 64
OUTSIDE = {"../../x": {"size": 1, "sha256": A}}


class TestHostile:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("/etc/passwd.json", "is an absolute path"),
            ("C:/x.json", "is an absolute path"),
            ("../x.json", r"leads out of its folder \(\.\.\)"),
            (f"artifacts/score/{A}/../../../x.json", r"leads out of its folder"),
            (f"artifacts/../{A}/x.json", "leads out of its folder"),
            (f"artifacts/score/{A}/./x.json", "is no plain path"),
            (f"artifacts/score/{A}//x.json", "is no plain path"),
            (f"artifacts/score/{A}/a\\..\\x.json", "is no plain path"),
            (f"artifacts/score/{A}/x\n.json", "is no plain path"),
            ("STORE.json", "has no place in a store"),
            ("leases/x.json", "has no place in a store"),
            (f"artifacts/leases/{A}/x.json", "has no place in a store"),
            (f"artifacts/tmp/{A}/x.json", "has no place in a store"),
            (f"artifacts/Score/{A}/x.json", "has no place in a store"),
            ("artifacts/score/short/x.json", "has no place in a store"),
            (f"artifacts/score/{A}.json", "has no place in a store"),
            (f"other/score/{A}/x.json", "has no place in a store"),
            (f"artifacts/score/{A}/x.pkl", "is none of .json, .parquet, .safetensors"),
            (f"artifacts/score/{A}/x.py", "is none of .json"),
            (f"artifacts/score/{A}/x", "is none of .json"),
        ],
    )
    def test_names(self, name, reason, packed, store, tmp_path):
        path = rewritten(packed, tmp_path / "x.tar", lambda files: files.update({name: b"{}"}))
        refused(path, store, reason)
        assert not (tmp_path / "x.json").exists()
        assert refusal(name)

    @pytest.mark.parametrize(
        ("member", "reason"),
        [
            (info("a.json", tarfile.SYMTYPE, linkname="/etc/passwd"), "'a.json' is a symbolic link"),
            (info("a.json", tarfile.LNKTYPE, linkname="archive.json"), "'a.json' is a hard link"),
            (info("a.json", tarfile.CHRTYPE), "'a.json' is a device"),
            (info("a.json", tarfile.BLKTYPE), "'a.json' is a device"),
            (info("a.json", tarfile.FIFOTYPE), "'a.json' is a pipe"),
            (info("artifacts", tarfile.DIRTYPE), "'artifacts' is a folder"),
            (info("a.json", tarfile.GNUTYPE_SPARSE), "'a.json' is a sparse file"),
            (info("x" * 200), "is an extended header"),
            (info("/etc/passwd"), "'/etc/passwd' is an absolute path"),
            (info("../../x"), "leads out of its folder"),
            (info("results.json", size=4096), "has 4,096 bytes, and archive.json says 2"),
            (info("study.json", size=2), "'study.json' is there, where results.json should come"),
        ],
    )
    def test_members_that_are_no_plain_files(self, member, reason, store, tmp_path):
        index = {"format": "surpass-archive", "version": 1, "members": [["results.json", 2, "0" * 64]]}
        sealed = json.dumps(index | {"sha256": digest_of(index)}).encode()
        path = plain(tmp_path / "x.tar", member, index=sealed)
        refused(path, store, reason)

    @pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
    def test_packed_ones_cannot_burst(self, kind, packed, store, tmp_path):
        with tarfile.open(tmp_path / "x.tar", f"w:{kind}") as tar:
            tar.add(packed, "archive.json")
        refused(tmp_path / "x.tar", store, "it is packed")

    def test_sizes_beyond_the_file_are_not_believed(self, store, tmp_path):
        index = {"format": "surpass-archive", "version": 1, "members": [["results.json", 1 << 60, "0" * 64]]}
        sealed = json.dumps(index | {"sha256": digest_of(index)}).encode()
        path = plain(tmp_path / "x.tar", info("results.json"), index=sealed)
        refused(path, store, "results.json has 0 bytes, and archive.json says")
        with open(tmp_path / "y.tar", "wb") as file:
            file.write(archive_module._header(Member(INDEX, len(sealed), "")))
            file.write(sealed + bytes(-len(sealed) % 512))
            file.write(archive_module._header(Member("results.json", 1 << 60, "")) + b"x" * 2048)
        refused(tmp_path / "y.tar", store, "it was cut short")
        huge = archive_module._header(Member(INDEX, 1 << 40, "")) + b"{"
        (tmp_path / "z.tar").write_bytes(huge)
        refused(tmp_path / "z.tar", store, "is refused")

    @pytest.mark.parametrize("content", [b"", b"no tar", b"x" * 4096, pickle.dumps([1]), bytes(10240)])
    def test_what_is_no_archive(self, content, store, tmp_path):
        (tmp_path / "x.tar").write_bytes(content)
        refused(tmp_path / "x.tar", store, "is refused")

    @pytest.mark.parametrize(
        "index",
        [
            b"[]",
            b"{}",
            b"[" * 100_000,
            b'{"sha256": "", "members": [], "format": "surpass-archive", "version": 1}',
            b'{"sha256": 1, "members": [["a", -1, ""]], "format": "", "version": 1}',
            b'{"sha256": 1, "members": [["a", 1.5, ""]], "format": "", "version": NaN}',
        ],
    )
    def test_indexes_that_are_none(self, index, store, tmp_path):
        refused(plain(tmp_path / "x.tar", index=index), store, "damaged")

    def test_other_versions_and_orders(self, store, tmp_path):
        for changes, reason in (
            ({"version": 2}, "it has format 2, this Surpass reads 1"),
            ({"members": [["study.json", 0, ""], ["results.json", 0, ""]]}, "is not in order"),
            ({"members": [["study.json", 0, ""], ["study.json", 0, ""]]}, "is in there twice"),
        ):
            index = {"format": "surpass-archive", "version": 1, "members": []} | changes
            sealed = json.dumps(index | {"sha256": digest_of(index)}).encode()
            refused(plain(tmp_path / "x.tar", index=sealed), store, reason)

    def test_names_that_are_one_on_some_disks(self, packed, store, tmp_path):
        def change(files: dict[str, bytes]) -> None:
            files.update({f"artifacts/score/{A}/x.json": b"", f"artifacts/score/{A}/X.json": b""})

        refused(rewritten(packed, tmp_path / "x.tar", change), store, "is in there twice")


def first(files: dict[str, bytes], ends: str, begins: str = "artifacts/score") -> str:
    return next(name for name in sorted(files) if name.startswith(begins) and name.endswith(ends))


def resealed(content: bytes, **changes: Any) -> bytes:
    manifest = json.loads(content) | changes
    manifest.pop("sha256")
    return json.dumps(manifest | {"sha256": digest_of(manifest)}).encode()


class TestForged:
    """Archives whose own digests are right."""

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda f: f.update({first(f, "score.json"): b"{}"}), "is not in its manifest"),
            (lambda f: f.pop(first(f, "score.json")), "'score.json' of .* is missing"),
            (lambda f: f.pop(first(f, "manifest.json")), "has no manifest that can be used"),
            (
                lambda f: f.update({first(f, "score.json").replace("score.json", "more.json"): b"{}"}),
                r"more.json' is not in its manifest",
            ),
            (
                lambda f: f.update({(n := first(f, "manifest.json")): f[n].replace(b"score", b"scare")}),
                "does not match its digest",
            ),
            (
                lambda f: f.update({(n := first(f, "manifest.json")): resealed(f[n], id=A)}),
                "is that of another artifact",
            ),
            (
                lambda f: f.update(
                    {(n := first(f, "manifest.json")): resealed(f[n], stage={"stage": "score"})}
                ),
                "is that of another artifact",
            ),
            (
                lambda f: f.update({(n := first(f, "manifest.json")): resealed(f[n], label=["x"])}),
                "is that of another artifact",
            ),
            (
                lambda f: f.update({(n := first(f, "manifest.json")): resealed(f[n], files=[])}),
                "cannot be used",
            ),
            (
                lambda f: f.update({(n := first(f, "manifest.json")): resealed(f[n], format="x")}),
                "cannot be used",
            ),
            (
                lambda f: f.update(
                    {
                        (n := first(f, "manifest.json")): resealed(
                            f[n], files={"../../x": {"size": 1, "sha256": A}}
                        )
                    }
                ),
                "is (not in its manifest|missing)|leads out of its folder",
            ),
            (
                lambda f: f.update(
                    {
                        first(f, "manifest.json", "records/").replace(
                            "manifest.json", "model.safetensors"
                        ): b"w"
                    }
                ),
                "is not in its manifest",
            ),
            (lambda f: f.pop("results.json"), "results.json is missing"),
            (lambda f: f.update({"results.json": b"{}"}), "its results cannot be read"),
            (lambda f: f.update({"results.json": b"[" * 100_000}), "its results cannot be read"),
            (lambda f: f.update({"results.json": pickle.dumps({})}), "its results cannot be read"),
            (lambda f: f.update({"report.json": b"{"}), "its results cannot be read"),
            (lambda f: f.update({"report.json": b"[" * 100_000}), "its results cannot be read"),
            (lambda f: f.update({"study.json": b"[]"}), "its results cannot be read"),
            (
                lambda f: f.update({"study.json": b'{"name": 1, "command": "", "id": ""}'}),
                "does not describe",
            ),
            (
                lambda f: f.update({"study.json": b'{"name": "", "command": "", "id": "", "x": NaN}'}),
                "its results cannot be read",
            ),
        ],
    )
    def test_is_refused(self, change, reason, packed, store, tmp_path):
        refused(rewritten(packed, tmp_path / "x.tar", change), store, reason)

    @pytest.mark.parametrize("kind", [KIND, RECORD])
    def test_what_an_import_makes_itself_is_not_taken(self, kind, packed, store, tmp_path):
        def change(files: dict[str, bytes]) -> None:
            content = resealed(files[first(files, "manifest.json")], kind=kind)
            files[f"artifacts/{kind}/{json.loads(content)['id']}/manifest.json"] = content

        refused(rewritten(packed, tmp_path / "x.tar", change), store, "has no manifest that can be used")

    def test_a_label_cannot_name_a_place(self, packed, store, tmp_path):
        def change(files: dict[str, bytes]) -> None:
            name = first(files, "manifest.json")
            files[name] = resealed(files[name], label="../../../../escaped")

        import_archive(rewritten(packed, tmp_path / "x.tar", change), store)
        assert len(list(store.root.glob("score/escaped-*"))) == 1
        assert not list(tmp_path.rglob("escaped"))

    def test_a_page_of_others_is_not_kept(self, packed, store, tmp_path):
        def change(files: dict[str, bytes]) -> None:
            assert files["report.html"].lower().startswith(b"<!doctype html")
            files["report.html"] = b"<script>alert(1)</script>"

        import_archive(rewritten(packed, tmp_path / "x.tar", change), store)
        assert not list(store.root.rglob("report.html"))
        (study,) = store.artifacts(KIND)
        assert sorted(study.manifest["files"]) == [
            "analysis.json",
            "report.json",
            "results.json",
            "study.json",
        ]

    def test_an_archive_without_a_report_is_taken(self, packed, store, tmp_path):
        def change(files: dict[str, bytes]) -> None:
            del files["report.html"], files["report.json"]

        import_archive(rewritten(packed, tmp_path / "x.tar", change), store)
        assert read_study(store, "chess").report is None

    def test_an_artifact_that_is_there_is_left_as_it_is(self, packed, store, tmp_path):
        import_archive(packed, store)

        def change(files: dict[str, bytes]) -> None:
            name = first(files, "manifest.json")
            files[name] = resealed(files[name], seconds=1e6)

        before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
        found = import_archive(rewritten(packed, tmp_path / "x.tar", change), store)
        assert found.new == 0
        after = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
        assert after == before

    def test_a_link_in_place_of_the_target_is_not_followed(self, packed, tmp_path):
        """`extract` makes every file itself, in a folder that was empty."""
        known_digests.clear()
        into = tmp_path / "into"
        into.mkdir()
        (into / "analysis.json").symlink_to(tmp_path / "victim")
        with pytest.raises(StoreError, match="File exists"):
            extract(packed, into)
        assert not (tmp_path / "victim").exists()
