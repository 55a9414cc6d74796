"""The contract of a protector: it declares what it needs and returns a Perturbation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor

from ue_bench.contracts.access import Access
from ue_bench.contracts.budget import Budget
from ue_bench.contracts.content import Content, default_of
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.errors import ConfigError

if TYPE_CHECKING:
    from ue_bench.contracts.context import Context
    from ue_bench.contracts.view import ProtectorView


@dataclass(frozen=True)
class Method(Content):
    """An unlearnable-example method. It makes the noise, and sees only what it declares.

    Fields are hyper-parameters with the paper's values as defaults; every method has ``budget`` and
    ``granularity``.

    Attributes:
        access: the parts of the training data that ``protect`` may see. A method for both paradigms declares what
            either needs: captions are never seen in supervised runs, labels and class names are asked for in
            contrastive ones only for class-wise noise.
        paradigms: ``supervised``, ``contrastive`` or both.
        granularities: the values that ``granularity`` may take.
        published_names: its names in the papers' tables, as in results/published.csv.
        variants: fields that choose among the papers' own variants, such as the length of a trigger: values other than
            the defaults identify rows and do not mark them as reduced.
        protect_only: fields that only ``protect`` reads; arms that differ only in these share their preparation.
        control: the role that it can play in a suite's ``controls``: ``clean`` (no noise), ``random`` (noise without a
            method) or ``share`` (what others leave unprotected); "" for methods.
        withholds: True for the control whose protected images are not published at all.
        cost: its cost in words, at the paper's settings.
        preparations: what ``prepare`` costs and needs, in words, by profile; a method that states it is never made to
            prepare unasked where noise is made from captions.
        presets: for a profile (smoke, quick, laptop) the parameters that shrink the work but keep the method's
            structure; tables mark such rows as reduced. The profile ``paper`` always means the defaults. The preset
            ``contrastive laptop`` comes before ``laptop`` in contrastive runs.
        defaults: {paradigm: {field: default}} where a paradigm's defaults are not the fields' own; a subclass names
            only what it changes. ``prepare``, which knows no paradigm, sees the fields' own.
        usual: for fields that are None because they follow other fields, their value at the paper's settings; it is
            shown beside a different value.
    """

    budget: Budget = Budget("linf", 8)  # norm and radius; linf in steps of 1/255
    granularity: str = "image"  # one noise per class, image or pair

    access: ClassVar[Access] = Access.NOTHING
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    published_names: ClassVar[tuple[str, ...]] = ()
    variants: ClassVar[frozenset[str]] = frozenset()
    protect_only: ClassVar[frozenset[str]] = frozenset()
    control: ClassVar[str] = ""
    withholds: ClassVar[bool] = False
    cost: ClassVar[str] = ""
    preparations: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    usual: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.granularity not in self.granularities:
            raise ConfigError(
                f"{type(self).__name__} has no noise of granularity '{self.granularity}': "
                f"it makes {' and '.join(self.granularities)}"
            )

    @classmethod
    def defaults_in(cls, paradigm: str) -> dict[str, Any]:
        """{field: default} in runs of the paradigm."""
        values = {field.name: default_of(field) for field in fields(cls)}
        for owner in reversed(cls.__mro__):
            values |= vars(owner).get("defaults", {}).get(paradigm, {})
        return values

    @classmethod
    def for_paradigm(cls, paradigm: str, **values: Any) -> Self:
        """An instance for runs of the paradigm; fields that ``values`` does not set have the paradigm's defaults."""
        return cls(**cls.complete(paradigm, values))

    @classmethod
    def complete(cls, paradigm: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values``, and the defaults of the fields whose default depends on the paradigm; None means the default."""
        defaults = cls.defaults_in(paradigm)
        own = {name: defaults[name] for name in cls._depending_on_the_paradigm()}
        return own | {k: v for k, v in values.items() if v is not None or k not in own}

    def recorded(self, paradigm: str = "") -> dict[str, Any]:
        """The parameters as trial ids hash them and records keep them; ``complete`` reads them back.

        A field whose default depends on the paradigm is None while it holds that default. Older versions had None as
        the field's own default, so the ids of earlier trials stay as they are. The granularity always stands as it is.
        """
        defaults, own = self.defaults_in(paradigm), self._depending_on_the_paradigm() - {"granularity"}
        return {
            name: None if name in own and value == defaults[name] else value
            for name, value in super().recorded(paradigm).items()
        }

    def changed_parameters(self, paradigm: str = "") -> dict[str, Any]:
        """The fields whose values differ from their defaults in runs of the paradigm."""
        defaults = self.defaults_in(paradigm)
        return {name: value for name, value in self.parameters().items() if value != defaults[name]}

    @classmethod
    def _depending_on_the_paradigm(cls) -> set[str]:
        """The fields that ``defaults`` names for any paradigm, here or in a base class."""
        sets = [each for owner in cls.__mro__ for each in vars(owner).get("defaults", {}).values()]
        return {name for each in sets for name in each}

    def with_epsilon(self, steps: int) -> Method:
        """The same method with another linf radius (steps of 1/255); other norms keep their own budget."""
        if self.budget.norm != "linf" or self.budget.empty:
            return self
        return replace(self, budget=replace(self.budget, radius=steps))

    def promised_budget(self, image_size: tuple[int, int]) -> Budget:
        """The budget that noise for images of this (height, width) must keep and that tables show.

        It is ``budget``, unless parameters change it, such as a radius that depends on the size.
        """
        return self.budget

    def published_as(self, paradigm: str) -> tuple[str, ...]:
        """Its names in the papers' tables of a paradigm."""
        return tuple(self.published_names)

    def conflict(self, paradigm: str) -> str:
        """Why these settings make no sense in the paradigm, or ""."""
        return ""

    def for_data(self, view: ProtectorView) -> Method:
        """The method as it is run on this training set, asked for while a run is planned.

        It is for methods that load existing noise: their budget and granularity are read from that noise.

        Raises:
            UEBenchError: if it cannot be run on it; then the plan is refused before any work.
        """
        return self

    @property
    def is_control(self) -> bool:
        """Whether it shows what a method adds and is none itself: such rows are not ranked and lead no table."""
        return bool(self.control)

    @property
    def prepares(self) -> bool:
        """Whether it prepares something once for any number of datasets."""
        return type(self).prepare is not Method.prepare

    def prepare(self, context: Context) -> Mapping[str, Tensor]:
        """Work done once for any number of datasets; stored, and given back as ``context.prepared``.

        It never sees the data to be protected. Most methods need none.
        """
        return {}

    @abstractmethod
    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        """Makes the noise for the whole training set."""
