"""Retrieval: how well images find their captions, and captions their image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from ue_bench.errors import DataError

TOP = (1, 5, 10)
CHUNK = 500  # queries that are ranked at once
SPREAD = 1e-6  # features whose mean pairwise cosine is above 1 - SPREAD are one point


def retrieval(
    image_features: Tensor, text_features: Tensor, image_of_text: Tensor
) -> dict[str, float | bool]:
    """Ranks every caption for every image, and every image for every caption.

    An image's rank is that of the best of its captions among all captions; a caption's is that of its image among all
    images, each image once. Ties count against the model: every answer with the score of the right one ranks before
    it, so features that are all equal cannot look like knowledge.

    Args:
        image_features: float [N, D], rows of length 1, one for each different image.
        text_features: float [M, D], rows of length 1.
        image_of_text: int64 [M], 0..N-1; every image has at least one caption.

    Returns:
        ``i2t_hit@1 @5 @10`` and ``t2i_hit@1 @5 @10``: percent of queries whose zero-based rank is below 1, 5, 10.
        ``i2t_medr`` and ``t2i_medr``: the floor of the median rank, plus 1. ``collapsed``: True if features are not
        finite or all one point. A collapsed model finds nothing, but not because of protection.

    Raises:
        DataError: if shapes do not fit or an image has no caption.

    Example: two images, captions 0 and 1 of image 0, caption 2 of image 1, each caption closest to its image: all six
    hits are 100 and both median ranks 1.
    """
    device = image_features.device
    owner = image_of_text.to(device)
    if owner.shape != (len(text_features),) or image_features.shape[1:] != text_features.shape[1:]:
        raise DataError(
            f"{list(text_features.shape)} text features, {list(owner.shape)} owners and "
            f"{list(image_features.shape)} image features do not fit together"
        )
    if len(owner.unique()) != len(image_features):
        raise DataError("every image needs at least one caption to be found by")
    texts = torch.cat(
        [_image_ranks(image_features, text_features, owner, i) for i in _chunks(image_features)]
    )
    images = torch.cat([_text_ranks(image_features, text_features, owner, i) for i in _chunks(text_features)])
    found: dict[str, float | bool] = {**_summary("i2t", texts), **_summary("t2i", images)}
    return {**found, "collapsed": _one_point(image_features) or _one_point(text_features)}


def random_retrieval(images: int, captions_per_image: int) -> dict[str, float]:
    """What guessing reaches on average, in closed form: ranks are independent and uniformly distributed.

    An untrained model is a little worse than this at ``i2t_medr``, because it embeds all captions of an image alike.

    Example: 1,000 images with 5 captions each: Hit@10 0.996 and 1.0, median ranks 647 and 500.5.
    """
    texts = images * captions_per_image
    found = {}
    for top in TOP:
        found[f"i2t_hit@{top}"] = 100 * (1 - _all_below(texts, captions_per_image, min(top, texts)))
        found[f"t2i_hit@{top}"] = 100 * min(1.0, top / images)
    rank = next(r for r in range(1, texts + 1) if _all_below(texts, captions_per_image, r) <= 0.5)
    return {**found, "i2t_medr": float(rank), "t2i_medr": (images + 1) / 2}


def reachable_hit(captions: Sequence[Sequence[str]]) -> float:
    """The largest possible ``i2t_hit@1``, in percent, where different images have equal captions.

    Equal captions have equal scores and ties count against the model, so an image needs a caption that no other image
    has. Case and blanks are ignored, as CLIP ignores them.

    Args:
        captions: the captions of each different image.

    Example: two photographs that are both "a face", a third that is "a face" and "a smile": 33.3.
    """
    texts = [{" ".join(text.lower().split()) for text in own} for own in captions]
    images_of = Counter(text for own in texts for text in own)
    unlike = [any(images_of[text] == 1 for text in own) for own in texts]
    return 100 * sum(unlike) / max(1, len(unlike))


def _all_below(texts: int, own: int, top: int) -> float:
    """The chance that none of ``own`` captions is among the first ``top`` of ``texts``."""
    return math.prod(max(0, texts - top - i) / (texts - i) for i in range(own))


def _chunks(queries: Tensor) -> tuple[Tensor, ...]:
    return torch.arange(len(queries), device=queries.device).split(CHUNK)


def _scores(queries: Tensor, answers: Tensor) -> Tensor:
    """float32 [queries, answers]; a score that is not a number counts as the lowest."""
    scores = queries.to(torch.float32) @ answers.to(torch.float32).T
    return torch.where(scores.isnan(), -torch.inf, scores)


def _image_ranks(images: Tensor, texts: Tensor, owner: Tensor, index: Tensor) -> Tensor:
    """int64: for each image, how many captions of others score at least as high as the best of its own."""
    scores = _scores(images[index], texts)
    own = owner[None, :] == index[:, None]
    best = scores.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    return ((scores >= best) & ~own).sum(dim=1)


def _text_ranks(images: Tensor, texts: Tensor, owner: Tensor, index: Tensor) -> Tensor:
    """int64: for each caption, how many other images score at least as high as its own."""
    scores = _scores(texts[index], images)
    return (scores >= scores.gather(1, owner[index, None])).sum(dim=1) - 1


def _summary(direction: str, ranks: Tensor) -> dict[str, float]:
    ordered = ranks.sort().values.cpu().to(torch.float64)
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    hits = {f"{direction}_hit@{top}": 100 * float((ordered < top).double().mean()) for top in TOP}
    return {**hits, f"{direction}_medr": float(math.floor(float(median)) + 1)}


def _one_point(features: Tensor) -> bool:
    """True if features are not finite, or if there are several and all are equal."""
    if not bool(features.isfinite().all()):
        return True
    points = features.cpu().to(torch.float64)
    return len(points) > 1 and float((points - points.mean(dim=0)).square().sum(1).mean()) < SPREAD
