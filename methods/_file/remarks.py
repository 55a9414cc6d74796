"""Remarks on somebody else's noise that a reader should know, but that are no reason to refuse it."""

from __future__ import annotations

import torch
from torch import Tensor

from ue_bench import ProtectorView
from ue_bench.contracts.perturbation import CHUNK

SHIFT = 0.25  # mean noise in steps; rounding to nearest gives 0, rounding down half a step


def remarks_on(
    noise: Tensor, rows: Tensor, silent: Tensor, signs: str, images: ProtectorView | None
) -> list[str]:
    """Remarks for the reader: noise of one sign, values that were rounded down, examples without noise."""
    remarks = []
    if signs != "both":
        lost = "negative" if signs == "positive" else "positive"
        remarks.append(f"the noise is {signs} only; the {lost} half may have been lost when it was saved")
    else:
        shift = _shift(noise, images.images if images else None)
        if abs(shift) >= SHIFT:
            cause = ", as if it had been rounded down when it was saved" if -0.75 < shift < 0 else ""
            remarks.append(f"the noise lies {shift:+.2f} steps of 1/255 from 0 on average{cause}")
    if bool(silent.any()):
        share = 100 * (1 - float(silent.float().mean()))
        remarks.append(
            f"{int(silent.sum())} of {len(rows)} examples have no noise, so {share:.4g} % are protected: compare with "
            "rows of that poison ratio"
        )
    return remarks


def _shift(noise: Tensor, clean: Tensor | None) -> float:
    """Mean of the noises that are not zero, in steps; for images, only over values that could not be clipped."""
    total, count = 0.0, 0
    for start in range(0, len(noise), CHUNK):
        chunk = noise[start : start + CHUNK].to(torch.int16)
        keep = chunk.flatten(1).any(dim=1)[:, None, None, None].expand_as(chunk)
        if clean is not None:
            room, pixels = int(noise.abs().max()), clean[start : start + CHUNK].to(torch.int16)
            keep = keep & (pixels >= room) & (pixels <= 255 - room)
        total, count = total + float(chunk[keep].sum()), count + int(keep.sum())
    return total / max(1, count)
