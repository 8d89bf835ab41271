"""No pickle is written or read, nor anything that runs what a file says: in the source, and when fed one."""

from __future__ import annotations

import ast
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reference.imports import MODULES
from surpass.data.files import plain_files
from surpass.data.formats import rows_of
from surpass.errors import DataError, StoreError, SurpassError
from surpass.identity import digest_of
from surpass.models.packaged.from_pth import convert
from surpass.models.sources import resolve
from surpass.store import Store
from surpass.tasks import find_task
from surpass.train.checkpoint import load_checkpoint, read_state
from surpass.upkeep.importing import import_archive

ID = digest_of("one")

BANNED = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
PIPES = {
    "engine.pool": "between a driver and workers it started, through a pipe that nobody else has",
    "engine.worker": "the other end of that pipe",
    "train.mesh_launch": "between a process and ranks it started, through a socket of this user alone",
    "train.mesh_rank": "the other end of that socket",
}
"""Modules that may use the connections of `multiprocessing`, and why: nothing of that is on a disk."""

RUNS_CODE = {"eval", "exec", "compile", "__import__"}


def calls(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted names of what is called, with the keyword arguments that are plain values."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            keywords = {
                word.arg: word.value.value
                if isinstance(word.value, ast.Constant)
                else ast.unparse(word.value)
                for word in node.keywords
                if word.arg
            }
            yield ast.unparse(node.func), keywords


def imports(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return found


def complaints(text: str) -> list[str]:
    """What a module does that could run what a file says."""
    found = [name for name in imports(text) if name.partition(".")[0] in BANNED]
    for name, keywords in calls(text):
        last = name.rpartition(".")[2]
        if (
            name in RUNS_CODE
            or last in ("read_pickle", "to_pickle", "set_extra_state")
            or name == "torch.save"
        ):
            found.append(name)
        if name in ("torch.load", "load_state_dict_from_url") and keywords.get("weights_only") is not True:
            found.append(f"{name} without weights_only=True")
        if (
            name in ("np.load", "numpy.load", "np.save", "np.savez")
            and keywords.get("allow_pickle") is not False
        ):
            found.append(f"{name} without allow_pickle=False")
        if name == "yaml.load" or keywords.get("trust_remote_code") is True or name.startswith("torch.hub."):
            found.append(name)
        refuses = keywords.get("trust_remote_code") is False or '"trust_remote_code": False' in text
        if name.endswith(".from_pretrained") and not refuses:
            found.append(f"{name} without trust_remote_code=False")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "surpass")
def test_the_source(module: str) -> None:
    text = MODULES[module].read_text()
    assert complaints(text) == []
    if any(name.startswith("multiprocessing.connection") for name in imports(text)):
        assert module in PIPES


def test_no_exception_is_out_of_date() -> None:
    for module in PIPES.keys() & MODULES.keys():
        assert "multiprocessing.connection" in imports(MODULES[module].read_text()), module
    assert "engine.pool" in MODULES


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import dump",
        "def f():\n    import cloudpickle.x",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.save(state, path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
        "frame.to_pickle(path)",
        "eval(text)",
        "yaml.load(text)",
        "torch.hub.load('x', 'y')",
        "library.AutoModel.from_pretrained(path)",
        "library.AutoModel.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_what_is_found_in_a_source(text: str) -> None:
    assert complaints(text)


@pytest.mark.parametrize(
    "text", ["torch.load(path, weights_only=True)", "json.load(file)", "model.eval()", "re.compile(x)"]
)
def test_what_is_not(text: str) -> None:
    assert complaints(text) == []


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[bytes]:
    """A pickle that writes a file when it is read; the test fails if that has happened."""
    mark = tmp_path / "executed"
    content = pickle.dumps(Hostile(str(mark)))
    pickle.loads(content)
    assert mark.exists()
    mark.unlink()
    yield content
    assert not mark.exists()


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (Path(self.path),)


def saved(hostile: bytes) -> bytes:
    """The same in the form that torch writes."""
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(1)}, file)
    content = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            new.writestr(name, hostile if name.endswith("data.pkl") else old.read(name))
    return content.getvalue()


