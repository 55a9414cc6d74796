"""Adversarial training attacks a model that holds still."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ue_bench.defenses.adversarial_training import AdversarialTraining


def small_net() -> nn.Module:
    """With batch statistics and dropout, which an attack must neither move nor roll."""
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*body, nn.Dropout(0.5), nn.Linear(128, 4))


def test_the_attack_sees_the_model_in_evaluation_mode_and_moves_no_batch_statistics():
    """All parts are in training mode, where a single pass would move what batch norms remember."""
    model, modes = small_net().train(), []
    for part in model.modules():
        part.register_forward_hook(lambda part, given, out: modes.append(part.training))
    generator = torch.Generator().manual_seed(0)
    images, targets = torch.rand(8, 3, 8, 8, generator=generator), torch.eye(4).repeat(2, 1)
    before = copy.deepcopy(model.state_dict())
    assert before["1.running_mean"].data_ptr() != model[1].running_mean.data_ptr()
    AdversarialTraining(steps=3).attack(model, images, targets, generator)
    assert len(modes) == 3 * 8 and not any(modes)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    model(images)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"]), "this is what would have moved"
