"""T2UE's controls on pairs: noise of another pair's caption, and noise of which only the spectrum is T2UE's."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from captioned import make_context, pictures

from ue_bench import ProtectorView
from ue_bench_methods._t2ue.ablations import with_random_phases
from ue_bench_methods._t2ue.prompts import requests
from ue_bench_methods.t2ue import T2UE


def test_phases_are_drawn_anew_and_every_frequency_keeps_its_strength():
    noise = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = with_random_phases(noise, torch.Generator().manual_seed(1))
    assert torch.allclose(torch.fft.fft2(found).abs(), torch.fft.fft2(noise).abs(), atol=1e-4)
    assert torch.allclose(found.pow(2).sum((1, 2, 3)), noise.pow(2).sum((1, 2, 3)), rtol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(found.flatten(1), noise.flatten(1))
    assert float(cosine.abs().max()) < 0.3
    same = with_random_phases(noise[:1].expand(2, -1, -1, -1), torch.Generator().manual_seed(1))
    assert not torch.allclose(same[0], same[1], atol=0.1), "each noise has phases of its own"


@pytest.mark.parametrize("granularity", ["pair", "image"])
def test_shuffled_gives_each_noise_another_ones_caption(granularity):
    view = ProtectorView(pictures(8), T2UE.access, "contrastive")
    own, other = (requests(view, granularity, "row", torch.Generator(), shuffled=seed) for seed in (None, 3))
    one, two = ([each.texts[number] for number in each.text.tolist()] for each in (own, other))
    assert sorted(one) == sorted(two) and all(a != b for a, b in zip(one, two, strict=True))
    assert torch.equal(own.rows, other.rows) and torch.equal(own.latent, other.latent)


def test_both_are_controls_that_share_the_generator_and_keep_its_budget():
    smoke = T2UE(**{**T2UE.presets["smoke"], "filters": 4, "public_images": 32})
    context = make_context()
    prepared = smoke.prepare(context)
    view, made = ProtectorView(pictures(6), T2UE.access, "contrastive"), {}
    for ablation in ("none", "shuffled", "spectrum"):
        method = dataclasses.replace(smoke, ablation=ablation)
        assert method.is_control == (ablation != "none") and method.conflict("contrastive") == ""
        made[ablation] = method.protect(view, make_context(1, prepared=prepared))
        made[ablation].check(len(view), (32, 32), method.budget)
    sizes = {name: float(each.noise.float().pow(2).mean()) for name, each in made.items()}
    assert not torch.equal(made["none"].noise, made["spectrum"].noise)
    assert sizes["spectrum"] == pytest.approx(sizes["none"], rel=0.2)
