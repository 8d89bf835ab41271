"""The document of a report, held against the results and the store by a slow reading of the same numbers."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import chess
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference.studies import ToyTask, write_model
from surpass import Results, Store, run
from surpass.errors import ConfigError, DataError, StoreError
from surpass.identity import digest_of, file_digest
from surpass.metrics import calibration_bins, error_correlation
from surpass.report.board_svg import board_svg
from surpass.report.document import checked, document_of, made_of, read_document, write_document
from surpass.report.joining import joined
from surpass.report.numbers import kappa
from surpass.report.provenance import Provenance
from surpass.report.shown_examples import LONGEST_TEXT, shown_examples
from surpass.report.terminal import footnotes, headline
from surpass.rows import METRICS
from surpass.stats import mean_interval
from surpass.store.opening import open_store
from surpass.study import Study
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe
from surpass.upkeep.exporting import export
from surpass.upkeep.importing import import_archive

METHODS = (
    "naive",
    "gce",
    "early_stop",
    "early_stop_truth",
    "truth_part(of=2)",
    "truth_part(of=8)",
    "bootstrap",
)
STUDY = Study(
    name="told",
    task=PlantedTask(),
    pairs=(("linear:4", "linear:all"), ("linear:16", "linear:4")),
    methods=METHODS,
    seeds=(0, 2),
    num_train=160,
    num_test=200,
    num_validation=50,
    recipe=Recipe(epochs=3, batch_size=32, learning_rate=2e-2),
)
OTHER = STUDY.replace(name="other", methods=("naive", "gce(q=0.4)"))
CALLED = ["mine:told", "seeds=0,2"]
ROLES = ("weak", "student", "ceiling")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Store, Results]:
    store = Store(tmp_path_factory.mktemp("told") / "store")
    return store, run(STUDY, store)


@pytest.fixture(scope="module")
def document(finished) -> dict:
    return document_of([(STUDY, CALLED)], finished[0], place="over there")


@pytest.fixture(scope="module")
def both(finished) -> dict:
    run(OTHER, finished[0])
    return document_of([(STUDY, CALLED), (OTHER, ["mine:other"])], finished[0])


def nan_as_none(value: object) -> object:
    return json.loads(json.dumps(value).replace("NaN", "null"))


def correct(store: Store, kind: str, id: str) -> np.ndarray:
    table = pq.read_table(store.find(kind, id).file("examples.parquet"))
    return table["correct"].to_numpy(zero_copy_only=False)


class TestStudy:
    def test_what_was_asked_for(self, document, finished):
        (entry,) = document["studies"]
        assert (entry["name"], entry["id"], entry["called"]) == ("told", STUDY.id, CALLED)
        assert entry["command"] == "surpass run mine:told seeds=0,2"
        assert entry["pairs"] == [["linear-4", "linear-all"], ["linear-16", "linear-4"]]
        assert (entry["methods"], entry["seeds"], entry["labels"]) == (list(METHODS), [0, 2], "soft")
        assert entry["answer"] == document["answer"] == headline(finished[1])
        assert entry["task"]["name"] == "planted"
        assert (entry["task"]["num_classes"], entry["noun"]) == (2, "test examples")
        settings = dict(map(tuple, entry["settings"]))
        assert settings["recipe"].startswith("epochs=3 batch_size=32 learning_rate=0.02 ")
        assert (settings["num_train"], settings["test_part"]) == ("160", "test")
        assert entry["published"] is None

    def test_what_is_left_out_is_said(self, document, finished):
        (entry,) = document["studies"]
        assert [left["method"] for left in entry["left_out"]] == ["bootstrap", "bootstrap"]
        assert all(left["reason"] for left in entry["left_out"])
        assert entry["footnotes"] == footnotes(finished[1])
        assert any(note.startswith("left out: bootstrap") for note in entry["footnotes"])
        assert any("oracle" in note for note in entry["footnotes"])

    def test_models(self, document):
        assert document["models"]["linear-4"]["name"] == "linear:4"
        assert document["models"]["linear-4"]["pretraining_flops"] is None
        assert set(document["models"]) == {"linear-4", "linear-16", "linear-all"}

    def test_it_is_plain(self, document):
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert list(document)[:3] == ["format", "version", "made"]


class TestNumbers:
    def test_summaries_are_those_of_the_results(self, document, finished):
        for told, summary in zip(document["summaries"], finished[1].summary(), strict=True):
            key = summary.key
            assert (told["weak"], told["strong"], told["method"]) == (
                key.weak_model,
                key.strong_model,
                key.method,
            )
            assert (told["labels"], told["oracle"], told["study"]) == (key.labels, key.oracle, 0)
            assert told["estimate"] == nan_as_none(asdict(summary.estimate))
            assert told["metrics"] == nan_as_none(dict(summary.metrics))
            assert told["seconds"] == summary.seconds
        assert [told["oracle"] for told in document["summaries"]].count(True) == 6

    def test_undefined_is_null_with_its_reason(self, document):
        undefined = [told for told in document["summaries"] if told["strong"] == "linear-4"]
        assert len(undefined) == 6
        for told in undefined:
            estimate = told["estimate"]
            assert not estimate["valid"]
            assert (estimate["value"], estimate["low"], estimate["high"]) == (None, None, None)
            assert "the ceiling" in estimate["reason"]

    def test_intervals_of_accuracies_are_to_the_digit_those_of_one_model(self, document, finished):
        store, results = finished
        rows = results.rows()
        for place, told in enumerate(document["summaries"]):
            own = [row for row, of in zip(rows, document["rows"]["summary"], strict=True) if of == place]
            for role in ROLES:
                bits = np.stack([correct(store, "score", row[f"{role}_score_id"]) for row in own])
                expected = mean_interval(bits)
                assert told["accuracy"][role] == [expected.low, expected.high]
                assert told["estimate"][role] == expected.value

    def test_rows_are_those_of_the_results(self, document, finished):
        columns = document["rows"]
        rows = finished[1].rows()
        assert len(rows) == 24
        for name in (
            "seed",
            "weak_acc",
            "student_acc",
            "ceiling_acc",
            "pgr",
            "seconds",
            "num_test",
            *METRICS,
        ):
            assert columns[name] == nan_as_none([row[name] for row in rows])
        for row, place in zip(rows, columns["summary"], strict=True):
            told = document["summaries"][place]
            assert (row["weak_model"], row["method"]) == (told["weak"], told["method"])
            assert row["strong_model"] == told["strong"]

    def test_ranks(self, document, finished):
        for told, rank in zip(document["ranks"], finished[1].ranks, strict=True):
            assert (told["method"], told["oracle"], told["num_pairs"]) == (
                rank.method,
                rank.oracle,
                rank.num_pairs,
            )
            assert told["pgr"] == nan_as_none(rank.pgr._asdict())
            if rank.comparison is None:
                assert told["comparison"] is None
            else:
                assert told["comparison"]["difference"] == rank.comparison.difference
                assert told["comparison"]["p"] == rank.comparison.adjusted_p
        assert [told["comparison"] is None for told in document["ranks"]].count(True) == 1

    def test_calibration_pools_the_seeds(self, document, finished):
        store, results = finished
        rows = results.rows()
        places = [(entry["summary"], entry["role"]) for entry in document["calibration"]]
        assert len(set(places)) == len(places) == 12 + 2 * 2
        assert {place for place, role in places if role != "student"} == {0, 6}
        for entry in document["calibration"]:
            of = document["rows"]["summary"]
            ids = [
                row[f"{entry['role']}_score_id"]
                for row, s in zip(rows, of, strict=True)
                if s == entry["summary"]
            ]
            tables = [pq.read_table(store.find("score", id).file("examples.parquet")) for id in ids]
            whole = pa.concat_tables(tables)
            right = whole["correct"].to_numpy(zero_copy_only=False)
            expected = calibration_bins(whole["confidence"].to_numpy().astype(float), right)
            assert [own["count"] for own in entry["bins"]] == expected.count_B.tolist()
            assert [own["low"] for own in entry["bins"]] == expected.low_B.tolist()
            assert [own["high"] for own in entry["bins"]] == expected.high_B.tolist()
            assert [own["accuracy"] for own in entry["bins"]] == pytest.approx(expected.accuracy_B.tolist())
            confidence = [own["confidence"] for own in entry["bins"]]
            assert confidence == pytest.approx(expected.confidence_B.tolist(), rel=1e-6)

    def test_overlap_is_the_kappa_of_each_two(self, document, finished):
        store, results = finished
        for entry in document["overlap"]:
            names = entry["names"]
            assert names == ["weak", *METHODS[:-1], "ceiling"]
            own = [row for row in results.rows() if row["weak_model"] == entry["weak"]]
            ids = {row["method"]: {} for row in own}
            for row in own:
                ids[row["method"]][row["seed"]] = row["student_score_id"]
                ids.setdefault("weak", {})[row["seed"]] = row["weak_score_id"]
                ids.setdefault("ceiling", {})[row["seed"]] = row["ceiling_score_id"]
            for first, line in zip(names, entry["kappa"], strict=True):
                for second, told in zip(names, line, strict=True):
                    kappas = [
                        error_correlation(
                            *(correct(store, "score", ids[name][seed]) for name in (first, second))
                        )
                        for seed in (0, 2)
                    ]
                    assert told == pytest.approx(np.mean([one.kappa for one in kappas]))
            assert entry["kappa"][1][0] == entry["kappa"][0][1]

    def test_overlap_where_it_is_undefined(self):
        bits = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 0]], np.bool_)
        found = kappa(bits)
        assert math.isnan(found[0, 1])
        assert found[2, 2] == 1
        assert found[0, 2] == error_correlation(bits[0], bits[2]).kappa == 0

    def test_curves_and_tables(self, document):
        assert [(curve["weak"], curve["seed"]) for curve in document["curves"]] == [
            ("linear-4", 0),
            ("linear-4", 2),
            ("linear-16", 0),
            ("linear-16", 2),
        ]
        assert set(document["curves"][0]["points"]) >= {"best", "last", "weak_stopped"}
        titles = [table["title"] for table in document["tables"]]
        assert titles == [
            "What the labels are worth, in truth labels",
            "What differences to naive fine-tuning the study can show",
        ]
        for table in document["tables"]:
            assert {len(row) for row in table["rows"]} == {len(table["columns"])}
            assert {column["kind"] for column in table["columns"]} <= {"text", "percent", "number", "count"}
            assert table["study"] == 0


class TestProvenance:
    def test_every_row_leads_to_its_stages(self, document, finished):
        stages, columns = document["stages"], document["rows"]
        for place, (row, stage_of) in enumerate(zip(finished[1].rows(), STUDY.rows(), strict=True)):
            for role in ROLES:
                assert stages[columns[f"{role}_score"][place]]["id"] == row[f"{role}_score_id"]
            assert stages[columns["student_stage"][place]]["id"] == stage_of.student.id
            assert stages[columns["comparison"][place]]["id"] == stage_of.comparison.id
            assert stages[columns["weak_stage"][place]]["id"] == stage_of.weak_score.labels.source.id
            assert stages[columns["ceiling_stage"][place]]["id"] == stage_of.ceiling_score.labels.source.id
            assert columns["seconds"][place] == stages[columns["student_stage"][place]]["seconds"]

    def test_stages_are_as_the_store_has_them(self, document, finished):
        store = finished[0]
        there = {artifact.id: artifact for artifact in store.artifacts()}
        for place, stage in enumerate(document["stages"]):
            manifest, folder = there[stage["id"]].manifest, there[stage["id"]].path
            names = ("kind", "label", "seconds", "created")
            assert {name: stage[name] for name in names} == {name: manifest[name] for name in names}
            identity = {"stage": stage["kind"], "version": stage["revision"]}
            identity |= {"fields": stage["fields"], "outside": stage["outside"]}
            assert digest_of(identity) == stage["id"]
            assert stage["files"] == {name: file_digest(folder / name) for name in manifest["files"]}
            assert document["versions"][stage["versions"]] == manifest["versions"]
            upstream = {document["stages"][before]["id"] for before in stage["upstream"]}
            assert upstream == {before["id"] for before in manifest["upstream"]}
            assert all(before < place for before in stage["upstream"])
            words = "surpass run mine:told seeds=0,2 --store 'over there' --stage"
            assert stage["command"] == f"{words} {stage['id'][:12]}"
        assert len({stage["id"] for stage in document["stages"]}) == len(document["stages"])

    def test_counts(self, document):
        told = document["studies"][0]["stages"]
        assert told["distinct"] == len(document["stages"]) < told["asked"]
        assert told["seconds"] == pytest.approx(sum(stage["seconds"] for stage in document["stages"]))

    def test_nothing_says_which_machine_it_was(self, document, finished):
        held = next(finished[0].artifacts()).manifest
        assert {"host", "pid"} <= held.keys()
        text = json.dumps(document)
        assert '"host"' not in text
        assert '"pid"' not in text
        assert str(finished[0].root) not in text

    def test_what_is_gone_is_still_named(self, finished, tmp_path):
        store = Store(shutil.copytree(finished[0].root, tmp_path / "store"))
        shutil.rmtree(store.root / "fit")
        shutil.rmtree(store.root / "stop")
        told = document_of([(STUDY, CALLED)], store)
        fits = [stage for stage in told["stages"] if stage["kind"] == "fit"]
        assert fits
        for stage in fits:
            assert (stage["files"], stage["seconds"], stage["created"], stage["versions"]) == (
                {},
                None,
                None,
                None,
            )
            assert stage["command"].endswith(stage["id"][:12])
        lacking = [note for note in told["studies"][0]["footnotes"] if note.startswith("not known, ")]
        assert [note.partition(":")[0] for note in lacking] == [
            "not known, what the labels are worth",
            "not known, overfitting to weak labels",
        ]
        assert not any(str(store.root) in note for note in lacking)
        assert told["curves"] == []
        assert len(told["summaries"]) == 12

    def test_weights_are_not_read(self, finished, monkeypatch):
        def refuse(*_: object) -> str:
            raise AssertionError("read for its digest")

        monkeypatch.setattr("surpass.store.artifact.file_digest", refuse)
        monkeypatch.setattr("surpass.store.artifact.known_digests", {})
        assert Provenance(STUDY, finished[0], CALLED).stages

    def test_a_study_that_is_not_finished(self, tmp_path):
        with pytest.raises(StoreError, match="run the study first"):
            document_of([(STUDY, CALLED)], Store(tmp_path / "store"))

    def test_after_an_import_it_is_the_same(self, document, finished, tmp_path):
        export(STUDY, finished[0], tmp_path / "a.tar", overrides=CALLED[1:], called=CALLED[0])
        there = Store(tmp_path / "there")
        import_archive(tmp_path / "a.tar", there)
        again = document_of([(STUDY, CALLED)], there, place="over there")
        assert {name: again[name] for name in again if name != "made"} == {
            name: document[name] for name in document if name != "made"
        }


def test_in_an_object_store_it_is_the_same_but_for_times():
    small = STUDY.replace(pairs=STUDY.pairs[:1], methods=("naive",), seeds=(0,))
    far, near = open_store("memory://told"), open_store("memory://told-again")
    run(small, far)
    run(small, near)
    for stage in Provenance(small, far, CALLED).stages:
        shutil.rmtree(far.root / stage["kind"], ignore_errors=True)  # what the cache holds
    told, other = (document_of([(small, CALLED)], store) for store in (far, near))
    for stage, same in zip(told["stages"], other["stages"], strict=True):
        changing = ("seconds", "created")
        assert {k: v for k, v in stage.items() if k not in changing} == {
            k: v for k, v in same.items() if k not in changing
        }
        assert stage["files"]
        assert stage["created"]
    assert told["summaries"][0]["estimate"] == other["summaries"][0]["estimate"]


class TestSeveral:
    def test_places_follow(self, document, both):
        assert [study["name"] for study in both["studies"]] == ["told", "other"]
        assert both["answer"] == " ".join(study["answer"] for study in both["studies"])
        first = len(document["summaries"])
        assert [told["study"] for told in both["summaries"]] == [0] * first + [1] * 4
        assert both["summaries"][:first] == document["summaries"]
        assert both["rows"]["summary"][: len(document["rows"]["summary"])] == document["rows"]["summary"]
        assert sorted(set(both["rows"]["summary"][24:])) == [first, first + 1, first + 2, first + 3]
        assert {rank["study"] for rank in both["ranks"]} == {0, 1}
        assert {entry["summary"] for entry in both["calibration"]} == set(range(first + 4))

    def test_equal_stages_are_one(self, document, both, finished):
        alone = document_of([(OTHER, ["mine:other"])], finished[0])
        ids = [stage["id"] for stage in both["stages"]]
        assert len(set(ids)) == len(ids)
        assert set(ids) == {stage["id"] for one in (document, alone) for stage in one["stages"]}
        for name in ("weak_stage", "student_score", "comparison"):
            told = [both["stages"][place]["id"] for place in both["rows"][name]]
            apart = [one["stages"][place]["id"] for one in (document, alone) for place in one["rows"][name]]
            assert told == apart
        for stage in both["stages"][len(document["stages"]) :]:
            (own,) = [one for one in alone["stages"] if one["id"] == stage["id"]]
            before = [alone["stages"][place]["id"] for place in own["upstream"]]
            assert [both["stages"][place]["id"] for place in stage["upstream"]] == before
        assert checked(both, "both") == both

    def test_one_model_by_two_names_keeps_its_size_for_itself(self, document):
        odd = document | {"models": {"linear-4": {"name": "x:4", "parameters": 9, "pretraining_flops": 1.0}}}
        told = joined([document, odd], document["made"])["models"]["linear-4"]
        assert told == {"name": "linear:4; x:4", "parameters": None, "pretraining_flops": None}

    def test_none_or_one_twice(self, finished):
        with pytest.raises(ConfigError, match="at least one study"):
            document_of([], finished[0])
        with pytest.raises(ConfigError, match="named twice"):
            document_of([(STUDY, CALLED), (STUDY, CALLED)], finished[0])


class TestFile:
    def test_there_and_back(self, document, tmp_path):
        write_document(document | {"made": {"surpass": "1", "of": "x"}}, tmp_path / "deep" / "report.json")
        assert read_document(tmp_path / "deep")["rows"] == document["rows"]
        assert read_document(tmp_path / "deep" / "report.json")["stages"] == document["stages"]
        assert made_of(tmp_path / "deep" / "report.json") == {"surpass": "1", "of": "x"}
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.json"]
        assert made_of(tmp_path / "none.json") == {}

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "surpass-results"}', "null"])
    def test_what_is_no_report(self, text, tmp_path):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(DataError, match=r"report\.json"):
            read_document(tmp_path)
        assert made_of(tmp_path / "report.json") == {}

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match=r"report\.json.*surpass report"):
            read_document(tmp_path)

    def test_other_versions(self, document, tmp_path):
        write_document(document | {"version": 2}, tmp_path / "report.json")
        with pytest.raises(DataError, match=r"report\.json.* is version 2 .* reads 1; update Surpass"):
            read_document(tmp_path)

    @pytest.mark.parametrize("key", ["rows", "stages", "summaries", "calibration", "versions"])
    def test_damaged(self, key, document):
        with pytest.raises(DataError, match=rf"'here' is damaged \({key}\)"):
            checked({name: value for name, value in document.items() if name != key}, "here")

    def test_places_that_there_are_not(self, document):
        rows = document["rows"]
        for name, value in (("summary", 99), ("weak_score", len(document["stages"])), ("comparison", -1)):
            with pytest.raises(DataError, match=r"damaged \(rows\)"):
                checked(document | {"rows": rows | {name: [value, *rows[name][1:]]}}, "here")
        with pytest.raises(DataError, match=r"damaged \(rows\)"):
            checked(document | {"rows": rows | {"seed": rows["seed"][1:]}}, "here")
        first, *rest = document["stages"]
        with pytest.raises(DataError, match=r"damaged \(stages\)"):
            checked(document | {"stages": [first | {"upstream": [0]}, *rest]}, "here")
        with pytest.raises(DataError, match=r"damaged \(curves\)"):
            checked(document | {"curves": [document["curves"][0] | {"study": 1}]}, "here")


HOSTILE = "</script><script>alert(1)</script>\u202e\x00 \"'&" + "x" * 3000
SIX = 6


class TestExamples:
    """Scores made up: in seed s example n has confidence n / 100 + s / 1000."""

    @pytest.fixture
    def study(self, tmp_path) -> Study:
        pair = (write_model(tmp_path, "a", flops=1e6), write_model(tmp_path, "b", flops=1e7))
        return Study(name="toy", task=ToyTask(), pairs=(pair,), seeds=(0, 1), num_train=10, num_test=20)

    def published(self, store, stage, tables) -> None:
        with store.draft(stage.kind, stage.id, stage.label) as draft:
            for name, table in tables.items():
                pq.write_table(pa.table(table), draft.path / name)
            told = {"stage": stage.identity, "upstream": [], "seconds": 0.0, "versions": {}, "said": {}}
            draft.publish(told)

    def store_of(self, study, tmp_path, inputs, *, weak, student, truth, confident=True) -> Store:
        store = Store(tmp_path / "store")
        ids = [f"e{n:02d}" for n in range(20)]
        if inputs is not None:
            tables = {"inputs.parquet": {"id": ids} | inputs, "truth.parquet": {"id": ids, "truth": truth}}
            self.published(store, study.test_examples, tables)
        for row in study.rows():
            for score, said in ((row.weak_score, weak), (row.student_score, student)):
                table = {"id": ids, "prediction": said}
                table["correct"] = [own == right for own, right in zip(said, truth, strict=True)]
                if confident:
                    table["confidence"] = [n / 100 + row.seed / 1000 for n in range(20)]
                if store.find(score.kind, score.id) is None:
                    self.published(store, score, {"examples.parquet": table})
        return store

    def test_surest_first_and_each_once(self, study, tmp_path):
        weak, student, truth = [0, 1] * 10, [1, 0] * 10, [1] * 20
        texts = [f"text {n}" for n in range(20)]
        store = self.store_of(study, tmp_path, {"text": texts}, weak=weak, student=student, truth=truth)
        found = shown_examples(study, store, study.rows())
        assert [one["id"] for one in found] == [
            f"e{n:02d}" for n in (18, 16, 14, 12, 10, 8, 19, 17, 15, 13, 11, 9)
        ]
        assert [one["overruled"] for one in found] == ["rightly"] * SIX + ["wrongly"] * SIX
        assert {one["seed"] for one in found} == {1}
        first = found[0]
        assert (first["text"], first["truth"], first["kind"], first["board"]) == (
            "text 18",
            "1",
            "text",
            None,
        )
        assert first["weak"] == {"answer": "0", "confidence": pytest.approx(0.181)}
        assert first["student"]["answer"] == "1"
        assert len(shown_examples(study, store, study.rows(), most=2)) == 4

    def test_hostile_text_passes_unchanged_and_long_text_is_cut(self, study, tmp_path):
        texts = [HOSTILE] * 20
        store = self.store_of(
            study, tmp_path, {"text": texts}, weak=[0] * 20, student=[1] * 20, truth=[1] * 20
        )
        (first, *_) = shown_examples(study, store, study.rows())
        assert first["text"] == HOSTILE[: LONGEST_TEXT - 1] + "…"
        write_document({"format": "", "version": 1, "made": {}, "examples": [first]}, tmp_path / "x.json")
        assert json.loads((tmp_path / "x.json").read_bytes())["examples"] == [first]

    def test_completions_have_no_confidence(self, study, tmp_path):
        prompts = [f"say {n}" for n in range(20)]
        store = self.store_of(
            study, tmp_path, {"prompt": prompts}, weak=["no"] * 20, student=["yes"] * 20, truth=["yes"] * 20,
            confident=False,
        )  # fmt: skip
        found = shown_examples(study, store, study.rows())
        assert [one["id"] for one in found] == [f"e{n:02d}" for n in range(SIX)]
        assert found[0]["student"] == {"answer": "yes", "confidence": None}
        assert (found[0]["text"], found[0]["truth"]) == ("say 0", "yes")

    def test_comparisons_and_steps(self, study, tmp_path):
        inputs = {"texts": [["one", "two"]] * 20}
        store = self.store_of(study, tmp_path / "a", inputs, weak=[0] * 20, student=[1] * 20, truth=[1] * 20)
        assert shown_examples(study, store, study.rows())[0]["text"] == "(1) one\n\n(2) two"
        inputs = {"problem": ["1 + 1?"] * 20, "before": [["think"]] * 20, "text": ["2"] * 20}
        store = self.store_of(study, tmp_path / "b", inputs, weak=[0] * 20, student=[1] * 20, truth=[1] * 20)
        assert shown_examples(study, store, study.rows())[0]["text"] == "1 + 1?\nthink\n2"

    def test_without_examples_or_text_there_are_none(self, study, tmp_path):
        answers = {"weak": [0] * 20, "student": [1] * 20, "truth": [1] * 20}
        assert (
            shown_examples(study, self.store_of(study, tmp_path / "a", None, **answers), study.rows()) == []
        )
        numbers = {"features": [[1.0]] * 20}
        assert (
            shown_examples(study, self.store_of(study, tmp_path / "b", numbers, **answers), study.rows())
            == []
        )

    def test_of_images_the_name_alone(self, study, tmp_path):
        class Pictures(ToyTask):
            class_names = ("cat", "dog")
            families = frozenset({"vision"})

        answers = {"weak": [0] * 20, "student": [1] * 20, "truth": [1] * 20}
        store = self.store_of(study, tmp_path / "a", None, **answers)
        seen = replace(study)
        object.__setattr__(seen, "task", Pictures())
        first = shown_examples(seen, store, study.rows())[0]
        assert (first["id"], first["text"], first["truth"]) == ("e19", "", "dog")
        assert (first["weak"]["answer"], first["student"]["answer"]) == ("cat", "dog")


class TestBoard:
    def test_it_stands_alone(self):
        board = chess.Board("r1bqkb1r/pppp1ppp/2n2n2/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR w KQkq - 0 1")
        moves = {
            "weak": board.parse_san("Qxe5"),
            "student": board.parse_san("Qxf7"),
            "truth": board.parse_san("Qxf7"),
        }
        svg = board_svg(board, moves, title='<"&')
        root = ElementTree.fromstring(svg)
        space = "{http://www.w3.org/2000/svg}"
        assert root.find(f"{space}title").text == '<"&'
        uses = root.findall(f".//{space}use")
        assert len(uses) == len(board.piece_map())
        names = {group.get("id") for group in root.findall(f"{space}defs/{space}g")}
        assert {use.get("href")[1:] for use in uses} == names
        assert not names & {
            group.get("id")
            for group in ElementTree.fromstring(board_svg(board, {}, title="")).findall(
                f"{space}defs/{space}g"
            )
        }
        assert [g.get("class") for g in root.findall(f"{space}g") if g.get("class")] == [
            "truth",
            "student",
            "weak",
        ]
        assert "<style" not in svg
        assert len(svg) < 12_000


def test_a_path_is_no_part_of_it(document):
    assert str(Path.home()) not in json.dumps(document)