class TestFed:
    @pytest.mark.parametrize("form", [bytes, saved])
    def test_weights_of_a_network(
        self, hostile: bytes, tmp_path: Path, form: Callable[[bytes], bytes]
    ) -> None:
        (tmp_path / "model.pth").write_bytes(form(hostile))
        with pytest.raises(DataError, match="cannot be read as pickled weights alone"):
            convert(tmp_path / "model.pth", tmp_path)
        for name in (f"dir:{tmp_path / 'model.pth'}", f"dir:{tmp_path / 'model.pth'}(weights=bin)"):
            with pytest.raises(SurpassError):
                resolve(name)

    @pytest.mark.parametrize("form", [bytes, saved])
    def test_weights_of_a_language_model(
        self, hostile: bytes, tmp_path: Path, form: Callable[[bytes], bytes]
    ) -> None:
        transformers = pytest.importorskip("transformers")
        from surpass.models.language import read_weights

        transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=16, n_positions=8).save_pretrained(
            tmp_path
        )
        (tmp_path / "pytorch_model.bin").write_bytes(form(hostile))
        for pickled in (False, True):
            with pytest.raises(SurpassError):
                read_weights("AutoModel", tmp_path, pickled=pickled)
        with pytest.raises(SurpassError):
            resolve(f"dir:{tmp_path}")

    @pytest.mark.parametrize("form", [bytes, saved])
    def test_checkpoints(self, hostile: bytes, tmp_path: Path, form: Callable[[bytes], bytes]) -> None:
        path = tmp_path / "checkpoint.safetensors"
        path.write_bytes(form(hostile))
        model = torch.nn.Linear(1, 1)
        with pytest.raises(DataError, match="delete it to begin anew"):
            read_state(path)
        with pytest.raises(DataError, match="delete it to begin anew"):
            load_checkpoint(path, model, torch.optim.AdamW(model.parameters()))

    @pytest.mark.parametrize(
        "name", ["x.json", "x.jsonl", "x.csv", "x.tsv", "x.parquet", "x.arrow", "x.pkl", "x.npy"]
    )
    def test_data_files(self, hostile: bytes, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(hostile)
        for part in plain_files(tmp_path):
            if part.name.endswith(name):
                with pytest.raises(SurpassError):
                    list(rows_of(part))

    @pytest.mark.parametrize("form", ["extension", "pandas", "schema"])
    def test_parquet_metadata(self, hostile: bytes, tmp_path: Path, form: str) -> None:
        """Old releases of Arrow unpickled what the metadata of an extension type holds (CVE-2023-47248)."""
        metadata = {
            "extension": {
                "ARROW:extension:name": "arrow.py_extension_type",
                "ARROW:extension:metadata": hostile,
            },
            "pandas": {},
            "schema": {},
        }[form]
        field = pa.field("text", pa.string(), metadata=metadata or None)
        table = pa.table({"text": ["a"]}, schema=pa.schema([field]))
        if form != "extension":
            key = "pandas" if form == "pandas" else "pickle"
            table = table.replace_schema_metadata({key: hostile})
        (tmp_path / "data").mkdir()
        pq.write_table(table, tmp_path / "data" / "x.parquet")
        (part,) = plain_files(tmp_path / "data")
        assert [row["text"] for row in rows_of(part)] == ["a"]

    def test_arrays_of_objects_as_pictures(self, hostile: bytes, tmp_path: Path) -> None:
        folder = tmp_path / "pictures" / "train" / "cat"
        folder.mkdir(parents=True)
        np.save(folder / "a.npy", np.array([Hostile(str(tmp_path / "executed"))], object), allow_pickle=True)
        (folder / "b.png").write_bytes(hostile)
        task = find_task(f"images:{tmp_path / 'pictures'}")
        with pytest.raises(SurpassError):
            task.examples(part="weak", size=1, seed=0, mix="all")

    def test_cifar_of_the_python_version(self, hostile: bytes, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
            for name in ("data_batch_1", "test_batch", "batches.meta"):
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(hostile)
                tar.addfile(member, io.BytesIO(hostile))
        task = find_task(f"images:{tmp_path / 'cifar-10-python.tar.gz'}")
        with pytest.raises(DataError, match="which is pickled"):
            task.examples(part="weak", size=1, seed=0, mix="all")

    def test_artifacts_and_archives(self, hostile: bytes, tmp_path: Path) -> None:
        store = Store(tmp_path / "store")
        with store.draft("fit", ID, "x") as draft:
            (draft.path / "model.safetensors").write_bytes(b"x")
            draft.publish({})
        (artifact,) = store.artifacts()
        (artifact.path / "manifest.json").write_bytes(hostile)
        assert store.find("fit", ID) is None
        (tmp_path / "x.tar").write_bytes(hostile)
        with pytest.raises(DataError, match="is refused"):
            import_archive(tmp_path / "x.tar", store)
        (store.root / "STORE.json").write_bytes(hostile)
        with pytest.raises(StoreError, match="is damaged"):
            Store(store.root)


class TestLinks:
    """Nothing of a store may lie outside of it."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        store = Store(tmp_path / "store")
        with store.draft("fit", ID, "x") as draft:
            (draft.path / "model.safetensors").write_bytes(b"weights")
            (draft.path / "curves").mkdir()
            (draft.path / "curves" / "loss.json").write_text("[1]")
            draft.publish({})
        return store

    def moved(self, path: Path, to: Path) -> None:
        """The same content, behind a link."""
        path.rename(to)
        path.symlink_to(to)

    @pytest.mark.parametrize(
        "name", ["model.safetensors", "manifest.json", "curves", "curves/loss.json", "."]
    )
    def test_of_an_artifact_are_damage(self, store: Store, tmp_path: Path, name: str) -> None:
        (artifact,) = store.artifacts()
        place = artifact.path if name == "." else artifact.path / name
        self.moved(place, tmp_path / "outside")
        (problem, *_) = store.verify()
        assert "link" in problem.reason or "no plain file" in problem.reason
        assert not store.contains("fit", ID)
        assert store.find("fit", ID) is None
        assert (tmp_path / "outside").exists()
        assert not any(path.name.startswith("x-") for path in (store.root / "fit").iterdir())

    @pytest.mark.parametrize("name", ["fit", "work", "tmp", "leases", "damaged", "STORE.json"])
    def test_of_a_store_are_refused_by_name(self, store: Store, tmp_path: Path, name: str) -> None:
        (store.root / name).mkdir(exist_ok=True) if "." not in name else None
        self.moved(store.root / name, tmp_path / "outside")
        with pytest.raises(StoreError, match=f"store/{name} is a symbolic link"):
            Store(store.root)

    def test_to_a_whole_store_are_fine(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "shortcut").symlink_to(store.root)
        assert Store(tmp_path / "shortcut").find("fit", ID) is not None

    def test_of_a_draft_are_refused(self, store: Store) -> None:
        for target in ("/etc/passwd", "/etc"):
            with store.draft("fit", digest_of(2), "x") as draft:
                (draft.path / "link").symlink_to(target)
                with pytest.raises(StoreError, match="made of plain files"):
                    draft.publish({})

    def test_scratch_that_is_one_is_removed_and_not_followed(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "precious").mkdir()
        (tmp_path / "precious" / "thesis").write_text("x")
        (store.root / "work").mkdir(exist_ok=True)
        (store.root / "work" / ID).symlink_to(tmp_path / "precious")
        store.drop_work(ID)
        assert not (store.root / "work" / ID).exists()
        assert (tmp_path / "precious" / "thesis").exists()


class TestManifests:
    @pytest.mark.parametrize(
        "name", ["../../../etc/passwd", "/etc/passwd", "a/../../x", "a\0b", "C:x", "a\\b", ""]
    )
    def test_names_that_lead_out_are_refused(self, tmp_path: Path, name: str) -> None:
        store = Store(tmp_path / "store")
        with store.draft("fit", ID, "x") as draft:
            draft.publish({})
        (artifact,) = store.artifacts()
        path = artifact.path / "manifest.json"
        manifest = json.loads(path.read_bytes())
        del manifest["sha256"]
        manifest["files"] = {name: {"sha256": digest_of(1), "size": 1}}
        path.write_text(json.dumps(manifest | {"sha256": digest_of(manifest)}))
        (problem,) = store.verify()
        assert "manifest.json names" in problem.reason
        assert store.find("fit", ID) is None
