"""(image, caption) pairs as published: each image is kept once, and noise is added batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ue_bench.contracts.defense import Defense
from ue_bench.contracts.perturbation import add_noise
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.seeds import derive
from ue_bench.training.towers import Towers

SHARE = 0.25  # of a device's free memory that noise may take


@dataclass(frozen=True, eq=False)
class Pairs:
    """A contrastive training set.

    Attributes:
        images: uint8 [N, 3, H, W].
        image_of_pair: int64 [P], 0..N-1.
        captions: P clean captions.
        noise: int8 or int16 [R, 3, H, W], steps of 1/255, or None. Rows are read batch by batch, so it may be mapped
            from a file that is larger than memory.
        rows: int64 [P]: each pair's noise; needed with noise.
        protected: bool [P]: the pairs that get their noise and trigger; needed with noise.
        triggers: for each pair the words before its caption, or None.
        trigger_tokens: int64 [P, length], the triggers as token ids, or None.
    """

    images: Tensor
    image_of_pair: Tensor
    captions: tuple[str, ...]
    noise: Tensor | None = None
    rows: Tensor | None = None
    protected: Tensor | None = None
    triggers: tuple[str, ...] | None = None
    trigger_tokens: Tensor | None = None

    @classmethod
    def of(cls, data: ImageSet) -> Pairs:
        """The clean pairs of a dataset with captions."""
        if data.captions is None:
            raise TrainingError("contrastive training needs captions, and this dataset has none")
        return cls(data.images, data.pairs, tuple(text for texts in data.captions for text in texts))

    def __len__(self) -> int:
        return len(self.captions)

    @functools.cached_property
    def everywhere(self) -> bool:
        """True if every pair is protected."""
        return self.protected is not None and bool(self.protected.all())

    def to(self, device: torch.device) -> Pairs:
        """The same pairs with their images on ``device``, and their noise too if it takes little of the free memory."""
        noise = self.noise
        if noise is not None and device.type == "cuda":
            size = noise.numel() * noise.element_size()
            if size < SHARE * torch.cuda.mem_get_info(device)[0]:
                noise = noise.to(device)
        return replace(self, images=self.images.to(device), noise=noise)

    def published(self, index: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] on the images' device: the images of these pairs (int64 [B], on the CPU) with noise."""
        device = self.images.device
        images = self.images[self.image_of_pair[index].to(device)]
        if self.noise is None:
            return images
        assert self.rows is not None and self.protected is not None
        hit = index if self.everywhere else index[self.protected[index]]
        noise = self.noise[self.rows[hit].to(self.noise.device)].to(device)
        if self.everywhere:
            return add_noise(images, noise)
        places = self.protected[index].to(device)
        images[places] = add_noise(images[places], noise)
        return images

    def trigger_of(self, pair: int) -> str:
        """The trigger's words, which stand before the pair's caption, or ""."""
        if self.triggers is None or self.protected is None or not bool(self.protected[pair]):
            return ""
        return self.triggers[pair]


def put_in_front(tokens: Tensor, triggers: Tensor, end_token: int) -> Tensor:
    """int64 [B, L]: triggers at positions 1..k, captions after them; what gets too long is cut and keeps its end token.

    Args:
        tokens: int64 [B, L], start token, caption, end token, zeros.
        triggers: int64 [B, k], k at most L - 2.

    Example: ``[S, 7, E, 0]`` and ``[5]`` make ``[S, 5, 7, E]``; ``[S, 7, 8, E]`` and ``[5]`` make ``[S, 5, 7, E]``.
    """
    length, count = tokens.shape[1], triggers.shape[1]
    if count > length - 2:
        raise ConfigError(f"a trigger of {count} tokens leaves no room in a caption of {length}")
    longer = torch.cat([tokens[:, :1], triggers.to(tokens), tokens[:, 1:]], dim=1)
    cut = longer[:, :length].clone()
    cut[longer[:, length:].eq(end_token).any(dim=1), -1] = end_token
    return cut


