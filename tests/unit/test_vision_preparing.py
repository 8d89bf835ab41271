"""How a picture becomes numbers, against the image processors of transformers."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from reference.pictures import BIT, as_processed, file_of, picture, some_files
from surpass.errors import ConfigError, DataError
from surpass.models.image_examples import in_colour, prepared
from surpass.models.image_preparing import Preparation, read_preparation, with_pixels
from surpass.models.vision import normalised

NORM = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
PROCESSORS = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 30, "width": 20}, "resample": 2},
    "vit-legacy": {"feature_extractor_type": "ViTFeatureExtractor", "size": 32, "resample": 2},
    "bit": BIT,
    "bit-odd": BIT | {"size": {"shortest_edge": 37}, "crop_size": {"height": 30, "width": 31}, "resample": 2},
    "bit-legacy": BIT | {"size": 40, "crop_size": 32},
    "bit-larger-than-it-is": BIT | {"size": {"shortest_edge": 25}},
    "bit-uncut": BIT | {"do_resize": False, "crop_size": {"height": 50, "width": 60}},
    "bit-unscaled": BIT | {"do_rescale": False, "do_normalize": False},
    "mobilenet": {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
    },
    "deit": {
        "image_processor_type": "DeiTImageProcessor",
        "size": {"height": 40, "width": 40},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
    },
    "convnext": {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 33},
        "crop_pct": 0.8,
    },
    "convnext-uncut": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "levit": {
        "image_processor_type": "LevitImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
    },
    "efficientnet": {
        "image_processor_type": "EfficientNetImageProcessor",
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "rescale_offset": True,
        "rescale_factor": 1 / 127.5,
        "include_top": True,
    },
}


def write(folder, said):
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def numbers(file: bytes, preparation: Preparation) -> torch.Tensor:
    pixels = torch.from_numpy(prepared(in_colour(file), preparation).copy()).permute(2, 0, 1)[None].double()
    shift, divide = preparation.mean, preparation.std
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (shift, divide))
    return (pixels * preparation.scale - mean) / std


@pytest.mark.parametrize("kind", PROCESSORS)
def test_equals_the_processor_of_transformers(tmp_path, kind):
    said = NORM | PROCESSORS[kind]
    preparation = read_preparation(write(tmp_path, said))
    said |= {"image_processor_type": said.get("image_processor_type", "ViTImageProcessor")}
    write(tmp_path, said)
    for file in some_files(6):
        wanted, found = as_processed(tmp_path, file).float(), numbers(file, preparation)
        assert found.shape[2:] == preparation.sides
        torch.testing.assert_close(found.float(), wanted, atol=2e-5, rtol=1e-5)


def test_a_filter_that_is_not_named_is_that_of_the_processor(tmp_path):
    for kind in ("mobilenet", "deit", "convnext"):
        said = NORM | PROCESSORS[kind]
        assert "resample" not in said
        file = some_files(1)[0]
        folder = write(tmp_path, said)
        torch.testing.assert_close(
            numbers(file, read_preparation(folder)).float(), as_processed(folder, file), atol=2e-5, rtol=1e-5
        )


class TestPixels:
    def test_a_square(self, tmp_path):
        found = read_preparation(write(tmp_path, NORM | PROCESSORS["vit"]), 48)
        assert (found.exact, found.crop, found.sides) == ((48, 48), None, (48, 48))

    def test_what_is_cut_off_keeps_its_share(self, tmp_path):
        found = read_preparation(write(tmp_path, BIT), 64)
        assert (found.shorter, found.crop) == (80, (64, 64))
        assert read_preparation(write(tmp_path, BIT), 33).shorter == 41
        deit = read_preparation(write(tmp_path, NORM | PROCESSORS["deit"]), 64)
        assert (deit.exact, deit.crop) == ((80, 80), (64, 64))

    def test_its_own_pixels_change_nothing(self, tmp_path):
        folder = write(tmp_path, BIT)
        assert read_preparation(folder, 32) == read_preparation(folder)

    def test_where_nothing_is_resized(self, tmp_path):
        folder = write(tmp_path, NORM | PROCESSORS["bit-uncut"] | {"do_resize": False})
        with pytest.raises(ConfigError, match=r"pixels=64 asks for another size, .* resizes nothing"):
            read_preparation(folder, 64)

    def test_of_a_picture_of_that_size_nothing_is_changed(self):
        image = picture(np.random.default_rng(0), 32, 32)
        plain = Preparation(32, None, (32, 32), 2, 1 / 255, (0.0,) * 3, (1.0,) * 3)
        np.testing.assert_array_equal(prepared(in_colour(file_of(image)), plain), np.asarray(image))
        assert prepared(image, with_pixels(plain, 8)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": None}, "says nothing of use about"),
        ({"size": {"longest_edge": 3, "shortest_edge": 2}}, "about size: longest_edge"),
        ({"size": {"height": 0, "width": 3}}, r"about a size \(0\)"),
        ({"size": {}}, "about 'shortest_edge'"),
        ({"image_mean": None}, "says nothing of use about"),
        ({"image_mean": [0.5]}, "about image_mean"),
        ({"image_std": [0.5, 0.5, 0.0]}, "about image_std"),
        ({"resample": 9}, "about resample"),
        ({"do_resize": False, "do_center_crop": False}, "about size: images of one size are needed"),
        ({"do_flip_channel_order": True}, r"wants colours in another order \(do_flip_channel_order\)"),
    ],
)
def test_what_is_not_known(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        read_preparation(write(tmp_path, BIT | change))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_torch():
    import subprocess

    code = "import sys, surpass.models.image_preparing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_pixels_are_normalised_as_one_by_one():
    preparation = Preparation(None, (7, 5), None, 2, 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (3, 7, 5, 3), dtype=torch.uint8)
    found = normalised(pixels, preparation)
    mean, std = (torch.tensor(each)[:, None, None] for each in (preparation.mean, preparation.std))
    plain = (pixels.permute(0, 3, 1, 2).float() * preparation.scale - mean) / std
    assert torch.equal(found, plain)
    assert found.is_contiguous(memory_format=torch.channels_last)
