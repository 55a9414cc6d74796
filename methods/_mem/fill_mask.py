"""Triggers that read like language: words that a fill-mask model such as BERT expects before the caption."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ue_bench.errors import ConfigError
from ue_bench.training.towers import Towers


class FillMask:
    """A frozen masked language model, and the words that are one token both for it and for CLIP.

    Args:
        path: folder with a model and its tokeniser as the package transformers saves them.
        towers: gives CLIP's tokeniser and token embedding.
        captions: the caption of every pair, without its trigger.
        tried: number of words per position that the language model proposes.
        kept: how many of them CLIP's gradient selects to be tried.
        official: as in MEM's code: the model sees blanks at all places of the trigger, whatever words stand there, and
            proposes any of its words. What is no single token of CLIP's becomes "the".

    Raises:
        ConfigError: if transformers is not installed, or nothing that it can read is at ``path``.
    """

    def __init__(
        self,
        path: str,
        towers: Towers,
        captions: Sequence[str],
        tried: int,
        kept: int,
        official: bool = False,
    ):
        tokenizer, model = _load(path)
        self.embedding, self.tried, self.kept = towers.token_embedding, tried, kept
        self.device = self.embedding.weight.device
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.marks = tokenizer.cls_token_id, tokenizer.mask_token_id, tokenizer.sep_token_id
        self.padding = tokenizer.pad_token_id or 0
        self.longest = int(model.config.max_position_embeddings)
        self.captions = tokenizer(list(captions), add_special_tokens=False)["input_ids"]
        self.official = official
        theirs, ours = (_all_words if official else _common_words)(tokenizer, towers)
        self.theirs, self.ours = theirs.to(self.device), ours.to(self.device)
        self.back = torch.zeros(towers.vocabulary, dtype=torch.int64)
        self.back[ours] = theirs

    def first_triggers(self, length: int, batch_size: int) -> Tensor:
        """int64 [pairs, length], CLIP's token ids: the most likely words, each given the words before it."""
        found = []
        for index in torch.arange(len(self.captions)).split(batch_size):
            triggers = torch.empty(len(index), 0, dtype=torch.int64)
            for position in range(length):
                word = self.propose(index, triggers, length - position, 1).cpu()
                triggers = torch.cat([triggers, word], dim=1)
            found.append(triggers)
        return torch.cat(found)

    def options(self, index: Tensor, gradients: Tensor) -> Callable[[int, Tensor], Tensor]:
        """See ``ue_bench_methods._mem.triggers.Words``: the likely words that CLIP's gradient ranks highest."""

        def here(position: int, triggers: Tensor) -> Tensor:
            known = 0 if self.official else position
            masks = triggers.shape[1] - known
            likely = self.propose(index, triggers[:, :known], masks, self.tried, position - known)
            scores = -torch.einsum("be,bce->bc", gradients[:, position], self.embedding(likely).float())
            best = scores.topk(min(self.kept, likely.shape[1]), dim=1).indices
            return likely.gather(1, best)

        return here

    @torch.no_grad()
    def propose(self, index: Tensor, before: Tensor, masks: int, count: int, blank: int = 0) -> Tensor:
        """int64 [B, count], on the device: CLIP's ids of the likeliest words at one of ``masks`` blanks.

        Args:
            index: int64 [B], which captions follow the blanks.
            before: int64 [B, p], CLIP's ids of the words before the blanks.
            blank: which one, from 0.
        """
        opening, mask_token, closing = self.marks
        lines = []
        for pair, known in zip(index.tolist(), self.back[before.cpu()].tolist(), strict=True):
            line = [opening, *known, *[mask_token] * masks, *self.captions[pair]]
            lines.append([*line[: self.longest - 1], closing])
        width = max(len(line) for line in lines)
        ids = torch.tensor([line + [self.padding] * (width - len(line)) for line in lines])
        lengths = torch.tensor([len(line) for line in lines])
        mask = (torch.arange(width) < lengths[:, None]).long()
        logits = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        scores = logits[:, 1 + before.shape[1] + blank][:, self.theirs]
        return self.ours[scores.topk(min(count, len(self.ours)), dim=1).indices]


def lacking(path: str) -> str:
    """Why this machine cannot read a language model from the folder ``path``; "" if it can. Nothing is loaded."""
    if importlib.util.find_spec("transformers") is None:
        return (
            "triggers by a language model need the package transformers: pip install 'ue-bench[text]', "
            "or say mem.vocabulary=free"
        )
    if not Path(path).is_dir():
        return (
            f"there is no folder '{path}' with a fill-mask model: save one there, such as bert-base-uncased, "
            "or say mem.vocabulary=free"
        )
    return ""


def _load(path: str) -> tuple[Any, Any]:
    if reason := lacking(path):
        raise ConfigError(reason)
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        return tokenizer, AutoModelForMaskedLM.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' holds no fill-mask model that transformers can read: {error}") from error


def _common_words(tokenizer: Any, towers: Towers) -> tuple[Tensor, Tensor]:
    """(the language model's ids, CLIP's ids), int64 [W] each, of the words that are one token for both."""
    words = {word: number for word, number in tokenizer.get_vocab().items() if word.isalpha()}
    names = sorted(words)
    tokens = towers.tokenize(names) if names else torch.zeros(0, 3, dtype=torch.int64)
    single = tokens[:, 2] == towers.end_token
    chosen: dict[int, int] = {}
    for name, ours, one in zip(names, tokens[:, 1].tolist(), single.tolist(), strict=True):
        if one and ours != towers.end_token:
            chosen[ours] = words[name]  # the lower-case spelling wins, because it sorts last
    if not chosen:
        raise ConfigError("the fill-mask model and CLIP have no word in common that is one token for both")
    ours, theirs = zip(*sorted(chosen.items()), strict=True)
    return torch.tensor(theirs), torch.tensor(ours)


def _all_words(tokenizer: Any, towers: Towers) -> tuple[Tensor, Tensor]:
    """(the language model's ids, CLIP's ids), int64 [W] each, of all its words; "the" where CLIP has no one token."""
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = towers.tokenize([word for word, _ in words])
    single = (tokens[:, 2] == towers.end_token) & (tokens[:, 1] != towers.end_token)
    the = int(towers.tokenize(["the"])[0, 1])
    return torch.tensor([number for _, number in words]), torch.where(single, tokens[:, 1], the)
