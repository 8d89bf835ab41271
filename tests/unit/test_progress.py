from __future__ import annotations

import re
from dataclasses import dataclass
from io import StringIO

import pytest
from rich.console import Console

from reference.studies import Note
from surpass.durations import duration
from surpass.engine import progress
from surpass.engine.progress import Estimate, Silent, Terminal


@dataclass(frozen=True, kw_only=True)
class Costly(Note):
    work: float = 1e12

    @property
    def cost(self) -> float:
        return self.work


STAGES = [Costly(name=f"stage-{number}", work=work) for number, work in enumerate((1e12, 3e12, 4e12))]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5969, "99 min"),
        (5970, "1.7 h"),
        (36e3, "10.0 h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


class TestEstimate:
    def test_before_anything_is_known(self):
        estimate = Estimate(STAGES)
        assert estimate.seconds() == pytest.approx(8e12 / progress.FIRST_GUESS_FLOPS_PER_SECOND + 0.3)
        assert estimate.share() == 0.0

    def test_the_measured_rate_replaces_the_guess(self):
        estimate = Estimate(STAGES)
        estimate.finished(1e12, 10.1)
        assert estimate.seconds() == pytest.approx(70.2)
        assert estimate.share() == pytest.approx(1 / 8)
        estimate.finished(3e12, 10.1)
        assert estimate.seconds() == pytest.approx(4e12 / (4e12 / 20) + 0.1)

    def test_the_running_stage_counts_in_part(self):
        estimate = Estimate(STAGES)
        estimate.finished(1e12, 10.1)
        estimate.running = 1.5e12
        assert estimate.seconds() == pytest.approx(55.2)
        assert estimate.share() == pytest.approx(2.5 / 8)
        estimate.finished(3e12, 0.0)
        assert estimate.share() == pytest.approx(4 / 8)

    def test_what_others_computed_says_nothing_of_our_rate(self):
        estimate = Estimate(STAGES)
        estimate.finished(1e12, 10.1)
        estimate.finished(4e12, 0.0)
        assert estimate.seconds() == pytest.approx(30.1)

    def test_at_the_end_nothing_is_left_even_with_one_stage_more(self):
        estimate = Estimate(STAGES)
        for stage in [*STAGES, *STAGES]:
            estimate.finished(stage.cost, 2.0)
        assert estimate.seconds() == 0.0
        assert estimate.share() == 1.0

    def test_no_stages(self):
        assert (Estimate([]).seconds(), Estimate([]).share()) == (0.0, 1.0)


def play(shown: Terminal | Silent, seconds: tuple[float, ...] = (2.1, 0.0, 5.0)) -> None:
    with shown:
        for stage, took in zip(STAGES, seconds, strict=True):
            report = shown.started(stage)
            report(0.5)
            shown.finished(stage, took)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report is shown."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", -1.0)
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", -1.0)


class TestPlainLines:
    def lines(self, *, stages: list[Costly] = STAGES) -> list[str]:
        console = Console(file=StringIO(), width=40, force_terminal=False)
        play(Terminal(stages, console))
        text = console.file.getvalue()
        assert "\x1b" not in text
        return text.splitlines()

    def test_a_line_per_stage_however_narrow(self):
        assert self.lines() == [
            "1/3 note stage-0: 2.1 s, about 14 s left",
            "2/3 note stage-1: by another process",
            "3/3 note stage-2: 5.0 s",
        ]

    @pytest.mark.usefixtures("eager")
    def test_long_stages_say_how_far_they_are(self):
        lines = self.lines()
        assert lines[0] == "1/3 note stage-0: 50%, about 3 min left"
        assert len(lines) == 6

    def test_one_stage_more_than_planned(self):
        assert self.lines(stages=STAGES[:2])[-1] == "3/3 note stage-2: 5.0 s"

    def test_names_are_printed_as_they_are(self):
        console = Console(file=StringIO(), force_terminal=False)
        odd = Costly(name="[bold]odd[/bold] 100 s")
        shown = Terminal([odd], console)
        with shown:
            shown.started(odd)
            shown.finished(odd, 1.0)
        assert "note [bold]odd[/bold] 100 s: 1.0 s" in console.file.getvalue()

    def test_waiting_is_said_once(self):
        console = Console(file=StringIO(), force_terminal=False, width=200)
        shown = Terminal(STAGES, console)
        for stage in (STAGES[0], STAGES[0], STAGES[1]):
            shown.waiting(stage)
        assert console.file.getvalue().splitlines() == [
            "waiting for another process: note stage-0",
            "waiting for another process: note stage-1",
        ]


