"""From the search to the victim: noise for pairs ruins a victim that starts where the surrogate started."""

from __future__ import annotations

from dataclasses import replace

import torch
from conftest import CPU
from paired import described, fresh_context, protect, small_clip

from ue_bench import ImageSet
from ue_bench.crafting.pgd import frozen
from ue_bench.training.contrastive import train_contrastive
from ue_bench.training.pairs import Pairs
from ue_bench.training.recipe import ContrastiveRecipe
from ue_bench.training.towers import contrastive_loss
from ue_bench.trials.paradigms import WAYS
from ue_bench_methods.em import EM

RECIPE = ContrastiveRecipe(epochs=60, batch_size=64, learning_rate=1e-3, warmup_steps=0)
SEARCH = {
    "granularity": "pair",
    "max_rounds": 4,
    "model_steps": 10,
    "noise_steps": 8,
    "batch_size": 64,
    "learning_rate": 1e-3,
}


def pale(count: int = 64) -> ImageSet:
    """Pairs whose pictures differ by little more than the noise may change."""
    data = described(count, captions=1)
    images = (128 + 0.1 * (data.images.float() - 128)).round().to(torch.uint8)
    return replace(data, images=images, _memo={})


def losses(trained_on: Pairs, *shown: Pairs) -> list[float]:
    """CLIP's loss on each set of pairs, after a training with the surrogate's first weights."""
    model = small_clip(seed=0)
    train_contrastive(model, trained_on, RECIPE, device=CPU, seed=3)
    with frozen(model), torch.no_grad():
        read = model.encode_text(model.tokenize(trained_on.captions))
        seen = [model.encode_image(pairs.published(torch.arange(len(pairs))) / 255) for pairs in shown]
        return [float(contrastive_loss(each, read, model.scale)) for each in seen]


def test_a_victim_with_the_surrogates_first_weights_learns_the_noise_and_not_the_pictures():
    data = pale()
    run = protect(EM.for_paradigm("contrastive", **SEARCH), data, fresh_context())
    clean = Pairs.of(data)
    protected, _ = WAYS["contrastive"].publish(data, run.noise, torch.ones(len(data), dtype=torch.bool))
    others = replace(protected, rows=protected.rows.roll(7))
    with_pictures, with_noise, with_others_noise = losses(protected, clean, protected, others)
    (unprotected,) = losses(clean, clean)
    assert with_pictures > unprotected + 2, "it learned little from the pictures"
    assert with_noise < with_pictures - 2 and with_noise < with_others_noise - 2, "but its pair's own noise"
