"""Whether a method can make noise for some data: which parts it declares, and which are there."""

from __future__ import annotations

from ue_bench.contracts.access import Access
from ue_bench.contracts.method import Method
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
