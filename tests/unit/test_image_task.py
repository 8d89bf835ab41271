from __future__ import annotations

import io
from collections import Counter
from hashlib import sha256
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reference import image_sets
from surpass.data import images_catalog
from surpass.data.catalog import DATA_SETS
from surpass.errors import ConfigError, DataError
from surpass.identity import identity_fields
from surpass.stages import Examples
from surpass.tasks import find_task
from surpass.tasks.image_parts import parse_shares
from surpass.tasks.images import ImageTask

PARTS = ("weak", "student", "validation", "test")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return image_sets.written(image_sets.class_folders(60), tmp_path / "set")


def everything(task: ImageTask) -> dict[str, dict[str, int]]:
    """Of each part the class of each id."""
    found = {}
    for part in PARTS:
        truth = task.examples(part=part, size=None, seed=0).truth
        found[part] = dict(zip(truth["id"].to_pylist(), truth["truth"].to_pylist(), strict=True))
    return found


class TestExamples:
    def test_what_models_see(self, folder):
        task = ImageTask(path=str(folder))
        inputs, truth, notes = task.examples(part="weak", size=20, seed=0)
        assert inputs.schema == pa.schema(
            {"id": pa.string(), "image": pa.large_binary(), "candidates": pa.list_(pa.uint16())}
        )
        assert truth.schema == pa.schema({"id": pa.string(), "truth": pa.int16()})
        assert notes == {}
        files = {path.read_bytes(): path.parent.name for path in folder.rglob("*.png")}
        for row, label in zip(inputs.to_pylist(), truth["truth"].to_pylist(), strict=True):
            assert row["id"] == sha256(row["image"]).hexdigest()[:32]
            assert files[row["image"]] == ("cat", "dog")[label]
            assert row["candidates"] == [0, 1]

    def test_no_name_and_no_path_is_in_the_inputs(self, tmp_path):
        files = {
            f"{name}/{name}{one}.png": image_sets.png(one + 100 * place)
            for place, name in enumerate(("xylophone", "zeppelin"))
            for one in range(50)
        }
        task = ImageTask(path=str(image_sets.written(files, tmp_path / "set")))
        for part in PARTS:
            written = str(
                task.examples(part=part, size=None, seed=0).inputs.drop_columns("image").to_pylist()
            )
            assert not any(word in written for word in ("xylo", "zepp", "png", str(tmp_path)))

    def test_only_what_is_asked_for_is_read(self, folder, monkeypatch):
        from surpass.data import images

        task = ImageTask(path=str(folder))
        asked = []
        real = images.contents
        monkeypatch.setattr(images, "contents", lambda stored: asked.append(len(stored)) or real(stored))
        task.digests()
        task.examples(part="student", size=7, seed=0)
        assert asked == [7]

    def test_parts(self, folder):
        found = everything(ImageTask(path=str(folder)))
        assert len(set().union(*found.values())) == sum(map(len, found.values())) == 120
        assert len(found["weak"]) > len(found["test"]) > len(found["validation"]) > 0

    def test_draws(self, folder):
        task = ImageTask(path=str(folder))
        long, short, other = (
            task.examples(part="weak", size=size, seed=seed).inputs["id"].to_pylist()
            for size, seed in ((30, 0), (11, 0), (30, 1))
        )
        assert long[:11] == short
        assert other != long
        with pytest.raises(ConfigError, match="ask for fewer"):
            task.examples(part="weak", size=1000, seed=0)
        with pytest.raises(ConfigError, match="no part 'dev' in task images"):
            task.examples(part="dev", size=1, seed=0)

    def test_many_rows_come_in_their_order(self, folder, monkeypatch):
        from surpass.data import images

        monkeypatch.setattr(images, "_ROWS_AT_ONCE", 7)
        inputs = ImageTask(path=str(folder)).examples(part="weak", size=None, seed=0).inputs
        for row in inputs.select(["id", "image"]).to_pylist():
            assert row["id"] == sha256(row["image"]).hexdigest()[:32]

    def test_raw_pixels_are_png_and_their_id_is_of_the_pixels(self, tmp_path):
        place = image_sets.archived(image_sets.cifar10(100), tmp_path / "cifar-10-binary.tar.gz")
        task = ImageTask("cifar10", source=str(place))
        inputs = task.examples(part="test", size=None, seed=0).inputs
        expected = {sha256(image_sets.record((0,), 5000 + one)[0][1:]).hexdigest()[:32] for one in range(100)}
        assert set(inputs["id"].to_pylist()) == expected
        with Image.open(io.BytesIO(inputs["image"][0].as_py())) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))

    def test_the_stage_writes_it(self, folder, tmp_path):
        task = ImageTask(path=str(folder))
        stage = Examples(task=task, part="weak", size=5, seed=0, skip=3)
        assert set(stage.outside()) == {"task", "images"}
        assert stage.run(SimpleNamespace(out=tmp_path)) == {"num_examples": 5}
        drawn = task.examples(part="weak", size=8, seed=0).inputs
        assert pq.read_table(tmp_path / "inputs.parquet").equals(drawn.slice(3))


