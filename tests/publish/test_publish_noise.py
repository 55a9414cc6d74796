"""Noise made where the pictures are not: from captions alone, kept in one file."""

from __future__ import annotations

import json

import pytest
import safetensors
import torch

from ue_bench import Access, ProtectorView
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import AccessError, ConfigError, DataError, PerturbationError, StoreError
from ue_bench.publish.captions import Matcher, read_captions
from ue_bench.publish.commands import export_command, noise_command
from ue_bench.publish.noise import read_noise

CAPTIONS = "image,caption\na.jpg,a dog\nsub/b.png,a cat\na.jpg,a brown dog\n"
WORDY = '''"""Noise from letters."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from ue_bench import Access, Budget, Method, Perturbation


@dataclass(frozen=True)
class Wordy(Method):
    """Noise drawn from a caption's letters, through what it prepares."""

    granularity: str = "GRANULARITY"  # image or pair
    failure: str = ""  # look, over, triggers
    shift: int = 0  # of letters

    access = Access.CAPTIONS
    paradigms = frozenset({"contrastive"})
    granularities = ("class", "image", "pair")
    presets = {"smoke": {"shift": 1, "granularity": "pair"}}

    def prepare(self, context):
        with open(Path(__file__).with_name("prepared.txt"), "a") as file:
            file.write("once ")
        return {"sign": torch.tensor([-1], dtype=torch.int8)}

    def protect(self, view, context):
        if self.failure == "look":
            view.images
        rows = view.rows(self.granularity)
        texts = [each[0] for each in view.captions]
        if self.granularity == "pair":
            texts = list(view.example_captions)
        noise = torch.stack([self._draw(text, view.image_size) for text in texts]) * context.prepared["sign"]
        triggers = tuple("x" for _ in rows) if self.failure == "triggers" else None
        noise = noise * 2 if self.failure == "over" else noise
        return Perturbation(noise, rows, self.budget, triggers)

    def _draw(self, text, size):
        generator = torch.Generator().manual_seed(int(hashlib.sha256(text[self.shift :].encode()).hexdigest()[:8], 16))
        return (torch.randint(0, 2, (3, *size), generator=generator) * 16 - 8).to(torch.int8)
'''


