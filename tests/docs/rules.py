"""How blocks and commands of the pages are run: as they stand, unless this table says otherwise.

Commands: the first rule whose pattern is found in a command holds; a rule changes words, adds words (a later
`seeds=` overrules an earlier one), or says why the command cannot run. Whatever is said here, each command of
Surpass is parsed as it stands, and each study is planned with the words of the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Made-up data are in data/NAME; studies are a few examples, one seed and one epoch.
TINY = ("seeds=1", "epochs=1", "num_train=16", "num_test=16")
SMALL = ("seeds=1", "epochs=1", "num_train=64", "num_test=60", "num_validation=60")
ONE_PAIR = ("pairs=1-2", *SMALL)
CHESS_RUN = ("run", "chess", *ONE_PAIR)
SHOWN_STUDY = (  # what the page on the store shows the contents of
    "seeds=2",
    "num_train=200",
    "num_test=150",
    "epochs=1",
    "methods=naive,early_stop,early_stop_truth,top_confident",
)
PLACEHOLDERS = {
    r"(\w+)\(source=FOLDER": r"\1(source=data/\1",
    r"images:FOLDER": "images:data/images",
    r"\bSTUDY\b": " ".join(("chess", *ONE_PAIR)),
}


@dataclass(frozen=True)
class Rule:
    """What to do with commands that a pattern is found in."""

    pattern: str
    add: tuple[str, ...] = ()
    change: dict[str, str] = field(default_factory=dict)
    cannot: str = ""
    first: tuple[str, ...] = ()
    stop_when: str = ""
    code: int = 0
    plan: bool = True


# Pages whose files build on one another: they have a test of their own, which runs every block.
ELSEWHERE = {
    "docs/extending.md": "tests/e2e/test_extending.py",
    "docs/tutorial.md": "tests/docs/test_tutorial.py",
}
RULES = (
    # What is no command of Surpass.
    Rule(r"^make "),
    Rule(r"^pip install"),
    Rule(r"^export ", cannot="a place or a secret of the reader's"),
    Rule(
        r"^cd tests|^python -m faults\.campaign",
        cannot="hours of faults; tests/e2e/test_faults.py runs a dozen",
    ),
    Rule(
        r"build_puzzles",
        cannot="needs the archives it names; tests/unit/test_build_puzzles.py has made-up ones",
    ),
    # Engines and places that are not here.
    Rule(r"--slurm", cannot="needs Slurm; tests/unit/test_slurm.py runs jobs as processes (cluster=local)"),
    Rule(r"--address|--engine ray", cannot="seconds to start Ray; run by tests/e2e/test_ray_run.py"),
    Rule(r"s3://", cannot="needs a bucket; tests/unit/test_url_runs.py runs it against moto's server"),
    Rule(r"shard=4|data=2,model=2", cannot="four processes; run by tests/e2e/test_mesh_run.py"),
    Rule(r"STUDY --mesh", add=("--threads", "2")),
    Rule(
        r"wandb|mlflow|trackio",
        cannot="these packages are not installed; tests/unit/test_trackers.py has fakes",
    ),
    # The network.
    Rule(
        r"^surpass models fetch", cannot="downloads; tests/unit/test_models_commands.py has made-up packages"
    ),
    # Long commands, small.
    Rule(r"^surpass run chess .*--engine pool", add=ONE_PAIR, change={"--threads 8": "--threads 2"}),
    Rule(r"^surpass run chess .*pairs=[14]-[46] ", add=SMALL),
    Rule(
        r"^surpass run chess .*--stage",
        cannot="the id is of the page's own store; tests/e2e/test_run.py has one",
    ),
    Rule(r"^surpass plan "),
    Rule(
        r"^surpass (run|analyse) chess-methods",
        add=(*ONE_PAIR, "methods=naive,confidence,top_confident", "num_validation=60"),
    ),
    Rule(r"^surpass (run|analyse) chess", add=ONE_PAIR),
    Rule(
        r"^surpass run planted methods=all", add=(*SMALL, "methods=naive,confidence,probe,ensemble,fit_truth")
    ),
    Rule(
        r"^surpass (run|analyse) (text|reward)-\w+ .*layers=1-12",
        add=(*TINY, "num_validation=8", "layers=1-2"),
    ),
    Rule(r"^surpass (run|analyse) (text|reward)-\w+ .*optimizer=lbfgs", add=(*TINY, "num_validation=8")),
    Rule(
        r"^surpass run processbench-small task=process:mine",
        add=(*TINY, "num_validation=8"),
        change={"process:mine": "process:steps/mine"},
    ),
    Rule(r"^surpass (run|analyse) (text|reward|vision|processbench)-", add=(*TINY, "num_validation=8")),
    Rule(r"^surpass run process-world", add=(*TINY, "num_test=80", "num_validation=8", "best_of=2")),
    Rule(
        r"^surpass reasoning your_module:study",
        cannot="the reader's module; the page's mine.py is read by another block, and reasoning-world is run",
    ),
    Rule(
        r"^surpass reasoning",
        add=(
            *("seeds=1", "epochs=1", "num_train=8", "train_samples=3", "num_test=8", "test_samples=3"),
            *("per_problem=2", "outcome_per_problem=2", "budgets=none"),
        ),
        change={
            r"^reasoning(?! reasoning-world)": "reasoning reasoning-world",
            "generator=reasoner:small": "",
        },
        plan=False,
    ),
    Rule(r"^surpass world measure", add=("--problems", "1", "--samples", "1", "--mix", "systems")),
    Rule(
        r"^surpass world train",
        cannot="a quarter of an hour; tests/unit/test_world_task.py trains a tiny one, and stops one",
    ),
    Rule(r"^surpass ladder games", change={r"PGN\.\.\.": "games.pgn"}),
    Rule(r"^surpass ladder train", add=("--checkpoint-seconds", "0"), stop_when="ladder/*", code=143),
    Rule(r"^surpass show ID", change={r"\bID\b": "{id}"}),
    Rule(
        r"^surpass store export chess pairs=1-2 seeds=2 \.\.\.",
        change={r"seeds=2 '?\.\.\.'?": " ".join(SHOWN_STUDY)},
    ),
    Rule(
        r"^surpass report results/",
        first=CHESS_RUN,
        change={r" other/results/chess-ID": "", r"results/chess-ID": "{results}"},
    ),
    Rule(
        r"^surpass report chess seeds=10",
        first=("run", "chess", "labels=hard", *ONE_PAIR),
        change={"chess seeds=10": " ".join(("chess", *ONE_PAIR))},
        add=ONE_PAIR,
    ),
    Rule(r"^surpass (report|figure \w+|table|store export) chess", first=CHESS_RUN, add=ONE_PAIR),
    Rule(r"^surpass models remove mpnet", change={"mpnet": "mobilenetv2"}),  # made up for this
    Rule(r"^surpass store verify", code=1),
)

# Blocks of Python that need something before them, or are to be made smaller: page and first line.
# `before` is run first, `change` is a pattern and what stands in its place, `after` runs what was described.
FIND = "from surpass.recipes.finding import find_study\n"
OF_TEXTS = f"{FIND}study = find_study('text-small', {['task=sst2', *TINY, 'num_validation=8']!r})\n"
STORE = "import surpass\nstore = surpass.open_store('surpass-store')\n"
CHESS = f"import surpass\n{FIND}study = find_study('chess', {list(ONE_PAIR)!r})\n"
SCORES = """
import numpy as np
rng = np.random.default_rng(0)
scores, said = rng.random((5, 64)), rng.integers(4, size=(5, 64))
correct, answers = said == 0, [[str(number) for number in row] for row in said]
"""


@dataclass(frozen=True)
class Setting:
    """What stands around a block of Python."""

    before: str = ""
    change: dict[str, str] = field(default_factory=dict)
    after: str = ""
    cannot: str = ""


PYTHON: dict[tuple[str, str], Setting] = {
    ("README.md", "import surpass"): Setting(
        change={
            r"seeds=\(0, 1, 2, 3, 4\)": "seeds=(0,), pairs=(('ladder:chess-1', 'ladder:chess-2'),), "
            "num_train=64, num_test=60"
        }
    ),
    ("docs/engines.md", 'results = surpass.run(study, "surpass-store", workers=2)'): Setting(
        before=CHESS, change={r"results = .*engine=\"ray\", (settings=.*)\)": r"dict(\1)"}
    ),
    ("docs/features.md", "from surpass.stages import Examples, Features"): Setting(
        before="from surpass.tasks import find_task\ntask = find_task('sst2')\n" + STORE,
        after="from surpass.engine.inline import run\nrun([features], store)",
    ),
    (
        "docs/large-models.md",
        'results = surpass.run(study, "surpass-store", settings=surpass.Settings(mesh="data=2,model=2"))',
    ): Setting(before=CHESS, change={r"results = .*(settings=.*)\)": r"dict(\1)"}),
    (
        "docs/metrics.md",
        "draws_BN = np.random.default_rng(0).integers(num_examples, size=(2000, num_examples))",
    ): Setting(
        before="import numpy as np\nfrom surpass import metrics\nnum_examples = 50\n"
        "correct_RN = np.random.default_rng(1).random((4, 50)) < np.array([[0.6], [0.4], [0.6], [0.8]])\n"
    ),
    ("docs/probes.md", "from surpass import Recipe, Store, Study, run"): Setting(
        change={
            "2_000": "200",
            "4_000": "300",
            "1_000": "200",
            r'name="spurious",': 'name="spurious", seeds=(0,),',
        }
    ),
    ("docs/probes.md", "from surpass.analyses.saliency import saliency, saliency_study"): Setting(
        before=STORE
        + "from surpass import Recipe, Study, run\nfrom surpass.tasks.planted import PlantedTask\n"
        "study = Study(name='s', task=PlantedTask(num_features=20), pairs=(('linear:6', 'mlp:allx16'),), "
        "seeds=(0,), num_train=200, num_test=300, recipe=Recipe(epochs=2))\n"
    ),
    ("docs/probes.md", "from surpass.layers import by_layer, layer_study"): Setting(
        before=STORE + "from surpass import run\n" + OF_TEXTS, change={r"\[1, 2, 3, 4, 5\]": "[1, 2]"}
    ),
    ("docs/process.md", "from surpass.experiment import run_stage"): Setting(
        before=STORE + FIND + f"study = find_study('processbench-small', ['task=processbench', "
        f"{', '.join(map(repr, TINY))}, 'num_validation=8'])\nsurpass.run(study, store)\n"
    ),
    ("docs/process.md", "from surpass import Recipe, open_store"): Setting(
        change={
            "process:mine.jsonl": "process:steps/mine.jsonl",
            r'"new\.jsonl"': '"steps/new.jsonl"',
            "size=None": "size=8",
            "epochs=2": "epochs=1",
        }
    ),
    (
        "docs/reasoning-data.md",
        "from surpass.data.solutions_reading import read_problems, read_solutions",
    ): Setting(change={"FOLDER": "data"}),
    ("docs/reasoning-data.md", "import numpy as np"): Setting(before=SCORES),
    ("docs/reasoning.md", "# mine.py"): Setting(
        change={"hub:Qwen/Qwen2.5-0.5B": "dir:MODEL"}, after="assert study().name == 'mine'"
    ),
    ("docs/reasoning.md", "from surpass.reasoning.best_of_n import best_of_n, all_sizes"): Setting(
        before=SCORES
    ),
    (
        "docs/reasoning.md",
        "from surpass.stages import Chosen, Examples, Fit, Graded, Label, Outcomes, Rate, Sample",
    ): Setting(
        before="from surpass import Recipe\nfrom surpass.tasks.generation import GenerationTask\n"
        "task, generator, model, recipe = GenerationTask('gsm8k'), 'dir:MODEL', 'dir:MODEL', Recipe()\n",
        after="assert scores.id",
    ),
    (
        "docs/statistics.md",
        "from surpass.stats import estimate_pgr, paired_difference, mean_interval, aggregate_pgr",
    ): Setting(
        before="import numpy as np\nrng = np.random.default_rng(0)\nweak, student, ceiling = "
        "(rng.random((5, 400)) < share for share in (0.5, 0.6, 0.7))\n"
    ),
    ("docs/watching.md", 'surpass.run(study, track="trackio")'): Setting(
        before=CHESS, change={"trackio": "tensorboard"}
    ),
    ("docs/watching.md", "class Mine:"): Setting(before=CHESS, after="surpass.run(study, track=Mine())"),
    ("docs/world.md", "from surpass.stages import Examples, Sample"): Setting(
        change={"size=200": "size=1", "num_samples=100": "num_samples=1"},
        after="from surpass.experiment import run_stage\n" + STORE + "run_stage(samples, store)",
    ),
}

# Blocks that are neither commands nor Python: page and first line, and what they are.
README_TABLE = "output of `surpass run chess`, held to it by tests/e2e/test_readme.py"
WATCHED = "what a run says, held to it by tests/e2e/test_watching.py"
TEXTS: dict[tuple[str, str], str] = {
    (
        "docs/source.md",
        "study.py -> stages/ -> engine/ -> store/ -> experiment.py -> results.py -> report/",
    ): "a drawing of how a study goes through the source",
    ("README.md", "pair, method       weak  student  ceiling      PGR % [95 %]  seeds   time"): README_TABLE,
    (
        "docs/data/planted.md",
        "sum over c of p_c * integral of phi(z) * product over j != c of Phi(z + t + log(p_c / p_j) / t) dz",
    ): "a formula",
    (
        "docs/large-models.md",
        "fit ...: rank 1 of mesh data=2 was killed by SIGKILL (out of memory?); log: "
        "surpass-store/work/ID/ranks/1.txt; ...",
    ): "what a mesh says whose rank is killed",
    (
        "docs/reasoning-data.md",
        '{"problem": "1 + 2 * 3?", "steps": ["2 * 3 = 6", "1 + 6 = 8", "#### 8"], '
        '"first_error": 1, "reference": "7", "correct": false}',
    ): "a row, read by test_rows_of_ones_own",
    (
        "docs/store.md",
        "STORE.json                     marks the folder, and has its format",
    ): "a layout of folders",
    (
        "docs/store.md",
        "STORE.json                             marks the place, and has its format",
    ): "a layout of keys",
    (
        "docs/watching.md",
        "16 of 105 stages  ━━━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━━━━━━━━  23%, about 2 min left",
    ): WATCHED,
    (
        "docs/watching.md",
        "27 stages computed, 14.2 s, 495 MB at most; results in results/chess-1808d9e3, page "
        "results/chess-1808d9e3/report.html",
    ): WATCHED,
    ("docs/watching.md", "finishing the step and saving; Ctrl-C again to stop now"): WATCHED,
    (
        "docs/watching.md",
        "failed: fit chess-2-from-chess-1-bad:loss-s0: KeyError: 'no such thing' (3 more need it "
        "and are left)",
    ): WATCHED,
    (
        "docs/world.md",
        "(7+5)*3-8",
    ): "a solution and its ratings, held to the checker by test_ratings_of_the_world",
}


def rule_for(command: str) -> Rule:
    """The first rule whose pattern is found in a command, or the rule to run it as it stands."""
    return next((rule for rule in RULES if re.search(rule.pattern, command)), Rule(""))
