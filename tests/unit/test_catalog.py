from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from surpass.data.catalog import DATA_SETS
from surpass.data.loading import find

ROOT = Path(__file__).parents[2]
PAPER = """
    boolq cosmos_qa dream ethics_justice ethics_deontology ethics_virtue ethics_utilitarianism anli_r2
    cola sst2 hellaswag mctaco openbookqa paws quail piqa quartz sciq social_iqa multirc wic
    twitter_sentiment
""".split()  # noqa: SIM905
OTHERS = ["sciq_support", "amazon_polarity", "hh", "shp", "ultrafeedback", "gsm8k"]
IMAGES = ["cifar10", "cifar100", "imagenet"]
HIDDEN = ["boolq", "cosmos_qa", "cola", "sst2", "hellaswag", "piqa", "quail", "social_iqa", "multirc", "wic"]


def test_the_22_of_the_paper_in_its_order_then_others():
    assert list(DATA_SETS) == [*PAPER, *OTHERS, *IMAGES]
    assert [name for name, data_set in DATA_SETS.items() if data_set.paper] == PAPER
    assert len(PAPER) == 22


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_says_all_of_itself(name):
    data_set = DATA_SETS[name]
    assert data_set.name == name
    assert data_set.title
    assert data_set.licence
    assert data_set.cite
    assert data_set.url.startswith("https://")
    assert data_set.hub is not None
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", data_set.hub.repository)
    assert data_set.hub.revision in ("main", "refs/convert/parquet")
    assert not set(data_set.hub.train) & set(data_set.hub.test)
    assert data_set.hub.train
    assert data_set.hub.test or data_set.num_test
    assert bool(data_set.forms) == (data_set.kind != "image") == (not data_set.num_classes)


@pytest.mark.parametrize("name", [name for name in DATA_SETS if DATA_SETS[name].kind == "choice"])
def test_a_choice_has_a_question_for_prompted_models(name):
    data_set = DATA_SETS[name]
    assert re.search(r"\? Answer with 1 if (it is|it does|they do|so), else with 0\.$", data_set.ask)
    assert len(data_set.classes) == len(set(data_set.classes)) == 2


def test_only_choices_are_asked_and_only_generation_is_checked():
    for data_set in DATA_SETS.values():
        assert bool(data_set.ask) == (data_set.kind == "choice")
    assert DATA_SETS["gsm8k"].checker == "number"
    assert {DATA_SETS[name].kind for name in ("hh", "shp", "ultrafeedback")} == {"preference"}
    assert [name for name, data_set in DATA_SETS.items() if data_set.kind == "image"] == IMAGES


@pytest.mark.parametrize("name", HIDDEN)
def test_no_split_with_hidden_labels_is_scored(name):
    assert DATA_SETS[name].hub.test == ("validation",)


def test_forms_do_not_hide_each_other():
    """A form whose columns are among those of a later one would always be taken first."""
    for data_set in DATA_SETS.values():
        for place, form in enumerate(data_set.forms):
            for later in data_set.forms[place + 1 :]:
                assert not set(form.columns) <= set(later.columns), (data_set.name, form.columns)


def test_files_without_a_header_get_the_columns_that_a_form_reads():
    for data_set in DATA_SETS.values():
        for published in data_set.published:
            if published.columns:
                assert any(set(form.columns) <= set(published.columns) for form in data_set.forms)


PUBLISHED = [
    (name, place)
    for name, known in DATA_SETS.items()
    if known.kind != "image"  # found by what they are: unit/test_images.py
    for place in range(len(known.published))
]


@pytest.mark.parametrize(("name", "place"), PUBLISHED)
def test_published_files_are_found_below_a_folder(name, place, tmp_path):
    published = DATA_SETS[name].published[place]
    made: dict[str, list[Path]] = {"train": [], "test": []}
    for role, patterns in (("train", published.train), ("test", published.test)):
        for pattern in patterns:
            path = tmp_path / "release" / f"{pattern.replace('*', 'some')}.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(b""))
            made[role].append(path)
    (tmp_path / "release" / "readme.txt").write_text("about")
    found = find(DATA_SETS[name], str(tmp_path))
    assert {role: [Path(part.path) for part in parts] for role, parts in found.files.items()} == made
    assert found.columns == published.columns


def test_the_catalog_is_light():
    heavy = "{'torch', 'transformers', 'datasets', 'numpy', 'pyarrow'} & set(sys.modules)"
    script = f"import sys, surpass.data.catalog; print({heavy})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_the_page_of_data_sets_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import write_data_sets

    monkeypatch.delitem(sys.modules, "write_data_sets")
    page = (ROOT / "docs" / "data-sets.md").read_text()
    assert page == write_data_sets.page(), "run python scripts/write_data_sets.py > docs/data-sets.md"
    assert set(write_data_sets.TOGETHER) == set(DATA_SETS)
    assert all(page.count(f"| `{name}` |") == 1 + bool(DATA_SETS[name].ask) for name in DATA_SETS)
