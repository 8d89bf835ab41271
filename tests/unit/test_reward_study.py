from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from reference.authors import sample_of_authors, save_reasoner
from surpass.commands.rewards import reasoning
from surpass.engine.inline import run
from surpass.errors import ConfigError, StoreError
from surpass.recipes.reasoning import find_reward_study, reasoning_world
from surpass.report.plot import BLUE, Line, Panel, svg, x_ticks, y_ticks
from surpass.report.rewards import efficiency_sentences, picture, print_rewards, shown_sizes, verdict
from surpass.reward_results import Rated, alone, gather, read_ratings
from surpass.reward_study import RewardStudy
from surpass.stages import Fit, RollOuts
from surpass.store import Store
from surpass.tasks import find_task
from surpass.tasks.generation import GenerationTask
from surpass.world.checker import truth_of
from surpass.world.problems import problems
from surpass.world.sampling import Sampled

SMALL = (
    "num_train=13",
    "train_samples=6",
    "test_mixes=all,long",
    "num_test=13",
    "test_samples=5",
    "per_problem=2",
    "outcome_per_problem=4",
    "budgets=1,3",
    "seeds=2",
    "epochs=1",
    "batch_size=64",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    model = save_reasoner(tmp_path_factory.mktemp("models") / "nobody")
    return find_reward_study("reasoning-world", [f"generator={model}", f"model={model}", *SMALL])


@pytest.fixture(scope="module", autouse=True)
def _authors():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surpass.world.drawing.sample", sample_of_authors)
        patch.setattr("surpass.running.rollouts.sample", sample_of_authors)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory, study):
    store = Store(tmp_path_factory.mktemp("store"))
    with pytest.raises(StoreError):
        gather(study, store)
    run(study.targets, store)
    return store


@pytest.fixture(scope="module")
def found(study, store):
    return gather(study, store)


def kinds_of(study: RewardStudy) -> dict[str, int]:
    ahead, seen = list(study.targets), {}
    while ahead:
        stage = ahead.pop()
        if stage.id not in seen:
            seen[stage.id] = stage
            ahead += stage.upstream
    counts: dict[str, int] = {}
    for stage in seen.values():
        counts[stage.kind] = counts.get(stage.kind, 0) + 1
    return counts


class TestStages:
    def test_equal_stages_are_one(self, study):
        counts = kinds_of(study)
        assert counts["sample"] == 3  # one pool, and a test of each mix
        # Of each seed: process, outcome twice, and chosen ones; the selector is the uniform one of one each.
        assert counts["fit"] == 2 * (3 + 2 * 2)

    def test_arms_learn_what_they_say(self, study):
        seeds = {(arm.name, arm.seed) for arm in study.arms}
        assert seeds == set(itertools.product(("process", "outcome", "outcome, more"), (0, 1)))
        for arm in study.arms:
            assert isinstance(arm.fit, Fit)
            assert set(arm.ratings) == {"all", "long"}
        process, outcome, more = study.arms[:3]
        assert process.solutions == outcome.solutions != more.solutions
        assert process.fit.recipe.batch_size != outcome.fit.recipe.batch_size

    def test_authors_in_place_of_a_model(self, study):
        authors = replace(study, generator="authors")
        assert kinds_of(authors)["written"] == 3
        assert "sample" not in kinds_of(authors)
        assert authors.about.startswith("authors solve, ")
        with pytest.raises(ConfigError, match="need a model"):
            replace(authors, rollouts=4)

    def test_an_iterated_selector_learns_from_what_it_chose(self, study):
        once, twice = (replace(study, rounds=rounds).convincing(3, 0) for rounds in (1, 2))
        assert once.id != twice.id
        assert twice.labels.source.examples.solutions == once
        assert once.labels.source.examples.solutions == study.uniform(1, 0)

    def test_more_sources_of_labels(self, study):
        more = replace(study, rollouts=2, synthetic=True, budgets=())
        names = {arm.name for arm in more.arms}
        assert {"process, roll-outs", "process, taught", "outcome, taught"} < names
        taught = next(arm for arm in more.arms if arm.name == "outcome, taught")
        assert taught.solutions != study.arms[0].solutions
        assert taught.fit.labels.labels.source == study.arms[0].fit

    def test_without_ratings_roll_outs_are_learned(self, study):
        bare = replace(study, grader="exact", rollouts=4, classes=2)
        assert {arm.name for arm in bare.arms} == {"process", "outcome", "outcome, more"}
        for arm in (bare.arms[0], bare.selections[0].arm):
            assert isinstance(arm.fit.labels, RollOuts)
            assert arm.fit.examples.whole

    def test_what_makes_no_sense(self, study):
        for changes, complaint in (
            ({"per_problem": 7}, "7 solutions of each problem"),
            ({"num_test": 1}, "no interval"),
            ({"seeds": ()}, "seeds="),
            ({"rounds": 0}, "rounds=0"),
            ({"grader": "exact"}, "grader=exact rates no steps"),
            ({"grader": "exact", "rollouts": 4}, "classes=3"),
            ({"task": find_task("chess")}, "no prompts"),
        ):
            with pytest.raises(ConfigError, match=complaint):
                replace(study, **changes)


