"""What gets published: which images, which noise, which pixels."""

from __future__ import annotations

import pytest
import torch

from ue_bench import Access, Budget, ImageSet, Perturbation, ProtectorView
from ue_bench.errors import AccessError, DataError, PerturbationError
from ue_bench.metrics import noise_measures
from ue_bench.trials.poison import poison_mask, publish


def test_masks_are_exact_nested_and_stratified():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[torch.randperm(100)]
    before = torch.zeros(100, dtype=torch.bool)
    for ratio in (0.2, 0.4, 0.6, 0.8, 1.0):
        mask = poison_mask(labels, 100, ratio, seed=3)
        assert int(mask.sum()) == round(100 * ratio)
        assert bool((mask | ~before).all()), "a smaller ratio must lie within a larger one"
        shares = torch.bincount(labels[mask], minlength=3).tolist()
        assert all(abs(got - size * ratio) <= 1 for got, size in zip(shares, (50, 30, 20), strict=True))
        before = mask
    assert not torch.equal(poison_mask(labels, 100, 0.4, 3), poison_mask(labels, 100, 0.4, 4))


def test_mask_does_not_follow_the_order_of_storage():
    """Trap T4: a ratio taken from each batch's tail hits a fixed part of an unshuffled file."""
    mask = poison_mask(torch.zeros(1000, dtype=torch.int64), 1000, 0.5, seed=0)
    assert 200 < int(mask[:500].sum()) < 300


def test_publish_adds_each_image_its_own_noise_and_clips():
    images = torch.tensor([250, 5, 100], dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 2, 2)
    noise = torch.tensor([[8, -8], [-8, 8]], dtype=torch.int8)[:, None, None, :].repeat(1, 3, 2, 1)
    published = publish(
        images, Perturbation(noise, torch.tensor([0, 1, 1]), Budget("linf", 8)), torch.ones(3).bool()
    )
    assert published[:, 0, 0].tolist() == [[255, 242], [0, 13], [92, 108]]
    assert images[:, 0, 0, 0].tolist() == [250, 5, 100], "the clean images stay"


def test_publish_touches_only_the_mask():
    images = torch.full((4, 3, 2, 2), 100, dtype=torch.uint8)
    noise = torch.tensor([8, -8], dtype=torch.int8).expand(4, 3, 2, 2).contiguous()
    mask = torch.tensor([True, False, False, True])
    published = publish(images, Perturbation(noise, torch.arange(4), Budget("linf", 8)), mask)
    assert (published != images).flatten(1).any(1).tolist() == mask.tolist()


def test_an_image_without_noise_is_an_error():
    """Trap T3: zero samples were poisoned, and the run went on."""
    images = torch.full((3, 3, 2, 2), 100, dtype=torch.uint8)
    noise = torch.tensor([8, -8], dtype=torch.int8).repeat(3, 3, 2, 1)
    noise[1] = 0
    with pytest.raises(PerturbationError, match="have no noise, the first is image 1"):
        publish(images, Perturbation(noise, torch.arange(3), Budget("linf", 8)), torch.ones(3).bool())


def test_noise_measures_by_hand():
    clean = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    noisy = clean.clone()
    noisy[0, :, :8] += 8
    noisy[0, :, 8:] -= 4
    found = noise_measures(clean, noisy)
    assert found["linf"] == 8 and found["changed_images"] == 1 and found["examples"] == 2
    assert found["l2"] == pytest.approx((3 * 128 * (64 + 16)) ** 0.5 / 255)
    assert found["psnr_db"] == pytest.approx(10 * torch.log10(torch.tensor(255.0**2 / 40)).item())
    assert (found["positive_share"], found["negative_share"]) == (0.5, 0.5)
    assert 0 < found["ssim"] < 1


def test_view_holds_only_what_is_declared(make_images):
    data = make_images(8, 4)
    view = ProtectorView(data, Access.LABELS, "supervised", "someone")
    assert torch.equal(view.rows("class"), data.labels) and view.classes == 4
    for part in ("images", "captions", "class_names"):
        with pytest.raises(AccessError, match=rf"someone reads {part}, but declares access to labels only"):
            getattr(view, part)
    assert not any(value is data.images for value in vars(view).values()), "images are not even in there"
    blind = ProtectorView(data, Access.NOTHING)
    for read in (lambda: blind.classes, lambda: blind.rows("class"), lambda: blind.labels):
        with pytest.raises(AccessError):
            read()


def test_five_captions_are_five_examples(make_images):
    data = make_images(3, 3)
    view = ProtectorView(data, Access.LABELS, "contrastive")
    assert view.examples == 6
    assert view.rows("pair").tolist() == [0, 1, 2, 3, 4, 5]
    assert view.rows("image").tolist() == [0, 0, 1, 1, 2, 2]
    assert view.rows("class").tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(2, 3, 4, 4)}, "uint8"),
        ({"labels": torch.tensor([0, 5])}, "labels run from 0 to 5"),
        ({"labels": torch.tensor([0])}, r"int64 \[2\]"),
        ({"captions": (("a",),)}, "1 caption lists for 2 images"),
        ({"captions": (("a",), ())}, "image 1 has no caption"),
    ],
)
def test_image_sets_are_checked(changes, message):
    whole = {
        "images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        "labels": torch.tensor([0, 1]),
        "class_names": ("a", "b"),
    }
    ImageSet(**whole)
    with pytest.raises(DataError, match=message):
        ImageSet(**{**whole, **changes})


def test_fingerprint_changes_with_every_part(make_images):
    data = make_images(6, 3)
    prints = {data.fingerprint}
    pixels = data.images.clone()
    pixels[3, 0, 0, 0] ^= 1
    prints.add(ImageSet(pixels, data.labels, data.captions, data.class_names).fingerprint)
    prints.add(ImageSet(data.images, data.labels.flip(0), data.captions, data.class_names).fingerprint)
    prints.add(ImageSet(data.images, data.labels, data.captions[::-1], data.class_names).fingerprint)
    prints.add(ImageSet(data.images, data.labels, data.captions, ("x", "y", "z")).fingerprint)
    assert len(prints) == 5
    assert (
        ImageSet(data.images.clone(), data.labels, data.captions, data.class_names).fingerprint
        == data.fingerprint
    )
