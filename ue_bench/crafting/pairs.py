"""Noise for (image, caption) pairs against CLIP's loss, in which each pair is judged against its whole batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ue_bench.contracts.budget import Budget
from ue_bench.contracts.context import Context
from ue_bench.contracts.view import ProtectorView
from ue_bench.crafting.orders import Endless, shuffled, sweep
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.whole_noise import WholeNoise
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.seeds import derive
from ue_bench.training.arithmetic import autocast
from ue_bench.training.epochs import training_step
from ue_bench.training.optim import make_contrastive_optimizer
from ue_bench.training.recipe import ContrastiveRecipe
from ue_bench.training.towers import Towers, contrastive_loss, trim

JUDGED = 1024  # pairs, drawn once, on which a search's effect is measured
Step = Callable[[Towers, Tensor], None]


class Captions:
    """The text that each pair's image is compared with.

    Args:
        tokens: int64 [pairs, L], on the CPU.
        device: where batches go.
        bf16: compute in bf16 where the device gains by it.
    """

    def __init__(self, tokens: Tensor, device: torch.device, bf16: bool = True):
        self.tokens, self.device, self.bf16 = trim(tokens), device, bf16

    def at(self, index: Tensor) -> Tensor:
        """int64 [B, L], on the device: the token ids of the pairs at ``index`` (int64 [B], on the CPU)."""
        return trim(self.tokens[index]).to(self.device)

    @torch.no_grad()
    def read(self, model: Towers, tokens: Tensor) -> Tensor:
        """float32 [B, D]: features of token ids, without gradients."""
        with autocast(self.device, self.bf16):
            return model.encode_text(tokens)

    def parts(self) -> dict[str, Any]:
        """What a search changes here, by name."""
        return {}

    def each_step(self, model: Towers, index: Tensor) -> Callable[[], Tensor]:
        """A function that gives the batch's text features in each noise step: here the same ones every time."""
        features = self.read(model, self.at(index))
        return lambda: features


