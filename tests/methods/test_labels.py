"""Other labels change exactly the methods that read labels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ue_bench import Access
from ue_bench.conformance import sample, subjects
from ue_bench.registry import Registry

REGISTRY = Registry()
SUBJECTS = [
    subject
    for entry in REGISTRY.entries("methods")
    for subject in subjects(entry, REGISTRY)
    if subject.paradigm() == "supervised"
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_labels_matter_where_they_are_read(subject):
    data = sample()
    assert data.labels is not None
    moved = data.labels.clone()
    moved[: len(moved) // 2] = (moved[: len(moved) // 2] + 1) % data.classes
    other = dataclasses.replace(data, labels=moved, _memo={})
    one, two = (subject.protect(part, "supervised") for part in (data, other))
    same = torch.equal(one.noise[one.rows], two.noise[two.rows])
    # A generator of two epochs does not listen to texts yet, and its random vector is the image's own; what it
    # does with a text that it hears is tested in test_t2ue.
    deaf = ("random", "t2ue")
    control = subject.content.budget.empty or (
        subject.content.granularity == "image" and subject.name.startswith(deaf)
    )
    assert same == (Access.LABELS not in subject.content.access or control)
