"""Every kind of picture keeps its look, and becomes exactly clip(picture + noise)."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
import pytest
import torch
from homes import HEIGHT, NUMBERS, WHY, WIDTH, Home, colourful, draw, encode, png
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from ue_bench.publish import pixels


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_rgb_is_exactly_the_clipped_sum_and_measured_so(home):
    image = colourful()
    source = home.put("a.png", image)
    content = source.read_bytes()
    row = home.apply()["a.png"]
    before, after = np.asarray(image).astype(int), np.asarray(home.opened("a.png")).astype(int)
    assert (after == home.expect(before)).all() and home.opened("a.png").mode == "RGB"
    change = after - before
    assert row["status"] == "written" and row["written as"] == "a.png" and row["mode"] == "RGB"
    assert row["max change /255"] == str(abs(change).max()) == "8"
    assert row["PSNR dB"] == f"{10 * math.log10(255**2 / (change**2).mean()):.2f}"
    assert source.read_bytes() == content


def test_alpha_is_kept_to_the_bit_and_colours_under_it_are_protected_too(home):
    image = colourful(channels=4)
    pixels = np.asarray(image).copy()
    pixels[:4, :, 3] = 0
    home.put("a.png", Image.fromarray(pixels))
    for form in ("png", "webp"):
        home.apply(f"format={form}")
        after = np.asarray(home.opened(f"a.{form}"))
        assert (after[..., 3] == pixels[..., 3]).all()
        assert (after[..., :3] == home.expect(pixels[..., :3])).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_grey_stays_grey_and_keeps_the_noise_signs(home, mode):
    """fawkes#41: colour appeared in a grey picture."""
    grey = draw(HEIGHT, WIDTH).clip(20, 235)
    home.put("a.png", Image.fromarray(grey).convert(mode))
    home.apply()
    after = home.opened("a.png")
    assert after.mode == mode
    channels = np.asarray(after).reshape(HEIGHT, WIDTH, -1)
    colours = channels[..., : 3 if mode.startswith("RGB") else 1].astype(int)
    assert (colours == (grey + home.grey_steps())[..., None]).all()
    assert (np.sign(colours[..., 0] - grey) == np.sign(home.grey_steps())).all()
    assert "A" not in mode or (channels[..., -1] == 255).all()


def test_sixteen_bit_grey_stays_so(home):
    grey = draw(HEIGHT, WIDTH, high=65536)
    for content in (png(grey, 0, 16), encode(Image.fromarray(grey), "TIFF")):
        home.put("a.png", content)
        row = home.apply("overwrite=true")["a.png"]
        after = np.asarray(home.opened("a.png")).astype(int)
        expected = np.clip(grey.astype(int) + home.grey_steps() * 257, 0, 65535)
        assert home.opened("a.png").mode.startswith("I") and (after == expected).all()
        assert float(row["max change /255"]) <= 8
    assert "format=png" in home.apply("format=webp", status=1)["a.png"][WHY]


