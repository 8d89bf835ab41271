"""Passes of a model over examples without learning, and the frozen states that they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from surpass.errors import ConfigError
from surpass.identity import identity_field
from surpass.models.names import ReadOut
from surpass.models.sources import resolve
from surpass.stages.base import Context, ExampleStage, ModelStage, Stage

GIVE_STATES = frozenset({"encoder", "causal", "vision"})
"""Families of pretrained models that are worth reading once; policies and tabular models are small."""

PRECISIONS = ("float32", "float16")


@dataclass(frozen=True, kw_only=True)
class Pass(Stage):
    """A pass of a model over examples, without learning: what `Features` and `Label` share.

    Attributes:
        source: A stage that gives a model, or the name of a pretrained one.
        examples: What it sees.
    """

    runs_in: ClassVar[str] = "surpass.train.label"

    source: ModelStage | str
    examples: ExampleStage

    @cached_property
    def label(self) -> str:
        """Whose pass over what."""
        source = self.source
        name = source.label if isinstance(source, ModelStage) else resolve(source).short_name
        return f"{name}-on-{self.examples.label}"

    @property
    def model(self) -> str:
        """The pretrained model behind it."""
        return self.source.model if isinstance(self.source, ModelStage) else self.source

    @property
    def cost(self) -> float:
        """Forward passes."""
        return resolve(self.model).flops * (self.examples.size or 10_000)

    def outside(self) -> dict[str, str]:
        """The weights of a pretrained source."""
        return {} if isinstance(self.source, ModelStage) else {"model": resolve(self.source).digest}

    @classmethod
    def of(cls, source: ModelStage | str, examples: ExampleStage) -> Self:
        """The pass of a source over examples, in the form that it learned from."""
        seen = source.sees(examples) if isinstance(source, ModelStage) else examples
        return cls(source=source, examples=seen)

    def on(self, examples: ExampleStage) -> Self:
        """The same model's pass over other examples."""
        return self.of(self.source, examples)


@dataclass(frozen=True, kw_only=True)
class Features(Pass):
    """Frozen states of a model, read once for every head and every rule that wants them.

    Files: `index.parquet` with `id` of each example, in the order in which they were read, and whether it
    `lost` tokens; shards `states-00000.safetensors`, ..., which hold the next of these rows as `0`, `1`, ...
    for each read-out, (N, D) or (N, 2, D) of pairs; and `head.safetensors`, the model's own head, where
    it has one that is pretrained. A row depends on the others by rounding alone.

    Attributes:
        also: More examples that are read in the same pass.
        read_outs: Where states are read; by default where the name of the model says.
        precision: In which they are stored.

    Raises:
        ConfigError: There is no such precision.
    """

    kind: ClassVar[str] = "features"
    version: ClassVar[int] = 2
    runs_in: ClassVar[str] = "surpass.train.one_pass"

    also: tuple[ExampleStage, ...] = identity_field((), since_default=True)
    read_outs: tuple[ReadOut, ...] = identity_field((), since_default=True)
    precision: str = identity_field("float32", since_default=True)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision={self.precision!r} must be one of {', '.join(PRECISIONS)}")

    @cached_property
    def label(self) -> str:
        """Whose states of what."""
        more = f"-and-{len(self.also)}-more" if self.also else ""
        return f"{super().label}{more}"

    @property
    def cost(self) -> float:
        """One forward pass for each."""
        # Where one part asks for all, the others hold the same.
        sizes = [examples.size for examples in self.parts]
        known = [size for size in sizes if size is not None]
        return resolve(self.model).flops * (sum(known) if len(known) == len(sizes) else 10_000)

    @property
    def parts(self) -> tuple[ExampleStage, ...]:
        """All examples that are read."""
        return (self.examples, *self.also)

    @cached_property
    def shared_by(self) -> str | None:
        """What is equal for features that one pass can give; None where each needs its own.

        They differ in the seed of their examples, or in where states of the model are read.
        """
        task = getattr(self.examples, "task", None)
        if self.also or self.read_outs or task is None or not hasattr(self.examples, "seed"):
            return None
        of = self.source.id if isinstance(self.source, ModelStage) else resolve(self.source).base_digest
        unseeded = replace(self.examples, seed=0)  # type: ignore[call-arg]
        return f"{of} {unseeded.id} {self.precision}"

    def run(self, context: Context) -> dict[str, Any]:
        """One pass over the examples."""
        from surpass.train.one_pass import run_features

        return run_features(self, context)


def one_pass(features: list[Features]) -> Features:
    """The features that hold all of these, which have the same `shared_by`."""
    first = features[0]
    by_id = {each.examples.id: each.examples for each in features}
    examples, *also = (by_id[name] for name in sorted(by_id, key=lambda name: (by_id[name].label, name)))
    source = first.source
    read_outs: tuple[ReadOut, ...] = ()
    if isinstance(source, str):
        found = {resolve(str(each.source)).read_out for each in features}
        read_outs = tuple(sorted(found, key=lambda read_out: (read_out.layer or 0, read_out.pooling or "")))
        source = resolve(source).base_name
    read_outs = () if read_outs == (ReadOut(),) else read_outs
    return replace(first, source=source, examples=examples, also=tuple(also), read_outs=read_outs)
