"""Triggers, the text part of multimodal noise: words in front of captions, searched together with the noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ue_bench.crafting.pairs import Captions, PairNoise
from ue_bench.errors import ConfigError
from ue_bench.training.epochs import autocast
from ue_bench.training.pairs import put_in_front
from ue_bench.training.towers import Towers, contrastive_loss, trim

from .hotflip import candidates, search, token_gradients

OFFICIAL_RANGE = 30_522  # MEM's code draws its first token ids below this, BERT's vocabulary size, by mistake


class TriggeredCaptions(Captions):
    """Each pair's trigger, followed by its caption: the caption is moved back, not overwritten.

    Args:
        tokens: int64 [pairs, L], captions without triggers, on the CPU.
        triggers: int64 [pairs, k], on the CPU, one per pair; the search changes them in place.
        end_token: of the tokeniser; captions that become too long keep it.
        device, bf16: as in ``Captions``.
        generator: on the CPU; each noise step combines the batch's triggers with its captions in a new order, so that
            noise fits the trigger and not the caption. None: each trigger keeps its caption.
    """

    def __init__(
        self,
        tokens: Tensor,
        triggers: Tensor,
        end_token: int,
        device: torch.device,
        bf16: bool = True,
        generator: torch.Generator | None = None,
    ):
        super().__init__(put_in_front(tokens, torch.zeros_like(triggers), end_token), device, bf16)
        self.triggers, self.generator = triggers, generator

    def at(self, index: Tensor) -> Tensor:
        return self.joined(index, self.triggers[index])

    def parts(self) -> dict[str, Any]:
        return {"triggers": self.triggers} | ({} if self.generator is None else {"pairings": self.generator})

    def joined(self, index: Tensor, triggers: Tensor) -> Tensor:
        """int64 [B, L], on the device: ``triggers`` (int64 [B, k]) before the captions of the pairs at ``index``."""
        tokens = self.tokens[index]
        tokens[:, 1 : 1 + triggers.shape[1]] = triggers.to(tokens.device)
        return trim(tokens).to(self.device)

    def each_step(self, model: Towers, index: Tensor) -> Callable[[], Tensor]:
        generator = self.generator
        if generator is None:
            return super().each_step(model, index)

        def features() -> Tensor:
            order = torch.randperm(len(index), generator=generator)
            return self.read(model, self.joined(index[order], self.triggers[index]))

        return features


class Words(Protocol):
    """Which tokens a trigger may be made of."""

    def options(self, index: Tensor, gradients: Tensor) -> Callable[[int, Tensor], Tensor]:
        """A function (position, present triggers) -> int64 [B, C], the tokens to try, on the gradients' device.

        Args:
            index: int64 [B], the pairs of the batch.
            gradients: float32 [B, k, E], of the loss with respect to the trigger's embeddings.
        """


class OpenWords:
    """All tokens, or all ``allowed`` ones (bool [V]), of which the gradient selects ``count`` to be tried."""

    def __init__(self, model: Towers, count: int, allowed: Tensor | None):
        self.embedding, self.count = model.token_embedding, count
        self.allowed = None if allowed is None else allowed.to(self.embedding.weight.device)

    def options(self, index: Tensor, gradients: Tensor) -> Callable[[int, Tensor], Tensor]:
        found = candidates(gradients, self.embedding.weight.detach(), self.count, self.allowed)
        return lambda position, triggers: found[:, position]


class TriggerStep:
    """Lowers the batch's loss by changing its triggers; noise and weights do not change.

    Args:
        losses: (loss before, loss after) of every batch, scalars, are appended to it.
    """

    def __init__(
        self, noise: PairNoise, captions: TriggeredCaptions, words: Words, losses: list[tuple[Tensor, Tensor]]
    ):
        self.noise, self.captions, self.words, self.losses = noise, captions, words, losses

    def state_dict(self) -> dict[str, Any]:
        """What it changes beside the captions."""
        return {"losses": self.losses}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` gave."""
        self.losses[:] = state["losses"]

    def __call__(self, model: Towers, index: Tensor) -> None:
        """One search for the pairs at ``index`` (int64 [B], on the CPU) against the frozen model."""
        captions = self.captions
        old = captions.triggers[index].to(captions.device)
        shown = self.noise.protected(index)
        with torch.no_grad(), autocast(shown.device, captions.bf16):
            seen = model.encode_image(shown)

        def loss(triggers: Tensor) -> Tensor:
            read = captions.read(model, captions.joined(index, triggers))
            return contrastive_loss(seen, read, model.scale)

        with autocast(shown.device, captions.bf16):
            gradients = token_gradients(
                model, captions.at(index), lambda read: contrastive_loss(seen, read, model.scale)
            )
        options = self.words.options(index, gradients[:, 1 : 1 + old.shape[1]])
        new, before, after = search(old, loss, options)
        captions.triggers[index] = new.cpu()
        self.losses.append((before, after))


def mean_losses(losses: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """The mean over batches of the loss before and of the loss after."""
    before, after = (torch.stack(values).mean() for values in zip(*losses, strict=True))
    return float(before), float(after)


def surviving(model: Towers, triggers: Tensor) -> Tensor:
    """bool [R]: whether each trigger's words are tokenized to its ids again. A hacker sees only words.

    Args:
        triggers: int64 [R, k].
    """
    again = model.tokenize(decoded(model, triggers))
    count = triggers.shape[1]
    same = (again[:, 1 : 1 + count] == triggers).all(dim=1)
    return same & (again[:, 1 + count] == model.end_token)


def decoded(model: Towers, triggers: Tensor) -> list[str]:
    """The words of each trigger, int64 [R, k]."""
    return [model.decode(ids) for ids in triggers.tolist()]


def survivors(model: Towers) -> Tensor:
    """bool [V]: the tokens that survive re-encoding: decoded to text and tokenized again, they are the same token."""
    everything = torch.arange(model.vocabulary)
    whole = surviving(model, everything[:, None])
    whole[[model.start_token, model.end_token]] = False
    return whole


def first_triggers(
    model: Towers,
    count: int,
    length: int,
    start: str,
    allowed: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """int64 [count, length]: where the search starts.

    Args:
        start: ``random``: any allowed token; ``the``: that word, repeated; ``official``: an id below OFFICIAL_RANGE.
        allowed: bool [V]; None: every token except start and end.
    """
    if start == "the":
        word = int(model.tokenize(["the"])[0, 1])
        return torch.full((count, length), word)
    if start == "official":
        if model.vocabulary < OFFICIAL_RANGE:
            raise ConfigError(
                f"trigger_start=official needs {OFFICIAL_RANGE:,} tokens, not {model.vocabulary:,}"
            )
        return torch.randint(OFFICIAL_RANGE, (count, length), generator=generator)
    if allowed is None:
        allowed = torch.ones(model.vocabulary, dtype=torch.bool)
        allowed[[model.start_token, model.end_token]] = False
    ids = allowed.nonzero()[:, 0]
    return ids[torch.randint(len(ids), (count, length), generator=generator)]


def share(flags: Sequence[bool] | Tensor) -> float:
    """Percent that are true."""
    return 100 * float(torch.as_tensor(flags).float().mean())
