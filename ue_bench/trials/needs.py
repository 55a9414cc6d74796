"""Whether a method can make noise for some data: which parts it declares, and which are there."""

from __future__ import annotations

from ue_bench.contracts.access import Access
from ue_bench.contracts.method import Method
from ue_bench.contracts.victim import Victim
from ue_bench.data.imageset import ImageSet


def lacks(method: Method, dataset: str, train: ImageSet, paradigm: str) -> str:
    """In words: a part of the data that the method declares and that the dataset does not have; "" if there is none."""
    needs = method.access
    if paradigm == "supervised":
        needs &= ~Access.CAPTIONS
    elif method.granularity != "class":
        needs &= ~(Access.LABELS | Access.CLASS_NAMES)
    for need, part in (
        (Access.LABELS, train.labels),
        (Access.CAPTIONS, train.captions),
        (Access.CLASS_NAMES, train.class_names),
    ):
        if need in needs and part is None:
            return f"{method.name} needs {need.words()[0]}, {dataset} has none"
    return ""


def starts_apart(method: Method, victim: Victim) -> str:
    """Why a victim that is to start with the weights of the method's surrogate cannot; "" if it can, or is not to."""
    if not victim.diagnostic or method.control:
        return ""
    surrogate = getattr(method, "surrogate", "")
    loaded = getattr(method, "surrogate_pretrained", "") or getattr(method, "surrogate_checkpoint", "")
    if method.prepares or loaded:
        return (
            f"{method.name}'s surrogate is not drawn for this training set, so no victim starts where it does"
        )
    if surrogate != victim.name:
        return (
            f"{method.name}'s surrogate is {surrogate or 'none'}, so {victim.name} cannot start where it does"
        )
    if other := [name for name in victim.changed_parameters() if name != "init"]:
        return (
            f"{method.name}'s surrogate has the defaults of {victim.name}, and this victim another {other[0]}"
        )
    return ""
