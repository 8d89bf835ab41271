"""Measure the shipped ladder for its model card: puzzles solved before and after fine-tuning.

    python scripts/measure_ladder.py --store FOLDER [--num-train 25000] [--seeds 1]

Prints a Markdown table. Everything goes through the store, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse

import numpy as np

from surpass.engine.inline import Settings, run
from surpass.models.card import read_card
from surpass.models.sources import ladder_names, resolve
from surpass.recipes.chess import FINE_TUNING
from surpass.running.scoring import read_scored
from surpass.stages import TRUTH, Examples, Fit, Label, Score
from surpass.stats import mean_interval
from surpass.store import Store
from surpass.tasks.chess import ChessTask

MIXES = ("source", "even")


def tests() -> dict[str, Examples]:
    """All test puzzles of each mix of ratings."""
    return {mix: Examples(task=ChessTask(), part="test", size=None, seed=0, mix=mix) for mix in MIXES}


def tuned(model: str, num_train: int, seed: int) -> Fit:
    """A rung fine-tuned on the truth: the ceiling."""
    examples = Examples(task=ChessTask(), part="student", size=num_train, seed=seed, mix="source")
    return Fit(model=model, examples=examples, labels=TRUTH, recipe=FINE_TUNING, seed=seed)


def score(source: Fit | str, examples: Examples) -> Score:
    """A model, fitted or as it is, on test puzzles."""
    return Score(labels=Label(source=source, examples=examples), examples=examples)


def percent(scores: list[Score], store: Store) -> str:
    """Mean accuracy over seeds with its interval, in percent."""
    correct = [read_scored(found)[0] for s in scores if (found := store.find(s.kind, s.id))]
    interval = mean_interval(np.stack(correct))
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def main() -> None:
    """Compute what is missing, rung by rung, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--num-train", type=int, default=25_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rungs", nargs="*", default=ladder_names())
    options = parser.parse_args()
    store, settings = Store(options.store), Settings(threads=options.threads)
    print("| rung | parameters | training FLOPs | move matching | source, before | even, before |", end=" ")
    print("source, after | even, after |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in options.rungs:
        source = resolve(f"ladder:{name}")
        fits = [tuned(source.name, options.num_train, seed) for seed in range(options.seeds)]
        before = {mix: [score(source.name, examples)] for mix, examples in tests().items()}
        after = {mix: [score(fit, examples) for fit in fits] for mix, examples in tests().items()}
        run([s for group in (*before.values(), *after.values()) for s in group], store, settings=settings)
        matched = read_card(source.path)["holdout"]["move_accuracy"]
        cells = [percent(group[mix], store) for group in (before, after) for mix in MIXES]
        size, compute = f"{source.parameters:,}", f"{source.pretraining_flops:.1e}"
        print("| " + " | ".join([name, size, compute, f"{100 * matched:.1f}", *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
