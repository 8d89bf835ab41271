"""What to compare, and the graph of stages that it takes. No torch, and nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import NamedTuple

from surpass.errors import ConfigError
from surpass.identity import digest_of
from surpass.methods import WeakToStrong, find_method
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Examples, Fit, Label, Score, Stage
from surpass.tasks import Task
from surpass.train.recipe import Recipe

LABEL_KINDS = ("soft", "hard")
Pair = tuple[str, str]


class RowStages(NamedTuple):
    """The stages of one row of results."""

    pair: Pair
    method: str
    seed: int
    student: Fit
    weak_score: Score
    student_score: Score
    ceiling_score: Score
    oracle: bool


@dataclass(frozen=True, kw_only=True)
class Study:
    """Pairs of models x methods x seeds on one task.

    Attributes:
        name: What it is called.
        task: Where examples come from.
        pairs: (supervisor, student) as model names.
        methods: Keys of `METHODS`.
        seeds: Each seed draws its own examples for both halves, and their order. All are scored on
            the same test examples.
        labels: "soft" for the supervisor's probabilities, "hard" for its greedy choice.
        num_train: Examples of either half.
        num_test: Test examples; None for all.
        train_mix: How training examples are drawn; one of the task's mixes.
        test_mix: The same for test examples.
        test_part: The part that is scored: "test", or "validation" while settings are tuned.
        recipe: Settings of every fit: weak, student and ceiling alike.

    Raises:
        ConfigError: A value names nothing that exists, or nothing would be compared.
    """

    name: str
    task: Task
    pairs: tuple[Pair, ...]
    methods: tuple[str, ...] = ("naive",)
    seeds: tuple[int, ...] = (0, 1, 2)
    labels: str = "soft"
    num_train: int = 10_000
    num_test: int | None = None
    train_mix: str = "all"
    test_mix: str = "all"
    test_part: str = "test"
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        if self.labels not in LABEL_KINDS:
            raise ConfigError(f"labels={self.labels!r} must be one of {', '.join(LABEL_KINDS)}")
        for what in ("pairs", "methods", "seeds"):
            values = getattr(self, what)
            if not values:
                raise ConfigError(f"{what} is empty: name at least one")
            if len(set(values)) < len(values):
                raise ConfigError(f"{what}={values} names one twice")
        for mix in (self.train_mix, self.test_mix):
            if mix not in self.task.mixes:
                raise ConfigError(
                    f"no mix {mix!r} in task {self.task.name}; choose from {', '.join(self.task.mixes)}"
                )
        if self.test_part not in self.task.parts:
            raise ConfigError(f"no part {self.test_part!r}; choose from {', '.join(self.task.parts)}")
        if self.num_train < 1 or (self.num_test is not None and self.num_test < 1):
            name = "num_train" if self.num_train < 1 else "num_test"
            raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if not all(type(seed) is int and seed >= 0 for seed in self.seeds):
            raise ConfigError(f"seeds={self.seeds} must be whole numbers from 0")
        for method in self.methods:
            find_method(method)
        called: dict[str, str] = {}
        for weak, strong in self.pairs:
            if weak == strong:
                raise ConfigError(f"the pair {weak} -> {strong} is one model: name two")
            for model in (weak, strong):
                name = resolve(model).short_name
                if called.setdefault(name, model) != model:
                    raise ConfigError(
                        f"{called[name]} and {model} are both called {name} in tables: rename a file"
                    )

    @property
    def test_examples(self) -> Examples:
        """What every model of the study is scored on."""
        return Examples(task=self.task, part=self.test_part, size=self.num_test, seed=0, mix=self.test_mix)

    def setting(self, pair: Pair, seed: int) -> WeakToStrong:
        """The experiment of one pair and seed."""
        halves = {
            part: Examples(task=self.task, part=part, size=self.num_train, seed=seed, mix=self.train_mix)
            for part in ("weak", "student")
        }
        return WeakToStrong(
            weak_model=pair[0],
            strong_model=pair[1],
            weak_examples=halves["weak"],
            student_examples=halves["student"],
            hard=self.labels == "hard",
            recipe=self.recipe,
            seed=seed,
        )

    def score(self, fit: Fit) -> Score:
        """A fitted model on the test examples."""
        return Score(labels=Label(source=fit, examples=self.test_examples), examples=self.test_examples)

    def rows(self) -> list[RowStages]:
        """The stages of every row: pairs, then methods, then seeds."""
        return list(self._rows)

    @cached_property
    def _rows(self) -> tuple[RowStages, ...]:
        # Made once, so that planning, running and gathering share the stages and their digests.
        rows = []
        for pair, method, seed in product(self.pairs, self.methods, self.seeds):
            w2s = self.setting(pair, seed)
            student = find_method(method)(w2s)
            rows.append(
                RowStages(
                    pair=pair,
                    method=method,
                    seed=seed,
                    student=student,
                    weak_score=self.score(w2s.weak),
                    student_score=self.score(student),
                    ceiling_score=self.score(w2s.ceiling),
                    oracle=learns_truth(student, w2s.weak_examples),
                )
            )
        return tuple(rows)

    @property
    def id(self) -> str:
        """Digest of all scores it consists of, 64 hex digits."""
        return digest_of(sorted(stage.id for row in self.rows() for stage in targets(row)))

    def replace(self, **changes: object) -> Study:
        """The same study with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def targets(row: RowStages) -> tuple[Score, Score, Score]:
    """What has to be computed for a row."""
    return row.weak_score, row.student_score, row.ceiling_score


def learns_truth(student: Fit, weak_examples: Examples) -> bool:
    """Whether truth reached the student, directly or through others, that no supervisor has.

    The supervisor may know the truth of its own part. Everything else counts: a part of the
    student's examples, or examples to choose or score by.
    """

    def reached(stage: Stage) -> bool:
        if isinstance(stage, Fit) and stage.labels == TRUTH and stage.examples.part != weak_examples.part:
            return True
        return any(reached(before) for before in stage.upstream)

    return reached(student)
