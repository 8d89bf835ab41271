"""`surpass world`: problems to look at, steps to rate, and reasoners to make."""

from __future__ import annotations

import itertools
import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surpass.commands.options import Json, print_json
from surpass.errors import ConfigError, Stopped
from surpass.interrupt import stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from surpass.world.pretrain import Progress

LINE_SECONDS = 10.0
_SIGNS = {1: "+", 0: "0", -1: "-", None: " "}

world_app = typer.Typer(
    name="world",
    help="Problems whose every step is checked, and small reasoners.",
    no_args_is_help=True,
    add_completion=False,
)


@world_app.command("problems")
def problems_command(
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="How many.")] = 5,
    part: Annotated[str, typer.Option(help="pretrain, weak, student, validation or test.")] = "test",
    mix: Annotated[str, typer.Option(help="all, arithmetic, algebra, systems or long.")] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Another is another stream.")] = 0,
    as_json: Json = False,
) -> None:
    """Print problems with their reference solutions."""
    from surpass.world.authors import solve
    from surpass.world.problems import problems

    found = list(itertools.islice(problems(part, mix, seed=seed), number))
    if as_json:
        print_json([asdict(problem) | {"solution": solve(problem.text)} for problem in found])
        return
    for problem in found:
        typer.echo(f"{problem.text}    ({problem.family} {problem.level})")
        typer.echo("".join(f"  {line}\n" for line in solve(problem.text)))


@world_app.command("check")
def check_command(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="Such as '(7+5)*3-8'.")],
    steps: Annotated[list[str], typer.Argument(metavar="STEP...", help="Such as '12*3-8' '36-8' '# 28'.")],
    as_json: Json = False,
) -> None:
    """Rate the steps of a solution: + right, 0 no progress, - wrong, nothing behind the first wrong one."""
    from surpass.world.checker import solution_of

    solution = solution_of("problem", problem, "\n".join(steps))
    if solution is None or solution.ratings is None:
        raise ConfigError("there is no step; give each as an argument of its own, in quotes")
    if as_json:
        told = {"problem": problem, "steps": list(solution.steps), "ratings": list(solution.ratings)}
        answers = {"answer": solution.answer, "correct": solution.correct, "reference": solution.reference}
        print_json(told | answers)
        return
    for step, rating in zip(solution.steps, solution.ratings, strict=True):
        typer.echo(f"{_SIGNS[rating]}  {step}")
    typer.echo(f"answer {solution.answer}, {'right' if solution.correct else 'wrong'}: {solution.reference}")


@world_app.command("measure")
def measure_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Such as reasoner:small.")],
    mix: Annotated[str, typer.Option(help="all, arithmetic, algebra, systems or long.")] = "all",
    problems: Annotated[int, typer.Option(min=1, help="Of each family and level.")] = 20,
    samples: Annotated[int, typer.Option(min=1, help="Of each problem.")] = 20,
    temperature: Annotated[float, typer.Option(min=0, help="Of the samples.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of problems and samples.")] = 0,
    as_json: Json = False,
) -> None:
    """What a model solves of the test problems: alone, by the most frequent answer, and by any sample."""
    from surpass.world.measuring import measure
    from surpass.world.problems import kinds_of

    found = measure(
        model,
        kinds_of(mix),
        num_problems=problems,
        num_samples=samples,
        temperature=temperature,
        seed=seed,
    )
    if as_json:
        print_json([one._asdict() for one in found])
        return
    typer.echo("family      level   alone  steps not wrong  right but flawed  majority     any")
    for one in found:
        typer.echo(
            f"{one.family:<12}{one.level:>5}{one.alone:>8.1%}{one.steps_right:>17.1%}{one.flawed:>18.1%}"
            f"{one.majority:>10.1%}{one.any:>8.1%}"
        )


@world_app.command("train")
def train_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Reasoners: tiny, small, large.")],
    out: Annotated[Path, typer.Option(help="Folder of models and checkpoints.")] = Path("reasoners"),
    seed: Annotated[int, typer.Option(min=0, help="Weights, texts, and draws of the tuning.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; default: torch's.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="How often to save.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Make reasoners: pretraining, then tuning; what was interrupted goes on where it stopped."""
    import torch

    from surpass.world.pretrain import make_reasoner
    from surpass.world.reasoners import find_reasoner

    for name in names:
        find_reasoner(name)
    if threads is not None:
        torch.set_num_threads(threads)
    cards = []
    with stop_on_signals() as stop:
        for name in names:
            try:
                made = make_reasoner(
                    name, out, seed=seed, save_seconds=checkpoint_seconds, report=_reporter(name), stop=stop
                )
            except Stopped as stopped:
                again = f"surpass world train {shlex.join(names)} --out {shlex.quote(str(out))} --seed {seed}"
                again += "" if threads is None else f" --threads {threads}"
                raise Stopped(f"{stopped}:\n  {again}") from None
            card = (made / "card.json").read_text()
            cards.append({"folder": str(made)} | json.loads(card))
            if not as_json:
                typer.echo(f"{made}\n{card}")
    if as_json:
        print_json(cards)


def _reporter(name: str) -> Callable[[Progress], None]:
    """What says on stderr, every ten seconds, how far it is."""
    last = -LINE_SECONDS

    def report(progress: Progress) -> None:
        nonlocal last
        done = progress.step == progress.num_steps
        if not done and time.monotonic() - last < LINE_SECONDS:
            return
        last = time.monotonic()
        share = progress.step / progress.num_steps
        speed = progress.tokens_per_second
        typer.echo(
            f"{name}: {progress.phase} {share:.0%}, {speed:,.0f} tokens/s, loss {progress.loss:.3f}"
            + ("" if done else f", step {progress.step} of {progress.num_steps}"),
            err=True,
        )

    return report
