"""Image sets that Surpass knows by name."""

from __future__ import annotations

from surpass.data.base import DataSet, HubPlace, Published

CIFAR10 = DataSet(
    name="cifar10",
    title="CIFAR-10",
    kind="image",
    hub=HubPlace("uoft-cs/cifar10", "plain_text"),
    published=(
        Published(tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",)),
        Published(("train/*/*",), ("test/*/*",)),
    ),
    forms=(),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    num_classes={"": 10},
    licence="unknown",
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
    cite="Krizhevsky 2009",
)
CIFAR100 = DataSet(
    name="cifar100",
    title="CIFAR-100",
    kind="image",
    hub=HubPlace("uoft-cs/cifar100", "cifar100"),
    published=(Published(("train.bin",), ("test.bin",)), Published(("train/*/*",), ("test/*/*",))),
    forms=(),
    classes=(),
    num_classes={"": 100, "fine": 100, "coarse": 20},
    licence="unknown",
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
    cite="Krizhevsky 2009",
)
IMAGENET = DataSet(
    name="imagenet",
    title="ImageNet 2012, validation set",
    kind="image",
    hub=HubPlace("ILSVRC/imagenet-1k", train=("validation",), test=()),
    published=(Published(("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")),),
    forms=(),
    classes=(),
    num_classes={"": 1000},
    num_test=10_000,
    licence="non-commercial research and education only, by agreement",
    url="https://image-net.org/challenges/LSVRC/2012/",
    cite="Russakovsky et al. 2015",
)
"""As in Burns et al. 2023, appendix D.1: 40,000 images to learn from and 10,000 to score on."""
