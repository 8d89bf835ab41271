"""Why stages of a study are not in the store: held against the nearest artifacts that are.

A stage's id is a digest of its identity, so a stage is missed because something in its identity differs, or
in that of a stage it takes from. The first such difference is the cause of all that lies behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from surpass.engine.graph import outstanding
from surpass.errors import ConfigError
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.records import RECORD
from surpass.study import Study, targets

DONE, TO_DO = "done", "to do"
ABSENT = "-"
"""Stands for a value where one of two identities does not have the field."""


class Name(NamedTuple):
    """A stage or an artifact, as people name it."""

    kind: str
    label: str
    id: str


class Difference(NamedTuple):
    """A field in which two stages differ.

    Attributes:
        of: The stage whose field it is: the one that is missed, or a finished one that it takes from.
        field: Such as `recipe.learning_rate`; `version`; or `file model` for a file from outside.
        here: What the study says.
        there: What the nearest artifact says.
    """

    of: Name
    field: str
    here: Any
    there: Any


class Explanation(NamedTuple):
    """Why a stage is missed, or that it is not.

    Attributes:
        stage: Which.
        state: `done` or `to do`.
        note: What is to be said beside differences: that it is damaged, was removed, is being computed.
        nearest: The artifact of the same kind that it is held against.
        differences: From that.
        because: Stages to do that it takes from.
        first: The first stages to do that it comes from, and whose differences are the cause.
    """

    stage: Name
    state: str
    note: str
    nearest: Name | None
    differences: tuple[Difference, ...]
    because: tuple[Name, ...]
    first: tuple[Name, ...]


def explain(study: Study, store: Store | None) -> list[Explanation]:
    """Explain every stage that has to run before a study is finished, each behind those it takes from.

    Raises:
        StoreError: The store cannot be read.
    """
    return _Explainer(study, store).all()


def explain_one(study: Study, store: Store | None, text: str) -> list[Explanation]:
    """Explain one stage of a study, and before it whatever has to run for it.

    Args:
        study: Whose it is.
        store: Where artifacts are; None where there are none yet.
        text: How its id begins, or its label.

    Raises:
        ConfigError: No stage of the study is called so, or several are.
        StoreError: The store cannot be read.
    """
    whole = outstanding((s for row in study.rows() for s in targets(row)), lambda _: False)
    found = [stage for stage in whole.to_do if stage.id.startswith(text) or stage.label == text]
    if len(found) != 1:
        said = f"{len(found)} stages are called so" if found else "it has no such stage"
        raise ConfigError(f"{text!r} in {study.name}: {said}; give an id of `surpass plan`")
    return _Explainer(study, store, only=found[0]).all()


def flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an identity by name: `version`, fields with dots, and files from outside."""
    values: dict[str, Any] = {"version": identity.get("version")}
    _flatten("", identity.get("fields", {}), values)
    _flatten("file ", identity.get("outside", {}), values, joint="")
    return values


def _flatten(name: str, value: Any, into: dict[str, Any], joint: str = ".") -> None:
    if isinstance(value, Mapping) and (value or not name):
        for key, part in value.items():
            _flatten(f"{name}{joint if name else ''}{key}", part, into)
    else:
        into[name] = value


def distance(here: Mapping[str, Any], there: Mapping[str, Any]) -> int:
    """In how many values two flat identities differ."""
    return sum(here.get(name, ABSENT) != there.get(name, ABSENT) for name in here.keys() | there.keys())