@pytest.fixture
def make(tmp_path, monkeypatch):
    """(method, words) -> the noise made from CAPTIONS in ``tmp_path``, where the toy method lies too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.csv").write_text(CAPTIONS)
    for name, granularity in (("wordy", "image"), ("classy", "class")):
        (tmp_path / f"{name}.py").write_text(WORDY.replace("GRANULARITY", granularity))

    def call(method: str = "random", *words: str):
        given = dict(word.split("=", 1) for word in words)
        given = {"captions": "captions.csv", "size": "10x8", "out": "n.safetensors", "store": "store"} | given
        if (tmp_path / f"{method}.py").exists():
            given["plugins"] = f"{tmp_path}/{method}.py"
        assert noise_command([f"method={method}", *(f"{k}={v}" for k, v in given.items())]) == 0
        return read_noise(tmp_path / given["out"])

    return call


def test_one_noise_a_picture_with_all_that_is_known_about_it(make, tmp_path, capsys):
    noise = make("random", "seed=3")
    assert noise.names == ("a.jpg", "sub/b.png")
    assert noise.noise.dtype == torch.int8 and noise.noise.shape == (2, 3, 10, 8)
    assert set(noise.noise.unique().tolist()) == {-8, 8} and str(noise.budget) == "Linf 8/255"
    with safetensors.safe_open(tmp_path / "n.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["facts"])
    assert header["method"]["parameters"]["distribution"] == "sign" and header["seed"] == 3
    assert header["image_size"] == [10, 8] and "torch" in header["versions"] and header["checksum"]
    assert "dog" not in (tmp_path / "n.safetensors").read_bytes().decode("latin-1"), "captions stay at home"
    printed = capsys.readouterr().out
    assert "ue-bench apply noise=n.safetensors" in printed and "control" in printed, (
        "says what random noise is"
    )
    assert not (tmp_path / "store").exists()


def test_the_same_words_give_the_same_noise_and_a_second_run_does_nothing(make, tmp_path, capsys):
    first = make("random").noise.clone()
    written = (tmp_path / "n.safetensors").stat().st_mtime_ns
    make("random")
    assert (tmp_path / "n.safetensors").stat().st_mtime_ns == written
    assert "already exists and is intact" in capsys.readouterr().out
    assert torch.equal(make("random", "out=again.safetensors").noise, first)
    assert not torch.equal(make("random", "out=other.safetensors", "seed=1").noise, first)
    with pytest.raises(ConfigError, match="holds other noise"):
        make("random", "seed=1")
    assert not torch.equal(make("random", "seed=1", "overwrite=true").noise, first)


def test_parameters_and_epsilon_reach_the_method(make):
    assert make("random", "random.distribution=uniform").noise.unique().numel() > 2
    assert make("random", "epsilon=4/255", "out=e.safetensors").noise.abs().max() == 4
    assert make("random", "random.budget=linf:200", "out=w.safetensors").noise.dtype == torch.int16


def test_noise_follows_the_first_caption_and_what_is_prepared_is_made_once(make, tmp_path):
    noise = make("wordy").noise
    (tmp_path / "captions.csv").write_text("image,caption\nsub/b.png,a cat\na.jpg,a dog\n")
    turned = make("wordy", "out=t.safetensors")
    assert turned.names == ("sub/b.png", "a.jpg") and torch.equal(turned.noise, noise[[1, 0]])
    assert (tmp_path / "prepared.txt").read_text() == "once ", "the store keeps it for any captions"


def test_a_profile_sets_what_the_method_says_it_does(make, capsys):
    assert make("wordy", "profile=smoke").facts["method"]["parameters"]["shift"] == 1
    printed = capsys.readouterr().out
    assert "by wordy (shift=1): Noise drawn from a caption's letters" in printed
    assert (
        "ONLY A DEMONSTRATION, which most likely protects nothing: shift below the paper's settings"
        in printed
    )
    assert make("wordy", "profile=paper", "out=p.safetensors").facts["method"]["parameters"]["shift"] == 0
    assert "TRIAL" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match="unknown profile of method 'wordy' 'smok': did you mean 'smoke'"):
        make("wordy", "profile=smok", "out=q.safetensors")


def test_pair_wise_noise_is_that_of_the_first_caption(make, tmp_path):
    noise = make("wordy").noise
    paired = make("wordy", "wordy.granularity=pair", "out=p.safetensors")
    assert torch.equal(paired.noise, noise)
    assert torch.equal(make("classy", "out=c.safetensors").noise, noise), (
        "one a picture unless told otherwise"
    )


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        ("em", (), r"em must see the pictures; methods that make noise from captions alone: random"),
        ("synper", (), "needs labels, which captions do not give"),
        ("clean", (), "makes no noise"),
        ("uc", (), "must see the pictures"),
        ("classy", ("classy.granularity=class",), "gives several pictures one noise"),
        ("random", ("random.budget=linf:0",), "above 0"),
        ("randm", (), "did you mean 'random'"),
        ("random", ("random.distributon=sign",), "did you mean 'distribution'"),
        ("random", ("em.rounds=3",), "random.rounds="),
        ("random", ("sede=3",), "did you mean 'seed'"),
        ("random", ("size=7",), "8 to 4096"),
        ("random", ("size=64x",), "HEIGHTxWIDTH"),
        ("random", ("seed=three",), "whole number"),
        ("random", ("out=noise",), "noise.safetensors"),
        ("random", ("overwrite=yes",), "true or false"),
        ("random", ("device=gpu",), "unknown device"),
        ("wordy", ("wordy.failure=triggers",), "words before captions"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(make, tmp_path, method, words, message):
    with pytest.raises(ConfigError, match=message):
        make(method, *words)
    assert not list(tmp_path.glob("*.safetensors"))


def test_words_are_read_as_they_are_typed(make, tmp_path):
    for words, message in [
        (["method=random"], "captions= is missing"),
        (["size"], "settings read key=value"),
        (["size=8", "size=9"], "given twice"),
    ]:
        with pytest.raises(ConfigError, match=message):
            noise_command(words)
    make("random", "out=007.safetensors")
    assert (tmp_path / "007.safetensors").is_file()
    assert noise_command(["method=random", "captions=captions.csv", "store=store"]) == 0
    assert read_noise(tmp_path / "noise.safetensors").facts["image_size"] == [224, 224]


def test_a_method_cannot_reach_what_is_not_there(make):
    with pytest.raises(AccessError, match="reads images"):
        make("wordy", "wordy.failure=look")
    with pytest.raises(PerturbationError, match="over its budget"):
        make("wordy", "wordy.failure=over")


def test_the_view_of_captions_is_that_of_a_data_set_without_its_pictures():
    captions = (("a", "b"), ("c",))
    view = ProtectorView.of_captions(
        captions, (2000, 3000), Access.CAPTIONS | Access.IMAGES | Access.LABELS, "it"
    )
    whole = ProtectorView(
        ImageSet(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), captions=captions),
        Access.CAPTIONS,
        "contrastive",
    )
    assert view.image_size == (2000, 3000) and view.captions == captions and len(view) == 3
    for granularity in ("image", "pair"):
        assert torch.equal(view.rows(granularity), whole.rows(granularity))
    for part in ("images", "labels"):
        with pytest.raises(AccessError, match=f"it needs {part}, but the dataset has none"):
            getattr(view, part)


def test_damaged_and_foreign_files_are_noticed(make, tmp_path):
    make("random")
    path = tmp_path / "n.safetensors"
    whole = path.read_bytes()
    for content, message in [
        (whole[:-10], "damaged"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "checksum"),
        (whole.replace(b"sub/b.png", b"sub/c.png"), "checksum"),
        (b"", "damaged"),
        (b"no noise at all", "damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_noise(path)
    safetensors.torch.save_file({"noise": torch.zeros(1)}, path, {"facts": "{}"})
    with pytest.raises(DataError, match="something else"):
        read_noise(path)
    with pytest.raises(DataError, match="Make one: ue-bench noise"):
        read_noise(tmp_path / "none.safetensors")


def test_a_full_disk_is_named_and_leaves_nothing(make, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ue_bench.trials.store.os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device.*out=FILE"):
        make("random")
    assert not list(tmp_path.glob("n.safetensors*"))


# captions


def test_captions_are_grouped_under_one_spelling_of_a_name(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(
        "image,caption\n./a.jpg,one\nsub\\b.png,two\na.jpg,three\ncafe\u0301.png,four\n", encoding="utf-8"
    )
    found = read_captions(str(path))
    assert found == {"a.jpg": ("one", "three"), "sub/b.png": ("two",), "caf\u00e9.png": ("four",)}


@pytest.mark.parametrize(
    "content",
    [
        'a.jpg,"a dog\nb.jpg,a cat\n',  # open until the end
        'a.jpg,"a dog\nb.jpg,"a cat"\nc.jpg,a cow\n',  # closed by the next row's mark
        'a.jpg,"a dog\nb.jpg,a cat\nc.jpg,a ""cow"""\nd.jpg,a hen\n',  # closed two rows on
        'a.jpg,"a "brown" dog"\nb.jpg,a cat\n',  # not written twice
    ],
)
def test_a_quotation_mark_swallows_no_rows(tmp_path, content):
    path = tmp_path / "c.csv"
    path.write_text("image,caption\n" + content)
    with pytest.raises(DataError, match=r"line 2 \(a quotation mark that is never closed"):
        read_captions(str(path))