class TestOverrides:
    def test_each_is_of_its_type(self):
        study = find_reward_study(
            "reasoning-world",
            [
                "generator=reasoner:small",
                "seeds=4,7",
                "budgets=none",
                "test_mixes=all",
                "synthetic=yes",
                "temperature=0.7",
                "epochs=3",
            ],
        )
        assert (study.seeds, study.budgets, study.test_mixes) == ((4, 7), (), ("all",))
        assert (study.synthetic, study.temperature) == (True, 0.7)
        assert study.recipe.epochs == study.outcome_recipe.epochs == 3
        study = find_reward_study("reasoning-world", ["outcome_batch_size=5"])
        assert (study.recipe.batch_size, study.outcome_recipe.batch_size) == (
            reasoning_world().recipe.batch_size,
            5,
        )

    def test_what_makes_no_sense(self):
        for text, complaint in (
            ("num_trains=3", "did you mean num_train"),
            ("num_train=x", "no whole number"),
            ("synthetic=1", "yes or no"),
            ("seeds", "no override"),
        ):
            with pytest.raises(ConfigError, match=complaint):
                find_reward_study("reasoning-world", [text])
        with pytest.raises(ConfigError, match="there are: reasoning-world"):
            find_reward_study("world")


class TestResults:
    def test_everything_is_there(self, study, found):
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        for test in found["tests"].values():
            assert (test["num_problems"], test["num_samples"]) == (13, 5)
            curves = test["curves"]
            assert {"process", "outcome", "outcome, more", "majority", "any of n"} < set(curves)
            for name, curve in curves.items():
                # The best of one is whichever there is.
                if name not in ("majority", "any of n") and not name.startswith("vote"):
                    assert curve["mean_N"][0] == pytest.approx(curves["any of n"]["mean_N"][0])
                noise = 0.05 if name.startswith("vote") else 1e-9  # votes are drawn
                assert np.all(np.array(curve["mean_N"]) <= np.array(curves["any of n"]["mean_N"]) + noise)
                assert np.all(np.array(curve["low_N"]) <= np.array(curve["high_N"]))
            assert test["pass_1"] == pytest.approx(curves["any of n"]["mean_N"][0])
        learned = found["learned"]
        assert learned["process"]["solutions"] == learned["outcome"]["solutions"] <= 26
        assert learned["outcome, more"]["solutions"] > learned["outcome"]["solutions"]
        assert learned["process"]["examples"] > learned["outcome"]["examples"]

    def test_the_best_of_all_is_the_highest_score(self, study, store, found):
        for arm_name in ("process", "outcome"):
            shares = []
            for arm in study.arms:
                if arm.name != arm_name:
                    continue
                rated = read_ratings(arm.ratings["long"], store)
                scores = rated.scores.get("product", rated.scores.get("last"))
                for scores_M, correct_M in zip(scores, rated.correct_PM, strict=True):
                    best = (
                        np.flatnonzero(scores_M == np.nanmax(scores_M))
                        if not np.isnan(scores_M).all()
                        else []
                    )
                    shares.append(np.mean(correct_M[best]) if len(best) else 0.0)
            curve = found["tests"]["long"]["curves"][arm_name]
            assert curve["mean_N"][-1] == pytest.approx(np.mean(shares))

    def test_wrong_answers_that_stand_alone(self):
        scores = np.array([[0.9, 0.1, 0.2], [0.5, 0.8, np.nan], [0.3, 0.2, 0.7]])
        answers = np.array([[0, 1, 1], [0, 0, 1], [0, 1, 2]])
        correct = np.array([[False, True, True], [False, False, False], [False, False, True]])
        assert alone(scores, Rated(answers, correct, {}, [])) == 0.5
        assert np.isnan(alone(scores, Rated(answers, np.ones_like(correct), {}, [])))

    def test_differences_are_paired(self, found):
        test = found["tests"]["all"]
        curves = {name: np.array(curve["mean_N"]) for name, curve in test["curves"].items()}
        for pair, curve in test["differences"].items():
            first, second = pair.split(" - ")
            np.testing.assert_allclose(curve["mean_N"], curves[first] - curves[second], atol=1e-12)
        assert set(test["reductions"]) >= {"product", "minimum", "product_neutral_wrong"}
        kinds = test["by_kind"]
        assert sum(kind["num_problems"] for kind in kinds.values()) == 13
        fifths = test["by_difficulty"]["majority"]
        weights = [curve["num_problems"] for curve in fifths.values()]
        means = [curve["mean_N"][-1] for curve in fifths.values()]
        assert np.average(means, weights=weights) == pytest.approx(curves["majority"][-1])

    def test_selection(self, study, found):
        selection = found["selection"]
        assert selection["size"] == 5
        for rule in ("uniform", "convincing"):
            points = selection["points"][rule]
            assert [point["per_problem"] for point in points] == [1, 3]
            assert points[0]["solutions"] <= 13 < points[1]["solutions"] <= 39
            assert all(len(point["accuracy"]) == 2 for point in points)
        assert len(selection["efficiency"]) == 2
        assert len(efficiency_sentences(selection)) >= 2

    def test_words(self, found):
        test = {
            "num_samples": 5,
            "differences": {
                "process - outcome": {"mean_N": [0.1, 0.031], "low_N": [0, 0.01], "high_N": [0.2, 0.05]}
            },
        }
        said = verdict(test, "process", "outcome")
        assert "process reward model beats the outcome" in said
        assert "+3.1 [+1.0, +5.0] points at n = 5" in said
        test["differences"]["process - outcome"]["low_N"][-1] = -0.01
        assert "cannot be told from" in verdict(test, "process", "outcome")
        assert shown_sizes(5) == [1, 2, 4, 5]
        assert shown_sizes(8) == [1, 2, 4, 8]


