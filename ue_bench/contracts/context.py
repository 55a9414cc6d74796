"""What a method works with: the harness makes a context for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ue_bench.canonical import writable
from ue_bench.checkpoints import Item
from ue_bench.clock import Clock
from ue_bench.contracts.ledger import Ledger
from ue_bench.data.imageset import Split
from ue_bench.progress import Progress
from ue_bench.seeds import derive


def surrogate_seed(seed: int, name: str) -> int:
    """The seed of the first weights of a context's surrogate; ``seed`` is the context's."""
    return derive(seed, "surrogate", name)


@dataclass
class Context:
    """Device, randomness, progress, surrogates and shared work for one call of ``prepare`` or ``protect``.

    A method uses ``device``, ``generator``, ``progress``, ``resumable``, ``surrogate``, ``keep``, ``warn`` and
    ``notes``. Some also need ``seed`` (for more generators), ``prepared`` (with ``prepare``), ``load_public`` (to learn
    from public data that the record then names) and ``clock``. ``ledger`` belongs to the harness.

    Attributes:
        device: the device to compute on.
        seed: the call's seed; ``generator``, a ``torch.Generator`` on the CPU, starts from it.
        clock: ``with context.clock.phase("warmup")`` times a phase of its own.
        progress: ``for batch in context.progress.track(batches, "rounds")``.
        prepared: what ``prepare`` returned, loaded from the store.
        notes: facts about the run that belong into the record, such as rounds used or a step cap reached; ``remarks``,
            a list of sentences, stands under every table that shows the noise.
        ledger: what the harness gives and records behind the call.
    """

    device: torch.device
    seed: int
    clock: Clock
    progress: Progress
    ledger: Ledger = field(default_factory=Ledger)
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def surrogate(
        self,
        name: str,
        classes: int,
        image_size: tuple[int, int],
        parameters: Mapping[str, Any] | None = None,
        *,
        start: str = "pytorch",
        draw: int = 0,
    ) -> nn.Module:
        """A freshly initialised model from the victims registry, channels-last, on the device, seeded.

        Args:
            name: a victim's; a contrastive one gives Towers.
            classes: of its logits; contrastive victims have none and ignore it.
            image_size: (height, width) in pixels.
            parameters: of the victim where they differ from its defaults, such as weights to load.
            start: how an image classifier's first weights are drawn, ``pytorch``, ``torchvision`` or ``own``
                (``ue_bench.training.starts``). Contrastive victims always keep their own.
            draw: which first weights: 0 gives those that every surrogate of this name and seed has, and those of a
                victim with ``init=surrogate``; each other number gives its own.
        """
        seed = surrogate_seed(self.seed, name)
        if draw:
            seed = derive(seed, "draw", draw)
        given = dict(parameters) if parameters else None
        return self.ledger.build_victim(name, classes, image_size, seed, given, start)

    def keep(
        self,
        what: Mapping[str, Any],
        make: Callable[[], Mapping[str, Tensor]],
        *,
        phase: str = "prepare",
    ) -> Mapping[str, Tensor]:
        """The result of ``make()``, or of an earlier call with an equal ``what``, the same data and the same seed.

        For work that several methods share, such as a surrogate trained on clean data. Its time counts as the
        phase in the record of every method that uses it, and once in totals.

        Args:
            what: everything apart from data and seed on which the result depends.
            make: gives named tensors, such as a model's ``state_dict()``.
            phase: ``protect`` for all of a search for noise, of which more than one noise is made.
        """
        return self.ledger.keep(what, self.seed, make, self.clock, phase, self.notes)

    def resumable(self, items: Sequence[Item], label: str, **parts: Any) -> Iterator[Item]:
        """``progress.track`` for loops that take long: if the run is killed, the next one goes on where this one was.

        From time to time the state of the loop is kept between two items. Everything before the loop is done again in
        the next run, then all ``parts`` are set to what they were, and the loop goes on with the first item that is
        missing. Loops may be nested.

        Args:
            items: a range or a list.
            label: what one item is called.
            parts: all that the loop changes, by any name: tensors, lists, dictionaries (which hold tensors, numbers and
                text), generators, and whatever has ``state_dict`` and ``load_state_dict``, such as models, optimizers
                and ``orders.Endless``. The context's own generator, notes and warnings are among them already. Text,
                numbers and tuples are what the state depends on: where they have changed, it is not used.

        Example: ``for number in context.resumable(range(100), "round", model=model, optimizer=optimizer, delta=delta)``
        """
        own: dict[str, Any] = {
            "generator": self.generator,
            "notes": self.notes,
            "warnings": self.ledger.warnings,
        }
        mine = {f"context.{name}": part for name, part in own.items()}
        return self.ledger.checkpoints.track(items, label, self.progress, **mine, **parts)

    def load_public(
        self, words: str, image_size: int | None, parameters: Mapping[str, Any] | None = None
    ) -> Split:
        """A public dataset, for work that must not see the data to be protected.

        The record names it with its fingerprint, and warns if it overlaps with the data to be protected. The harness
        compares them, because a method without access to images cannot.

        Args:
            words: its name in the datasets registry, and parameters of it as a person types them:
                ``captions path=/data/mine.csv``.
            image_size: side in pixels, or None: as stored.
            parameters: more of them.

        Raises:
            ConfigError: if the words cannot be read, or name no dataset or parameter.
            DataError: if it is absent.
        """
        facts, split = self.ledger.find_public(words, image_size, dict(parameters or {}))
        self.ledger.note_public(facts, split.train)
        return split

    def numpy_seed(self) -> int:
        """A seed below 2**32 for libraries that take NumPy's."""
        return derive(self.seed, "numpy") % 2**32

    def warn(self, sentence: str) -> None:
        """Keeps a warning for the record and the foot of tables, once."""
        sentence = writable(sentence)
        if sentence not in self.ledger.warnings:
            self.ledger.warnings.append(sentence)
