"""The first weights of a network: as it draws them itself, or as the networks of papers' repositories do.

timm draws convolutions from He's normal distribution by fan-out and sets the weight of the last batch norm of each
residual block to 0, so that every block passes its input on at first. No repository that we follow does the latter.
What takes only some dozens of training steps, such as EM's surrogate, depends on where it starts.
"""

from __future__ import annotations

from torch import nn

from ue_bench.errors import unknown

STARTS = ("pytorch", "torchvision", "own")
DRAWN = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def begin(model: nn.Module, start: str) -> None:
    """Draws the weights of convolutions, linear layers and normalisations anew, from torch's global generator.

    Args:
        model: changed in place; parameters that belong to no such layer stay.
        start: ``pytorch``: every layer's ``reset_parameters``, which is uniform within 1 / sqrt(fan-in) for
            convolutions and linear layers, and 1 for the weights of batch norms; ``torchvision``: the same, but
            He's normal weights by fan-out for convolutions, as in torchvision's ResNets; ``own``: nothing is drawn.

    Raises:
        ConfigError: for another word.
    """
    if start not in STARTS:
        raise unknown("start", start, STARTS)
    if start == "own":
        return
    for layer in model.modules():
        if isinstance(layer, DRAWN):
            layer.reset_parameters()
        if start == "torchvision" and isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