class TestSplits:
    def test_a_published_test_is_the_test(self, tmp_path):
        files = image_sets.class_folders(splits={"train": 60, "test": 10})
        task = ImageTask(path=str(image_sets.written(files, tmp_path / "set")))
        found = everything(task)
        tested = {
            sha256(content).hexdigest()[:32] for name, content in files.items() if name.startswith("test")
        }
        assert set(found["test"]) == tested
        assert 5 <= len(found["validation"]) <= 22
        assert sum(map(len, found.values())) == 140

    def test_a_published_set_for_choosing(self, tmp_path):
        files = image_sets.class_folders(splits={"train": 40, "val": 10, "test": 10})
        place = image_sets.written(files, tmp_path / "set")
        found = everything(ImageTask(path=str(place)))
        chosen = {
            sha256(content).hexdigest()[:32] for name, content in files.items() if name.startswith("val")
        }
        assert set(found["validation"]) == chosen
        assert len(found["weak"]) + len(found["student"]) == 80
        with pytest.raises(ConfigError, match="the part 'validation' of images is published"):
            everything(ImageTask(path=str(place), shares="weak=0.5, student=0.4, validation=0.1"))

    def test_it_is_the_test_where_there_is_no_other(self, tmp_path):
        files = image_sets.class_folders(splits={"train": 60, "val": 10})
        found = everything(ImageTask(path=str(image_sets.written(files, tmp_path / "set"))))
        assert len(found["test"]) == 20
        assert found["validation"]

    def test_another_seed_is_another_cut(self, folder):
        assert everything(ImageTask(path=str(folder))) != everything(
            ImageTask(path=str(folder), split_seed=1)
        )

    def test_shares(self, folder):
        task = ImageTask(path=str(folder), shares="student=0.8, test=0.2")
        found = everything(task)
        assert [bool(found[part]) for part in PARTS] == [False, True, False, True]
        assert 80 <= len(found["student"]) <= 110
        with pytest.raises(ConfigError, match="images has no published test; give the part 'test' a share"):
            everything(ImageTask(path=str(folder), shares="weak=0.5,student=0.5"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("weak=0.5", "sum to 0.5; they must sum to 1"),
            ("weak=1, elephant=0", "'elephant=0' is no share"),
            ("weak=much", "'weak=much' is no share; write"),
            ("weak=2, student=-1", "'weak=2' is no share"),
            ("weak", "'weak' is no share"),
        ],
    )
    def test_shares_that_are_none(self, text, message):
        with pytest.raises(ConfigError, match=message):
            parse_shares(text)
        with pytest.raises(ConfigError, match=message):
            ImageTask("cifar10", shares=text)

    def test_equal_images_are_one(self, tmp_path):
        files = image_sets.class_folders(splits={"train": 60, "test": 10})
        cat = files["train/cat/000.png"]
        files |= {
            "train/cat/again.png": cat,
            "test/cat/leak.png": files["train/cat/001.png"],
            "train/dog/both.png": files["train/cat/002.png"],
        }
        task = ImageTask(path=str(image_sets.written(files, tmp_path / "set")))
        found = everything(task)
        assert len(set().union(*found.values())) == sum(map(len, found.values())) == 139
        assert dict(task.examples(part="weak", size=1, seed=0).notes) == {
            "examples that say the same as another": 1,
            "examples that are there with different labels": 2,
            "examples to learn from that are in the test too": 1,
        }
        assert sha256(files["test/cat/leak.png"]).hexdigest()[:32] in found["test"]

    def test_balance(self, tmp_path):
        files = image_sets.class_folders(40)
        files |= {f"dog/more{one}.png": image_sets.png(50_000 + one) for one in range(80)}
        place = image_sets.written(files, tmp_path / "set")
        found = everything(ImageTask(path=str(place), balance="yes"))
        for part in PARTS:
            counts = Counter(found[part].values())
            assert counts[0] == counts[1] > 0
        truth = ImageTask(path=str(place), balance="yes").examples(part="test", size=None, seed=0).truth
        labels = truth["truth"].to_pylist()
        assert all(sum(labels[start : start + 2]) == 1 for start in range(0, len(labels), 2))
        assert len(everything(ImageTask(path=str(place)))["test"]) > len(found["test"])

    def test_too_few(self, tmp_path):
        with pytest.raises(DataError, match=r"images has no image .*use more images, another split_seed"):
            everything(ImageTask(path=str(image_sets.written(image_sets.class_folders(2), tmp_path / "set"))))


