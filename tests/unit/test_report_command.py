"""`surpass report`: how studies are named, what it writes and where, and what it says when it cannot."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from processes import STUDY, nursery
from surpass.commands.report import is_file, report_of_run, require_page, sections
from surpass.errors import ConfigError
from surpass.report.document import made_of, read_document

OTHER = ("planted", "pairs=linear:4>linear:all", "seeds=1", "num_train=64", "num_test=60", "epochs=1")


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    for study in (STUDY, OTHER):
        ended = nursery().run("run", *study, cwd=folder)
        assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def there(ran, tmp_path) -> Path:
    return shutil.copytree(ran, tmp_path / "there")


def results_of(folder: Path, name: str) -> Path:
    (found,) = (folder / "results").glob(f"{name}-*")
    return found


def refused(*words: str, cwd: Path) -> str:
    ended = nursery().run("report", *words, cwd=cwd)
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    return ended.err


class TestWords:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["chess"], [["chess"]]),
            (["chess", "seeds=10", "planted"], [["chess", "seeds=10"], ["planted"]]),
            (["a:b", "x=1", "y=z w", "c"], [["a:b", "x=1", "y=z w"], ["c"]]),
            (["chess", "methods=naive(loss=gce), lora"], [["chess", "methods=naive(loss=gce), lora"]]),
            (["a:b", "pairs="], [["a:b", "pairs="]]),
            (["1=2", "./a=b"], [["1=2"], ["./a=b"]]),
        ],
    )
    def test_a_word_without_a_name_begins_a_study(self, words, expected):
        assert sections(words) == expected

    def test_a_change_needs_a_study(self):
        with pytest.raises(ConfigError, match="seeds=3 changes no study: name the study before it"):
            sections(["seeds=3", "chess"])

    def test_results_cannot_be_changed(self, tmp_path):
        with pytest.raises(ConfigError, match=r"seeds=3 cannot change .*, which is finished"):
            sections([str(tmp_path), "seeds=3"])

    def test_a_folder_called_like_a_study_is_none(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("chess").mkdir()
        assert not is_file("chess")
        assert is_file("./chess")

    @pytest.mark.parametrize("name", ["page", "page.json", "page.pdf"])
    def test_a_page_ends_in_html(self, name):
        with pytest.raises(ConfigError, match=f"{name} must end in .html"):
            require_page(Path(name))


class TestRun:
    def test_it_leaves_page_and_document_beside_its_results(self, ran):
        folder = results_of(ran, "chess")
        document = read_document(folder)
        page = (folder / "report.html").read_text()
        assert page.startswith("<!doctype html") or page.startswith("<!DOCTYPE html")
        assert document["studies"][0]["called"] == list(STUDY)
        assert document["studies"][0]["id"].startswith(folder.name.rpartition("-")[2])
        assert document["answer"].split(" ")[0] in page

    def test_it_is_written_again_only_where_something_has_changed(self, there):
        folder = results_of(there, "chess")

        def run(*more: str) -> dict[str, int]:
            ended = nursery().run("run", *STUDY, *more, cwd=there)
            assert ended.code == 0, ended.err
            assert f"page {folder.relative_to(there)}/report.html" in ended.err
            return {name: (folder / name).stat().st_ino for name in ("report.html", "report.json")}

        before = {name: (folder / name).stat().st_ino for name in ("report.html", "report.json")}
        assert run() == before
        (folder / "report.html").unlink()
        after = run()
        assert after["report.json"] != before["report.json"]
        assert (folder / "report.html").stat().st_size > 10_000
        text = (folder / "report.json").read_text()
        (folder / "report.json").write_text(text.replace('"surpass": "', '"surpass": "0.0.', 1))
        assert run() != after
        (folder / "report.json").write_text("damaged")
        assert made_of(folder / "report.json") == {}
        run()
        assert read_document(folder)["made"]["of"]

    def test_other_results_make_another_page(self, there):
        from surpass.experiment import gather
        from surpass.recipes.finding import find_study
        from surpass.store import Store

        folder = results_of(there, "chess")
        study = find_study(STUDY[0], STUDY[1:])
        store = Store(there / "surpass-store")
        results = gather(study, store).with_notes(["something to know"])
        before = (folder / "report.html").read_bytes()
        assert report_of_run(study, STUDY, results, store, "surpass-store", folder) == folder / "report.html"
        assert (folder / "report.html").read_bytes() == before, "results.json is as it was"
        results.write(folder)
        report_of_run(study, STUDY, results, store, "surpass-store", folder)
        assert "something to know" in read_document(folder)["studies"][0]["footnotes"]
        assert (folder / "report.html").read_bytes() != before


class TestReport:
    def test_of_one_study_it_lies_beside_its_results(self, there):
        folder = results_of(there, "chess")
        shutil.rmtree(folder)
        ended = nursery().run("report", *STUDY, cwd=there)
        assert ended.code == 0, ended.err
        assert re.fullmatch(rf"results/{folder.name}/report\.html: 1 study, 1 row, \d+ kB\n", ended.out)
        assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]

    def test_several_side_by_side(self, there):
        ended = nursery().run("report", *STUDY, *OTHER, cwd=there)
        assert ended.code == 0, ended.err
        assert re.fullmatch(r"report\.html: 2 studies, 2 rows, \d+ kB\n", ended.out)
        document = read_document(there / "report.json")
        assert [study["called"] for study in document["studies"]] == [list(STUDY), list(OTHER)]

    def test_json(self, there):
        ended = nursery().run("report", *OTHER, "--json", "--out", "deep/er/page.html", cwd=there)
        document = ended.json()
        assert read_document(there / "deep" / "er" / "page.json") == document
        assert (there / "deep" / "er" / "page.html").exists()
        shutil.rmtree(there / "results")
        assert nursery().run("report", *OTHER, "--json", cwd=there).json()["rows"] == document["rows"]
        assert not (there / "results").exists()

    def test_from_results_no_store_is_needed(self, there):
        chess, planted = (results_of(there, name).relative_to(there) for name in ("chess", "planted"))
        alone = nursery().run("report", *STUDY, *OTHER, "--json", cwd=there).json()
        shutil.rmtree(there / "surpass-store")
        ended = nursery().run("report", str(chess), f"{planted}/report.json", "--out", "b.html", cwd=there)
        assert ended.code == 0, ended.err
        told = json.loads((there / "b.json").read_bytes())
        assert {name: told[name] for name in told if name != "made"} == {
            name: alone[name] for name in alone if name != "made"
        }
        before = (there / chess / "report.html").read_bytes()
        (there / chess / "report.html").unlink()
        ended = nursery().run("report", str(chess), cwd=there)
        assert ended.out.startswith(f"{chess}/report.html: 1 study")
        assert (there / chess / "report.html").read_bytes() == before

    def test_of_an_archive(self, there, tmp_path):
        assert nursery().run("store", "export", *STUDY, "--out", "a.tar", cwd=there).code == 0
        shutil.copy(there / "a.tar", tmp_path)
        assert nursery().run("store", "import", "a.tar", cwd=tmp_path).code == 0
        ended = nursery().run("store", "show-results", "chess", "--page", "p.html", cwd=tmp_path)
        assert ended.code == 0, ended.err
        assert "chess-1 → chess-2" in ended.out
        here, told = read_document(results_of(there, "chess")), read_document(tmp_path / "p.json")
        assert {name: told[name] for name in told if name != "made"} == {
            name: here[name] for name in here if name != "made"
        }
        assert here["examples"], "boards come along"
        assert told["studies"][0]["answer"].split(" ")[0] in (tmp_path / "p.html").read_text()
        ended = nursery().run("store", "show-results", "--page", "p.html", cwd=tmp_path)
        assert (ended.code, ended.err) == (2, "error: --page p.html is of one study: name it\n")


class TestRefusals:
    def test_a_study_that_is_not_finished(self, ran):
        said = refused(*STUDY, "seeds=2", cwd=ran)
        assert re.search(
            r"study chess is not finished: 13 of 27 stages are to do, first examples \S+; run", said
        )
        assert said.rstrip("\n").endswith(f"`surpass run {' '.join(STUDY)} seeds=2`")

    def test_a_study_that_was_never_begun(self, ran):
        assert "is not finished: " in refused("chess", cwd=ran)

    def test_without_a_store(self, tmp_path):
        assert "no store at surpass-store" in refused(*STUDY, cwd=tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_words_that_name_nothing(self, ran):
        assert "no study 'ches'; there are: chess," in refused("ches", cwd=ran)
        assert "seeds=3 changes no study" in refused("seeds=3", cwd=ran)
        assert "named twice" in refused(*STUDY, *STUDY, cwd=ran)
        assert "cannot read a report from 'surpass-store/report.json'" in refused("surpass-store", cwd=ran)
        assert "x.pdf must end in .html" in refused("chess", "--out", "x.pdf", cwd=ran)

    def test_a_damaged_document(self, there):
        folder = results_of(there, "chess")
        (folder / "report.json").write_text('{"format": "surpass-report", "version": 1, "made": {}}')
        assert "report.json' is damaged (studies); write the report again" in refused(str(folder), cwd=there)

    def test_where_nothing_can_be_written(self, there):
        (there / "taken").write_text("")
        said = refused(*STUDY, "--out", "taken/x.html", cwd=there)
        assert "taken" in said
        assert (there / "taken").read_text() == ""