def nearest(stage: Stage, manifests: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The manifest with the same label, then fewest differing values, then the latest; None of none.

    Args:
        stage: What is missed.
        manifests: Of artifacts of its kind.
    """
    here = flat(stage.identity)
    own = [manifest for manifest in manifests if "fields" in manifest.get("stage", {})]
    same = [manifest for manifest in own if manifest["label"] == stage.label]
    best: Mapping[str, Any] | None = None
    closest = len(here) + 1_000_000
    # Latest first: of equally near ones the first is kept.
    for manifest in sorted(same or own, key=_lately, reverse=True):
        far = distance(here, flat(manifest["stage"]))
        if far < closest:
            best, closest = manifest, far
    return best


def _lately(manifest: Mapping[str, Any]) -> tuple[str, str]:
    return str(manifest.get("created", "")), str(manifest["id"])


class _Explainer:
    """One look at a study and its store."""

    def __init__(self, study: Study, store: Store | None, only: Stage | None = None) -> None:
        self.store = store
        self.only = only
        wanted = [only] if only else [stage for row in study.rows() for stage in targets(row)]
        self.graph = outstanding(wanted, self._is_done)
        self.missed = {stage.id: stage for stage in self.graph.to_do}
        self.busy = {one.id: one for one in store.busy()} if store is not None else {}
        self.manifests: dict[str, dict[str, dict[str, Any]]] = {}
        self.firsts: dict[str, tuple[str, ...]] = {}

    def _is_done(self, stage: Stage) -> bool:
        return self.store is not None and self.store.contains(stage.kind, stage.id)

    def all(self) -> list[Explanation]:
        if not self.missed and self.only is not None:
            return [Explanation(_name(self.only), DONE, "", None, (), (), ())]
        return [self.one(stage) for stage in self.graph.to_do]

    def one(self, stage: Stage) -> Explanation:
        because = [before for before in self.graph.needs(stage) if before.id in self.missed]
        note = self.note(stage)
        near = None if note else nearest(stage, self.candidates(stage.kind))
        own = self.differences(stage, near) if near is not None else []
        if not note and near is None and not because:
            note = f"the store holds no artifact of kind {stage.kind}"
        behind = [first for before in because for first in self.firsts[before.id]]
        mine = (stage.id,) if own or note or not because else ()
        self.firsts[stage.id] = tuple(dict.fromkeys([*behind, *mine]))
        return Explanation(
            stage=_name(stage),
            state=TO_DO,
            note=note,
            nearest=None if near is None else Name(near["kind"], near["label"], near["id"]),
            differences=tuple(own),
            because=tuple(map(_name, because)),
            first=tuple(_name(self.missed[id]) for id in self.firsts[stage.id]),
        )

    def differences(self, stage: Stage, manifest: Mapping[str, Any]) -> list[Difference]:
        """Those of a stage's own, and of finished stages it takes from; not those of stages to do."""
        here, there = flat(stage.identity), flat(manifest["stage"])
        stages = {named.id: named for named in _named(stage)}
        others = {other["id"]: other for other in manifest.get("upstream", ())}
        found: list[Difference] = []
        for name in sorted(here.keys() | there.keys(), key=_order):
            mine, theirs = here.get(name, ABSENT), there.get(name, ABSENT)
            if mine == theirs:
                continue
            pairs = list(zip(_listed(mine), _listed(theirs), strict=False))
            if len(_listed(mine)) != len(_listed(theirs)) or not any(a in stages for a, _ in pairs):
                found.append(Difference(_name(stage), name, mine, theirs))
                continue
            for one, other in pairs:
                if one != other and one not in self.missed:
                    found += self.between(stage, name, stages.get(one, one), other, others)
        return found

    def between(
        self, stage: Stage, field: str, one: Stage | Any, other: Any, others: Mapping[str, Any]
    ) -> list[Difference]:
        """How a finished stage differs from what the nearest artifact takes from in its place."""
        if not isinstance(one, Stage):
            return [Difference(_name(stage), field, one, other)]
        manifest = self.of_kind(one.kind).get(other)
        if manifest is not None and "fields" in manifest.get("stage", {}):
            return self.differences(one, manifest)
        told = others.get(other)
        there = other if told is None else f"{told['kind']} {told['label']}"
        return [Difference(_name(stage), field, f"{one.kind} {one.label}", there)]

    def note(self, stage: Stage) -> str:
        """What differences would not say."""
        if self.store is None:
            return "there is no store yet"
        if stage.id in self.busy:
            return f"{self.busy[stage.id].who} is computing it now"
        for folder in self.folders(stage):
            damage = self.store.damage(stage.kind, stage.id, folder)
            if damage:
                return f"it is damaged: {damage}"
        if stage.id in self.recorded:
            return "its weights were removed; a record of it is there"
        if stage.id in self.mentioned:
            return f"it was removed, or not imported: {self.mentioned[stage.id]} was made from it"
        return ""

    def folders(self, stage: Stage) -> Sequence[Path]:
        """Folders whose names say that they are this stage's artifact."""
        manifest = self.of_kind(stage.kind).get(stage.id)
        return [] if self.store is None or manifest is None else [Path(manifest["_folder"])]

    def of_kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """The manifests of a kind, by id."""
        if self.store is None:
            return {}
        if kind not in self.manifests:
            found = self.store.manifests(kind)
            self.manifests[kind] = {m["id"]: m | {"_folder": str(f)} for f, m in found}
        return self.manifests[kind]

    def candidates(self, kind: str) -> list[dict[str, Any]]:
        """Manifests of a kind, also those of which only a record is left."""
        records = self.of_kind(RECORD).values()
        originals = [record | record["of"] for record in records if "stage" in record]
        return [*self.of_kind(kind).values(), *(one for one in originals if one["kind"] == kind)]

    @cached_property
    def recorded(self) -> set[str]:
        """Ids of artifacts of which a record is there."""
        return {str(m["of"]["id"]) for m in self.of_kind(RECORD).values() if isinstance(m.get("of"), dict)}

    @cached_property
    def mentioned(self) -> dict[str, str]:
        """Ids that artifacts were made from, and which."""
        found: dict[str, str] = {}
        for kind in self.store.kinds() if self.store is not None else []:
            for manifest in self.of_kind(kind).values():
                if kind != RECORD:
                    for before in manifest.get("upstream", ()):
                        found.setdefault(before["id"], f"{kind} {manifest['label']}")
        return found


def _name(stage: Stage) -> Name:
    return Name(stage.kind, stage.label, stage.id)


def _named(stage: Stage) -> list[Stage]:
    """The stages that its fields name, whether it takes from them or from what they take from."""
    values = [getattr(stage, field.name) for field in fields(stage)]
    flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    return [item for item in flat if isinstance(item, Stage)]


def _order(field: str) -> tuple[bool, bool, str]:
    """Versions and files first: they tell most."""
    return field != "version", not field.startswith("file "), field


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
