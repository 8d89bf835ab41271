"""The studies that `probes.py` measures, and their heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from surpass.engine.graph import outstanding
from surpass.lineage import ancestry
from surpass.stages import Context, Features, Fit, Stage, Stop
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.study import Study, targets
from surpass.tasks import find_task
from surpass.train.lanes import Lane
from surpass.train.loop import Running
from surpass.train.many import _prepared
from surpass.train.recipe import Recipe

METHODS = (
    "naive",
    "confidence",
    "adaptconf",
    "product",
    "gce",
    "bootstrap_hard",
    "sce",
    "knn_filter",
    "top_confident",
    "ensemble",
)
TEXTS = tuple(f"package:{name}(tokens=128)" for name in ("minilm-l3", "minilm-l6", "mpnet"))
IMAGES = (
    "package:mobilenetv2(pixels=96, layer=3)",
    "package:mobilenetv2(pixels=96)",
    "package:efficientnet-lite0(pixels=96)",
)


class Sizes(NamedTuple):
    """Of a study: examples of either half, test and validation examples, seeds and epochs."""

    train: int = 400
    test: int = 500
    validation: int = 100
    seeds: int = 5
    epochs: int = 20


def text_study(folder: Path, sizes: Sizes) -> Study:
    """Three pairs of packaged encoders on SST-2, with the recipe of `text-small`."""
    recipe = Recipe(
        epochs=sizes.epochs, batch_size=32, learning_rate=2e-3, schedule="linear", warmup_frac=0.1
    )
    return probe_study("probes-text", f"sst2(source={folder})", TEXTS, sizes, recipe)


def image_study(folder: Path, sizes: Sizes) -> Study:
    """Three pairs of packaged networks on CIFAR-10, with the recipe of `vision-small`."""
    recipe = Recipe(
        epochs=sizes.epochs, batch_size=128, learning_rate=1e-3, schedule="cosine", warmup_frac=0.0
    )
    return probe_study("probes-images", f"cifar10(source={folder})", IMAGES, sizes, recipe)


def probe_study(name: str, task: str, models: tuple[str, ...], sizes: Sizes, recipe: Recipe) -> Study:
    """Three pairs of three models, weakest first; heads alone are trained."""
    small, middle, large = models
    return Study(
        name=name,
        task=find_task(task),
        pairs=((small, middle), (middle, large), (small, large)),
        methods=METHODS,
        seeds=tuple(range(sizes.seeds)),
        num_train=sizes.train,
        num_test=sizes.test,
        num_validation=sizes.validation,
        recipe=recipe,
        adapter="frozen",
    )


def all_targets(study: Study) -> list[Stage]:
    """What has to be computed for all of its rows."""
    return [stage for row in study.rows() for stage in targets(row)]


def behind(stages: Iterable[Stage]) -> dict[str, Stage]:
    """Stages and all that they take from, by id."""
    return {id: stage for target in stages for id, stage in ancestry(target).items()}


def passes_of(study: Study) -> list[Features]:
    """The features that its heads and rules read."""
    return [stage for stage in behind(all_targets(study)).values() if isinstance(stage, Features)]


def finder(study: Study, store: Store) -> Callable[[Stage], Artifact]:
    """What finds the artifacts of its stages in a store where all of it is."""
    instead = outstanding(all_targets(study), lambda _: False).instead

    def find(stage: Stage) -> Artifact:
        stage = instead.get(stage.id, stage)
        artifact = store.find(stage.kind, stage.id)
        assert artifact is not None, f"{stage.kind} {stage.label} is not in {store.root}"
        return artifact

    return find


class Head(NamedTuple):
    """A head of a study: the fit that trains it, and what it learns, from its beginning."""

    fit: Fit
    lane: Lane


def heads_of(study: Study, store: Store, work: Path) -> list[list[Head]]:
    """The heads of a study that has run: supervisors and ceilings, then students, as the engine has them.

    Nothing is saved on their way, and nobody looks at them.
    """
    context = Context(find=finder(study, store), out=work, work=work)
    stages = [stage for stage in behind(all_targets(study)).values() if isinstance(stage, Fit | Stop)]
    stopped = {stage.fit.id for stage in stages if isinstance(stage, Stop)}
    rounds: list[list[Head]] = [[], []]
    for stage in stages:
        fit = stage.fit if isinstance(stage, Stop) else stage
        if stage.id not in stopped:
            lane = replace(_prepared(fit, context).lane, running=Running())
            rounds[not isinstance(fit.labels, str)].append(Head(fit, lane))
    return rounds
