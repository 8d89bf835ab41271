"""`surpass ladder`: games from PGN, rungs from games, and what a weights file says of itself."""

from __future__ import annotations

import shlex
import sys
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from surpass.commands.options import Json, print_json
from surpass.durations import duration
from surpass.errors import Stopped
from surpass.interrupt import stop_on_signals
from surpass.models.card import describe, read_card

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from surpass.ladder.games import Games
    from surpass.ladder.pretrain import Progress

PLAIN_LINE_SECONDS = 10.0

ladder_app = typer.Typer(
    name="ladder",
    help="Rebuild the ladder of chess policies from games in PGN.",
    no_args_is_help=True,
    add_completion=False,
)


class _Display:
    """Progress on stderr: a bar on a terminal, elsewhere a line every ten seconds."""

    def __init__(self, label: str) -> None:
        self.label, self.bar, self.last_line = label, None, -PLAIN_LINE_SECONDS
        if sys.stderr.isatty():
            self.bar = _bar()
            self.task = self.bar.add_task(label, total=None, text="")

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, text: str, *, done: int, total: int | None = None) -> None:
        """Say how far the work is; `text` says it in words."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, text=text)
        elif done == total or time.monotonic() - self.last_line >= PLAIN_LINE_SECONDS:
            typer.echo(f"{self.label}: {text}", err=True)
            self.last_line = time.monotonic()


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    return Progress(*columns, console=Console(stderr=True))


def _show_training(display: _Display, progress: Progress) -> None:
    from surpass.ladder.pretrain import BATCH

    done, total = progress.step * BATCH, progress.num_steps * BATCH
    speed = progress.positions_per_second
    text = f"{done:,} of {total:,} positions, {speed:,.0f}/s, loss {progress.loss:.3f}"
    display.show(f"{text}, {duration((total - done) / speed)} left", done=done, total=total)


def _collect(paths: list[Path], out: Path) -> Games:
    """Read PGN and write the compact file."""
    from surpass.disk import disk_errors
    from surpass.ladder.games import collect

    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with _Display("games") as display:

        def progress(count: int) -> None:
            rate = 60 * count / max(time.monotonic() - began, 1e-3)
            display.show(f"{count:,} read, {rate:,.0f}/min", done=count)

        games = collect(paths, progress)
    games.save(out)
    return games


def _counted(games: Games, out: Path) -> str:
    return f"{len(games):,} games, {len(games.moves):,} moves in {out}"


@ladder_app.command("games")
def games_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="PGN files (plain, .zst, .xz, .bz2, .gz), .tar.xz, or folders."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("games.safetensors"),
    as_json: Json = False,
) -> None:
    """Read PGN into the compact file of games that training wants."""
    games = _collect(paths, out)
    if as_json:
        print_json({"file": str(out), "games": len(games), "moves": len(games.moves)})
    else:
        typer.echo(_counted(games, out))


@ladder_app.command("train")
def train_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Rungs: chess-1 to chess-6.")],
    games: Annotated[Path, typer.Option(help="A file of `surpass ladder games`, or PGN as it reads it.")],
    out: Annotated[Path, typer.Option(help="Folder of weights and checkpoints.")] = Path("ladder"),
    seed: Annotated[int, typer.Option(min=0, help="Initial weights and order of positions.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; default: torch's.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="How often to save.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Train rungs of the ladder; what was interrupted goes on where it stopped."""
    import torch

    from surpass.ladder.games import Games
    from surpass.ladder.pgn import is_pgn
    from surpass.ladder.pretrain import find_rung, pretrain

    for name in names:
        find_rung(name)
    if threads is not None:
        torch.set_num_threads(threads)
    if is_pgn(games):
        games_file = out / "games.safetensors"
        data = _collect([games], games_file)
        typer.echo(_counted(data, games_file), err=as_json)
    else:
        games_file, data = games, Games.load(games)
    cards = []
    with stop_on_signals() as stop:
        for name in names:
            try:
                with _Display(name) as display:
                    weights = pretrain(
                        name,
                        data,
                        out,
                        seed=seed,
                        checkpoint_seconds=checkpoint_seconds,
                        report=partial(_show_training, display),
                        stop=stop,
                    )
            except Stopped as stopped:
                again = f"surpass ladder train {shlex.join(names)} --games {shlex.quote(str(games_file))}"
                again += f" --out {shlex.quote(str(out))} --seed {seed}"
                again += "" if threads is None else f" --threads {threads}"
                raise Stopped(f"{stopped}:\n  {again}") from None
            cards.append({"file": str(weights)} | read_card(weights))
            if not as_json:
                typer.echo(f"{weights}\n{describe(cards[-1])}\n")
    if as_json:
        print_json(cards)


@ladder_app.command("card")
def card_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Weights files.")],
    as_json: Json = False,
) -> None:
    """Print the model card of weights files."""
    if as_json:
        print_json([{"file": str(file)} | read_card(file) for file in files])
        return
    typer.echo("\n\n".join(describe(read_card(file)) for file in files))
