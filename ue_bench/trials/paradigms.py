"""What differs between the paradigms: recipes, examples, protected training sets, trainers, remarks in records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ue_bench.contracts.perturbation import Perturbation
from ue_bench.data.imageset import ImageSet
from ue_bench.metrics import noise_measures
from ue_bench.retrieval import random_retrieval, reachable_hit
from ue_bench.training.contrastive import ContrastiveCurves, train_contrastive
from ue_bench.training.pairs import Pairs
from ue_bench.training.recipe import CONTRASTIVE_PRESETS, PRESETS, ContrastiveRecipe, Recipe
from ue_bench.training.supervised import Curves, train
from ue_bench.training.unlabelled import train_without_labels
from ue_bench.trials.poison import publish, publish_pairs


@dataclass
class Remarks:
    """The remarks of a record beside its metrics.

    Attributes:
        notes: facts.
        warnings: sentences.
        status: ``done``, or ``invalid`` for a result that must not count.
    """

    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    status: str = "done"


@dataclass(frozen=True)
class Paradigm:
    """One way to train and measure victims.

    Attributes:
        recipe: how a victim is trained, as data.
        presets: recipes by name.
        examples: how many there are in a training set.
        unprotected: a training set as its trainer takes it.
        publish: (clean, perturbation, mask over images) -> (the training set as published, measures of its noise).
        train: a trainer, see ``ue_bench.training``; its curves have ``metrics``.
        remarks: (curves, clean test data) -> Remarks.
        others: trainers of victims that learn from something else than labels or captions, by ``Victim.learns``. They
            get the clean training set, too, as ``clean``: probes are fitted to it.
    """

    recipe: type
    presets: Mapping[str, Any]
    examples: Callable[[ImageSet], int]
    unprotected: Callable[[ImageSet], Any]
    publish: Callable[[ImageSet, Perturbation, Tensor], tuple[Any, dict[str, float | int]]]
    train: Callable[..., Any]
    remarks: Callable[[Any, ImageSet], Remarks]
    others: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


def _publish_images(
    clean: ImageSet, perturbation: Perturbation, mask: Tensor
) -> tuple[ImageSet, dict[str, float | int]]:
    images = publish(clean.images, perturbation, mask)
    return dataclasses.replace(clean, images=images, _memo={}), noise_measures(clean.images, images)


def _nothing_to_add(curves: Curves, test: ImageSet) -> Remarks:
    return Remarks()


def _about_retrieval(curves: ContrastiveCurves, test: ImageSet) -> Remarks:
    """Notes what guessing reaches. A victim whose features end as one point is invalid: a collapse is no protection."""
    remarks = Remarks({"random_retrieval": random_retrieval(len(test), round(len(test.pairs) / len(test)))})
    reachable = reachable_hit(test.captions) if test.captions else 100.0
    if reachable < 99:
        remarks.warnings.append(
            "captions of different test images are equal, so that no victim can reach more than "
            f"{reachable:.1f} % of i2t Hit@1: ties count against the model"
        )
    epochs = [epoch for epoch, collapsed in enumerate(curves.collapsed) if collapsed]
    if epochs:
        remarks.warnings.append(
            f"the victim's features are not finite or all one point in {len(epochs)} of {len(curves.collapsed)} "
            f"evaluations, the last after epoch {epochs[-1]}: a collapse is no protection"
        )
    if curves.collapsed[-1]:
        remarks.status = "invalid"
    return remarks


WAYS = {
    "supervised": Paradigm(
        recipe=Recipe,
        presets=PRESETS,
        examples=len,
        unprotected=lambda clean: clean,
        publish=_publish_images,
        train=train,
        remarks=_nothing_to_add,
        others={"views": train_without_labels},
    ),
    "contrastive": Paradigm(
        recipe=ContrastiveRecipe,
        presets=CONTRASTIVE_PRESETS,
        examples=lambda clean: len(clean.pairs),
        unprotected=Pairs.of,
        publish=publish_pairs,
        train=train_contrastive,
        remarks=_about_retrieval,
    ),
}
