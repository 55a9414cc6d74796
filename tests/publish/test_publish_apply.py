"""Noise onto a folder of pictures: every file is accounted for, sources are never touched, nothing is half done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from homes import WHY, Home, colourful, encode
from PIL import Image

from ue_bench.errors import ConfigError, DataError
from ue_bench.publish.account import REPORT
from ue_bench.publish.apply import name_outputs
from ue_bench.publish.commands import APPLY, EXPORT, NOISE, apply_command


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_every_file_is_accounted_for(home, capsys):
    home.make_noise("a.jpg", "deep/b.png", "gone.png")
    home.put("a.jpg", encode(colourful(), "JPEG"))
    home.put("deep/b.png", colourful())
    home.put("c.webp", encode(colourful(), "WEBP"))
    home.put("notes.txt", b"hello")
    home.put("broken.jpg", b"hello")
    home.put("bell\a.png", colourful())
    rows = home.apply(status=1)
    assert {name: (row["status"], row["written as"]) for name, row in rows.items()} == {
        "a.jpg": ("written", "a.png"),
        "deep/b.png": ("written", "deep/b.png"),
        "c.webp": ("skipped", ""),
        "notes.txt": ("skipped", ""),
        "broken.jpg": ("skipped", ""),
        "bell\\x07.png": ("skipped", ""),
        "gone.png": ("unused", ""),
    }
    printed = capsys.readouterr().out
    assert "2 written, 4 skipped, 1 unused, 3 without a caption and unprotected" in printed
    assert "no such picture in the folder" in printed and "not a picture" in printed and "\a" not in printed
    assert "noise for 3 pictures, 12x10 pixels, Linf 8/255, seed 0\n  by toy: Toy.\n  It is a toy." in printed
    assert "models that exist already" in printed and "no\nguarantee" in printed
    assert sorted(p.name for p in home.out.rglob("*")) == ["a.png", "b.png", "deep", REPORT]


def test_unused_noise_and_foreign_files_are_no_failure(home):
    home.make_noise("a.png", "gone.png")
    home.put("a.png", colourful())
    home.put(".DS_Store", b"x")
    assert home.apply(status=0)["gone.png"]["status"] == "unused"


def test_the_second_run_writes_nothing_and_notices_damage(home):
    home.put("a.png", colourful())
    first = home.apply()["a.png"]
    target = home.out / "a.png"
    stamp, whole = target.stat().st_mtime_ns, target.read_bytes()
    again = home.apply()["a.png"]
    assert again["status"] == "skipped" and again[WHY] == "already written and intact"
    assert again["PSNR dB"] == first["PSNR dB"] and target.stat().st_mtime_ns == stamp
    for damage in (
        whole[:-30],
        b"",
        encode(colourful()),
        encode(colourful((3, 3))),
        encode(colourful(), "WEBP"),
    ):
        target.write_bytes(damage)
        row = home.apply(status=1)["a.png"]
        assert row["status"] == "failed" and "overwrite=true" in row[WHY]
        assert target.read_bytes() == damage, "nothing is replaced unasked"
    assert home.apply("overwrite=true")["a.png"]["status"] == "written" and target.read_bytes() == whole


def test_a_full_disk_is_named_leaves_nothing_and_others_go_on(home, monkeypatch):
    home.make_noise("a.png", "b.png")
    home.put("a.png", colourful())
    home.put("b.png", colourful())
    real, calls = os.fsync, []

    def full_once(handle):
        calls.append(handle)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr("ue_bench.publish.writing.os.fsync", full_once)
    rows = home.apply(status=1)
    assert rows["a.png"][WHY] == "the disk is full" and rows["b.png"]["status"] == "written"
    assert sorted(p.name for p in home.out.iterdir()) == ["b.png", REPORT]


def test_what_a_bad_disk_returns_is_not_taken_for_written(home, monkeypatch):
    home.put("a.png", colourful())
    real = Image.Image.save

    def lossy(image, file, form, **options):
        real(image.point(lambda value: value & 254), file, form, **options)

    monkeypatch.setattr(Image.Image, "save", lossy)
    row = home.apply(status=1)["a.png"]
    assert "other pixels" in row[WHY] and not (home.out / "a.png").exists()


def test_links_round_in_circles_are_named_and_not_followed(home, tmp_path):
    home.make_noise("a.png", "album/b.png", "lost.png", "self.png")
    home.put("a.png", colourful())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.png").write_bytes(encode(colourful()))
    (home.images / "album").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(home.images)
    (home.images / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (home.images / "self.png").symlink_to(home.images / "self.png")
    os.mkfifo(home.images / "pipe.png")
    rows = home.apply(status=1)
    reasons = {name: (row["status"], row[WHY]) for name, row in rows.items()}
    assert reasons["album/b.png"] == ("written", "") and reasons["a.png"] == ("written", "")
    assert reasons["album/loop"] == ("skipped", "a link to a folder that it lies in: not followed again")
    assert reasons["lost.png"] == ("failed", "a link that leads nowhere")
    assert reasons["self.png"] == ("failed", "a link that leads round in a circle")
    assert reasons["pipe.png"] == ("skipped", "neither a file nor a folder")


def test_pictures_that_would_share_a_name_keep_their_old_extension():
    names = ["a.jpg", "a.png", "b.JPG", "c/d.jpeg", "A.webp"]
    assert name_outputs(names, "png") == {
        "a.jpg": "a.jpg.png",
        "a.png": "a.png",
        "A.webp": "A.webp.png",
        "b.JPG": "b.png",
        "c/d.jpeg": "c/d.png",
    }


def test_stems_match_pictures_whose_format_changed(home):
    home.make_noise("a.jpg", "b.jpg", "b.tif")
    home.put("a.png", colourful())
    with pytest.raises(ConfigError, match="1 would fit without their extensions: say match=stem"):
        home.apply()
    assert not home.out.exists()
    home.put("b.png", colourful())
    rows = home.apply("match=stem", status=1)
    assert rows["a.png"]["status"] == "written"
    assert "several pictures fit: b.jpg and b.tif" in rows["b.png"][WHY]


def test_sources_are_safe_wherever_the_pictures_go(home, tmp_path):
    source = home.put("a.png", colourful())
    content = source.read_bytes()
    base = [f"noise={home.noise_path}", f"images={home.images}"]
    for out, message in [
        (home.images, "never written over"),
        (home.images / ".." / "pictures", "never written over"),
        (home.images / "protected", "inside=true"),
        (tmp_path, "inside=true"),
        (source, "is a file"),
    ]:
        with pytest.raises(ConfigError, match=message):
            apply_command([*base, f"out={out}", "overwrite=true"])
    assert apply_command([*base, f"out={home.images / 'protected'}", "inside=true"]) == 0
    assert apply_command([*base, f"out={home.images / 'protected'}", "inside=true"]) == 0, (
        "its own work is left out"
    )
    (tmp_path / "sly").symlink_to(home.images)
    with pytest.raises(ConfigError, match="never written over"):
        apply_command([*base, f"out={tmp_path / 'sly'}"])
    home.out.mkdir()
    home.make_noise("a.png", "sub/a.png")
    (home.images / "sub").mkdir()
    (home.images / "sub" / "a.png").write_bytes(content)
    (home.out / "sub").symlink_to(home.images / "sub")
    rows = home.apply("overwrite=true", status=1)
    assert "over a source" in rows["sub/a.png"][WHY]
    assert (home.images / "sub" / "a.png").read_bytes() == content == source.read_bytes()


def test_stopping_keeps_what_is_whole_and_the_next_run_goes_on(home, monkeypatch, capsys):
    home.make_noise("a.png", "b.png")
    home.put("a.png", colourful())
    home.put("b.png", colourful())
    from ue_bench.publish import apply

    real = apply.add_noise
    calls = []

    def stop_at_the_second(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(apply, "add_noise", stop_at_the_second)
    assert (
        list(home.apply(status=130)) == ["a.png"] and "the same command continues" in capsys.readouterr().out
    )
    monkeypatch.setattr(apply, "add_noise", real)
    assert [row["status"] for row in home.apply().values()] == ["skipped", "written"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("exif=remove", "unknown exif 'remove'"),
        ("format=jpg", "unknown format 'jpg'.*png"),
        ("match=names", "did you mean 'name'"),
        ("resize=bicubic", "nearest"),
        ("overwrite=maybe", "true or false"),
        ("overwite=true", "did you mean 'overwrite'"),
        ("max_pixels=many", "whole number"),
        ("em.rounds=3", "unknown key"),
    ],
)
def test_mistakes_in_words_stop_before_any_work(home, word, message):
    home.put("a.png", colourful())
    with pytest.raises(ConfigError, match=message):
        home.apply(word)
    assert not home.out.exists()


def test_folders_and_noise_that_are_not_there(home, tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        apply_command([f"noise={home.noise_path}", f"images={tmp_path / 'no'}", f"out={home.out}"])
    with pytest.raises(ConfigError, match="the folder holds no file"):
        home.apply()
    with pytest.raises(DataError, match="no noise file"):
        apply_command([f"noise={tmp_path / 'no'}", f"images={home.images}", f"out={home.out}"])


def test_the_page_for_people_says_what_the_commands_do(home, monkeypatch):
    """Its lines for ``apply`` run as they stand, those for ``noise`` name keys that exist."""
    page = (Path(__file__).parents[2] / "docs" / "protecting_pictures.md").read_text()
    lines = [line.split() for line in page.splitlines() if line.startswith("       ue-bench ")]
    assert [line[1] for line in lines] == ["noise", "export", "noise", "apply"]
    for line in lines[:3]:
        assert {word.split("=")[0] for word in line[2:]} <= set(EXPORT if line[1] == "export" else NOISE)
    home.put("a.png", colourful())
    monkeypatch.chdir(home.images.parent)
    home.noise_path.rename("noise.safetensors")
    assert apply_command(lines[3][2:]) == 0 and Path("protected/a.png").is_file()
    for key in APPLY:
        assert f"{key}=" in page, key


def test_a_caption_with_another_extension_is_told(home):
    """Cameras write JPG, programs jpg: the row says what would fit."""
    home.make_noise("a.png", "b.JPG")
    home.put("a.png", colourful())
    home.put("b.jpeg", encode(colourful(), "JPEG"))
    assert "say match=stem" in home.apply(status=1)["b.jpeg"][WHY]


def test_a_persons_own_report_is_not_replaced(home):
    home.put("a.png", colourful())
    home.out.mkdir()
    (home.out / REPORT).write_text("month,amount\nMay,12\n")
    with pytest.raises(
        ConfigError, match=r"report\.csv already exists and is not a report of ue-bench apply"
    ):
        home.apply()
    assert (home.out / REPORT).read_text() == "month,amount\nMay,12\n" and not (home.out / "a.png").exists()
    assert home.apply("overwrite=true")["a.png"]["status"] == "written"
    assert home.apply()["a.png"]["status"] == "skipped", "a report of an earlier run is replaced"


@pytest.mark.parametrize("place", ["pictures/deep", "elsewhere"])
def test_a_link_in_the_folder_written_to_leads_nowhere_else(home, tmp_path, place):
    home.make_noise("deep/a.jpg", "b.png")
    home.put("deep/a.jpg", encode(colourful(), "JPEG"))
    home.put("b.png", colourful())
    home.out.mkdir()
    (tmp_path / place).mkdir(exist_ok=True)
    (home.out / "deep").symlink_to(tmp_path / place)
    before = sorted(os.listdir(tmp_path / place))
    for words in ((), ("overwrite=true", "inside=true")):
        rows = home.apply(*words, status=1)
        assert "a link in out leads to" in rows["deep/a.jpg"][WHY] and place in rows["deep/a.jpg"][WHY]
        assert rows["b.png"]["status"] in ("written", "skipped")
        assert sorted(os.listdir(tmp_path / place)) == before


def test_nothing_is_written_beside_a_source_that_is_reached_by_a_link(home, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_bytes(encode(colourful(), "JPEG"))
    (home.images / "a.jpg").symlink_to(tmp_path / "out" / "a.jpg")
    home.make_noise("a.jpg")
    assert "beside a source" in home.apply(status=1)["a.jpg"][WHY]
    assert not (home.out / "a.png").exists()
    assert home.apply("inside=true")["a.jpg"]["status"] == "written"


def test_the_report_holds_no_formula(home):
    home.put("a.png", colourful())
    for start in "=+-@ ":
        home.put(f"{start}=HYPERLINK(1).txt", b"x")
    home.put("two  spaces.txt", b"x")
    names = list(home.apply())
    assert not [name for name in names if name.lstrip().startswith(("=", "+", "-", "@"))]
    assert len(names) == 7 and "'==HYPERLINK(1).txt" in names and "two  spaces.txt" in names
