"""Studies on images: packaged models on a laptop, and the paper's probes of ImageNet.

`docs/recipes.md` has the source of every setting, and the published numbers.
"""

from __future__ import annotations

from surpass.models.names import read_name
from surpass.study import Pair, Study
from surpass.tasks import Task, find_task
from surpass.train.recipe import Recipe

SMALL = ("cnn:16", "package:efficientnet-lite0(pixels=128)")
ALEXNET = "dir:alexnet-owt-7be5be79.pth(weights=bin)"
RESNET = "hub:Ramos-Ramos/dino-resnet-50"
VIT = "hub:facebook/dino-vitb8"

# Of `cnn:16` on 2,000 pictures of CIFAR-10; at 1e-3 it got 35 % right, at this rate 41 %.
SCRATCH_RATE = 3e-3

# Of the paper's probes batch size, optimizer and rate are stated; that the rate falls as a cosine, step by
# step, is the released code after its schedule was put right.
PROBING = Recipe(epochs=20, batch_size=128, learning_rate=1e-3, schedule="cosine", warmup_frac=0.0)


def vision_small(*, task: Task, pairs: tuple[Pair, ...] = (SMALL,)) -> Study:
    """A small network trained from scratch supervises a head on EfficientNet-Lite0, on images of yours.

    Untrained networks (`cnn:16`) are trained whole; of pretrained ones the head alone.

    Args:
        task: Which one, such as cifar10 or images:FOLDER.
        pairs: Other models.
    """
    untrained = {model for pair in pairs for model in pair if read_name(model).kind == "cnn"}
    return Study(
        name="vision-small",
        task=task,
        pairs=pairs,
        methods=("naive", "confidence", "adaptconf", "early_stop"),
        num_train=2_000,
        num_test=2_000,
        num_validation=500,
        recipe=PROBING,
        adapter="frozen",
        adapters=tuple((model, "full") for model in sorted(untrained)),
        learning_rates=tuple((model, SCRATCH_RATE) for model in sorted(untrained)),
        early_stopping=False,
    )


def vision_paper(*, task: Task | None = None, pairs: tuple[Pair, ...] = ((ALEXNET, RESNET),)) -> Study:
    """The paper's images: AlexNet labels 40,000 images, a head on DINO's ResNet-50 learns them, 20 epochs.

    Burns et al. 2023, appendix D.1 and table 3.

    Args:
        task: The validation set of ImageNet by default, 10,000 of it to test.
        pairs: Other models; the supervisor labels as it is.
    """
    return _paper("vision-paper", task, pairs, PROBING)


def vision_paper_vit(*, task: Task | None = None, pairs: tuple[Pair, ...] = ((ALEXNET, VIT),)) -> Study:
    """The same with DINO's ViT-B/8, 5 epochs.

    Args:
        task: The validation set of ImageNet by default, 10,000 of it to test.
        pairs: Other models; the supervisor labels as it is.
    """
    recipe = Recipe(epochs=5, batch_size=128, learning_rate=1e-3, schedule="cosine", warmup_frac=0.0)
    return _paper("vision-paper-vit", task, pairs, recipe)


def _paper(name: str, task: Task | None, pairs: tuple[Pair, ...], recipe: Recipe) -> Study:
    return Study(
        name=name,
        task=task or find_task('imagenet(shares="student=1")'),
        pairs=pairs,
        methods=("naive", "adaptconf"),
        num_train=None,
        recipe=recipe,
        adapter="frozen",
        supervisor="pretrained",
        early_stopping=False,
    )
