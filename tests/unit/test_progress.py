from __future__ import annotations

import re
from dataclasses import dataclass
from io import StringIO

import pytest
from rich.console import Console

from reference.studies import Note
from surpass.durations import duration
from surpass.engine import progress, terminal
from surpass.engine.progress import Estimate, OnlyFailures, Silent
from surpass.engine.terminal import Terminal
from surpass.memory import Gauge


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
    monkeypatch.setattr(terminal, "_LOG_SECONDS", -1.0)


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


def on_terminal(stages: list[Costly] = STAGES, *, width: int = 80, height: int = 24) -> Terminal:
    console = Console(
        file=StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        legacy_windows=False,
        color_system=None,
    )
    shown = Terminal(stages, console)
    if shown.live is not None:
        shown.live.auto_refresh = False
    shown.memory = Gauge(lambda: 1_234_000_000)
    shown.memory.total = 24_000_000_000
    return shown


def picture(shown: Terminal) -> list[str]:
    """The block as it is seen at this moment, without what lies behind the ends of lines."""
    with shown.console.capture() as captured:
        shown.console.print(shown.block())
    return [line.rstrip() for line in captured.get().splitlines()]


class TestLiveBlock:
    def test_before_anything_runs(self):
        first, second = picture(on_terminal())
        assert re.fullmatch(r"0 of 3 stages  [━ ]+  0%, about 3 min left", first)
        assert len(first) == 77
        assert second == f"0 running, 3 left{'memory 1.2 of 24 GB, peak 1.2 GB':>60}"

    def test_one_worker(self):
        shown = on_terminal()
        shown.started(STAGES[0])
        shown.finished(STAGES[0], 2.1)
        shown.started(STAGES[1])(0.5)
        first, second, third = picture(shown)
        assert re.fullmatch(r"1 of 3 stages  ━+[╸ ]+  31%, about 11 s left", first)
        assert second.startswith("1 running, 1 done, 1 left    ")
        assert third == "  50%   0.0 s  note stage-1"

    def test_all_that_can_become_of_a_stage_is_counted(self):
        stages = [Costly(name=f"stage-{number}") for number in range(8)]
        shown = on_terminal(stages)
        for stage in stages[:4]:
            shown.started(stage)
        shown.finished(stages[0], 1.0)
        shown.finished(stages[1], 0.0)
        shown.failed(stages[2], "bad", [stages[6]])
        assert re.fullmatch(r"2 of 8 stages  ━+[╸ ]+  33%, about \d+ s left", picture(shown)[0])
        counts = "1 running, 1 done, 1 shared, 1 failed, 1 need those, 3 left"
        assert picture(shown)[1:3] == [counts, "memory 1.2 of 24 GB, peak 1.2 GB"]

    def test_eight_workers_have_a_line_each_in_the_order_of_their_start(self):
        stages = [Costly(name=f"stage-{number}") for number in range(9)]
        shown = on_terminal(stages)
        shown.workers = 8
        reports = [shown.started(stage) for stage in stages[:8]]
        reports[7](0.75)
        assert [line.split()[-1] for line in picture(shown)[2:]] == [f"stage-{n}" for n in range(8)]
        shown.finished(stages[0], 0.5)
        shown.started(stages[8])
        lines = picture(shown)[2:]
        assert [line.split()[-1] for line in lines] == [f"stage-{n}" for n in range(1, 9)]
        assert lines[6] == "  75%   0.0 s  note stage-7"

    def test_what_runs_together_does_not_fill_the_terminal(self):
        stages = [Costly(name=f"head-{number}") for number in range(200)]
        shown = on_terminal(stages)
        for stage in stages[:120]:
            shown.started(stage)
        assert picture(shown)[2:] == [
            "   0%   0.0 s  note head-0",
            "               and 119 more at the same time",
        ]

    @pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 12), (30, 7)])
    def test_it_fits(self, width, height):
        stages = [Costly(name="a-very-long-name-" * 8 + str(number)) for number in range(40)]
        shown = on_terminal(stages, width=width, height=height)
        shown.workers = 40
        for stage in stages:
            shown.started(stage)
        lines = picture(shown)
        assert len(lines) < height - 1
        assert all(len(line) <= width - 3 for line in lines), "what a terminal echoes has room"
        assert lines[2].endswith("…")

    def test_waiting_is_named_while_nothing_runs(self):
        shown = on_terminal()
        shown.waiting(STAGES[1])
        assert picture(shown)[2] == "waiting for another process: note stage-1"
        shown.started(STAGES[1])
        assert picture(shown)[2] == "   0%   0.0 s  note stage-1"

    def test_where_the_system_does_not_tell_of_memory(self):
        shown = on_terminal()
        shown.memory = Gauge(lambda: None)
        assert picture(shown)[1] == "0 running, 3 left"

    def test_lines_that_stay_are_above_it(self):
        shown = on_terminal()
        with shown:
            shown.started(STAGES[0])
            shown.failed(STAGES[0], "note stage-0: bad", [])
            shown.live.refresh()  # type: ignore[union-attr]
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.console.file.getvalue())  # type: ignore[attr-defined]
        assert "failed: note stage-0: bad\n" in text

    def test_it_is_gone_afterwards_and_the_cursor_is_back(self):
        shown = on_terminal()
        play(shown)
        text = shown.console.file.getvalue()  # type: ignore[attr-defined]
        assert text.count("\x1b[?25h") == text.count("\x1b[?25l") == 1
        assert text.rstrip("\n").endswith("\x1b[2K")

    def test_a_failure_leaves_the_terminal_well_too(self):
        shown = on_terminal()
        with pytest.raises(ZeroDivisionError), shown:
            raise ZeroDivisionError
        assert shown.console.file.getvalue().count("\x1b[?25h") == 1  # type: ignore[attr-defined]

    def test_nothing_to_do_shows_nothing(self):
        console = Console(file=StringIO(), force_terminal=True)
        with Terminal([], console):
            pass
        assert console.file.getvalue() == ""

    def test_a_dumb_terminal_has_plain_lines(self, monkeypatch):
        monkeypatch.setenv("TERM", "dumb")
        console = Console(file=StringIO(), force_terminal=True, width=80)
        play(Terminal(STAGES, console))
        assert console.file.getvalue().startswith("1/3 note stage-0: 2.1 s, about ")