@pytest.mark.usefixtures("eager")
class TestLiveLine:
    def shown(self, *, fails: bool = False) -> str:
        console = Console(file=StringIO(), width=100, force_terminal=True, legacy_windows=False)
        shown = Terminal(STAGES, console)
        shown.live.auto_refresh = False  # type: ignore[union-attr]
        with shown:
            for number, stage in enumerate(STAGES):
                report = shown.started(stage)
                shown.live.refresh()  # type: ignore[union-attr]
                report(0.5)
                shown.live.refresh()  # type: ignore[union-attr]
                shown.finished(stage, 1.0)
                if number == 0:
                    shown.waiting(STAGES[1])
                    shown.live.refresh()  # type: ignore[union-attr]
        return console.file.getvalue()

    def test_it_names_the_stage_the_share_and_the_time_left(self):
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.shown())
        for words in (
            "1/3 note stage-0",
            "3/3 note stage-2",
            "waiting for another process: note stage-1",
            "6%",
            "left",
        ):
            assert words in text
        assert "about 3 min left" in text

    def test_it_is_gone_afterwards_and_the_cursor_is_back(self):
        text = self.shown()
        assert text.count("\x1b[?25h") == text.count("\x1b[?25l") == 1
        assert text.rstrip("\n").endswith("\x1b[2K")

    def test_a_failure_leaves_the_terminal_well_too(self):
        console = Console(file=StringIO(), width=100, force_terminal=True, legacy_windows=False)
        with pytest.raises(ZeroDivisionError), Terminal(STAGES, console):
            raise ZeroDivisionError
        assert console.file.getvalue().count("\x1b[?25h") == 1

    def test_nothing_to_do_shows_nothing(self):
        console = Console(file=StringIO(), force_terminal=True)
        with Terminal([], console):
            pass
        assert console.file.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "tally"),
    [
        ((1.0, 2.0, 0.1), "3 stages computed"),
        ((0.0, 2.0, 0.0), "1 stage computed, 2 by other processes"),
        ((0.0, 0.0, 0.0), "0 stages computed, 3 by other processes"),
    ],
)
def test_tally(seconds, tally):
    for shown in (Silent(STAGES), Terminal(STAGES, Console(file=StringIO()))):
        play(shown, seconds)
        assert shown.tally() == tally
    assert Silent().tally() == "nothing to compute"


class TestSeveralAtOnce:
    def test_the_time_left_is_shared_by_the_workers(self):
        estimate = Estimate(STAGES)
        estimate.workers = 2
        estimate.finished(1e12, 10.1)
        assert estimate.seconds() == pytest.approx(70.2 / 2)
        estimate.finished(3e12, 30.1)
        assert estimate.seconds() == pytest.approx(40.1), "the last stage has one worker"

    def test_what_runs_counts_in_part_whatever_ends(self):
        shown = Terminal(STAGES, Console(file=StringIO()))
        shown.workers = 3
        first, second, third = (shown.started(stage) for stage in STAGES)
        first(0.5)
        second(0.5)
        third(0.25)
        shown.finished(STAGES[0], 10.1)
        assert shown.estimate.share() == pytest.approx((1 + 1.5 + 1) / 8)
        shown.started(STAGES[1])  # its worker died
        assert shown.estimate.share() == pytest.approx((1 + 1) / 8)
        shown.failed(STAGES[1], "bad", [])
        assert shown.estimate.running == pytest.approx(1e12)

    def test_plain_lines_keep_the_number_of_their_stage(self):
        console = Console(file=StringIO(), width=200)
        shown = Terminal(STAGES, console)
        for stage in STAGES[:2]:
            shown.started(stage)
        shown.finished(STAGES[1], 0.5)
        shown.note("a worker was killed")
        shown.failed(STAGES[0], "note stage-0: bad", [STAGES[2]])
        assert console.file.getvalue().splitlines() == [
            "2/3 note stage-1: 0.5 s",
            "a worker was killed",
            "failed: note stage-0: bad (1 more need it and are left)",
        ]
        assert shown.tally() == "1 stage computed, 1 failed, 1 that need them left"

    @pytest.mark.usefixtures("eager")
    def test_the_live_line_names_them(self):
        console = Console(file=StringIO(), width=150, force_terminal=True, legacy_windows=False)
        shown = Terminal(STAGES, console)
        shown.workers = 2
        with shown:
            shown.started(STAGES[0])(0.25)
            shown.started(STAGES[1])(0.5)
            shown.live.refresh()  # type: ignore[union-attr]
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
        assert "0/3: 50% note stage-1, 25% note stage-0" in text