class PairBatches:
    """Shuffled batches of pairs, with token ids cut to the batch's longest caption.

    Captions become token ids once, before training. Only captions that a defense rewrites are tokenized again.

    Args:
        pairs: the training set as published.
        towers: gives the tokenizer and the range of its token ids.
        batch_size: pairs; the last, smaller batch of an epoch is left out unless it is the only one.
        seed: for the order of the pairs and the defense.
        defense: the hacker's defense, or None.
    """

    def __init__(
        self,
        pairs: Pairs,
        towers: Towers,
        batch_size: int,
        device: torch.device,
        seed: int,
        defense: Defense | None = None,
    ):
        self.pairs, self.towers, self.device, self.defense = pairs.to(device), towers, device, defense
        self.batch_size = min(batch_size, len(pairs))
        self.order = torch.Generator().manual_seed(seed)
        self.words = torch.Generator().manual_seed(derive(seed, "captions"))
        self.generator = torch.Generator(device).manual_seed(seed)
        self.captions = list(pairs.captions)
        self.tokens = self._tokenize()
        self.lengths = self.tokens.argmax(dim=1) + 1
        self.edits = defense is not None and (
            type(defense).captions is not Defense.captions or type(defense).pairs is not Defense.pairs
        )

    def __len__(self) -> int:
        return len(self.captions) // self.batch_size

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (images, tokens): float [B, 3, H, W] in [0, 1], channels-last; int64 [B, L]; both on the device."""
        yield from map(self.take, self.shuffle())

    def shuffle(self) -> list[Tensor]:
        """The next epoch's batches of pairs, each int64 [B] on the CPU."""
        order = torch.randperm(len(self.captions), generator=self.order)
        return list(order[: len(self) * self.batch_size].split(self.batch_size))

    def generators(self) -> dict[str, torch.Generator]:
        """All that is random here, by name."""
        return {"order": self.order, "words": self.words, "draws": self.generator}

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The batch of these pairs (int64 [B], on the CPU), as ``epoch`` yields it."""
        published = self.pairs.published(index)
        images = published.to(torch.float32, memory_format=torch.channels_last).div_(255)
        if self.edits:
            images, tokens = self._edited(images, index)
        else:
            tokens = self.tokens[index, : int(self.lengths[index].max())]
        return images, tokens.to(self.device)

    def _tokenize(self) -> Tensor:
        """int64 [P, context_length], triggers in front; also puts the triggers' words before ``self.captions``."""
        pairs, towers = self.pairs, self.towers
        given = pairs.trigger_tokens
        if pairs.protected is None or (pairs.triggers is None and given is None):
            return towers.tokenize(self.captions)
        chosen = pairs.protected.nonzero()[:, 0]
        texts = [pairs.trigger_of(pair) for pair in chosen.tolist()]
        if given is not None:
            worst = int(given[chosen].max()) if given[chosen].numel() else 0
            if worst >= towers.vocabulary or (given[chosen].numel() and int(given[chosen].min()) < 0):
                raise ConfigError(
                    f"trigger tokens run to {worst}, but this victim's text tower knows "
                    f"0 to {towers.vocabulary - 1}"
                )
            if pairs.triggers is None:
                texts = [towers.decode(ids) for ids in given[chosen].tolist()]
        for pair, text in zip(chosen.tolist(), texts, strict=True):
            self.captions[pair] = f"{text} {self.captions[pair]}".strip()
        if given is None:
            return towers.tokenize(self.captions)
        tokens = towers.tokenize(pairs.captions)
        tokens[chosen] = put_in_front(tokens[chosen], given[chosen], towers.end_token)
        return tokens

    def _edited(self, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The batch after the defense's ``captions`` and ``pairs``: images, and tokens on the CPU."""
        assert self.defense is not None
        words = [self.captions[pair] for pair in index.tolist()]
        texts = list(self.defense.captions(list(words), self.words))
        images, texts = self.defense.pairs(images, texts, self.generator)
        if not len(images) == len(texts) == len(words):
            raise TrainingError(
                f"{type(self.defense).__name__} made {len(images)} images and {len(texts)} captions "
                f"of {len(words)} pairs: a defense must keep the number of both"
            )
        tokens = self.tokens[index]
        changed = [place for place, (old, new) in enumerate(zip(words, texts, strict=True)) if old != new]
        if changed:
            tokens[changed] = self.towers.tokenize([texts[place] for place in changed])
        return images, tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
