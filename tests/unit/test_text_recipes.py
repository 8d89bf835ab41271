"""Studies on text: what they need to be told, and whose settings they follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference.language import save_tiny, write_texts
from reference.results import results
from surpass.errors import ConfigError
from surpass.models.sources import ModelSource
from surpass.overrides import given, override
from surpass.recipes import RECIPES, find_recipe, needs, settings_of
from surpass.recipes import text as recipes
from surpass.recipes.finding import find_study
from surpass.recipes.published import PUBLISHED, beside_published
from surpass.study import Study
from surpass.tasks import find_task

HUB = ["text-paper", "text-pythia", "text-qwen", "text-openai", "text-eleuther", "reward-paper"]


@pytest.fixture
def out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the hub, as a study sees them: names with a size."""

    def resolve(name: str) -> ModelSource:
        short = name.rpartition("/")[2].partition("(")[0]
        return ModelSource(name, "causal", Path("nowhere"), name, 1, 1.0, 0.0, short)

    monkeypatch.setattr("surpass.study.resolve", resolve)


@pytest.fixture
def texts(tmp_path: Path) -> str:
    return f"text:{write_texts(tmp_path / 'texts.jsonl', 60)}"


def tiny_pair(folder: Path) -> str:
    models = [save_tiny(folder / name, "llama", seed=seed) for seed, name in enumerate(("one", "two"))]
    return ">".join(f"dir:{model}" for model in models)


class TestTold:
    def test_which_need_a_task(self):
        assert {name for name in RECIPES if needs(name)} == {
            "text-small",
            "text-tuned",
            "reward-small",
            "text-paper",
            "text-pythia",
            "text-qwen",
            "vision-small",
            "processbench-small",
        }
        assert settings_of("text-small") == ("task", "pairs")
        assert settings_of("chess") == settings_of("nothing") == ()

    def test_without_a_task(self):
        with pytest.raises(
            ConfigError, match=r"study text-small needs task=\.\.\.: a data set, such as sst2"
        ):
            find_study("text-small", ["seeds=1"])

    def test_a_recipe_is_told_first_and_changed_then(self, tmp_path, texts):
        study = find_study(
            "text-small", ["seeds=2", f"pairs={tiny_pair(tmp_path)}", f"task={texts}", "epochs=1"]
        )
        assert [Path(model.partition(":")[2]).name for model in study.pairs[0]] == ["one", "two"]
        assert study.seeds == (0, 1)
        assert (study.recipe.epochs, study.num_train, study.early_stopping) == (1, 800, False)
        assert study.task == find_task(texts)

    def test_given(self):
        assert given(("seeds",), ["seeds=2", "epochs=3", "seeds=1"]) == ({"seeds": (0,)}, ["epochs=3"])
        with pytest.raises(ConfigError, match="'seeds' is no override; write name=value"):
            given((), ["seeds"])

    def test_models_that_are_not_there_say_what_brings_them(self, texts, monkeypatch, tmp_path):
        monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "empty"))
        with pytest.raises(ConfigError, match="surpass models fetch minilm-l6"):
            find_study("text-small", [f"task={texts}"])


class TestSettings:
    @pytest.mark.usefixtures("out_of_reach")
    @pytest.mark.parametrize("name", ["text-paper", "text-pythia", "text-qwen"])
    def test_of_the_paper(self, name, texts):
        """Burns et al. 2023, appendix A.1."""
        study = find_recipe(name, task=find_task(texts))
        assert (study.recipe.epochs, study.recipe.batch_size) == (2, 32)
        assert (study.labels, study.num_train, study.stops_early) == ("soft", None, True)
        assert study.methods == ("naive", "confidence")
        models = list(dict.fromkeys(model for pair in study.pairs for model in pair))
        assert len(study.pairs) == len(models) * (len(models) - 1) // 2

    @pytest.mark.usefixtures("out_of_reach")
    def test_of_reward_modelling(self, tmp_path):
        """Burns et al. 2023, appendix A.3."""
        task = find_task(f"preference:{tmp_path / 'pairs.jsonl'}")
        study = find_recipe("reward-paper", task=task)
        assert (study.recipe.epochs, study.recipe.batch_size, study.stops_early) == (1, 220, False)
        assert study.methods == ("naive", "generative", "early_stop_truth")

    @pytest.mark.usefixtures("out_of_reach")
    def test_of_the_released_code(self, texts):
        """openai/weak-to-strong, defaults."""
        study = find_recipe("text-openai", task=find_task(texts))
        rates = [
            study.setting(pair, 0).recipe_of(model).learning_rate
            for pair in study.pairs[:3]
            for model in pair
        ]
        assert rates == [5e-5, 5e-5, 5e-5, 1e-5, 5e-5, 1e-5]
        assert (study.recipe.schedule, study.recipe.warmup_frac, study.recipe.weight_decay) == (
            "cosine",
            0,
            0,
        )
        assert not study.stops_early

    @pytest.mark.usefixtures("out_of_reach")
    def test_of_eleuther(self, texts):
        """EleutherAI/w2s, defaults."""
        study = find_recipe("text-eleuther", task=find_task(texts))
        weak, strong = study.pairs[0]
        setting = study.setting((weak, strong), 0)
        assert setting.weak.recipe.learning_rate == 5e-4
        assert setting.ceiling.recipe.learning_rate == 8e-5
        assert setting.weak.adapter == setting.ceiling.adapter == "lora(rank=8)"
        assert setting.ceiling.recipe.num_steps(5_000) == 471
        assert round(study.recipe.warmup_frac * 471) == 40

    def test_every_one_has_its_line_in_the_docs(self):
        page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
        for name in (*HUB, "text-small", "text-tuned", "reward-small"):
            assert f"| `{name}` |" in page
        for (_, _), known in PUBLISHED.items():
            numbers = [f"{100 * accuracy:.1f}" for accuracy in known.accuracy.values()]
            pgr = [f"{100 * value:.0f}" for value in known.pgr.values()]
            assert f"| {' | '.join(numbers + pgr)} |" in page

    def test_hub_recipes_name_models_of_the_hub(self):
        for models in (recipes.GPT2, recipes.PYTHIA, recipes.QWEN, recipes.ELEUTHER):
            assert all(model.startswith("hub:") for model in models)


