"""What to compare, and the graph of stages that it takes. No torch, and nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from surpass.errors import ConfigError, NotApplicable
from surpass.identity import digest_of
from surpass.lineage import ancestry, learns_truth
from surpass.methods import Arms, WeakToStrong, find_method, stopped
from surpass.models.adapters import find_adapter
from surpass.models.sources import ModelSource, ladder_names, resolve
from surpass.stages import Compare, Examples, Fit, Label, LabelStage, ModelStage, Score, Stage, Stop
from surpass.tasks import Task
from surpass.tasks.solution_pool import mix_of
from surpass.train.recipe import Recipe

LABEL_KINDS = ("soft", "hard")
SUPERVISORS = ("fitted", "pretrained")
Pair = tuple[str, str]


class RowStages(NamedTuple):
    """The stages of one row of results."""

    pair: Pair
    method: str
    seed: int
    student: ModelStage | str
    weak_score: Score
    student_score: Score
    ceiling_score: Score
    comparison: Compare
    oracle: bool
    pooled: tuple[LabelStage, ...] = ()
    """What supervisor, student and ceiling say of `Study.pool`, in that order; () without one."""


class LeftOut(NamedTuple):
    """A method that makes no sense for a pair, and why."""

    pair: Pair
    method: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """Pairs of models x methods x seeds on one task.

    Attributes:
        name: What it is called.
        task: Where examples come from.
        pairs: (supervisor, student) as model names.
        methods: Names in `METHODS` or `LOSSES`, with their settings, or `your_module:function`.
        seeds: Each seed draws its own examples for both halves, and their order. All are scored on
            the same test examples.
        labels: "soft" for the supervisor's probabilities, "hard" for its greedy choice.
        num_train: Examples of either half; None for all, in another order for each seed.
        num_test: Test examples; None for all.
        num_validation: Examples by which methods choose, such as where to stop; None for all.
        between: Models between supervisor and student, weakest first, for methods that climb; by
            default the rungs of the ladder.
        train_mix: How training examples are drawn; one of the task's mixes.
        test_mix: The same for test examples.
        test_part: The part that is scored: "test", or "validation" while settings are tuned.
        recipe: Settings of every fit: weak, student and ceiling alike.
        learning_rates: Models with a peak learning rate of their own, whatever their part: (model, rate).
        adapter: What of a model every fit trains, where its method does not say: a name in `ADAPTERS`.
        adapters: Models that have another adapter, whatever their part: (model, adapter).
        supervisor: "fitted" on the truth of its half, or "pretrained": it labels as it is, as in the paper's
            study of images.
        best_of: In tasks of steps judges also choose the best of so many solutions of a problem; 0: not.
        early_stopping: Whether students stop where they agree best with weak labels of validation
            examples; None for what the paper does with such a task (yes for language, no for chess).

    Raises:
        ConfigError: A value names nothing that exists, or nothing would be compared.
    """

    name: str
    task: Task
    pairs: tuple[Pair, ...]
    methods: tuple[str, ...] = ("naive",)
    seeds: tuple[int, ...] = (0, 1, 2)
    labels: str = "soft"
    num_train: int | None = 10_000
    num_test: int | None = None
    num_validation: int | None = None
    between: tuple[str, ...] = ()
    train_mix: str = "all"
    test_mix: str = "all"
    test_part: str = "test"
    recipe: Recipe = field(default_factory=Recipe)
    learning_rates: tuple[tuple[str, float], ...] = ()
    adapter: str = "full"
    adapters: tuple[tuple[str, str], ...] = ()
    supervisor: str = "fitted"
    early_stopping: bool | None = None
    best_of: int = 0

    def __post_init__(self) -> None:
        if self.labels not in LABEL_KINDS:
            raise ConfigError(f"labels={self.labels!r} must be one of {', '.join(LABEL_KINDS)}")
        if self.supervisor not in SUPERVISORS:
            raise ConfigError(f"supervisor={self.supervisor!r} must be one of {', '.join(SUPERVISORS)}")
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
        if self.best_of and (self.best_of < 2 or not getattr(self.task, "reads_steps", False)):
            raise ConfigError(f"best_of={self.best_of} must be 0, or at least 2 in a task of steps")
        for name in ("num_train", "num_test", "num_validation"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        if not all(type(seed) is int and seed >= 0 for seed in self.seeds):
            raise ConfigError(f"seeds={self.seeds} must be whole numbers from 0")
        for method in self.methods:
            find_method(method)
        for adapter in (self.adapter, *(adapter for _, adapter in self.adapters)):
            find_adapter(adapter)
        used = {model for pair in self.pairs for model in pair} | set(self.between)
        for what in ("learning_rates", "adapters"):
            if strange := [model for model, _ in getattr(self, what) if model not in used]:
                raise ConfigError(
                    f"{what} name {strange[0]}, which is not in the study; it has {', '.join(sorted(used))}"
                )
        called: dict[str, str] = {}
        for weak, strong in self.pairs:
            if weak == strong:
                raise ConfigError(f"the pair {weak} -> {strong} is one model: name two")
            for model in (weak, strong, *self.between):
                source = resolve(model)
                if model == weak and self.supervisor == "pretrained":
                    _require_labels(source, self.task)
                if source.family not in self.task.families:
                    raise ConfigError(
                        f"{model} cannot read task {self.task.name}; it takes models of the family "
                        f"{' or '.join(sorted(self.task.families))}"
                    )
                name = source.short_name
                if called.setdefault(name, model) != model:
                    raise ConfigError(
                        f"{called[name]} and {model} are both called {name} in tables: rename a file"
                    )

    @property
    def test_examples(self) -> Examples:
        """What every model of the study is scored on."""
        return Examples(task=self.task, part=self.test_part, size=self.num_test, seed=0, mix=self.test_mix)

    @property
    def pool(self) -> Examples | None:
        """The solutions among which judges choose."""
        return replace(self.test_examples, mix=mix_of(self.best_of)) if self.best_of else None

    @property
    def stops_early(self) -> bool:
        """Whether students stop early, as asked for or as the paper does; with L-BFGS there is nowhere to."""
        as_usual = bool(getattr(self.task, "stops_early", False)) and self.recipe.optimizer != "lbfgs"
        return as_usual if self.early_stopping is None else self.early_stopping

    def setting(self, pair: Pair, seed: int) -> WeakToStrong:
        """The experiment of one pair and seed."""

        def examples(part: str) -> Examples:
            return Examples(task=self.task, part=part, size=self.num_train, seed=seed, mix=self.train_mix)

        return WeakToStrong(
            weak_model=pair[0],
            strong_model=pair[1],
            between=self.between or rungs_between(*pair),
            weak_examples=examples("weak"),
            student_examples=examples("student"),
            validation=Examples(
                task=self.task, part="validation", size=self.num_validation, seed=0, mix=self.test_mix
            ),
            hard=self.labels == "hard",
            recipe=self.recipe,
            learning_rates=self.learning_rates,
            adapter=self.adapter,
            adapters=self.adapters,
            pretrained_weak=self.supervisor == "pretrained",
            seed=seed,
        )

    def score(self, source: ModelStage | str) -> Score:
        """A model on the test examples."""
        test = self.test_examples
        return Score(labels=Label.of(source, test), examples=test)

    def rows(self) -> list[RowStages]:
        """The stages of every row: pairs, then methods, then seeds; without methods that do not apply.

        Raises:
            ConfigError: None applies.
        """
        return list(self._expanded[0])

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The methods that do not apply, with the reason."""
        return self._expanded[1]

    @cached_property
    def _expanded(self) -> tuple[tuple[RowStages, ...], tuple[LeftOut, ...]]:
        # Made once, so that planning, running and gathering share the stages and their digests.
        rows: list[RowStages] = []
        left_out: list[LeftOut] = []
        for pair in self.pairs:
            settings = [self.setting(pair, seed) for seed in self.seeds]
            truths = [(self.score(w2s.weak), self.score(w2s.ceiling)) for w2s in settings]
            for method in self.methods:
                find = find_method(method)
                try:
                    students = [find(w2s) for w2s in settings]
                except NotApplicable as reason:
                    left_out.append(LeftOut(pair, method, str(reason)))
                    continue
                for w2s, (weak, ceiling), student in zip(settings, truths, students, strict=True):
                    rows.append(self._row(w2s, method, student, weak, ceiling))
        if not rows:
            reasons = dict.fromkeys(f"{left.method}: {left.reason}" for left in left_out)
            raise ConfigError(f"no method applies: {'; '.join(reasons)}")
        return tuple(rows), tuple(left_out)

    def _row(self, w2s: WeakToStrong, method: str, given: object, weak: Score, ceiling: Score) -> RowStages:
        student, own_ceiling = given if isinstance(given, Arms) else (given, None)
        if isinstance(student, Fit) and self.stops_early and not learns_truth(student, w2s.weak_examples):
            student = stopped(w2s, student)
        if not isinstance(student, ModelStage | str):
            raise ConfigError(
                f"method {method} gives {type(student).__name__}; it must give a stage that makes a model, "
                "such as w2s.student(labels), a model's name, or surpass.methods.Arms"
            )
        student_score, pool = self.score(student), self.pool
        ceiling = ceiling if own_ceiling is None else self.score(own_ceiling)
        comparison = Compare(student=student_score.labels, weak=weak.labels, examples=self.test_examples)
        return RowStages(
            pair=(w2s.weak_model, w2s.strong_model),
            method=method,
            seed=w2s.seed,
            student=student,
            weak_score=weak,
            student_score=student_score,
            comparison=comparison,
            ceiling_score=ceiling,
            oracle=isinstance(student, Stage) and learns_truth(student, w2s.weak_examples),
            pooled=() if pool is None else tuple(s.labels.on(pool) for s in (weak, student_score, ceiling)),
        )

    @property
    def id(self) -> str:
        """Digest of all scores it consists of, 64 hex digits."""
        return digest_of(sorted(stage.id for row in self.rows() for stage in targets(row)))

    def replace(self, **changes: object) -> Study:
        """The same study with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def targets(row: RowStages) -> tuple[Stage, ...]:
    """What has to be computed for a row."""
    return row.weak_score, row.student_score, row.ceiling_score, row.comparison, *row.pooled


def rungs_between(weak: str, strong: str) -> tuple[str, ...]:
    """The rungs of the ladder between two of them."""
    rungs = [f"ladder:{name}" for name in ladder_names()]
    if weak not in rungs or strong not in rungs:
        return ()
    return tuple(rungs[rungs.index(weak) + 1 : rungs.index(strong)])


class Sharing(NamedTuple):
    """Fits that the rows would take, each on its own, and how many there are."""

    asked: int
    distinct: int


def sharing(rows: list[RowStages]) -> Sharing:
    """Count the fits that a study saves because equal stages are one."""
    asked, distinct = 0, set()
    for row in rows:
        fits = {
            id
            for score in targets(row)
            for id, stage in ancestry(score).items()
            if isinstance(stage, Fit | Stop)
        }
        asked += len(fits)
        distinct |= fits
    return Sharing(asked, len(distinct))


def _require_labels(source: ModelSource, task: Task) -> None:
    """Refuse a model that cannot label examples of a task before it is trained.

    Raises:
        ConfigError: It has no answers or classes of its own, or others than the task.
    """
    if "zero_shot" not in source.skills or source.num_classes not in (None, task.num_classes):
        raise ConfigError(
            f"{source.name} cannot label task {task.name} before it is trained, which supervisor=pretrained "
            "asks for; say supervisor=fitted, or name a model with a classifier of the same classes"
        )