@pytest.mark.parametrize(
    ("content", "mode", "note"),
    [
        (encode(colourful().quantize(8)), "RGB", "palette converted to RGB"),
        (encode(colourful().quantize(8), transparency=0), "RGBA", "palette converted to RGBA"),
        (encode(colourful().quantize(8), "GIF"), "RGB", "palette converted to RGB"),
        (encode(colourful().convert("1")), "L", "1-bit converted to L"),
        (encode(colourful().convert("CMYK"), "JPEG"), "RGB", "CMYK converted to RGB without a profile"),
        (
            encode(Image.new("RGB", (10, 12), (9, 40, 90)), transparency=(9, 40, 90)),
            "RGBA",
            "RGB converted to RGBA",
        ),
        (encode(Image.fromarray(draw(12, 10, high=9)), transparency=7), "LA", "L converted to LA"),
        (encode(colourful(), "JPEG"), "RGB", ""),
        (encode(colourful(), "WEBP", lossless=True), "RGB", ""),
        (encode(colourful(), "BMP"), "RGB", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_kinds_are_converted_with_a_note(home, content, mode, note):
    home.put("a.png", content)
    row = home.apply()["a.png"]
    assert row["mode"] == mode == home.opened("a.png").mode and row[WHY].startswith(note)
    before = np.asarray(Image.open(io.BytesIO(content)).convert(mode))
    after = np.asarray(home.opened("a.png"))
    if mode in ("RGB", "RGBA") and note != "RGB converted to RGBA":
        assert (after[..., :3] == home.expect(before[..., :3])).all()
    if mode.endswith("A"):
        assert (after[..., -1] == before[..., -1]).all() and (after[..., -1] == 0).any()


def test_cmyk_is_converted_by_its_profile_where_that_works(home, monkeypatch):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    home.put("a.png", encode(colourful().convert("CMYK"), "JPEG", icc_profile=profile))
    row = home.apply()["a.png"]  # an RGB profile cannot describe inks: then as without one
    assert "without a profile" in row[WHY] and "icc_profile" not in home.opened("a.png").info
    seen = colourful()
    monkeypatch.setattr(ImageCms, "profileToProfile", lambda *_, **__: seen.copy())
    row = home.apply("overwrite=true")["a.png"]
    assert "by its profile" in row[WHY] and "icc_profile" not in home.opened("a.png").info
    assert (np.asarray(home.opened("a.png")) == home.expect(np.asarray(seen))).all()


def frames(form: str) -> bytes:
    return encode(colourful(), form, save_all=True, append_images=[colourful(), colourful()])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (frames("GIF"), "3 pages or frames"),
        (frames("WEBP"), "3 pages or frames"),
        (frames("PNG"), "3 pages or frames"),
        (frames("TIFF"), "3 pages or frames"),
        (png(draw(12, 10, 3, high=65536), 2, 16), "16 bits per colour, of which only 8 could be kept"),
        (png(draw(12, 10, 4, high=65536), 6, 16), "16 bits per colour"),
        (encode(Image.fromarray(NUMBERS.random((12, 10), dtype=np.float32)), "TIFF"), "the kind F cannot be kept"),
        (encode(colourful())[:200], "a broken picture"),
        (encode(colourful((200, 200)), "JPEG")[:4000], "a broken picture"),
        (b"", "an empty file"),
        (b"this is no picture", "a broken picture"),
        (encode(Image.new("RGB", (10, 12), 255)), ""),
    ],
)  # fmt: skip
def test_what_would_lose_something_is_refused_and_others_go_on(home, content, reason):
    home.make_noise("a.png", "b.png")
    home.put("a.png", content)
    home.put("b.png", colourful())
    if not reason:  # a white picture takes the negative half of the noise
        assert home.apply()["a.png"]["status"] == "written"
        return
    rows = home.apply(status=1)
    assert rows["a.png"]["status"] == "failed" and reason in rows["a.png"][WHY]
    assert rows["b.png"]["status"] == "written" and not (home.out / "a.png").exists()


def test_formats_that_are_not_read_say_what_to_do(home):
    home.make_noise("a.heic", "b.dng")
    home.put("a.heic", b"anything")
    home.put("b.dng", encode(colourful(), "TIFF"))  # a raw file's preview must not be taken for the picture
    rows = home.apply(status=1)
    assert "HEIC: export it" in rows["a.heic"][WHY]
    assert "raw format: export it" in rows["b.dng"][WHY]


def test_the_first_picture_of_a_phone_file_counts(home):
    home.put("a.png", encode(colourful(), "MPO", save_all=True, append_images=[colourful((6, 5))]))
    row = home.apply()["a.png"]
    assert row["status"] == "written" and "the first of 2 pictures" in row[WHY]
    assert home.opened("a.png").size == (WIDTH, HEIGHT)


# what belongs to a picture


def described(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x013B] = "Maker", orientation, "Ann"
    exif[0x8769] = {0x9286: b"ASCII\0\0\0hello", 0x927C: b"a preview may hide here"}
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    return exif


@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_turned_picture_looks_the_same_and_exif_goes_unless_kept(home, form):
    content = encode(colourful((WIDTH, HEIGHT)), "JPEG", exif=described(), quality=95)
    home.make_noise("a.jpg")
    home.put("a.jpg", content)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert upright.shape == (HEIGHT, WIDTH, 3)
    home.apply(f"format={form}")
    plain_one = home.opened(f"a.{form}")
    assert (np.asarray(plain_one) == home.expect(upright)).all() and not dict(plain_one.getexif())
    assert "exif" in home.apply(f"format={form}", "exif=keep", status=1)["a.jpg"][WHY].lower()
    home.apply(f"format={form}", "exif=keep", "overwrite=true")
    kept = home.opened(f"a.{form}")
    exif = kept.getexif()
    assert (np.asarray(kept) == home.expect(upright)).all()
    assert exif[0x010F] == "Maker" and exif[0x013B] == "Ann" and exif.get_ifd(0x8825)[1] == "N"
    assert exif.get_ifd(0x8769)[0x9286].endswith(b"hello")
    assert exif.get(0x0112, 1) == 1, "it would be turned twice"
    assert 0x927C not in exif.get_ifd(0x8769), "makers' notes may hold an unprotected copy"


def test_the_unprotected_thumbnail_is_never_kept(home):
    thumbnail = encode(colourful((8, 8)), "JPEG")
    first = struct.pack("<HHHI4sI", 1, 0x010F, 2, 3, b"Me", 26)  # the maker; what follows is at 26
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    body = b"II*\0" + struct.pack("<I", 8) + first + second + thumbnail
    content = encode(colourful(), "JPEG", exif=b"Exif\0\0" + body)
    assert Image.open(io.BytesIO(content)).getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] == len(thumbnail)
    home.put("a.png", content)
    home.apply("exif=keep")
    assert home.opened("a.png").getexif()[0x010F] == "Me"
    assert not home.opened("a.png").getexif().get_ifd(ExifTags.IFD.IFD1)
    assert thumbnail[:64] not in (home.out / "a.png").read_bytes()


