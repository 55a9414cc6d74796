"""Faces with names, one test photograph a person (MEM, section 5.4)."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from ue_bench.datasets.faces import TEMPLATES, Faces
from ue_bench.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    """Three people with four, two and one photographs, each of a flat colour of its own."""
    shade = 0
    for person, count in (("Ada_Bell", 4), ("Carl_Dunn", 2), ("Eve_Fox", 1)):
        (tmp_path / person).mkdir()
        for number in range(count):
            shade += 20
            Image.fromarray(np.full((20, 24, 3), shade, np.uint8)).save(tmp_path / person / f"{number}.png")
    return tmp_path


def test_one_photograph_of_each_person_is_kept_for_the_test(folder):
    split = Faces(path=str(folder)).load(16)
    assert (len(split.train), len(split.test)) == (4, 2), "Eve has one photograph only and takes no part"
    assert sorted(split.test.labels.tolist()) == [0, 1] and sorted(split.train.labels.tolist()) == [
        0,
        0,
        0,
        1,
    ]
    shades = [set(part.images[:, 0, 0, 0].tolist()) for part in (split.train, split.test)]
    assert not shades[0] & shades[1] and shades[0] | shades[1] == {20, 40, 60, 80, 100, 120}
    again = Faces(path=str(folder)).load(16)
    assert again.train.fingerprint == split.train.fingerprint
    others = {Faces(path=str(folder), seed=seed).load(16).test.fingerprint for seed in range(6)}
    assert len(others) > 1


def test_people_get_new_names_unless_told_otherwise(folder):
    split = Faces(path=str(folder)).load(16)
    first, second = split.train.class_names
    assert first != second and not {"Ada", "Bell", "Carl", "Dunn"} & {*first.split(), *second.split()}
    assert {texts[0] for texts in split.test.captions} == {f"a photo of {first}", f"a photo of {second}"}
    assert all(
        texts[0].replace(first, "{}").replace(second, "{}") in TEMPLATES for texts in split.train.captions
    )
    assert Faces(path=str(folder), rename=False).load(16).train.class_names == ("Ada Bell", "Carl Dunn")
    faces = Faces(path=str(folder))
    assert len({faces._name(number, "") for number in range(500)}) == 500
    assert faces.label() == "Faces (2 people, renamed)"


def test_lfw_is_looked_for_where_data_lie(folder, monkeypatch, tmp_path_factory):
    monkeypatch.delenv("UE_BENCH_DATA", raising=False)
    with pytest.raises(DataError, match=r"set faces\.path=.*lfw_funneled/.*UE_BENCH_DATA"):
        Faces().load(16)
    root = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("UE_BENCH_DATA", str(root))
    with pytest.raises(DataError, match=r"set faces\.path=.*lfw_funneled/.*UE_BENCH_DATA"):
        Faces().load(16)
    (folder / "pairs_01.txt").write_text("the archive has such lists")
    wanted = Faces(path=str(folder)).load(16).train.fingerprint
    for name in ("lfw", "lfw_funneled", "lfw-py/lfw_funneled"):
        shutil.copytree(folder, root / name)
        assert Faces()._folder().train == str(root / name), "what comes first in the list is taken"
        assert Faces().load(16).train.fingerprint == wanted


def test_a_wrong_folder_is_told_in_its_own_words(folder):
    loose = folder / "Ada_Bell"
    for path, problem in ((folder / "nowhere", "there is no folder"), (loose, "outside of a class's folder")):
        with pytest.raises(DataError, match=rf"{problem}.*FOLDER/PERSON/\*\.jpg: set faces\.path") as error:
            Faces(path=str(path)).load(16)
        assert "train=" not in str(error.value) and "test=" not in str(error.value)
    (folder / "Ada_Bell" / "notes.pdf").write_text("")
    with pytest.raises(DataError, match="not images.*move them away$"):
        Faces(path=str(folder)).load(16)


def test_people_and_photographs_can_be_few(folder):
    with pytest.raises(DataError, match="1 of 3 people have 3 photographs"):
        Faces(path=str(folder), least=3).load(16)
    with pytest.raises(DataError, match="2 of 3 people have 2 photographs; 3 are needed"):
        Faces(path=str(folder), people=3).load(16)
    with pytest.raises(ConfigError, match="image_size"):
        Faces(path=str(folder)).load(None)
    with pytest.raises(ConfigError, match="keeps a photograph"):
        Faces(test_photos=2)
    for wrong in (("a face",), ()):
        with pytest.raises(ConfigError, match="where the name goes"):
            Faces(templates=wrong)