def test_captions_of_several_lines_and_quoted_words_are_read(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text('image,caption\na.jpg,"a ""brown"" dog,\non grass, in the sun"\nb.jpg,a 6" cat\n')
    assert read_captions(str(path)) == {
        "a.jpg": ('a "brown" dog,\non grass, in the sun',),
        "b.jpg": ('a 6" cat',),
    }


def test_every_bad_line_of_captions_is_named(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("image,caption\n/abs/a.jpg,one\n../b.png,two\nC:\\c.png,three\nd.png,\nok.png,five\n")
    with pytest.raises(DataError, match=r"4 of 5 rows .*line 5 .*line 2 .*line 3 .*line 4"):
        read_captions(str(path))
    path.write_text("picture,words\na.jpg,one\n")
    with pytest.raises(DataError, match="no column of images"):
        read_captions(str(path))
    with pytest.raises(DataError, match="no file"):
        read_captions(str(tmp_path / "nowhere.csv"))


def test_files_find_their_noise_by_name_or_by_stem():
    names = ("a.jpg", "sub/a.jpg", "b.jpg", "b.png", "caf\u00e9.png")
    by_name, by_stem = Matcher(names, "name"), Matcher(names, "stem")
    assert by_name.find("sub/a.jpg") == [1] and by_name.find("a.png") == [] and by_name.find("A.jpg") == []
    assert by_stem.find("a.png") == [0] and by_stem.find("b.png") == [3] and by_stem.find("b.webp") == [2, 3]
    assert by_name.find("cafe\u0301.png") == [4], "macOS spells accents as two characters"


def test_what_is_prepared_travels_as_one_file(make, tmp_path, capsys):
    """Trained where the GPU is, used where the captions are: nothing is trained twice."""
    noise = make("wordy", "seed=4", "profile=smoke", "wordy.granularity=image").noise
    words = ["method=wordy", "out=wordy.safetensors", "store=store"]
    assert export_command(words) == 0
    assert "ue-bench noise method=wordy prepared=wordy.safetensors" in capsys.readouterr().out
    elsewhere = make("wordy", "prepared=wordy.safetensors", "store=elsewhere", "out=e.safetensors")
    assert torch.equal(elsewhere.noise, noise), "its settings and its seed travel with it"
    assert (tmp_path / "prepared.txt").read_text() == "once "
    with pytest.raises(ConfigError, match="already exists"):
        export_command(words)
    with pytest.raises(ConfigError, match=r"does not fit.*shift=7 \(prepared: 1\)"):
        make("wordy", "prepared=wordy.safetensors", "wordy.shift=7", "store=elsewhere", "out=f.safetensors")
    again = ("prepared=wordy.safetensors", "store=elsewhere", "out=f.safetensors")
    with pytest.raises(ConfigError, match="seed=5, but prepared=wordy.safetensors was made with seed 4"):
        make("wordy", *again, "seed=5")
    with pytest.raises(ConfigError, match="profile=garbage cannot change what has been prepared"):
        make("wordy", *again, "profile=garbage")
    (tmp_path / "wordy.bak").write_text("not what lies beside it")
    with pytest.raises(DataError, match=r"wordy\.bak' was not written by ue-bench export"):
        make("wordy", "prepared=wordy.bak", "store=elsewhere", "out=f.safetensors")
    make("wordy", "seed=5", "out=g.safetensors")
    with pytest.raises(ConfigError, match="several things.*key=.*seed 4.*key="):
        export_command(["method=wordy", "out=h.safetensors", "store=store"])
    with pytest.raises(ConfigError, match="has prepared nothing"):
        export_command(["method=wordy", "out=h.safetensors", "store=empty"])
    with pytest.raises(ConfigError, match="was prepared by wordy, seed 4.*not by random"):
        make("random", "prepared=wordy.safetensors", "out=i.safetensors")
    content = bytearray((tmp_path / "wordy.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "wordy.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        make("wordy", "prepared=wordy.safetensors", "out=j.safetensors")


def test_a_costly_preparation_is_not_made_unasked_and_every_way_is_told(make, tmp_path):
    source = (tmp_path / "wordy.py").read_text()
    costs = '    preparations = {"smoke": "a second", "paper": "a day"}\n'
    (tmp_path / "costly.py").write_text(source.replace("    presets =", f"{costs}    presets ="))
    with pytest.raises(ConfigError) as told:
        make("costly")
    lines = str(told.value).splitlines()
    assert "Nothing was downloaded or trained" in lines[0] and lines[1] == "  profile=smoke: a second"
    assert lines[2].startswith("      ue-bench noise method=costly captions=captions.csv size=10x8")
    assert lines[2].endswith(" profile=smoke") and lines[3] == "  profile=paper: a day"
    assert not (tmp_path / "prepared.txt").exists() and not (tmp_path / "store").exists()
    with pytest.raises(ConfigError, match="Nothing was downloaded or trained"):
        noise_command(["method=costly", "captions=captions.csv", "plugins=costly.py"])
    make("costly", "profile=smoke")
    with pytest.raises(
        ConfigError, match=r"profile=smoke: is in the store already .*seed 0, learned from no data"
    ):
        make("costly", "out=o.safetensors")
    with pytest.raises(ConfigError, match=r"prepared with other settings: costly, seed 0.*\n.*export .*key="):
        make("costly", "out=o.safetensors", "seed=1")
    assert (tmp_path / "prepared.txt").read_text() == "once "
    make("costly", "profile=paper", "out=o.safetensors")
    make("costly", "out=p.safetensors")  # at the paper's settings it is prepared now
    assert (tmp_path / "prepared.txt").read_text() == "once once "