@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_colour_profile_is_kept_and_texts_are_not(home, form):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "taken at home")
    home.put("a.png", encode(colourful(), icc_profile=profile, pnginfo=text))
    home.apply(f"format={form}")
    after = home.opened(f"a.{form}")
    assert after.info["icc_profile"] == profile and b"at home" not in (home.out / f"a.{form}").read_bytes()


def test_a_png_keeps_its_gamma(home):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", struct.pack(">I", 100000))
    home.put("a.png", encode(colourful(), pnginfo=chunks))
    home.apply()
    assert home.opened("a.png").info["gamma"] == 1.0


# sizes


def test_noise_of_another_size_is_stretched_by_nearest(home):
    image = colourful((HEIGHT * 2, WIDTH * 3)).point(lambda value: min(max(value, 9), 240))
    home.put("a.png", image)
    home.apply()
    steps = np.asarray(home.opened("a.png")).astype(int) - np.asarray(image)
    stretched = home.noise[0].permute(1, 2, 0).numpy().repeat(2, axis=0).repeat(3, axis=1)
    assert (steps == stretched).all()
    reason = home.apply("resize=none", "overwrite=true", status=1)["a.png"][WHY]
    assert reason == "it is 24x30 pixels, its noise 12x10: say resize=nearest"


def test_smaller_and_odd_sizes_take_their_nearest_steps(home):
    image = Image.new("RGB", (7, 5), (90, 100, 110))
    home.put("a.png", image)
    home.apply()
    steps = np.asarray(home.opened("a.png")).astype(int) - np.asarray(image)
    resized = torch.nn.functional.interpolate(home.noise.float(), size=(5, 7), mode="nearest")[0]
    assert (steps == resized.permute(1, 2, 0).numpy()).all()


def test_strips_give_what_the_whole_would(home, monkeypatch):
    home.put("a.png", colourful((101, 37)))
    home.apply()
    whole = home.opened("a.png").tobytes()
    monkeypatch.setattr(pixels, "STRIP", 37 * 8)
    assert home.apply("overwrite=true")["a.png"]["status"] == "written"
    assert home.opened("a.png").tobytes() == whole


def test_huge_pictures_are_refused_in_words_and_allowed_by_name(home):
    home.put("a.png", png(draw(1, 1), 0, 8, size=(20000, 20000)))
    reason = home.apply(status=1)["a.png"][WHY]
    assert "400,000,000 pixels" in reason and "max_pixels=400000000" in reason
    home.put("a.png", colourful((20, 20)))
    limit = Image.MAX_IMAGE_PIXELS
    assert "400 pixels" in home.apply("max_pixels=399", status=1)["a.png"][WHY]
    assert home.apply("max_pixels=400")["a.png"]["status"] == "written" and limit == Image.MAX_IMAGE_PIXELS
