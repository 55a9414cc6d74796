"""Every discovered method, victim, defense and embedded dataset keeps the promises of its contract."""

from __future__ import annotations

import pytest

from ue_bench.conformance import CHECKS, Subject, subjects
from ue_bench.registry import Registry

REGISTRY = Registry()
EMBEDDED = {"digits", "shapes"}  # the other datasets need files
# Seconds each to build; what they promise is tested by family (test_victims, test_clip_victims).
LARGE = {"resnet50", "resnet101", "densenet121", "googlenet", "vit_b_16", "vit_b_32"}
LARGE |= {"clip_rn50", "clip_rn101", "clip_vit_b_16", "clip_vit_b_32"}
ENTRIES = [
    entry
    for kind in CHECKS
    for entry in REGISTRY.entries(kind)
    if (kind != "datasets" or entry.name in EMBEDDED)
    and entry.name not in LARGE
    and not (entry.reading and entry.reading.argument)
]
ENTRIES.append(REGISTRY.find("victims", "timm:test_vit"))
ENTRIES.append(REGISTRY.find("defenses", "purify:25%clean"))
SUBJECTS = [(entry.kind, subject) for entry in ENTRIES for subject in subjects(entry, REGISTRY)]
CASES = [
    pytest.param(subject, promise, id=f"{subject.name}-{promise.__name__}")
    for kind, subject in SUBJECTS
    for promise in CHECKS[kind]
]


@pytest.mark.parametrize(("subject", "promise"), CASES)
def test_the_promise_is_kept(subject: Subject, promise):
    promise(subject)


def test_every_method_is_among_them():
    names = {subject.name.split(" (")[0] for kind, subject in SUBJECTS if kind == "methods"}
    without = {
        entry.name for entry in REGISTRY.entries("methods") if entry.reading.argument
    }  # such as file:PATH
    assert names == set(REGISTRY.names("methods")) - without and len(names) >= 5