class TestStudy:
    def study(self, folder: Path, **fields: object) -> Study:
        pair = tuple(f"dir:{save_tiny(folder / name, 'llama', seed=1)}" for name in ("one", "two"))
        task = find_task(f"text:{write_texts(folder / 'texts.jsonl', 60)}")
        return Study(name="study", task=task, pairs=(pair,), **fields)  # type: ignore[arg-type]

    def test_rates_and_adapter_reach_every_fit(self, tmp_path):
        study = self.study(tmp_path, adapter="frozen", methods=("naive", "lora", "curriculum"))
        weak, strong = study.pairs[0]
        study = override(study, [f"learning_rates={strong}=1e-5"])
        naive, lora, curriculum = (row.student for row in study.rows()[:: len(study.seeds)])
        setting = study.setting(study.pairs[0], 0)
        assert setting.weak.recipe.learning_rate == study.recipe.learning_rate
        assert setting.ceiling.recipe.learning_rate == naive.fit.recipe.learning_rate == 1e-5
        assert curriculum.fit.recipe.learning_rate == pytest.approx(5e-6)
        adapters = [setting.weak.adapter, setting.ceiling.adapter, naive.fit.adapter, lora.fit.adapter]
        assert adapters == ["frozen", "frozen", "frozen", "lora(rank=8)"]
        assert weak != strong

    def test_a_rate_for_a_model_that_is_not_there(self, tmp_path):
        with pytest.raises(
            ConfigError, match="learning_rates name ladder:chess-9, which is not in the study"
        ):
            self.study(tmp_path, learning_rates=(("ladder:chess-9", 1.0),))
        with pytest.raises(ConfigError, match="learning_rates=3: '3' says nothing of a model; write MO"):
            override(self.study(tmp_path), ["learning_rates=3"])

    def test_all_examples_are_none_fresh(self, tmp_path):
        study = self.study(tmp_path, methods=("naive", "bootstrap(steps=2)"))
        third = f"dir:{save_tiny(tmp_path / 'three', 'llama', seed=3)}"
        study = override(study, ["num_train=all", f"between={third}"])
        assert study.num_train is None
        assert [left.reason for left in study.left_out] == [
            "the student has all examples, so none are fresh; say num_train=..."
        ]
        assert override(study, ["methods=naive,bootstrap_same"]).left_out == () or study.between


class TestPublished:
    def found(self, weak: str, strong: str, task: str = "sciq"):
        methods = [("naive", 0.25, False), ("confidence_openai", 0.5, False)]
        return results([(weak, strong, 120, 200)], methods, task=task)

    def test_numbers_stand_beside_measured_ones(self):
        lines = beside_published("text-openai", self.found("gpt2", "gpt2-xl"))
        assert lines[0].startswith(
            "accuracy on sciq, published in brackets: gpt2 30.1 (63.6), gpt2-xl 50.1 (73.0)"
        )
        assert lines[1].startswith(
            "published median PGR on sciq: confidence_openai 31, naive 33; openai/weak"
        )

    def test_nothing_where_nothing_is_known(self):
        assert beside_published("text-openai", self.found("gpt2", "gpt2-xl", task="wic")) == []
        assert beside_published("text-small", self.found("gpt2", "gpt2-xl")) == []

    def test_only_models_that_were_measured(self):
        (line,) = beside_published("text-openai", self.found("other", "another"))
        assert line.startswith("published median PGR")

    def test_they_are_kept_with_the_results(self, tmp_path):
        found = self.found("gpt2", "gpt2-xl")
        noted = found.with_notes(beside_published("text-openai", found))
        noted.to_json(tmp_path / "results.json")
        assert type(noted).from_json(tmp_path / "results.json").notes == noted.notes != ()
        assert noted != found
