"""The examples that are shown to a victim: clean and as published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ue_bench.contracts.perturbation import Perturbation
from ue_bench.data.imageset import ImageSet
from ue_bench.explain.subject import Subject
from ue_bench.training.pairs import PairBatches, Pairs
from ue_bench.training.towers import Towers
from ue_bench.trials.poison import publish

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Sample:
    """Some examples in one state.

    Attributes:
        name: the sample in words.
        images: uint8 [n, 3, H, W].
        groups: int64 [n]: an image's class, or the number within the sample of the picture that a pair shows.
        texts: n captions without triggers, or n class names.
        triggers: for each caption the words before it, or "".
        tokens: int64 [n, L] as the victim reads them, triggers included; None for images with labels.
        marked: int64 [n]: the number of tokens after the start token that belong to the trigger.
    """

    name: str
    images: Tensor
    groups: Tensor
    texts: tuple[str, ...]
    triggers: tuple[str, ...] = ()
    tokens: Tensor | None = None
    marked: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


def spread(count: int, wanted: int) -> Tensor:
    """int64: at most ``wanted`` of ``count`` places, evenly spaced. Example: 5 and 3 give 0, 2, 4."""
    return torch.linspace(0, count - 1, min(count, wanted)).round().long()


def pair_samples(subject: Subject, towers: Towers, images: int, captions: int) -> list[Sample]:
    """Pairs of test pictures, clean pairs of protected training pictures, and the same pairs as published.

    Args:
        images: number of pictures in each sample.
        captions: the most pairs of a picture.

    Returns:
        Three samples, or the first two if nothing is published with noise.
    """
    train, test = Pairs.of(subject.split.train), Pairs.of(subject.split.test)
    chosen = subject.protected if len(subject.protected) else torch.arange(len(train))
    index = _pairs_of_some(train.image_of_pair, chosen, images, captions)
    seen = _pairs_of_some(test.image_of_pair, torch.arange(len(test)), images, captions)
    samples = [
        _sample_pairs("clean test pairs", test, seen, towers),
        _sample_pairs("training pairs, clean", train, index, towers),
    ]
    if len(subject.protected):
        noise = subject.perturbation
        protected = torch.zeros(len(train), dtype=torch.bool)
        protected[chosen] = True
        published = replace(
            train,
            noise=noise.noise,
            rows=noise.rows,
            protected=protected,
            triggers=noise.triggers,
            trigger_tokens=noise.trigger_tokens,
        )
        samples.append(_sample_pairs("the same training pairs, as published", published, index, towers))
    return samples


def image_samples(subject: Subject, classes: int, each: int) -> list[Sample]:
    """Test images, clean protected training images, and the same as published, all of the same classes.

    Args:
        classes: the most classes.
        each: the most images of a class.

    Returns:
        Three samples, or the first two if nothing is published with noise.
    """
    train, test = subject.split.train, subject.split.test
    assert train.labels is not None and test.labels is not None
    kinds = train.labels.unique()
    kinds = kinds[spread(len(kinds), classes)]
    chosen = subject.protected if len(subject.protected) else torch.arange(len(train))
    index = _some_of_each(train.labels, chosen, kinds, each)
    seen = _some_of_each(test.labels, torch.arange(len(test)), kinds, each)
    samples = [
        _sample_images("clean test images", test, seen),
        _sample_images("training images, clean", train, index),
    ]
    if len(subject.protected):
        images = publish_images(subject, index)
        samples.append(replace(samples[-1], name="the same training images, as published", images=images))
    return samples


def publish_images(subject: Subject, index: Tensor) -> Tensor:
    """uint8 [n, 3, H, W]: these protected training images (int64 [n]) as published."""
    noise = subject.perturbation
    few = Perturbation(noise.noise, noise.rows[index], noise.budget)
    return publish(subject.split.train.images[index], few, torch.ones(len(index), dtype=torch.bool))


def first_examples(subject: Subject, count: int) -> Tensor:
    """int64 [n]: the protected training examples that are shown one by one, each of a different picture.

    If none is protected, they are chosen from all training examples.
    """
    train = subject.split.train
    chosen = subject.protected
    if subject.trial.paradigm == "supervised":
        chosen = chosen if len(chosen) else torch.arange(len(train))
        return chosen[spread(len(chosen), count)]
    chosen = chosen if len(chosen) else torch.arange(len(train.pairs))
    return _pairs_of_some(train.pairs, chosen, count, 1)


def sample_examples(subject: Subject, model: object, count: int) -> tuple[Sample, Sample | None]:
    """``first_examples`` clean, and as published or None without noise; with tokens if they have captions."""
    index = first_examples(subject, count)
    if subject.trial.paradigm == "supervised":
        clean = _sample_images("clean", subject.split.train, index)
        if not len(subject.protected):
            return clean, None
        return clean, replace(clean, name="as published", images=publish_images(subject, index))
    assert isinstance(model, Towers)
    samples = pair_samples(subject, model, count, 1)
    return samples[1], samples[2] if len(samples) > 2 else None


def batches(images: Tensor, device: torch.device, size: int = 64) -> Iterator[Tensor]:
    """float [b, 3, H, W] in [0, 1], channels-last, on the device."""
    for part in images.split(size):
        yield part.to(device, torch.float32, memory_format=torch.channels_last).div_(255)


def _pairs_of_some(image_of_pair: Tensor, chosen: Tensor, images: int, captions: int) -> Tensor:
    """int64: the first ``captions`` of the chosen pairs of each of ``images`` pictures, which are evenly spaced."""
    owners = image_of_pair[chosen]
    pictures = owners.unique()
    kept = [chosen[owners == picture][:captions] for picture in pictures[spread(len(pictures), images)]]
    return torch.cat(kept)


def _some_of_each(labels: Tensor, chosen: Tensor, kinds: Tensor, each: int) -> Tensor:
    found = [chosen[labels[chosen] == kind] for kind in kinds]
    return torch.cat([members[spread(len(members), each)] for members in found if len(members)])


def _sample_pairs(name: str, pairs: Pairs, index: Tensor, towers: Towers) -> Sample:
    """These pairs (int64 [n]) with the token ids that a trainer would make of them."""
    count = torch.arange(len(index))
    few = replace(
        pairs,
        images=pairs.images[pairs.image_of_pair[index]],
        image_of_pair=count,
        captions=tuple(pairs.captions[i] for i in index.tolist()),
        noise=None if pairs.noise is None or pairs.rows is None else pairs.noise[pairs.rows[index]],
        rows=None if pairs.rows is None else count,
        protected=None if pairs.protected is None else pairs.protected[index],
        triggers=None if pairs.triggers is None else tuple(pairs.triggers[i] for i in index.tolist()),
        trigger_tokens=None if pairs.trigger_tokens is None else pairs.trigger_tokens[index],
    )
    made = PairBatches(few, towers, len(index), CPU, 0)
    tokens = made.take(count)[1]
    texts = zip(made.captions, few.captions, strict=True)
    triggers = tuple(whole.removesuffix(caption).strip() for whole, caption in texts)
    if few.trigger_tokens is not None:
        marked = torch.full((len(index),), few.trigger_tokens.shape[1])
    else:
        marked = towers.tokenize(triggers).argmax(dim=1) - 1
    groups = pairs.image_of_pair[index].unique(return_inverse=True)[1]
    return Sample(name, few.published(count), groups, few.captions, triggers, tokens, marked)


def _sample_images(name: str, data: ImageSet, index: Tensor) -> Sample:
    assert data.labels is not None
    labels = data.labels[index]
    names = data.class_names or tuple(str(label) for label in range(data.classes))
    return Sample(name, data.images[index], labels, tuple(names[label] for label in labels.tolist()))
