"""In place of a language model: authors of the world, who solve, slip and believe wrong things."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surpass.world.authors import solve
from surpass.world.reasoners import Reasoner, build
from surpass.world.sampling import Draw, Sampled
from surpass.world.tokenizer import build_tokenizer
from surpass.world.writers import draw_author

TINY = Reasoner(width=16, layers=1, heads=2, hidden=32, tokens=4096, learning_rate=1e-3)


def save_reasoner(folder: Path) -> str:
    """A reasoner that has read nothing; gives its name."""
    build(TINY, seed=0).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return f"dir:{folder}"


def sample_of_authors(
    model: Any,
    prompts: Sequence[Any],
    names: Sequence[str],
    draws: Sequence[Draw],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Sampled]:
    """As `sampling.sample`: whoever goes on from the last line of a prompt is drawn anew each time."""
    said = []
    for draw in draws:
        rng = random.Random(f"{seed}/{names[draw.prompt]}/{draw.sample}")
        line = model.tokenizer.decode(prompts[draw.prompt]).strip().split("\n")[-1]
        text = "\n".join(solve(line, draw_author(rng), rng))
        ended = len(text) < max_new_tokens and rng.random() > 0.05
        said.append(Sampled(text if ended else text[:-1], len(text) + 1, ended))
    return said
