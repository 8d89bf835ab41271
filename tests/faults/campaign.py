"""Random faults, each followed by a run to the end that must give the digits of the undisturbed run.

    cd tests && python -m faults.campaign --faults 200 --json faults.json

What is done to a run is in `faults.kinds`, what must be so afterwards in `examine` below.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.ground import NUM_STAGES, Ground, Scene, Wrong, need
from faults.kinds import KINDS, Kind
from faults.stages import noted

ENGINES, STORES, WORKS = ("inline", "pool", "ray"), ("folder", "s3"), ("graph", "chess")
_PAGE = Path(__file__).parent.parent.parent / "docs" / "faults.md"
_TRIES = 4
_ENGINE_WEIGHTS = {"inline": 5, "pool": 4, "ray": 2}
_STORE_WEIGHTS = {"folder": 5, "s3": 1}
_WORK_WEIGHTS = {"graph": 6, "chess": 1}


def examine(scene: Scene, *, harmless: bool) -> int:
    """Run again after a fault, and see whether all promises were kept; gives how many stages were computed.

    Args:
        scene: Where it happened.
        harmless: Whether the fault left files as they were.
    """
    sound = scene.complete()
    if harmless:
        for path, manifest in scene.seen.items():
            need(Path(path).read_bytes() == manifest, f"{path} was there before the fault")
    _hold_against_kills(scene)
    engine = scene.engine if scene.chance.random() < 0.6 else "inline"
    computed = scene.run_again(engine=engine, sound=sound)
    if scene.store == "s3":  # what a cache has, the object store may have lost: another machine will tell
        scene.machine = "last"
        computed += scene.run_again(engine="inline")
    right = scene.ground.right[scene.work]
    files, table = scene.left()
    need(table == right[1], "the table is another")
    # What a finished run has no need of it does not look at, so that may still be damaged.
    for id, digests in files.items():
        need(digests == right[0][id], f"{id[:8]} has other digits")
    store = scene.opened()
    store.clean_tmp()
    unseen = [str(problem.path) for problem in store.verify()]
    if scene.work == "graph" or harmless:
        need(files.keys() == right[0].keys(), "artifacts are missing")
        need(not unseen, f"problems: {unseen}")
    if scene.store == "folder" and not scene.unreadable:
        for place in ("work", "tmp", "leases"):
            left = _left_in(Path(scene.place) / place)
            need(not left, f"left in {place}: {left[:5]}")
    return computed


def _left_in(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(folder) if not _is_nobodys(folder / name))
    return []


def _is_nobodys(path: Path) -> bool:
    """Whether it is empty and does not say whose it is; such a folder or file stays for a day."""
    if path.parent.name == "leases":
        return path.name.startswith(".") and path.stat().st_size == 0
    return path.parent.name == "tmp" and not any(inside.is_file() for inside in path.rglob("*"))


def _hold_against_kills(scene: Scene) -> None:
    """While the fault was done, nothing ended twice but what killed processes were at."""
    if scene.work != "graph" or scene.phase:
        return
    again = sum(count - 1 for count in Counter(noted(scene.log, "ends")).values())
    need(again <= 4 * scene.kills, f"{again} stages computed twice for {scene.kills} kills")


GIVEN_UP = "has been marked dead because the detector has missed too many heartbeats"
"""What Ray says when its own processes had no turn for so long that they gave each other up."""

HARMFUL = ("files", "manifests", "damaged", "checkpoint", "leases", "reads", "writes")


def play(
    ground: Ground, number: int, name: str, engine: str, store: str, work: str, seed: int
) -> dict[str, Any]:
    """Do one fault, again until it hits something; gives what happened."""
    for attempt in range(_TRIES):
        chance = random.Random(f"{seed}-{number}-{attempt}")
        scene = Scene(ground, f"{number}-{attempt}", chance, work, engine, store)
        began, wrong, computed = time.monotonic(), "", 0
        try:
            KINDS[name].do(scene)
            if scene.hits:
                computed = examine(scene, harmless=not name.startswith(HARMFUL))
        except Wrong as error:
            wrong = str(error)
        except Exception:
            wrong = traceback.format_exc()
        spoiled = bool(ground.raylet) and (not ground.has_ray() or GIVEN_UP in wrong)
        if spoiled:  # that is no fault of ours, in both senses
            ground.start_ray()
            scene.hits, wrong = 0, ""
        if wrong and os.environ.get("FAULTS_KEEP"):
            kept = Path(os.environ["FAULTS_KEEP"]) / f"{seed}-{number}"
            shutil.copytree(scene.folder, kept, dirs_exist_ok=True)
        scene.close()
        if scene.hits or wrong:
            break
    return {
        "number": number,
        "kind": name,
        "engine": engine,
        "store": store,
        "work": work,
        "computed": computed,
        "of": NUM_STAGES[work],
        "seconds": round(time.monotonic() - began, 2),
        "said": "; ".join(scene.said),
        "hits": scene.hits,
        "wrong": wrong,
    }


def plays(faults: int, seed: int, ground: Ground) -> Iterator[tuple[int, str, str, str, str]]:
    """Which faults: all kinds as often as their weights say, in random order; first each of them once."""
    chance = random.Random(seed)
    possible = {name: kind for name, kind in KINDS.items() if _choices(kind, ground)}
    names: list[str] = []
    while len(names) < faults:
        turn = [name for name, kind in possible.items() for _ in range(kind.weight if names else 1)]
        chance.shuffle(turn)
        names += turn
    yield from placed(names[:faults], seed, ground)


def placed(names: Sequence[str], seed: int, ground: Ground) -> Iterator[tuple[int, str, str, str, str]]:
    """Where each of some faults happens."""
    chance = random.Random(seed + 1)
    possible = {name: kind for name, kind in KINDS.items() if _choices(kind, ground)}
    for number, name in enumerate(name for name in names if name in possible):
        engine, store, work = chance.choices(*zip(*_choices(possible[name], ground), strict=True))[0]
        yield number, name, engine, store, work


def _choices(kind: Kind, ground: Ground) -> list[tuple[tuple[str, str, str], int]]:
    if kind is KINDS["disk full"] and ground.disk is None:
        return []
    return [
        ((engine, store, work), _ENGINE_WEIGHTS[engine] * _STORE_WEIGHTS[store] * _WORK_WEIGHTS[work])
        for engine in kind.engines
        for store in kind.stores
        for work in kind.works
        if engine in ground.engines and store in ground.stores and work in ground.works
        if not (store == "s3" and work == "chess")
    ]


def run(
    faults: int,
    seed: int,
    *,
    engines: Sequence[str] = ENGINES,
    stores: Sequence[str] = STORES,
    works: Sequence[str] = WORKS,
    only: Sequence[int] = (),
    names: Sequence[str] = (),
    say: Callable[[str], object] = lambda _: None,
    keep: Path | None = None,
    called: str = "",
) -> dict[str, Any]:
    """A campaign; gives what was done, and what went wrong.

    Args:
        faults: How many.
        seed: Decides on all of them, but not on how far a process is at a moment.
        engines: Which to use.
        stores: In which.
        works: On what: the graph of made-up stages, and a chess study with fits.
        only: The numbers of those to do; all if none are given.
        names: These kinds, in this order, instead of random ones.
        say: Told each.
        keep: A file for what was done so far.
        called: What the counts of several campaigns are put together by.
    """
    began, ground = time.time(), Ground(engines, stores, works)
    done: dict[str, Any] = {
        "round": called,
        "seed": seed,
        "date": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "faults": [],
    }
    try:
        chosen = placed(names, seed, ground) if names else plays(faults, seed, ground)
        for number, name, engine, store, work in chosen:
            if only and number not in only:
                continue
            ground.prepare(work, engine, store)
            said = play(ground, number, name, engine, store, work, seed)
            if said["hits"] or said["wrong"]:  # what found nothing to hit is not counted
                done["faults"].append(said)
            done["minutes"] = round((time.time() - began) / 60, 1)
            say(f"{number:4} {name}, {engine}, {store}, {work}: {said['said']} ({said['seconds']} s)")
            if said["wrong"]:
                say(f"     WRONG: {said['wrong']}")
            if keep is not None:
                keep.write_text(json.dumps(done, indent=1) + "\n")
    finally:
        ground.close()
    return done


def table(campaigns: Sequence[dict[str, Any]]) -> str:
    """The counts as lines of Markdown."""
    done = [fault for campaign in campaigns for fault in campaign["faults"]]
    columns: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
        *((f"{e}, folder", lambda f, e=e: (f["engine"], f["store"]) == (e, "folder")) for e in ENGINES),
        *((f"{e}, S3", lambda f, e=e: (f["engine"], f["store"]) == (e, "s3")) for e in ENGINES),
        ("all", lambda f: True),
        ("wrong", lambda f: bool(f["wrong"])),
    ]
    lines = [
        "| fault | " + " | ".join(name for name, _ in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    names = [name for name in KINDS if any(fault["kind"] == name for fault in done)]
    for name, chosen in [(n, [f for f in done if f["kind"] == n]) for n in names] + [("all", done)]:
        counts = [sum(map(is_so, chosen)) for _, is_so in columns]
        lines.append(
            f"| {name} | "
            + " | ".join(str(count or "") or "0" for count in counts[:-1])
            + f" | {counts[-1]} |"
        )
    return "\n".join(lines).replace("| 0 ", "|  ")


BEGINS, ENDS = "<!-- counts: written by faults.campaign --write -->", "<!-- end of counts -->"


def summary(campaigns: Sequence[dict[str, Any]]) -> str:
    """What was done, the counts, and what went wrong, as Markdown."""
    rounds = list(dict.fromkeys(campaign.get("round", "") for campaign in campaigns))
    lines = []
    for each in rounds:
        those = [campaign for campaign in campaigns if campaign.get("round", "") == each]
        done = [fault for campaign in those for fault in campaign["faults"]]
        wrong = [fault for fault in done if fault["wrong"]]
        works = Counter(fault["work"] for fault in done)
        named = f"{each}: " if each else ""
        lines.append(
            f"- {named}{len(done)} faults ({those[0]['date']}, {those[0]['processors']} processors, Python "
            f"{those[0]['python']}; seeds {', '.join(sorted({str(each['seed']) for each in those}))}), "
            f"{works['graph']} on made-up stages and {works['chess']} on a chess study. Reruns computed "
            f"{sum(f['computed'] for f in done)} stages; {sum(f['of'] for f in done)} were asked for. "
            + (f"A promise was not kept in {len(wrong)}:" if wrong else "All promises were kept.")
        )
        lines += [f"  - {f['kind']} ({f['engine']}, {f['work']}): {_first(f['wrong'])}" for f in wrong]
    return "\n".join([*lines, "", table(campaigns)])


def _first(text: str) -> str:
    said = " ".join(re.sub(r"/\S*/", "", text).split())
    return said[:150] + ("..." if len(said) > 150 else "")


def write(page: Path, campaigns: Sequence[dict[str, Any]]) -> None:
    """Put the counts of campaigns into the page, in place of those that are there."""
    before, _, rest = page.read_text().partition(BEGINS)
    page.write_text(f"{before}{BEGINS}\n\n{summary(campaigns)}\n\n{ENDS}{rest.partition(ENDS)[2]}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--only", nargs="+", type=int, default=(), help="numbers of faults to do again")
    parser.add_argument("--json", type=Path, help="where the outcome goes")
    parser.add_argument("--round", default="", help="what the counts are headed with")
    parser.add_argument(
        "--write", nargs="+", type=Path, help="only put the counts of such files into the page"
    )
    told = parser.parse_args()
    if told.write:
        read = [json.loads(path.read_text()) for path in told.write]
        write(_PAGE, [each for one in read for each in (one if isinstance(one, list) else [one])])
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and clean up
    done = run(
        told.faults,
        told.seed,
        engines=told.engines,
        stores=told.stores,
        works=told.works,
        only=told.only,
        say=_say,
        keep=told.json,
        called=told.round,
    )
    _say(table([done]))
    wrong = sum(bool(fault["wrong"]) for fault in done["faults"])
    _say(f"{len(done['faults'])} faults in {done['minutes']} minutes, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