class PairNoise:
    """Noise per pair or per image, which starts from zero and is improved in passes against a frozen model.

    Args:
        view: the pairs to protect.
        context: gives the device, and the generator that draws the order of every pass.
        captions: what images are compared with.
        walk: the noise steps that each batch gets in each pass.
        rows: int64 [pairs]: the noise that each pair gets.
        batch_size: pairs per batch.

    Attributes:
        noise: in whole steps of 1/255.
    """

    def __init__(
        self,
        view: ProtectorView,
        context: Context,
        captions: Captions,
        walk: Walk,
        *,
        rows: Tensor,
        batch_size: int,
    ):
        self.images = ResidentImages(view.images, context.device)
        self.image_of, self.rows = view.image_of_example, rows
        self.captions, self.walk, self.batch_size = captions, walk, batch_size
        self.noise = WholeNoise(int(rows.max()) + 1, self.images.size, walk.radius * 255, context.device)
        self._context = context

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self) -> dict[str, Any]:
        """What a search changes here, by name."""
        return {"steps": self.noise.steps, **self.captions.parts()}

    def training_batches(self) -> Endless[Tensor]:
        """Shuffled batches without end, for a surrogate that takes a few in each round."""
        everything = torch.arange(len(self))
        draw = self._context.generator
        return Endless(lambda: shuffled(everything, self.batch_size, draw), draw)

    def protected(self, index: Tensor) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1]: the images of the pairs at ``index`` with their noise."""
        return self.clean(index).add_(self.noise.take(self.rows[index])).clamp_(0, 1)

    def clean(self, index: Tensor) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1]: the images of the pairs at ``index`` (int64 [B], on the CPU)."""
        return self.images.take(self.image_of[index])

    def mean_loss(self, model: Towers, index: Tensor) -> Tensor:
        """CLIP's loss of the protected pairs at ``index``, for a training step of the model."""
        shown, tokens = self.protected(index), self.captions.at(index)
        with autocast(shown.device, self.captions.bf16):
            seen, read = model.encode_image(shown), model.encode_text(tokens)
        return contrastive_loss(seen, read, model.scale)

    def improve(self, model: Towers, before: Step | None = None) -> tuple[float, float]:
        """One pass of noise steps over all pairs against the frozen model.

        Args:
            before: called before each batch's noise steps, with the model and the batch's pairs. What it changes itself
                is its ``state_dict``.

        Returns:
            CLIP's loss just before a batch's first noise step and just before its last, each a mean over batches.
        """
        first: list[Tensor] = []
        last: list[Tensor] = []
        batches = sweep(self.rows, self.batch_size, self._context.generator)
        own = {"before": before} if hasattr(before, "state_dict") else {}
        for index in self._context.resumable(batches, "batch", first=first, last=last, **self.parts(), **own):
            if before is not None:
                before(model, index)
            losses: list[Tensor] = []
            delta = project(
                self.clean(index),
                self.noise.take(self.rows[index]),
                self._watched(model, index, losses),
                self.walk,
            )
            self.noise.put(self.rows[index], delta)
            first.append(losses[0])
            last.append(losses[-1])
        return float(torch.stack(first).mean()), float(torch.stack(last).mean())

    def judge(self, model: Towers, captions: Captions, protected: bool) -> tuple[float, float]:
        """(CLIP's loss, share of images that do not find their caption in the batch) on a sample, always the same.

        Args:
            captions: what the images are compared with.
            protected: whether the images have their noise.
        """
        generator = torch.Generator().manual_seed(derive(self._context.seed, "judged"))
        sample = torch.randperm(len(self), generator=generator)[:JUDGED]
        losses, missed = [], 0
        with frozen(model), torch.no_grad():
            for index in sample.tensor_split(-(-len(sample) // self.batch_size)):
                shown = self.protected(index) if protected else self.clean(index)
                with autocast(shown.device, captions.bf16):
                    seen = model.encode_image(shown)
                read = captions.read(model, captions.at(index))
                losses.append(contrastive_loss(seen, read, model.scale) * len(index))
                found = (seen @ read.T).argmax(dim=1).cpu()
                missed += int((found != torch.arange(len(index))).sum())
        return float(torch.stack(losses).sum()) / len(sample), missed / len(sample)

    def _watched(self, model: Towers, index: Tensor, losses: list[Tensor]) -> Callable[[Tensor], Tensor]:
        """The batch's loss, summed over images, for the walk; each step appends its mean to ``losses``."""
        text = self.captions.each_step(model, index)

        def loss(shown: Tensor) -> Tensor:
            with autocast(shown.device, self.captions.bf16):
                seen = model.encode_image(shown)
            value = contrastive_loss(seen, text(), model.scale)
            losses.append(value.detach())
            return value * len(index)

        return loss


def whole_walk(name: str, budget: Budget, step_size: float, steps: int, maximise: bool = False) -> Walk:
    """The walk for noise that is stored in whole steps of 1/255 between passes.

    Args:
        name: of the method.
        budget: linf.
        step_size: in steps of 1/255; a whole number.

    Raises:
        ConfigError: if the step size is not a whole number.
    """
    if step_size != round(step_size):
        raise ConfigError(
            f"{name} keeps pairs' noise in whole steps of 1/255 between rounds: step_size must be 1, 2, ..., "
            f"not {step_size:g}"
        )
    return Walk(budget.radius / 255, step_size / 255, steps, maximise)


def alternate(
    model: Towers,
    noise: PairNoise,
    context: Context,
    *,
    rounds: int,
    model_steps: int,
    learning_rate: float,
    weight_decay: float,
    before: Callable[[int], Step | None] = lambda number: None,
    kept: Mapping[str, Any] | None = None,
    stop_loss: float = 0.0,
    redraw: Callable[[int], Towers] | None = None,
) -> dict[str, list[float]]:
    """Alternates between training the surrogate on the protected pairs and improving the noise.

    The optimizer is AdamW at a constant rate. Each round continues in the pass over the data where the last one
    stopped. The temperature is not bounded.

    Args:
        before: (number of the round, from 1) -> what ``PairNoise.improve`` calls before each batch.
        kept: what that changes from round to round, by name, see ``Context.resumable``.
        stop_loss: the search ends after a round whose ``last_step_loss`` is no higher; 0: after all rounds.
        redraw: (number of the round, from 2) -> a model whose weights the surrogate takes before that round's training;
            its optimizer forgets its moments. None: one surrogate learns through all rounds.

    Returns:
        Lists with a value per round: ``surrogate_loss``, the loss of the last training step, and ``first_step_loss``
        and ``last_step_loss``, the losses that ``PairNoise.improve`` returns.

    Raises:
        TrainingError: if the surrogate's loss is no longer finite.
    """
    recipe = ContrastiveRecipe(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer, batches = make_contrastive_optimizer(model, recipe), noise.training_batches()
    history: dict[str, list[float]] = {"surrogate_loss": [], "first_step_loss": [], "last_step_loss": []}
    parts = {"model": model, "optimizer": optimizer, "batches": batches, "history": history, **noise.parts()}
    for number in context.resumable(range(1, rounds + 1), "round", **parts, **(kept or {})):
        if redraw is not None and number > 1:
            model.load_state_dict(redraw(number).state_dict())
            optimizer.state.clear()
        model.train()
        for _ in range(model_steps):
            loss = noise.mean_loss(model, next(batches))
            training_step(model, optimizer, loss, gradient_clip=0.0)
        if not bool(loss.isfinite()):
            raise TrainingError(
                f"the surrogate diverged in round {number}: lower learning_rate (now {learning_rate:g})"
            )
        with frozen(model):
            first, last = noise.improve(model, before(number))
        for name, value in zip(history, (float(loss.detach()), first, last), strict=True):
            history[name].append(value)
        if stop_loss and last <= stop_loss:
            break
    return history


def search_notes(history: dict[str, list[float]], clean: float, protected: float) -> dict[str, object]:
    """What the record says about a search.

    Args:
        history: as ``alternate`` returns it.
        clean, protected: the final surrogate's loss on clean pairs and on published ones.
    """
    return {
        "rounds": len(history["surrogate_loss"]),
        **{f"{name}_by_round": values for name, values in history.items()},
        "surrogate_clean_loss": clean,
        "surrogate_protected_loss": protected,
    }


def warn_without_effect(context: Context, name: str, before: float, after: float, rise: bool = False) -> None:
    """Adds a warning to the record if the loss did not change in the direction that the method wants.

    Args:
        name: of the method.
        before, after: the surrogate's loss on clean pairs and on published ones.
        rise: whether the method wants a higher loss.
    """
    if not (after > before if rise else after < before):
        context.warn(
            f"{name} ended without effect: its surrogate's loss is {before:.3f} on clean pairs and "
            f"{after:.3f} on protected ones, which was to be {'higher' if rise else 'lower'}"
        )