class TestCommand:
    def test_again_it_computes_nothing(self, study, store, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("surpass.recipes.reasoning.find_reward_study", lambda *_: study)
        monkeypatch.setattr(Fit, "run", None)
        reasoning("reasoning-world", [], store=str(store.root), out=tmp_path / "out")
        said = capsys.readouterr()
        assert "nothing to compute" in said.err
        for words in ("chosen by", "majority", "any of n", "uniform", "convincing", "Longer chains"):
            assert words in said.out
        written = json.loads((tmp_path / "out" / "results.json").read_text())
        assert written["study"] == "reasoning-world"
        reasoning(
            "reasoning-world", [], store=str(store.root), out=tmp_path / "out", as_json=True, quiet=True
        )
        assert json.loads(capsys.readouterr().out) == written

    def test_slurm_is_refused(self):
        with pytest.raises(ConfigError, match="Slurm"):
            reasoning("reasoning-world", [], engine="slurm")


class TestPicture:
    def test_all_curves_are_in_it(self, found):
        drawn = ElementTree.fromstring(picture(found))
        texts = [node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")]
        for words in ("process", "outcome", "majority", "any of n", "actively chosen", "The hardest fifth"):
            assert words in texts
        curves = list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))
        assert len(curves) >= 4 * 5

    def test_points_are_where_they_belong(self):
        line = Line("one", BLUE, [1, 2, 4], [0.2, 0.5, 0.4])
        drawn = ElementTree.fromstring(svg([Panel("<a>", "x & y", "%", [line])], title="t"))
        points = next(drawn.iter("{http://www.w3.org/2000/svg}polyline")).attrib["points"]
        (x0, y0), (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in points.split())
        assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
        assert (y2 - y0) / (y1 - y0) == pytest.approx(2 / 3, abs=0.01)

    def test_ticks(self):
        assert y_ticks(0.21, 0.67) == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
        assert y_ticks(0.5, 0.5) == [0.5, 0.505]
        assert x_ticks(1, 64) == [1, 2, 4, 8, 16, 32, 64]
        assert x_ticks(1, 100) == [1, 2, 4, 8, 16, 32, 64, 100]
        assert x_ticks(50, 400) == [50, 100, 200, 400]


def test_it_prints_without_selection(found, capsys):
    print_rewards({name: value for name, value in found.items() if name != "selection"})
    assert "Choosing what is labelled" not in capsys.readouterr().out


class TestOwnProblems:
    def test_without_ratings_from_a_file(self, study, tmp_path, monkeypatch):
        """Problems of a file, graded by their answers, and steps that only roll-outs say something of."""

        def sample(*given: Any, **settings: Any) -> list[Sampled]:
            said = sample_of_authors(*given, **settings)
            return [one._replace(text=one.text.replace("# ", "#### ")) for one in said]

        monkeypatch.setattr("surpass.world.drawing.sample", sample)
        monkeypatch.setattr("surpass.running.rollouts.sample", sample)
        stream = problems("pretrain", "arithmetic", seed=3)
        rows = [next(stream) for _ in range(120)]
        lines = [
            json.dumps({"prompt": f"{row.text}\n", "completion": f"#### {truth_of(row.text).answer}"})
            for row in rows
        ]
        (tmp_path / "mine.jsonl").write_text("\n".join(lines))
        own = replace(
            study,
            task=GenerationTask("mine", path=str(tmp_path / "mine.jsonl"), max_new_tokens=120),
            test_mixes=("all",),
            grader="exact",
            classes=2,
            rollouts=2,
            num_train=6,
            num_test=6,
            train_samples=4,
            budgets=(),
            seeds=(0,),
        )
        store = Store(tmp_path / "store")
        run(own.targets, store)
        test = gather(own, store)["tests"]["all"]
        assert 0.1 < test["pass_1"] < 0.9
        assert test["curves"]["process"]["num_problems"] == 6
        assert "by_kind" not in test
        assert "by_difficulty" not in test
