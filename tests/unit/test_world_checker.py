"""Steps of the world are rated exactly: by cases, and against a twin that reads with Python's own grammar."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from reference import world as twin
from surpass.errors import ConfigError, DataError
from surpass.world.authors import solve
from surpass.world.checker import answer_of, is_right, rate, solution_of, truth_of
from surpass.world.expressions import Malformed, linear, parse, size, write
from surpass.world.problems import LEVELS, MIXES, PARTS, draw, part_of, problems
from surpass.world.writers import BELIEFS, Author, draw_author

SUM = "(7+5)*3-8"
EQUATION = "3x+5=2x-7"
PAIR = "y=2x+1;x+y=13"


class TestRatings:
    @pytest.mark.parametrize(
        ("problem", "steps", "ratings"),
        [
            (SUM, ["12*3-8", "36-8", "# 28"], (1, 1, 1)),
            (SUM, ["12*3-8", "36-8", "28", "# 28"], (1, 1, 1, 1)),
            (SUM, ["12*3-8", "12*3-8", "# 28"], (1, 0, 1)),
            (SUM, ["(5+7)*3-8", "12*3-8", "36-8", "# 28"], (0, 1, 1, 1)),
            (SUM, ["7*3+5*3-8", "36-8", "# 28"], (0, 1, 1)),
            (SUM, ["36-8", "12*3-8", "# 28"], (1, 0, 1)),
            (SUM, ["12*3-8", "35-8", "# 27"], (1, -1, None)),
            (SUM, ["7+5*3-8", "36-8", "# 28"], (-1, None, None)),
            (SUM, ["12*3-8", "36-8", "# 27"], (1, 1, -1)),
            (SUM, ["# 28"], (1,)),
            (SUM, ["# 28", "# 28"], (1, -1)),
            (SUM, ["12*3-8=36-8"], (-1,)),
            (SUM, ["12*3-8+x-x"], (0,)),
            (SUM, ["12*3-(8"], (-1,)),
            (SUM, ["twelve"], (-1,)),
            (SUM, ["# 56/2"], (-1,)),
            (SUM, ["# 028"], (-1,)),
            (SUM, ["28 #"], (-1,)),
            (SUM, ["28/(5-5)"], (-1,)),
            (SUM, ["56/2", "# 28"], (1, 1)),
            (SUM, ["28", "56/2", "# 28"], (1, 0, 1)),
            (EQUATION, ["x+5=-7", "x=-12", "# -12"], (1, 1, 1)),
            (EQUATION, ["-12=x", "x=-12", "# -12"], (1, 0, 1)),
            (EQUATION, ["3x+5-5=2x-7-5", "x=-12", "# -12"], (0, 1, 1)),
            (EQUATION, ["x+5=7", "x=2", "# 2"], (-1, None, None)),
            (EQUATION, ["0=0"], (-1,)),
            (EQUATION, ["-12=-12"], (-1,)),
            (EQUATION, ["x*x=144"], (-1,)),
            (EQUATION, ["x+12"], (-1,)),
            (EQUATION, ["y=-12"], (-1,)),
            (EQUATION, ["x=-12;0=0", "# -12"], (1, 1)),
            ("5x=4", ["x=4/5", "# 4/5"], (1, 1)),
            ("5x=4", ["x=8/10", "# 8/10"], (0, -1)),
            (PAIR, ["x+2x+1=13", "3x+1=13", "3x=12", "x=4", "# 4"], (1, 1, 1, 1, 1)),
            (PAIR, ["y=9", "x=4", "# 4"], (-1, None, None)),
            (PAIR, ["y=9;x+y=13", "x=4", "# 4"], (1, 1, 1)),
            (PAIR, ["x+y=13"], (-1,)),
            (PAIR, ["y=2x+1;y=2x+1"], (-1,)),
        ],
    )
    def test_cases(self, problem, steps, ratings):
        assert rate(problem, steps) == ratings

    def test_right_answer_after_a_wrong_step(self):
        solution = solution_of("p", SUM, "12*3-7\n36-8\n# 28\n")
        assert solution.ratings == (-1, None, None)
        assert solution.first_error == 0
        assert solution.correct is True
        assert (solution.answer, solution.reference) == ("28", "28")

    @pytest.mark.parametrize("text", ["12*3-8\n36-8", "12*3-8\n28", "# 28\n36-8", "12*3-8\n# \n", "# 28.0"])
    def test_no_answer_is_not_correct(self, text):
        assert solution_of("p", SUM, text).correct is False

    def test_nothing_is_no_solution(self):
        assert solution_of("p", SUM, " \n\n") is None
        assert answer_of([]) is None
        assert not is_right(SUM, None)

    @pytest.mark.parametrize(
        "problem", ["", "x+1", "x=x", "2x=2x+1", "x+y=3", "x=1;x=2", "3+", "y=2", "1;2", "=", "x=1;3"]
    )
    def test_problems_that_are_none(self, problem):
        with pytest.raises(DataError, match="no problem of the world"):
            truth_of(problem)

    def test_endless_texts_are_refused_not_read(self):
        assert rate(SUM, ["(" * 300 + "28" + ")" * 300]) == (-1,)
        assert rate(SUM, ["(" * 40 + "28" + ")" * 40]) == (-1,)
        assert rate(SUM, ["(" * 20 + "28" + ")" * 20]) == (1,)
        assert rate(SUM, ["28+0" + "+0" * 5000]) == (-1,)
        assert rate(SUM, ["9" * 5000]) == (-1,)


class TestTwin:
    def test_solutions_of_all_kinds_of_authors(self):
        rng, wrong, neutral = random.Random(0), 0, 0
        for number in range(500):
            family = rng.choice(list(LEVELS))
            problem = draw(family, rng.choice(LEVELS[family]), rng)
            author = draw_author(rng)._replace(repeats=0.1)
            steps = solve(problem.text, author, rng)
            ratings = rate(problem.text, steps)
            assert ratings == twin.rate(problem.text, steps), (number, problem, steps)
            assert is_right(problem.text, answer_of(steps)) == (
                steps[-1] == f"# {twin.solve(problem.text)[0]}"
            )
            wrong, neutral = wrong + (-1 in ratings), neutral + (0 in ratings)
        assert wrong > 150
        assert neutral > 60

    def test_damaged_lines(self):
        rng, true = random.Random(1), 0
        for _ in range(900):
            family = rng.choice(list(LEVELS))
            problem = draw(family, rng.choice(LEVELS[family][:4]), rng).text
            line = rng.choice([problem, *solve(problem)])
            place = rng.randrange(len(line))
            with_more = line[:place] + rng.choice("0123456789+-*/()=x #;") + line[place:]
            damaged = rng.choice([with_more, line[:place] + line[place + 1 :], line])
            rated = rate(problem, [damaged])[0] != -1 if damaged.strip() else False
            assert rated == twin.is_true(problem, damaged), (problem, damaged)
            true += rated
        assert 250 < true < 800


class TestExpressions:
    def test_written_and_read_again(self):
        rng = random.Random(2)
        for _ in range(500):
            family = rng.choice(["arithmetic", "algebra"])
            text = draw(family, rng.choice(LEVELS[family]), rng).text
            ((first, *_),) = parse(text)
            assert parse(write(first)) == ((first,),)

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("((7)+5)*(3)", "(7+5)*3"),
            ("2*x", "2x"),
            ("2(x+3)", "2(x+3)"),
            ("-(2-3)", "-(2-3)"),
            ("8-(3-2)", "8-(3-2)"),
        ],
    )
    def test_few_brackets(self, text, written):
        ((tree,),) = parse(text)
        assert write(tree) == written

    @pytest.mark.parametrize(
        "text", ["", "+1", "1+", "1 2", "01", "1..2", "--1", "1*-2", "(1", "1)", "a", "2x3", "é"]
    )
    def test_malformed(self, text):
        with pytest.raises(Malformed):
            parse(text)

    def test_linear(self):
        ((tree,),) = parse("2(x-3)/4-y*5+1")
        assert linear(tree) == (Fraction(-1, 2), Fraction(1, 2), Fraction(-5))

    @pytest.mark.parametrize(
        ("text", "count"), [("7+5", 2), ("2(x+3)", 6), ("2x+6", 4), ("-x", 3), ("-5", 1)]
    )
    def test_size(self, text, count):
        ((tree,),) = parse(text)
        assert size(tree) == count


class TestProblems:
    @pytest.mark.parametrize("mix", MIXES)
    def test_reference_solutions_make_progress_in_every_step(self, mix):
        stream = problems("test", mix, seed=3)
        for _ in range(60):
            problem = next(stream)
            steps = solve(problem.text)
            assert set(rate(problem.text, steps)) == {1}
            assert is_right(problem.text, answer_of(steps))
            assert part_of(problem.text) == "test"
            if problem.family == "arithmetic":
                assert len(steps) == problem.level

    def test_streams(self):
        first, again, other = (problems("weak", seed=seed) for seed in (0, 0, 1))
        drawn = [[next(stream) for _ in range(50)] for stream in (first, again, other)]
        assert drawn[0] == drawn[1] != drawn[2]
        assert len({problem.id for problem in drawn[0]}) == 50
        assert {(problem.family, problem.level) for problem in drawn[0]} == set(MIXES["all"])

    def test_shares_of_parts(self):
        rng = random.Random(4)
        found = [part_of(draw("arithmetic", 5, rng).text) for _ in range(2000)]
        for part, share in PARTS.items():
            assert abs(found.count(part) / 2000 - share) < 0.05

    def test_long_problems_are_out_of_the_distribution(self):
        assert not set(MIXES["long"]) & set(MIXES["all"])

    def test_kinds_that_have_no_more_problems(self):
        with pytest.raises(ConfigError, match="arithmetic of level 1 has hardly more problems"):
            list(problems("validation", [("arithmetic", 1)]))

    @pytest.mark.parametrize(
        ("part", "mix", "said"),
        [
            ("train", "all", "no part 'train'"),
            ("test", "hard", "no mix 'hard'"),
            ("test", [("arithmetic", 99)], "no 'arithmetic' of level 99"),
            ("test", [("geometry", 1)], "no 'geometry'"),
            ("test", [], "at least one family"),
        ],
    )
    def test_names_that_are_wrong(self, part, mix, said):
        with pytest.raises(ConfigError, match=said):
            next(problems(part, mix))


class TestAuthors:
    @pytest.mark.parametrize(
        ("belief", "problem", "steps"),
        [
            ("brackets", "20-(3+4)", ["20-3+4", "17+4", "# 21"]),
            ("order", "2+3*4", ["5*4", "# 20"]),
            ("first", "3(x+2)=12", ["3x+2=12", "3x=10", "x=10/3", "# 10/3"]),
            ("moving", "5x=2x+14", ["7x=14", "x=2", "# 2"]),
        ],
    )
    def test_what_each_misconception_does(self, belief, problem, steps):
        assert solve(problem, Author(beliefs=frozenset({belief}))) == steps
        assert rate(problem, steps)[0] == -1
        assert belief in BELIEFS

    def test_slips_are_varied_and_wrong(self):
        rng = random.Random(5)
        last = [solve("40+27", Author(slip=1.0), rng)[0] for _ in range(200)]
        assert "# 67" not in last
        assert len(set(last)) >= 6
