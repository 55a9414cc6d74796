"""A method for tests that can be told to fail in every way."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView


@dataclass(frozen=True)
class Fragile(Method):
    """Flat noise of alternating sign, or the failure asked for."""

    budget: Budget = Budget("linf", 8)  # steps of 1/255
    granularity: str = "image"  # image or class
    failure: str = ""  # raise, nan, over, constant, one_sided, mutate, peek, shape, exit, hang

    access = Access.IMAGES | Access.LABELS
    granularities = ("image", "class")

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        rows = view.rows(self.granularity)
        delta = torch.ones(int(rows.max()) + 1, 3, *view.image_size) * self.budget.radius / 255
        delta[:, :, ::2] *= -1
        noise = (delta * 255).round().to(torch.int8)
        if self.failure == "raise":
            raise ValueError("the oven is cold")
        if self.failure == "exit":
            os._exit(9)
        while self.failure == "hang":
            time.sleep(0.1)
        if self.failure == "nan":
            delta[2, 1] = torch.nan
        if self.failure == "over":
            return Perturbation(noise * 2, rows, self.budget)
        if self.failure == "constant":
            noise[1] = 3
            return Perturbation(noise, rows, self.budget)
        if self.failure == "one_sided":
            return Perturbation(noise.clamp_min(0), rows, self.budget)
        if self.failure == "mutate":
            view.images[0] = 0
        if self.failure == "peek":
            view.captions  # noqa: B018 - the access is what is tested
        if self.failure == "shape":
            delta = delta[:, :, 1:]
        return Perturbation.from_float(delta, rows, self.budget)
