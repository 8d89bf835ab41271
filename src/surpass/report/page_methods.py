"""Methods against naive fine-tuning as a table of the page: the numbers of the terminal's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surpass.report.methods import ALPHA, NOTE, ORACLE_MARK, p_text
from surpass.report.page_text import breakable, names_of, percents, plain, points, shown

Record = Mapping[str, Any]

_ASIDE = ' class="n aside"'  # what a narrow screen leaves out
_NUM_ASIDE = 2


def methods_section(document: Record) -> str:
    """Methods against naive fine-tuning, as the terminal has them; nothing where there is one method."""
    parts = []
    names = names_of(document)
    for place in range(len(names)):
        ranks = {index: rank for index, rank in enumerate(document["ranks"]) if rank["study"] == place}
        if any(rank["comparison"] for rank in ranks.values()):
            heading = f"<h3>{shown(names[place])}</h3>" if len(names) > 1 else ""
            parts.append(f'<div class="study" data-study="{place}">{heading}{_ranks_table(ranks)}</div>')
    if not parts:
        return ""
    return (
        '<section id="methods" aria-labelledby="methods-title">'
        f'<h2 id="methods-title">Methods against naive fine-tuning</h2>{"".join(parts)}'
        f'<p class="notes">{plain(NOTE)} Bold: p below {ALPHA:g}. Filters by pair and seed do not change '
        "this table: it is over all of them.</p></section>"
    )


def _ranks_table(numbered: Mapping[int, Record]) -> str:
    ranks = list(numbered.values())

    def place(rank: Record) -> tuple[bool, float]:
        return bool(rank["oracle"]), -(rank["comparison"] or {"difference": 0.0})["difference"]

    many = len({rank["labels"] for rank in ranks}) > 1
    head = "".join(
        f'<th scope="col"{kind}>{text}</th>'
        for text, kind in (
            ("method", ""),
            ("pairs", _ASIDE),
            ("median PGR %", _ASIDE),
            ("accuracy %", ' class="n"'),
            ("vs naive, points", ' class="n"'),
            ("p", ' class="n"'),
        )
    )
    rows = []
    for index, rank in sorted(numbered.items(), key=lambda item: place(item[1])):
        labels = f" ({shown(rank['labels'])})" if many else ""
        star = ORACLE_MARK if rank["oracle"] else ""
        cells = "".join(
            f"<td{_ASIDE if column < _NUM_ASIDE else ' class=n'}>{cell}</td>"
            for column, cell in enumerate(_rank_cells(rank, ranks))
        )
        beyond = rank["comparison"] is not None and rank["comparison"]["adjusted_p"] < ALPHA
        kinds = " ".join(kind for kind, so in (("beyond", beyond), ("oracle", rank["oracle"])) if so)
        rows.append(
            f'<tr class="{kinds}" data-rank="{index}">'
            f'<th scope="row"><button type="button" class="from">{breakable(rank["method"])}'
            f"{labels}{star}</button></th>{cells}</tr>"
        )
    return (
        '<div class="wide" role="region" tabindex="0" aria-label="Methods against naive fine-tuning">'
        f'<table class="ranks"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _rank_cells(rank: Record, ranks: Sequence[Record]) -> list[str]:
    pgr, comparison = rank["pgr"], rank["comparison"]
    pairs = str(rank["num_pairs"])
    if pgr["num_invalid"]:
        pairs = f"{pgr['num_valid']}/{rank['num_pairs']}"
    if comparison is None:
        same = [r["comparison"] for r in ranks if r["comparison"] and r["labels"] == rank["labels"]]
        widest = max(same, key=lambda c: c["num_tasks"], default=None) if rank["method"] == "naive" else None
        own = None if widest is None else widest["baseline_accuracy"]
        return [pairs, percents(pgr["median"]), percents(own), "", ""]
    low, high = points(comparison["low"]), points(comparison["high"])
    difference = f"{points(comparison['difference'])} [{low}, {high}]"
    p_value = plain(p_text(comparison["adjusted_p"]))
    return [pairs, percents(pgr["median"]), percents(comparison["accuracy"]), difference, p_value]