class TestIdentity:
    def test_digest_goes_by_what_images_are(self, tmp_path, folder):
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
        archive = image_sets.archived(
            {f"v1/{name}": content for name, content in files.items()}, tmp_path / "a.zip"
        )
        renamed = {
            f"{name[:3]}/other{place}.png": content for place, (name, content) in enumerate(files.items())
        }
        other = image_sets.written(renamed, tmp_path / "other")
        (digest,) = {ImageTask(path=str(place)).digests()["images"] for place in (folder, archive, other)}
        assert len(digest) == 64
        (folder / "cat" / "000.png").rename(folder / "dog" / "moved.png")
        assert ImageTask(path=str(folder)).digests()["images"] != digest

    def test_places_are_no_identity(self):
        one, other = (
            identity_fields(ImageTask(path=path, damaged=damaged))
            for path, damaged in (("a", "stop"), ("b", "drop"))
        )
        assert one == other == {"name": "images", "split_seed": 0}


class TestDamage:
    def test_stops_or_drops(self, folder):
        (folder / "cat" / "bad.png").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"cat/bad.png is no image that can be read"):
            ImageTask(path=str(folder)).digests()
        task = ImageTask(path=str(folder), damaged="drop")
        assert task.examples(part="weak", size=1, seed=0).notes == {"files that are no images": 1}

    @pytest.mark.parametrize("setting", [{"damaged": "ignore"}, {"balance": "maybe"}])
    def test_settings_that_are_none(self, setting):
        with pytest.raises(ConfigError, match="must be"):
            ImageTask("cifar10", **setting)

    def test_one_class(self, tmp_path):
        files = {f"cat/{one}.png": image_sets.png(one) for one in range(3)}
        with pytest.raises(DataError, match="has 1 class, 'cat'; a task needs from 2"):
            ImageTask(path=str(image_sets.written(files, tmp_path / "set"))).class_names  # noqa: B018


