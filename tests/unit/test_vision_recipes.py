"""Studies on images: which models learn what, and the paper's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference.image_sets import class_folders, written
from surpass.errors import ConfigError
from surpass.models.names import read_name
from surpass.models.sources import ModelSource
from surpass.overrides import override
from surpass.recipes import find_recipe
from surpass.recipes import vision as recipes
from surpass.stages import TRUTH, Fit
from surpass.tasks import Task, find_task


@pytest.fixture
def images(tmp_path: Path) -> Task:
    """A few images of two classes."""
    return find_task(f"images:{written(class_folders(), tmp_path / 'images')}")


@pytest.fixture(autouse=True)
def _out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the hub and the package index, as a study sees them."""

    def resolve(name: str) -> ModelSource:
        named = read_name(name)
        path = None if named.kind == "cnn" else Path("nowhere")
        short = f"{named.rest.rpartition('/')[2]}{named.layer or ''}"
        return ModelSource(name, "vision", path, name, 1, 1.0, 0.0, short, num_classes=2)

    for module in ("study", "stages.models", "stages.features", "stages.labels", "methods.setting"):
        monkeypatch.setattr(f"surpass.{module}.resolve", resolve)


class TestSmall:
    def test_the_network_from_scratch_is_trained_whole(self, images):
        study = find_recipe("vision-small", task=images)
        w2s = study.setting(study.pairs[0], 0)
        assert isinstance(w2s.weak, Fit)
        assert (w2s.weak.adapter, w2s.ceiling.adapter) == ("full", "frozen")
        assert w2s.weak.recipe.learning_rate == recipes.SCRATCH_RATE
        assert w2s.ceiling.recipe.learning_rate == recipes.PROBING.learning_rate
        assert (w2s.weak.features, w2s.ceiling.features is None) == (None, False)

    def test_other_models(self, images):
        pairs = (("cnn:8", "package:mobilenetv2"), ("package:mobilenetv2(layer=3)", "package:mobilenetv2"))
        study = find_recipe("vision-small", task=images, pairs=pairs)
        assert study.adapters == (("cnn:8", "full"),)
        assert override(study, ["adapters=cnn:8=frozen(hidden=4)"]).adapters == (
            ("cnn:8", "frozen(hidden=4)"),
        )


class TestPaper:
    @pytest.mark.parametrize(("name", "epochs"), [("vision-paper", 20), ("vision-paper-vit", 5)])
    def test_the_supervisor_labels_as_it_is(self, images, name, epochs):
        study = find_recipe(name, task=images)
        w2s = study.setting(study.pairs[0], 0)
        assert w2s.weak == recipes.ALEXNET
        assert w2s.weak_labels.source == recipes.ALEXNET
        assert w2s.student(w2s.weak_labels).recipe.epochs == w2s.ceiling.recipe.epochs == epochs
        assert w2s.ceiling.labels == TRUTH
        assert study.rows()[0].weak_score.labels.source == recipes.ALEXNET

    def test_methods_that_fit_supervisors_are_left_out(self, images):
        study = override(
            find_recipe("vision-paper", task=images),
            ["methods=naive,ensemble,bayesian,adaboost,calibrated_weight"],
        )
        assert {row.method for row in study.rows()} == {"naive"}
        assert {left.reason for left in study.left_out} == {
            "the supervisor labels as it is, so there are no others like it to be fitted"
        }

    def test_a_supervisor_without_these_classes(self, images, monkeypatch):
        def resolve(name: str) -> ModelSource:
            return ModelSource(name, "vision", Path("nowhere"), name, 1, 1.0, 0.0, name, num_classes=1000)

        monkeypatch.setattr("surpass.study.resolve", resolve)
        with pytest.raises(ConfigError, match="cannot label task images before it is trained"):
            find_recipe("vision-paper", task=images)
