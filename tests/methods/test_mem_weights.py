"""MEM's surrogate from pretrained weights."""

from __future__ import annotations

import pytest
from paired import described, protect

from ue_bench_methods.mem import MEM


def test_the_surrogate_can_start_from_weights(monkeypatch):
    """Fine-tuning a pretrained CLIP, as in the study of faces: what the victims registry is asked for."""

    class Asked(Exception):
        pass

    def ask(view, context, name, parameters):
        raise Asked(name, parameters)

    monkeypatch.setattr("ue_bench_methods.mem.clip_surrogate", ask)
    with pytest.raises(Asked) as scratch:
        protect(MEM(), described())
    with pytest.raises(Asked) as tuned:
        protect(MEM(surrogate_pretrained="openai"), described())
    assert scratch.value.args == ("clip_rn50", {})
    assert tuned.value.args == ("clip_rn50", {"pretrained": "openai", "checkpoint": "", "quickgelu": True})