class TestAttribute:
    @pytest.mark.parametrize(("values", "kind"), [((0, 1), pa.int16()), (("land", "water"), pa.string())])
    def test_is_an_input(self, tmp_path, values, kind):
        files = {f"{one}.png": image_sets.png(one) for one in range(100)}
        lines = [f"{one}.png,{one % 2},{values[one % 10 == 0]}\n" for one in range(100)]
        files["metadata.csv"] = ("file,label,attribute\n" + "".join(lines)).encode()
        task = ImageTask(path=str(image_sets.written(files, tmp_path / "set")))
        inputs = task.examples(part="weak", size=None, seed=0).inputs
        assert inputs.schema.field("attribute").type == kind
        number_of = {content: int(name[:-4]) for name, content in files.items() if name.endswith(".png")}
        for row in inputs.to_pylist():
            assert row["attribute"] == values[number_of[row["image"]] % 10 == 0]

    def test_groups_stay_together(self, tmp_path):
        files = {f"{one}.png": image_sets.png(one) for one in range(100)}
        lines = [f"{one}.png,{one % 2},patient{one // 5}\n" for one in range(100)]
        files["metadata.csv"] = ("file,label,group\n" + "".join(lines)).encode()
        found = everything(ImageTask(path=str(image_sets.written(files, tmp_path / "set"))))
        number_of = {
            sha256(content).hexdigest()[:32]: int(name[:-4])
            for name, content in files.items()
            if name.endswith(".png")
        }
        groups = [{number_of[one] // 5 for one in found[part]} for part in PARTS]
        assert len(set.union(*groups)) == sum(map(len, groups)) == 20


class TestCatalog:
    def test_names(self, tmp_path):
        assert find_task("cifar10(source=~/x)") == ImageTask(
            "cifar10", source=str(image_sets.Path("~/x").expanduser())
        )
        assert find_task("images:a b (1)(damaged=drop)") == ImageTask(path="a b (1)", damaged="drop")
        (tmp_path / "a b (1)").mkdir()
        assert find_task(f"images:{tmp_path}/a b (1)") == ImageTask(path=f"{tmp_path}/a b (1)")
        with pytest.raises(ConfigError, match=r"is no setting; write key=value"):
            find_task("images:a b (1)")
        assert find_task("images:pics(label=y, metadata='m, n.csv')") == ImageTask(
            path="pics", label="y", metadata="m, n.csv"
        )
        assert find_task("images:hub:org/name") == ImageTask(path="hub:org/name")
        assert find_task("images(path=x.zip, damaged=drop)") == ImageTask(path="x.zip", damaged="drop")
        with pytest.raises(ConfigError, match="no setting 'path'"):
            find_task("images:pics(path=other)")
        with pytest.raises(
            ConfigError, match="no data set of images is called 'images'; there are: cifar10, cif"
        ):
            find_task("images")
        with pytest.raises(ConfigError, match="label='coarse': cifar10 has one kind alone; leave it out"):
            find_task("cifar10(label=coarse)")

    def test_known_before_the_data_are_there(self):
        for name, number in (
            ("cifar10", 10),
            ("cifar100", 100),
            ("imagenet", 1000),
            ("cifar100(label=coarse)", 20),
        ):
            task = find_task(name)
            assert task.num_classes == number
            assert task.families == {"vision"}
            assert task.stops_early is False
            assert task.parts == PARTS
            assert task.difficulty is None

    def test_a_folder_of_another_set(self, folder):
        with pytest.raises(
            DataError, match="has 2 classes, cifar10 has 10: name the place of cifar10, or read"
        ):
            ImageTask("cifar10", source=str(folder)).class_names  # noqa: B018

    def test_folder_variable(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SURPASS_DATA", str(tmp_path))
        image_sets.written(image_sets.cifar10(40), tmp_path / "cifar10")
        assert find_task("cifar10").class_names[3] == "cat"

    def test_nowhere(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        monkeypatch.delenv("SURPASS_DATA", raising=False)
        with pytest.raises(
            ConfigError, match=r"no data for cifar10 from hub:uoft-cs/cifar10: .*\(source=FOLDER\)"
        ):
            find_task("cifar10").digests()

    @pytest.mark.parametrize("label", ["", "fine", "coarse"])
    def test_cifar100_as_on_the_hub(self, tmp_path, label):
        for split, number, seed in (("train", 1500, 0), ("test", 100, 5000)):
            rows = [
                {
                    "img": {"bytes": image_sets.png(seed + one), "path": None},
                    "fine_label": one % 100,
                    "coarse_label": one % 20,
                }
                for one in range(number)
            ]
            path = tmp_path / "cifar100" / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), path)
        task = ImageTask("cifar100", source=str(tmp_path), label=label)
        truth = task.examples(part="test", size=None, seed=0).truth["truth"].to_pylist()
        assert sorted(set(truth)) == list(range(20 if label == "coarse" else 100))

    def test_imagenet_keeps_so_many_for_the_test(self, tmp_path, monkeypatch):
        place, labels = image_sets.imagenet(tmp_path / "set", each=20)
        small = images_catalog.IMAGENET.__class__(
            **{**vars(images_catalog.IMAGENET), "num_classes": {"": 3}, "num_test": 12}
        )
        monkeypatch.setitem(DATA_SETS, "imagenet", small)
        task = ImageTask("imagenet", source=str(place), shares="student=1")
        found = everything(task)
        assert {part: len(found[part]) for part in PARTS} == {
            "weak": 0,
            "student": 48,
            "validation": 0,
            "test": 12,
        }
        label_of = {
            sha256(image_sets.jpeg(place + 1)).hexdigest()[:32]: label for place, label in enumerate(labels)
        }
        assert all(label_of[one] == label for part in PARTS for one, label in found[part].items())
        usual = everything(ImageTask("imagenet", source=str(place)))
        assert usual["test"] == found["test"]
        assert usual["weak"]
        assert everything(ImageTask("imagenet", source=str(place), split_seed=1))["test"] != found["test"]
