"""What must hold for models of images: of transformers, of torchvision, and untrained ones."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.language import scores_of
from reference.pictures import (
    BIT,
    BLOCKS,
    CLASS_TOKEN,
    SHAPES,
    as_processed,
    file_of,
    images_of,
    picture,
    save_tiny_vision,
    some_files,
    state_of_image,
)
from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.models.adapters import find_adapter, settle
from surpass.models.convnets_known import NETWORKS
from surpass.models.families import load_model
from surpass.models.names import ReadOut
from surpass.models.packaged.from_pth import convert
from surpass.models.sources import resolve
from surpass.models.vision import VisionChoice
from surpass.train.loop import Labels, fit, label
from surpass.train.recipe import Recipe

KINDS = tuple(SHAPES)
FILES = some_files(7)
THREES = Labels(list(np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0]]), np.ones(7, np.float32))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: save_tiny_vision(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("classifiers")
    return {kind: save_tiny_vision(root / kind, kind, num_classes=4) for kind in KINDS}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A MobileNetV2 of seven classes as a file of torchvision becomes it, with statistics of all kinds."""
    folder = tmp_path_factory.mktemp("own")
    network = NETWORKS["mobilenetv2"].build()
    torch.manual_seed(1)
    for name, value in network.state_dict().items():
        value.normal_(std=0.1) if name.endswith("running_mean") else None
        value.uniform_(0.5, 2.0) if name.endswith("running_var") else None
    head = {"classifier.1.weight": torch.randn(7, 1280), "classifier.1.bias": torch.randn(7)}
    torch.save(network.state_dict() | head, folder / "net.pth")
    (folder / "net").mkdir()
    convert(folder / "net.pth", folder / "net")
    said = json.loads((folder / "net" / "preprocessor_config.json").read_text())
    said |= {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
    (folder / "net" / "preprocessor_config.json").write_text(json.dumps(said))
    return folder / "net"


@pytest.fixture
def load(folders, own):
    def _load(name: str, settings: str = "", num_classes: int = 3) -> VisionChoice:
        torch.manual_seed(0)
        name = f"dir:{folders[name]}" if name in folders else {"own": f"dir:{own}"}.get(name, name)
        return load_model(resolve(name + settings), images_of(FILES, num_classes=num_classes))

    return _load


def rows(num: int = len(FILES)) -> np.ndarray:
    return np.arange(num)


def near(found: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)


def gradients(model: VisionChoice, examples, *, apart: bool) -> Tensor:
    """Of a loss that all logits have a part in, in one forward pass or in one for each row."""
    model.zero_grad()
    total = torch.zeros(())
    for part in [np.array([row]) for row in rows()] if apart else [rows()]:
        total = total + (model(examples, part).log_softmax(1)[:, 0] * torch.from_numpy(part + 1)).sum()
    total.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", KINDS)
class TestTransformers:
    def test_equals_its_slow_twin(self, load, folders, kind):
        model = load(kind)
        examples = model.encode(images_of(FILES))
        with torch.no_grad():
            logits_NC, states_ND = model(examples, rows()), model.states(examples, rows())
        assert states_ND.std(dim=0).max() > 0.01
        for row, file in enumerate(FILES):
            state = state_of_image(folders[kind], kind, file, None, None)
            near(states_ND[row], torch.tensor(state))
            scores = scores_of(state, model.head.weight.tolist(), model.head.bias.tolist())
            near(logits_NC[row], torch.tensor(scores))
        assert model.initial_head() is None

    def test_the_states_behind_a_block(self, load, folders, kind):
        last = BLOCKS.get(kind, 3)
        model = load(kind)
        assert len(model.blocks) == last
        examples = model.encode(images_of(FILES))
        places = [ReadOut(1), ReadOut(last), ReadOut(2, "mean"), ReadOut()]
        with torch.no_grad():
            found = model.states_at(examples, rows(), places)
            near(found[3], model.states(examples, rows()), 1e-6)
        for place, states_ND in zip(places[:3], found, strict=False):
            for row in (0, 3):
                near(states_ND[row], torch.tensor(state_of_image(folders[kind], kind, FILES[row], *place)))
        alone = load(kind, "(layer=2, pooling=mean)")
        assert alone.head.in_features == found[2].shape[1]
        with torch.no_grad():
            near(alone.states(examples, rows()), found[2], 1e-6)

    def test_its_own_classifier_answers_untrained(self, classifiers, kind):
        import transformers

        whole = transformers.AutoModelForImageClassification.from_pretrained(classifiers[kind]).eval()
        source = resolve(f"dir:{classifiers[kind]}")
        assert (source.num_classes, source.skills) == (4, {"zero_shot"})
        model = load_model(source, images_of(FILES, num_classes=4))
        with torch.no_grad():
            found = model(model.encode(images_of(FILES, num_classes=4)), rows())
            wanted = torch.cat([whole(as_processed(classifiers[kind], file)).logits for file in FILES])
        near(found, wanted)
        head = model.initial_head()
        assert head.keys() == {"weight", "bias"}
        assert torch.equal(head["weight"], model.head.weight)
        torch.manual_seed(3)
        other = load_model(source, images_of(FILES, num_classes=5))
        assert (other.initial_head(), other.head.out_features) == (None, 5)
        assert other.head.weight.std() < 0.03

    def test_parameters_are_those_of_the_file(self, load, folders, kind):
        model = load(kind)
        # Of ViT and DeiT a dense layer is in the file that its state does not go through.
        spare = 32 * 33 if kind in ("vit", "deit") else 0
        wanted = sum(parameter.numel() for parameter in model.body.parameters())
        assert resolve(f"dir:{folders[kind]}").parameters - spare == wanted


@pytest.mark.parametrize("name", ["vit", "resnet", "mobilenet_v2", "own", "cnn:8"])
class TestEveryKind:
    def test_an_image_alone_is_as_among_others(self, load, name):
        model = load(name)
        examples = model.encode(images_of(FILES))
        with torch.no_grad():
            together = model(examples, rows())
            near(torch.cat([model(examples, np.array([row])) for row in rows()]), together)
            near(model(examples, rows()[::-1].copy()), together.flip(0))
        near(model(examples, rows()), together)

    def test_gradients_do_not_depend_on_the_batch(self, load, name):
        model = load(name).train()
        examples = model.encode(images_of(FILES))
        together, apart = (gradients(model, examples, apart=apart) for apart in (False, True))
        near(apart, together, 1e-3)

    def test_the_body_is_never_in_training_mode(self, load, name):
        model = load(name)
        before = {key: value.clone() for key, value in model.body.named_buffers()}
        model.train()
        assert model.training
        assert model.head.training
        assert not any(module.training for module in model.body.modules())
        examples = model.encode(images_of(FILES))
        model(examples, rows()).sum().backward()
        assert all(torch.equal(value, before[key]) for key, value in model.body.named_buffers())
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_training_all_of_it_lowers_the_loss(self, load, name):
        model = load(name)
        before = copy.deepcopy(dict(model.body.named_parameters()))
        recipe = Recipe(epochs=12, batch_size=7, learning_rate=1e-3)
        examples = model.encode(images_of(FILES))
        losses = fit(model, examples, THREES, loss="xent", recipe=recipe, seed=0)
        assert losses[-1] < losses[0] - 0.02
        same = [key for key, value in model.body.named_parameters() if torch.equal(value, before[key])]
        assert same in ([], ["embeddings.mask_token"])

    def test_training_below_a_layer_leaves_what_is_above(self, load, name):
        model = load(name, "(layer=2)")
        before = copy.deepcopy(model.blocks[2].state_dict())
        examples = model.encode(images_of(FILES))
        recipe = Recipe(epochs=12, batch_size=7, learning_rate=1e-3)
        losses = fit(model, examples, THREES, loss="xent", recipe=recipe, seed=0)
        assert losses[-1] < losses[0]
        assert all(torch.equal(value, before[key]) for key, value in model.blocks[2].state_dict().items())

    def test_a_frozen_body_stays(self, load, name):
        model = load(name)
        before = copy.deepcopy(model.body.state_dict())
        find_adapter("frozen")(model)
        assert [p for p in model.parameters() if p.requires_grad] == model.head_parameters()
        fit(
            model,
            model.encode(images_of(FILES)),
            THREES,
            loss="xent",
            recipe=Recipe(epochs=3, batch_size=4, learning_rate=1e-2),
            seed=0,
        )
        assert all(torch.equal(value, before[key]) for key, value in model.body.state_dict().items())

    def test_low_rank_changes(self, load, name):
        model = load(name)
        keys = set(model.state_dict())
        examples = model.encode(images_of(FILES))
        with torch.no_grad():
            before = model(examples, rows())
        find_adapter("lora(rank=2)")(model)
        with torch.no_grad():
            near(model(examples, rows()), before, 1e-5)
        settle(model)
        assert model.state_dict().keys() == keys

    def test_saving_memory_changes_nothing(self, load, name):
        plain, saving = load(name), load(name)
        saving.save_memory()
        examples = plain.encode(images_of(FILES))
        near(gradients(saving, examples, apart=False), gradients(plain, examples, apart=False), 1e-5)

    def test_passes_hold_every_example_once(self, load, name):
        model = load(name)
        for num in (0, 1, 511, 512, 513, 1500):
            passes = model.passes(None, num)
            assert np.concatenate([np.array([], np.int64), *passes]).tolist() == list(range(num))

    def test_labels(self, load, name):
        model = load(name)
        table = images_of(FILES)
        examples = model.encode(table)
        probs = label(model, examples, [3] * len(FILES))
        with torch.no_grad():
            near(torch.from_numpy(np.stack(probs)), model(examples, rows()).softmax(1), 1e-5)


class TestUntrained:
    def test_its_weights_are_the_seeds(self, load):
        first, second = load("cnn:8"), load("cnn:8")
        torch.manual_seed(1)
        third = load_model(resolve("cnn:8"), images_of(FILES))
        for other, same in ((second, True), (third, False)):
            equal = torch.equal(first.body.stem.weight, other.body.stem.weight)
            assert equal is same

    def test_a_picture_of_its_size_is_not_touched(self):
        image = picture(np.random.default_rng(0), 32, 32)
        table = images_of([file_of(image)])
        model = load_model(resolve("cnn:8"), table)
        with torch.no_grad():
            found = model.states(model.encode(table), rows(1))
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
            near(found, model.body((pixels - 0.5) / 0.25), 1e-5)

    def test_pixels_and_layers(self, load):
        model = load("cnn:8", "(pixels=48, layer=2)")
        assert model.encode(images_of(FILES)).preparation.sides == (48, 48)
        assert model.head.in_features == 16

    def test_it_learns_colours(self):
        rng = np.random.default_rng(0)
        colours, files = [], []
        for number in range(60):
            image = np.full((32, 32, 3), 40, np.uint8)
            image[:, :, number % 3] = 160
            noise = rng.integers(0, 60, image.shape, dtype=np.uint8)
            files.append(_png(image + noise))
            colours.append(number % 3)
        table = images_of(files)
        torch.manual_seed(0)
        model = load_model(resolve("cnn:4"), table)
        examples = model.encode(table)
        recipe = Recipe(epochs=5, batch_size=10, learning_rate=3e-3)
        labels = Labels(list(np.eye(3, dtype=np.float32)[colours]), np.ones(60, np.float32))
        fit(model, examples, labels, loss="xent", recipe=recipe, seed=0)
        assert (np.stack(label(model, examples, [3] * 60)).argmax(1) == colours).mean() > 0.9


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    return file_of(Image.fromarray(pixels))


class TestOwnNetworks:
    def test_its_classifier_answers_untrained(self, own):
        model = load_model(resolve(f"dir:{own}"), images_of(FILES, num_classes=7))
        head = model.initial_head()
        assert head["weight"].shape == (7, 1280)
        with torch.no_grad():
            states_ND = model.states(model.encode(images_of(FILES)), rows())
            near(model.from_states(states_ND, None, rows()), states_ND @ head["weight"].T + head["bias"])

    def test_a_layer_has_a_new_head(self, load):
        model = load("own", "(layer=3)", 7)
        assert (model.initial_head(), model.head.in_features) == (None, 32)

    def test_another_network_in_the_folder(self, own, tmp_path):
        shutil.copytree(own, tmp_path / "odd")
        config = json.loads((own / "config.json").read_text())
        for network, message in (
            ("resnet50", r"weights in .*odd are of another network \(.*; fetch them again"),
            ("vgg", r"config.json names no network of mobilenetv2, .*; convert the weights again"),
        ):
            (tmp_path / "odd" / "config.json").write_text(json.dumps(config | {"network": network}))
            with pytest.raises(DataError, match=message) as caught:
                load_model(resolve(f"dir:{tmp_path}/odd"), images_of(FILES))
            assert "\n" not in str(caught.value)


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "settings", "message"),
        [
            ("vit", "(layer=4)", "has layers 1 to 3, and layer=4 is none of them"),
            ("cnn:8", "(layer=4)", "has layers 1 to 3, and layer=4 is none of them"),
            ("resnet", "(pooling=first)", "resnet gives maps, which have no first place; pooling is mean"),
            ("own", "(layer=2, pooling=first)", "net gives maps, which have no first place"),
            ("own", "(pooling=first)", "net ends in one state of the image, so there is no pooling=first"),
            ("swin", "(pooling=first)", "swin has no token of its own for first; pooling is mean"),
        ],
    )
    def test_what_there_is_not(self, load, name, settings, message):
        with pytest.raises(ConfigError, match=message):
            load(name, settings)

    def test_a_layer_that_is_asked_for_later(self, load):
        model = load("vit")
        with pytest.raises(ConfigError, match="layer=9 is none of them"):
            model.states_at(model.encode(images_of(FILES)), rows(), [ReadOut(), ReadOut(9)])

    def test_other_pixels(self, load):
        model = load("vit", "(pixels=48)")
        assert model.encode(images_of(FILES)).preparation.sides == (48, 48)
        with torch.no_grad():
            states_ND = model.states(model.encode(images_of(FILES)), rows())
            more = model.body(torch.zeros(1, 3, 48, 48), interpolate_pos_encoding=True)
        assert states_ND.shape == (7, 32)
        assert more.last_hidden_state.shape[1] == 37

    def test_a_damaged_image_is_named(self, load):
        model = load("cnn:8")
        examples = model.encode(images_of([*FILES, b"no picture"]))
        with pytest.raises(DataError, match="the image of example 'i7' cannot be decoded"), torch.no_grad():
            model.states(examples, rows(8))

    def test_texts(self, load):
        model = load("cnn:8")
        with pytest.raises(DataError, match="no column 'image'"):
            model.encode(images_of(FILES).drop(["image"]))

    def test_damage(self, folders, tmp_path):
        shutil.copytree(folders["vit"], tmp_path / "vit")
        config = json.loads((tmp_path / "vit" / "config.json").read_text())
        (tmp_path / "vit" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
        with pytest.raises(DataError, match=r"image model in .*vit has no weights for .*3.*; save all of it"):
            load_model(resolve(f"dir:{tmp_path}/vit"), images_of(FILES))
        (tmp_path / "vit" / "config.json").write_text(json.dumps(config | {"hidden_size": 40}))
        with pytest.raises(DataError, match=r"the image model in .*vit cannot be read \(") as caught:
            load_model(resolve(f"dir:{tmp_path}/vit"), images_of(FILES))
        assert "\n" not in str(caught.value)

    def test_a_classifier_of_another_state(self, classifiers, tmp_path, monkeypatch):
        import transformers

        shutil.copytree(classifiers["vit"], tmp_path / "vit")
        original = transformers.ViTForImageClassification.__init__

        def odd(self, config):
            original(self, config)
            self.classifier.register_forward_hook(lambda _module, _inputs, given: given * 2.0)

        monkeypatch.setattr(transformers.ViTForImageClassification, "__init__", odd)
        with pytest.raises(
            DataError, match=r"of ViTForImageClassification in .* is not one linear map of the"
        ):
            load_model(resolve(f"dir:{tmp_path}/vit"), images_of(FILES))

    def test_without_transformers(self, folders, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingExtraError, match=r"needs the package transformers .* 'surpass\[vision\]'"):
            load_model(resolve(f"dir:{folders['vit']}"), images_of(FILES))

    def test_prompts(self, folders):
        table = images_of(FILES, prompt=["x"] * 7)
        with pytest.raises(ConfigError, match="is no causal language model"):
            load_model(resolve(f"dir:{folders['vit']}"), table)


def test_dino_has_no_pooler_in_its_file(folders, tmp_path):
    """As facebook/dino-vitb8: a ViT without the weights of a pooler, and an old preprocessor."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders["vit"], tmp_path / "dino")
    weights = load_file(tmp_path / "dino" / "model.safetensors")
    assert any(name.startswith("pooler.") for name in weights)
    bare = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    save_file(bare, tmp_path / "dino" / "model.safetensors", {"format": "pt"})
    said = {"feature_extractor_type": "ViTFeatureExtractor", "size": 32, "resample": 2}
    said |= {key: BIT[key] for key in ("do_normalize", "do_resize", "image_mean", "image_std")}
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(said))
    model = load_model(resolve(f"dir:{tmp_path}/dino"), images_of(FILES))
    with torch.no_grad():
        found = model.states(model.encode(images_of(FILES)), rows())
    said["image_processor_type"] = "ViTImageProcessor"
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(said))
    shutil.copy(folders["vit"] / "model.safetensors", tmp_path / "dino")
    wanted = [state_of_image(tmp_path / "dino", "vit", file, None, None) for file in FILES]
    near(found, torch.tensor(wanted))
    assert CLASS_TOKEN["vit"] == 1