class TestFailures:
    def said(self, kind: type[OnlyFailures], reason: str, **places) -> list[str]:
        console = Console(file=StringIO(), width=40)
        shown = kind(STAGES, console, **places)
        with shown:
            shown.started(STAGES[0])
            shown.failed(STAGES[0], reason, STAGES[1:])
            shown.started(STAGES[1])
        return console.file.getvalue().splitlines()

    @pytest.mark.parametrize("kind", [OnlyFailures, Terminal])
    @pytest.mark.parametrize("reason", ["note stage-0: KeyError: 'x'", "KeyError: 'x'"])
    def test_the_stage_the_command_and_the_log(self, kind, reason, tmp_path):
        log = tmp_path / "log.txt"
        log.write_text("Traceback")
        assert self.said(kind, reason, reproduce=lambda s: f"again {s.label}", log=lambda _: log) == [
            "failed: note stage-0: KeyError: 'x' (2 more need it and are left)",
            "  reproduce: again stage-0",
            f"  log: {log}",
        ]

    def test_a_log_that_is_not_there_or_was_named_is_not_named(self, tmp_path):
        log = tmp_path / "log.txt"
        (line,) = self.said(Terminal, "bad", log=lambda _: log)
        log.write_text("Traceback")
        (same,) = self.said(Terminal, f"bad; log: {log}", log=lambda _: log)
        assert line == "failed: note stage-0: bad (2 more need it and are left)"
        assert same.count("log: ") == 1


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
