"""Multi-step error minimisation: noise and trigger words, made for each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ue_bench import (
    Access,
    Budget,
    Context,
    Count,
    Method,
    Norms,
    NotNegative,
    Perturbation,
    Positive,
    ProtectorView,
    Range,
    Whole,
)
from ue_bench.crafting.pairs import (
    Captions,
    PairNoise,
    alternate,
    search_notes,
    warn_without_effect,
    whole_walk,
)
from ue_bench.crafting.surrogates import clip_surrogate
from ue_bench.errors import UnavailableError
from ue_bench.seeds import derive

from ._mem.fill_mask import FillMask, lacking
from ._mem.triggers import (
    OpenWords,
    TriggeredCaptions,
    TriggerStep,
    Words,
    decoded,
    first_triggers,
    mean_losses,
    share,
    surviving,
    survivors,
)

HISTORY = ("surrogate_loss", "first_step_loss", "last_step_loss")


@dataclass(frozen=True)
class MEM(Method):
    """MEM-k, multi-step error minimization (Liu et al., ACM MM 2024), written from the paper.

    A surrogate CLIP takes training steps on the protected pairs. Then HotFlip replaces k words in front of each caption
    so that the batch's loss falls, and sign-gradient steps on the noise lower it further. In these steps the captions
    behind the triggers are shuffled, so that noise belongs to the trigger and not to the caption. Victims learn
    that shortcut. Without its trigger (``publish_trigger=false``, as in T2UE's tables) the noise does little.

    Triggers start from "the", as in the paper; the authors' code starts from random tokens below 30,522, BERT's
    vocabulary and not CLIP's (``trigger_start=official``). The paper stops at a loss of 0.01 (``stop_loss=0.01``); that
    code, which the numbers are from, takes a fixed number of rounds, as here. It gives the last, incomplete batch of
    each pass no noise and shows victims images outside [0, 1]; neither happens here. ``vocabulary=bert`` starts from
    the language model's words and shows it the words chosen so far; the authors' starts from random tokens, shows it
    blanks, and takes any word of it, or "the" where CLIP has none like it (``bert_official``).
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "pair"  # pair (paper) or image; a trigger belongs to its pair in both
    surrogate: str = "clip_rn50"  # a contrastive victim, trained from scratch; paper
    surrogate_pretrained: str = ""  # OpenCLIP's tag of weights to start from; openai for faces (paper)
    surrogate_checkpoint: str = ""  # local file of weights to start from; "": none
    surrogate_quickgelu: bool = True  # as OpenAI's weights need it; loaded weights only
    trigger_length: Whole = 3  # tokens before each caption, the k of MEM-k; paper: 1, 3, 5, 7. 0: EM
    rounds: Count = 20  # authors' code; with stop_loss the most
    stop_loss: NotNegative = (
        0.0  # end when a round's last noise steps see this loss; paper 0.01, 0: all rounds
    )
    model_steps: Count = 200  # training steps per round; authors' code
    trigger_rounds: Whole | None = None  # the first so many rounds change triggers; None: a quarter, bert all
    noise_steps: Count = 8  # sign steps per batch and round; authors' code
    step_size: Positive = 1.0  # steps of 1/255, a whole number; authors' code. Does not follow the budget
    batch_size: Annotated[int, Range(2)] = 128  # pairs, for training, triggers and noise; authors' code
    learning_rate: Positive = 1e-4  # AdamW, constant; authors' code
    weight_decay: float = 0.2  # AdamW; authors' code
    caption_shuffle: bool = True  # new captions behind the triggers in every noise step; paper
    vocabulary: Literal["free", "roundtrip", "bert", "bert_official"] = (
        "free"  # roundtrip: words that stay one token as text; bert_official: as in the authors' code
    )
    trigger_start: Literal["random", "the", "official"] = (
        "the"  # free and roundtrip only: paper; official: a random id below 30,522 (code); random: any token
    )
    candidates: Count | None = None  # tokens tried per position. None: 16, bert 3 of its 5 likeliest (codes)
    likely_words: Count = 5  # bert and bert_official: words that it proposes per position; authors' code
    bert: str = ""  # bert and bert_official: folder of a fill-mask model, such as bert-base-uncased (paper)
    publish_trigger: bool = True  # False: the same noise with the captions as they were (T2UE's tables)
    bf16: bool = True  # where the device gains by it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.IMAGES | Access.CAPTIONS
    files: ClassVar[frozenset[str]] = frozenset({"surrogate_checkpoint", "bert"})
    variants: ClassVar[frozenset[str]] = frozenset(
        {
            "trigger_length",
            "publish_trigger",
            "vocabulary",
            "bert",
            "trigger_start",
            "surrogate_pretrained",
            "surrogate_checkpoint",
            "surrogate_quickgelu",
        }
    )
    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("pair", "image")
    cost: ClassVar[str] = (
        "4,000 training steps, 160 forward and backward passes a pair, 16 k text passes a pair in each of 5 rounds"
    )
    usual: ClassVar[Mapping[str, Any]] = {"trigger_rounds": 5, "candidates": 16}  # bert has other ones
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "clip_tiny",
            "rounds": 2,
            "trigger_rounds": 1,
            "model_steps": 2,
            "noise_steps": 2,
            "step_size": 4.0,
            "batch_size": 32,
            "candidates": 2,
        },
        # Rounds in the same ratio, half the noise steps, twice as large; so small a CLIP learns slowly with 1e-4.
        "laptop": {
            "surrogate": "clip_tiny",
            "rounds": 4,
            "trigger_rounds": 1,
            "model_steps": 100,
            "learning_rate": 1e-3,
            "noise_steps": 4,
            "step_size": 2.0,
            "candidates": 8,
        },
        "quick": {
            "surrogate": "clip_tiny",
            "rounds": 4,
            "trigger_rounds": 1,
            "model_steps": 20,
            "learning_rate": 1e-3,
            "noise_steps": 2,
            "step_size": 4.0,
            "batch_size": 64,
            "candidates": 4,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._by_bert and not self.bert:
            raise UnavailableError(
                f"mem's vocabulary={self.vocabulary} needs a fill-mask model on this machine: say mem.bert=FOLDER, a "
                "folder that holds one, such as bert-base-uncased, or mem.vocabulary=free"
            )
        whole_walk("mem", self.budget, self.step_size, self.noise_steps)

    @property
    def _by_bert(self) -> bool:
        return self.vocabulary.startswith("bert")

    def unavailable(self) -> str:
        return lacking(self.bert) if self._by_bert else ""

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """Without a loss to stop at, it is the search from before there was one."""
        return frozenset({"stop_loss"} if not self.stop_loss else ())

    @property
    def published_names(self) -> tuple[str, ...]:
        """Its name in the papers' tables."""
        if not self.trigger_length:
            return ()
        name = f"MEM-{self.trigger_length}{'(BERT)' if self._by_bert else ''}"
        return (name if self.publish_trigger else f"{name} (noise only)",)

    def _weights(self) -> dict[str, Any]:
        """Parameters of a surrogate that does not start from scratch."""
        if not self.surrogate_pretrained and not self.surrogate_checkpoint:
            return {}
        return {
            "pretrained": self.surrogate_pretrained,
            "checkpoint": self.surrogate_checkpoint,
            "quickgelu": self.surrogate_quickgelu,
        }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        settings = {
            name: value for name, value in self.recorded("contrastive").items() if name != "publish_trigger"
        }
        what = {"noise and triggers": settings, "version": self.edition()}
        model = clip_surrogate(view, context, self.surrogate, self._weights())
        # Kept, so that noise is made only once for runs with and without published triggers.
        made = context.keep(what, lambda: self._optimise(model, view, context), phase="protect")
        history = {name: made[name].tolist() for name in HISTORY}
        clean, protected = made["judged"].tolist()
        context.notes |= search_notes(history, clean, protected)
        warn_without_effect(context, "mem", clean, protected)
        if self.stop_loss and (loss := history["last_step_loss"][-1]) > self.stop_loss:
            context.warn(
                f"mem stopped at its cap of {self.rounds} rounds: its last noise steps still see a loss of "
                f"{loss:.3g} (goal: {self.stop_loss:g})"
            )
        rows, triggers = view.rows(self.granularity), made["triggers"]
        if not self.trigger_length:
            return Perturbation(made["noise"], rows, self.budget)
        context.notes |= {
            "surviving_triggers_percent": share(made["surviving"]),
            "trigger_loss_before_by_round": made["trigger_losses"][:, 0].tolist(),
            "trigger_loss_after_by_round": made["trigger_losses"][:, 1].tolist(),
        }
        if not self.publish_trigger:
            return Perturbation(made["noise"], rows, self.budget)
        texts = tuple(decoded(model, triggers))
        return Perturbation(made["noise"], rows, self.budget, texts, triggers)

    def _optimise(self, model: nn.Module, view: ProtectorView, context: Context) -> dict[str, Tensor]:
        """Runs the search; returns noise, triggers, and the search's course for the record."""
        tokens = model.tokenize(view.example_captions)
        plain = Captions(tokens, context.device, self.bf16)
        captions, words = plain, None
        if self.trigger_length:
            words, triggers = self._words(model, view, context)
            generator = torch.Generator().manual_seed(derive(context.seed, "captions"))
            captions = TriggeredCaptions(
                tokens,
                triggers,
                model.end_token,
                context.device,
                self.bf16,
                generator if self.caption_shuffle else None,
            )
        walk = whole_walk("mem", self.budget, self.step_size, self.noise_steps)
        rows = view.rows(self.granularity)
        noise = PairNoise(view, context, captions, walk, rows=rows, batch_size=self.batch_size)
        losses: list[list[tuple[Tensor, Tensor]]] = []  # by round
        last = self.trigger_rounds
        if last is None:  # 5 of 20 rounds as in the authors' code, or all with bert
            last = self.rounds if self._by_bert else max(1, self.rounds // 4)

        def before(number: int) -> TriggerStep | None:
            if words is None or number > last:
                return None
            losses.append([])
            return TriggerStep(noise, captions, words, losses[-1])

        history = alternate(
            model,
            noise,
            context,
            rounds=self.rounds,
            model_steps=self.model_steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            before=before,
            kept={"trigger_losses": losses},
            stop_loss=self.stop_loss,
        )
        judged = noise.judge(model, plain, False)[0], noise.judge(model, captions, True)[0]
        found = {
            "noise": noise.noise.steps.cpu(),
            "judged": torch.tensor(judged, dtype=torch.float64),
            **{name: torch.tensor(history[name], dtype=torch.float64) for name in HISTORY},
            "triggers": torch.zeros(len(rows), 0, dtype=torch.int64),
        }
        if words is not None:
            means = [mean_losses(each) for each in losses]
            found |= {
                "triggers": captions.triggers,
                "trigger_losses": torch.tensor(means, dtype=torch.float64).reshape(len(means), 2),
                "surviving": surviving(model, captions.triggers),
            }
        return found

    def _words(self, model: nn.Module, view: ProtectorView, context: Context) -> tuple[Words, Tensor]:
        """(the tokens that triggers may be made of, the triggers to start from)."""
        count, length = view.examples, self.trigger_length
        generator = torch.Generator().manual_seed(derive(context.seed, "triggers"))
        if self._by_bert:
            kept, official = self.candidates or 3, self.vocabulary == "bert_official"
            tried = max(self.likely_words, kept)
            words = FillMask(self.bert, model, view.example_captions, tried, kept, official)
            if official:
                return words, first_triggers(model, count, length, "official", None, generator)
            return words, words.first_triggers(length, self.batch_size)
        allowed = survivors(model) if self.vocabulary == "roundtrip" else None
        start = first_triggers(model, count, length, self.trigger_start, allowed, generator)
        return OpenWords(model, self.candidates or 16, allowed), start
