"""Anybody's noise: what is read, what is refused and in which words, what is only told."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ue_bench import ProtectorView
from ue_bench.errors import ConfigError, DataError, PerturbationError, UEBenchError
from ue_bench.registry import Registry

REGISTRY = Registry()


def read(path: Path, data, paradigm: str = "supervised", **parameters):
    """The file as the method of a run on ``data``."""
    method = REGISTRY.create("methods", f"file:{path}", parameters)
    return method.for_data(ProtectorView(data, method.access, paradigm, "file"))


def noise_of(path: Path, data, make_context, paradigm: str = "supervised", **parameters):
    method = read(path, data, paradigm, **parameters)
    context = make_context()
    return method.protect(ProtectorView(data, method.access, paradigm, "file"), context), context


def published(data, perturbation):
    noise = perturbation.noise[perturbation.rows].to(torch.int16)
    return (data.images + noise).clamp(0, 255).to(torch.uint8)


@pytest.fixture
def data(make_images):
    """16 images of 4 classes, of values that noise of 8 steps leaves within 0..255."""
    images = make_images(16, 4, 16)
    images.images.copy_(images.images.clamp(10, 245))
    return images


@pytest.fixture
def steps():
    """int8 [16, 3, 16, 16], whole steps from -8 to 8, both of which occur."""
    noise = torch.randint(
        -7, 8, (16, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int8
    )
    noise[:, 0, 0, 0], noise[:, 0, 0, 1] = 8, -8
    return noise


def folder(path: Path, images: torch.Tensor, name=lambda index: f"{index:02}.png") -> Path:
    for index, pixels in enumerate(images):
        target = path / name(index)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(target)
    return path


def test_every_form_of_an_array_is_the_same_noise(tmp_path, data, steps, make_context):
    last = steps.permute(0, 2, 3, 1).contiguous()
    np.save(tmp_path / "whole.npy", steps.numpy())
    np.save(tmp_path / "float.npy", steps.numpy().astype(np.float32) / 255)
    np.save(tmp_path / "last.npy", last.numpy().astype(np.int32))
    np.savez(tmp_path / "one.npz", noise=last.numpy() / 255, labels=np.arange(16))
    torch.save(steps.float() / 255, tmp_path / "tensor.pt")
    torch.save({"delta": steps, "epoch": 3}, tmp_path / "dictionary.pth")
    save_file({"noise": (steps.float() / 255).double()}, tmp_path / "tensors.safetensors")
    for path in sorted(tmp_path.iterdir()):
        noise, context = noise_of(path, data, make_context)
        assert torch.equal(noise.noise, steps), path
        assert str(noise.budget) == "Linf 8/255", path
        assert context.notes["file"]["holds"] == "noise" and context.ledger.warnings == [], path


def test_images_are_the_difference_to_the_clean_ones(tmp_path, data, steps, make_context):
    protected = (data.images + steps).to(torch.uint8)
    np.save(tmp_path / "bytes.npy", protected.numpy())
    np.save(tmp_path / "float.npy", protected.permute(0, 2, 3, 1).numpy().astype(np.float32) / 255)
    for name in ("bytes.npy", "float.npy"):
        noise, context = noise_of(tmp_path / name, data, make_context)
        assert torch.equal(published(data, noise), protected), name
        assert context.notes["file"]["holds"] == "images", name


def test_a_noise_for_each_class(tmp_path, data, steps, make_context):
    np.save(tmp_path / "class.npy", steps[:4].numpy())
    method = read(tmp_path / "class.npy", data)
    noise, _ = noise_of(tmp_path / "class.npy", data, make_context)
    assert method.granularity == "class" and torch.equal(noise.rows, data.labels)


def test_stores_keep_rows_beside_the_noise(tmp_path, data, steps, make_context):
    rows = torch.arange(16).flip(0) // 8
    save_file({"noise": steps[:2], "rows": rows}, tmp_path / "kept.safetensors")
    assert torch.equal(noise_of(tmp_path / "kept.safetensors", data, make_context)[0].rows, rows)


def test_pairs_get_the_noise_of_their_image_or_their_own(tmp_path, data, steps, make_context):
    np.save(tmp_path / "image.npy", steps.numpy())
    np.save(tmp_path / "pair.npy", torch.cat([steps, steps]).numpy())
    one, _ = noise_of(tmp_path / "image.npy", data, make_context, "contrastive")
    two, _ = noise_of(tmp_path / "pair.npy", data, make_context, "contrastive")
    assert torch.equal(one.rows, data.pairs) and torch.equal(two.rows, torch.arange(32))


def test_the_budget_is_measured_or_asked_for(tmp_path, data, steps, make_context):
    np.save(tmp_path / "n.npy", steps.numpy())
    l2 = float((steps.double() / 255).flatten(1).norm(dim=1).max())
    assert str(read(tmp_path / "n.npy", data, budget=f"l2:{l2 + 0.01:.3f}").budget).startswith("L2")
    assert str(read(tmp_path / "n.npy", data, budget="linf:16").budget) == "Linf 16/255"
    with pytest.raises(PerturbationError, match=r"n\.npy .* measures 8 in linf, over its budget of 4"):
        read(tmp_path / "n.npy", data, budget="linf:4")


def test_other_content_is_another_trial(tmp_path, data, steps):
    np.save(tmp_path / "n.npy", steps.numpy())
    before = REGISTRY.create("methods", f"file:{tmp_path / 'n.npy'}").edition()
    np.save(tmp_path / "n.npy", -steps.numpy())
    assert REGISTRY.create("methods", f"file:{tmp_path / 'n.npy'}").edition() != before


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("length", lambda n: n[:15], r"has 15 entries, but the training set has 16 images and 4 classes"),
        (
            "size",
            lambda n: np.tile(n, (1, 1, 2, 2)),
            r"32x32 pixels, the training images are 16x16: say image_size=32",
        ),
        (
            "nan",
            lambda n: np.where(np.arange(16)[:, None, None, None] == 5, np.nan, n / 255),
            "entry 5 holds NaN",
        ),
        ("range", lambda n: n.astype(np.float32) * 31, r"runs from -248 to 248: floats .* file.unit=steps"),
        ("grey", lambda n: n[:, :1], "no array of RGB images"),
        ("words", lambda n: np.full(n.shape, "a"), "does not hold numbers"),
        ("wrapped", lambda n: n[:4].astype(np.uint8), "wrapped round. Save it as int8"),
        ("nothing", lambda n: n * 0, "protects nothing: all noise is zero"),
        ("flat", lambda n: n * 0 + np.arange(16, dtype=np.int8)[:, None, None, None], "noise 1 is constant"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, data, steps, name, change, words):
    np.save(tmp_path / f"{name}.npy", change(steps.numpy()))
    with pytest.raises(UEBenchError, match=words) as error:
        read(tmp_path / f"{name}.npy", data)
    assert f"{name}.npy" in str(error.value)


def test_floats_of_bytes_are_told_and_can_be_read(tmp_path, data, steps, make_context):
    protected = (data.images + steps).float()
    torch.save(protected, tmp_path / "f.pt")
    with pytest.raises(
        DataError, match=r"f\.pt .* runs from 3 to 252: .* images from 0 to 255, .* file.unit=steps"
    ):
        read(tmp_path / "f.pt", data)
    noise, _ = noise_of(tmp_path / "f.pt", data, make_context, unit="steps")
    assert torch.equal(published(data, noise), protected.to(torch.uint8))


class Payload:
    """Whatever runs when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_nothing_is_unpickled(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"noise": Payload()}, "object.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Payload()))
    np.save("object.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    np.savez("object.npz", noise=np.array([Payload()], dtype=object))
    Path("newer.pt").write_bytes(pickle.dumps({"noise": 1}, protocol=4))  # torch warns of its protocol
    for name in ("object.pt", "plain.pt", "newer.pt", "object.npy", "object.npz"):
        with (
            warnings.catch_warnings(action="error"),
            pytest.raises(DataError, match="pickled Python objects, which can run any code"),
        ):
            read(Path(name), data)
    assert not Path("ran").exists()


def test_of_several_arrays_one_is_named(tmp_path, data, steps, make_context):
    np.savez(tmp_path / "two.npz", train=steps.numpy(), test=steps.numpy()[:3])
    with pytest.raises(ConfigError, match=r"holds 2 arrays .* train int8 .*, test int8 .* file.key=train"):
        read(tmp_path / "two.npz", data)
    assert torch.equal(noise_of(tmp_path / "two.npz", data, make_context, key="train")[0].noise, steps)
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        read(tmp_path / "two.npz", data, key="trian")


def test_pictures_are_matched_by_name(tmp_path, data, steps, make_context):
    names = tuple(f"class{label}/p{15 - index}.jpg" for index, label in enumerate(data.labels.tolist()))
    named = type(data)(data.images, data.labels, data.captions, data.class_names, names)
    protected = (data.images + steps).to(torch.uint8)
    path = folder(tmp_path / "p", protected, lambda index: names[index].replace(".jpg", ".png"))
    noise, context = noise_of(path, named, make_context)
    assert torch.equal(published(data, noise), protected)
    assert context.notes["file"]["matched"] == "by name"
    (path / "class2" / "p5.png").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 16 pictures of the training set: class2/p5.jpg$"):
        read(path, named)


def test_pictures_are_matched_by_number(tmp_path, data, steps, make_context):
    protected = (data.images + steps).to(torch.uint8)
    path = folder(tmp_path / "p", protected, lambda index: f"{index}.png")  # 10.png comes before 2.png
    (path / ".DS_Store").write_text("")
    noise, context = noise_of(path, data, make_context)
    assert torch.equal(published(data, noise), protected)
    assert context.notes["file"]["matched"] == "by number"
    (path / "7.png").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 16 pictures of the training set: 7\.png$"):
        read(path, data)


def test_a_missing_picture_is_called_as_the_others_are(tmp_path, data):
    label = data.labels.tolist()
    path = folder(tmp_path / "p", data.images, lambda index: f"c{label[index]}/{index:05}.png")
    (path / f"c{label[3]}" / "00003.png").unlink()
    with pytest.raises(DataError, match=r"training set: c\d/00003\.png$"):
        read(path, data)


def test_pictures_without_numbers_are_taken_in_order(tmp_path, data, steps):
    path = folder(
        tmp_path / "p", (data.images + steps).to(torch.uint8), lambda index: f"{chr(97 + index)}.png"
    )
    assert str(read(path, data).budget) == "Linf 8/255"
    (path / "a.png").unlink()
    with pytest.raises(DataError, match=r"holds 15 pictures, the training set 16 images, .* 0.png to 15.png"):
        read(path, data)
    (path / "notes.txt").write_text("by hand")
    with pytest.raises(DataError, match=r"notes\.txt"):
        read(path, data)


def test_another_order_is_noticed_by_distance(tmp_path, data, steps):
    protected = (data.images + steps).to(torch.uint8)
    np.save(tmp_path / "order.npy", protected.roll(1, dims=0).numpy())
    with pytest.raises(
        DataError, match=r"16 of 16 images lie \d+ steps .* Image 0 fits the clean image 15 \("
    ):
        read(tmp_path / "order.npy", data)
    np.save(tmp_path / "other.npy", protected.flip(3).numpy())
    with pytest.raises(DataError, match="fits no clean image, so they are of other data"):
        read(tmp_path / "other.npy", data)


def test_one_sign_is_told_and_not_refused(tmp_path, data, steps, make_context):
    np.save(tmp_path / "up.npy", steps.abs().numpy())
    noise, context = noise_of(tmp_path / "up.npy", data, make_context)
    assert str(noise.budget) == "Linf 8/255, positive only"
    assert context.ledger.warnings == [
        "up.npy: the noise is positive only; the negative half may have been lost when it was saved"
    ]


def test_rounding_down_is_told(tmp_path, data, make_context):
    """Uniform noise that is cut to whole values instead of rounded: half a step too low."""
    delta = np.random.default_rng(0).uniform(-8, 8, (16, 3, 16, 16))
    protected = np.floor(data.images.numpy() + delta).astype(np.uint8)
    np.save(tmp_path / "cut.npy", protected)
    _, context = noise_of(tmp_path / "cut.npy", data, make_context)
    (told,) = context.ledger.warnings
    assert "steps of 1/255 from 0" in told and "rounded down" in told


def test_images_that_were_left_alone_are_told(tmp_path, data, steps, make_context):
    steps[4:] = 0
    np.save(tmp_path / "part.npy", steps.numpy())
    noise, context = noise_of(tmp_path / "part.npy", data, make_context)
    assert noise.partial
    assert "12 of 16 examples have no noise, so 25 % are protected" in context.ledger.warnings[0]


def test_in_a_table_beside_random_noise_of_the_measured_budget(command, tmp_path):
    blobs = REGISTRY_OF_TESTS.create("datasets", "blobs").load(None).train
    noise = torch.randint(
        -5, 6, (64, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int8
    )
    noise[:, 0, 0, :2] = torch.tensor([5, -5], dtype=torch.int8)
    np.save(tmp_path / "theirs.npy", noise.numpy())
    assert len(blobs) == 64
    ended = command("run", "suite=toy", f"method=[file:{tmp_path / 'theirs.npy'}]", "--format", "csv")
    assert ended.status == 0, ended.err
    assert ended.out.count("Linf 5/255") >= 2 and "reduced" not in ended.out.splitlines()[-1]
    again = command("run", "suite=toy", f"method=[file:{tmp_path / 'theirs.npy'}]")
    assert "0 to do" in again.err
    assert "§" not in command("report").out
    np.save(tmp_path / "up.npy", noise.abs().numpy())
    command("run", "suite=toy", f"method=[file:{tmp_path / 'up.npy'}]")
    shown = command("report").out
    assert re.search(r"\| …[^|]*up\.npy[^|]*§ +\|", shown), "a mark in the table"
    assert "\n- § up.npy: the noise is positive only; " in shown.partition("<details>")[0], (
        "and what it means"
    )
    absent = command("run", "suite=toy", f"method=[file:{tmp_path / 'their.npy'}]")
    assert absent.status == 2 and f"did you mean '{tmp_path / 'theirs.npy'}'" in absent.err


REGISTRY_OF_TESTS = Registry([Path(__file__).parents[1] / "content"])
