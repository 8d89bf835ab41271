"""Data sets, models and files made up for the commands of the pages, laid out as published."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import chess
import pyarrow as pa

from reference.image_sets import cifar10, class_folders, written
from reference.language import save_tiny, some_texts
from reference.pictures import save_tiny_vision
from reference.random_games import random_boards, random_pgn
from surpass.models.packaged.cache import ORIGIN, place_of
from surpass.models.packaged.table import PACKAGED

# Layers of the packaged encoders, which tiny ones stand in for.
LAYERS = {"minilm-l3": 3, "minilm-l6": 6, "mpnet": 12}
OFFICIAL = "PuzzleId,FEN,Moves,Rating,RatingDeviation,Popularity,NbPlays,Themes,GameUrl,OpeningTags"


def variables(folder: Path) -> dict[str, str]:
    """The environment of commands and of blocks of Python."""
    return {
        "SURPASS_CACHE": str(folder / "cache"),
        "SURPASS_DATA": str(folder / "data"),
        "HF_HUB_OFFLINE": "1",
    }


def packaged_models(cache: Path) -> None:
    """Tiny encoders and a tiny network of images where the cache has packaged models."""
    for seed, (name, layers) in enumerate(LAYERS.items()):
        folder = place_of_in(cache, name)
        save_tiny(folder, "bert", seed=seed, num_hidden_layers=layers, hidden_size=16, intermediate_size=16)
        (folder / ORIGIN).write_text("{}")
    for name in ("efficientnet-lite0", "mobilenetv2"):
        folder = place_of_in(cache, name)
        save_tiny_vision(folder, "resnet")
        (folder / ORIGIN).write_text("{}")


def place_of_in(cache: Path, name: str) -> Path:
    """Where a cache has a packaged model."""
    folder = cache / "models" / place_of(name, PACKAGED[name].digest).name
    folder.mkdir(parents=True)
    return folder


def language_models(folder: Path) -> None:
    """`MODEL`, a causal model, where the pages name a folder."""
    save_tiny(folder / "MODEL", "llama")


def data(folder: Path) -> None:
    """Published sets below one folder, as `SURPASS_DATA` has them."""
    texts = list(dict.fromkeys(some_texts(900, seed=1, longest=12)))
    _table(folder / "sst2/SST-2/train.tsv", "sentence\tlabel", _told(texts[:300]))
    _table(folder / "sst2/SST-2/dev.tsv", "sentence\tlabel", _told(texts[300:400]))
    told = [f"{label},{text},because {text}" for text, label in _labelled(texts[400:800])]
    _write(folder / "ethics_deontology/deontology_train.csv", ["label,scenario,excuse", *told[:300]])
    _write(folder / "ethics_deontology/deontology_test.csv", ["label,scenario,excuse", *told[300:]])
    _rows(folder / "hh/train.jsonl", _dialogues(texts[:200]))
    _rows(folder / "hh/test.jsonl", _dialogues(texts[200:260]))
    for name, part in (("train", texts[:100]), ("test", texts[100:140])):
        path = folder / f"sciq_support/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([_science(text) for text in part]))
    for name in ("gsm8k", "math", "olympiadbench", "omnimath"):
        path = folder / f"processbench/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_benched(name)))
    problem = {"problem": "1+1?", "solution": "It is $\\boxed{2}$.", "level": 1, "subject": "Algebra"}
    for name in ("train", "test"):
        _rows(folder / f"math/math_splits/{name}.jsonl", [problem | {"unique_id": name}])
    sums = [{"question": f"What is {n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(60)]
    _rows(folder / "gsm8k/train.jsonl", sums[:40])
    _rows(folder / "gsm8k/test.jsonl", sums[40:])
    written(cifar10(each=20), folder / "cifar10")
    written(class_folders(30), folder / "images")


def files(folder: Path) -> None:
    """Files that pages call by name, in the folder where the commands run."""
    texts = list(dict.fromkeys(some_texts(400, longest=12)))
    reviews = [f"{text},{label},a{place % 40}" for place, (text, label) in enumerate(_labelled(texts))]
    _write(folder / "mine.csv", ["review,stars,author", *reviews])
    steps = [
        {
            "problem": f"w{n % 60} w{n // 60} w1",
            "steps": [f"w{20 + n % 30} w7", f"w{5 if n % 2 else 8}"],
            "first_error": error,
        }
        for n in range(180)
        for error in [1 if n % 2 else -1]
    ]
    _rows(folder / "steps/mine.jsonl", steps)
    _rows(folder / "steps/new.jsonl", steps[:6])
    comparisons = [{"prompt": one, "chosen": f"w1 {one}", "rejected": f"w2 {one}"} for one in texts[:300]]
    _rows(folder / "mine.jsonl", comparisons)
    puzzles = []
    for number, board in enumerate(random_boards(range(60), every=3)):
        if moves := _two_moves(board):
            game = f"https://lichess.org/{number:08}#1"
            puzzles.append(
                f"p{number:04},{board.fen()},{moves},{600 + number % 1500},75,90,100,opening,{game},"
            )
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write("\n".join([OFFICIAL, *puzzles, ""]).encode())
    (folder / "lichess_db_puzzle.csv.zst").write_bytes(sink.getvalue().to_pybytes())
    (folder / "games.pgn").write_text(random_pgn(range(20), plies=60))


def _two_moves(board: chess.Board) -> str:
    """A move and an answer, where there are both."""
    first = next(iter(board.legal_moves), None)
    if first is None:
        return ""
    board = board.copy()
    board.push(first)
    second = next(iter(board.legal_moves), None)
    return "" if second is None else f"{first} {second}"


def _labelled(texts: Iterable[str]) -> list[tuple[str, int]]:
    return [(text, int(int(text.partition(" ")[0][1:]) < 30)) for text in texts]


def _told(texts: Iterable[str]) -> list[str]:
    return [f"{text}\t{label}" for text, label in _labelled(texts)]


def _dialogues(texts: list[str]) -> list[dict[str, str]]:
    begun = [f"\n\nHuman: {text} ?\n\nAssistant:" for text in texts]
    return [{"chosen": f"{one} w1 w2 w3", "rejected": f"{one} w4 w5"} for one in begun]


def _science(text: str) -> dict[str, str]:
    wrong = {f"distractor{number}": f"w{number} w9" for number in (1, 2, 3)}
    return {"question": f"{text} ?", "correct_answer": "w0", "support": f"{text} is w0", **wrong}


def _benched(name: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{name}-{n}",
            "generator": "nobody",
            "problem": f"What is {n} and {name} ?",
            "steps": [f"It is {n % 7} and w{n % 60}.", f"w{n % 60} is {n % 5}.", "w1."],
            "final_answer_correct": n % 2 == 0,
            "label": 1 if n % 2 else -1,
        }
        for n in range(100)
    ]


def _table(path: Path, head: str, lines: list[str]) -> None:
    _write(path, [head, *lines])


def _rows(path: Path, rows: list[dict[str, Any]]) -> None:
    _write(path, [json.dumps(row) for row in rows])


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
