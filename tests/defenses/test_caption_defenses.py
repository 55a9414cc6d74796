"""Defenses that edit captions (text_defenses.md, section 2)."""

from __future__ import annotations

import sys

import pytest
import torch
from paired import small_clip

from ue_bench.defenses import _synonyms
from ue_bench.defenses._synonyms import synonyms
from ue_bench.defenses._words import STOP_WORDS, edits, words_of
from ue_bench.defenses.prepend import Prepend
from ue_bench.defenses.random_deletion import RandomDeletion
from ue_bench.defenses.random_insertion import RandomInsertion
from ue_bench.defenses.random_swap import RandomSwap
from ue_bench.defenses.retokenise import Retokenise
from ue_bench.defenses.shuffle_words import ShuffleWords
from ue_bench.defenses.strip_prefix import StripPrefix
from ue_bench.defenses.synonym_replacement import SynonymReplacement
from ue_bench.errors import ConfigError
from ue_bench.training.pairs import PairBatches, Pairs

CAPTION = "a small dog runs across the green field near a tall fence"  # 12 words
EDITS = [
    SynonymReplacement(synonyms="builtin"),
    RandomInsertion(synonyms="builtin"),
    RandomSwap(),
    RandomDeletion(),
    ShuffleWords(),
]


def after(defense, *captions: str, seed: int = 0) -> list[str]:
    return defense.captions(list(captions or [CAPTION]), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("defense", EDITS, ids=lambda d: type(d).__name__)
def test_edits_follow_the_generator_and_are_fresh_for_every_caption(defense):
    many = after(defense, *[CAPTION] * 60)
    assert many == after(defense, *[CAPTION] * 60)
    assert len(many) == 60 and len(set(many)) > 3
    assert many != after(defense, *[CAPTION] * 60, seed=1)
    state = torch.random.get_rng_state()
    after(defense)
    assert torch.equal(state, torch.random.get_rng_state()), "nothing is drawn from global state"


def test_cleaning_is_edas():
    assert words_of("A well-dressed man's DOG, no. 5!", True) == ["a", "well", "dressed", "mans", "dog", "no"]
    assert words_of("A  dog, no. 5!", False) == ["A", "dog,", "no.", "5!"]
    assert len(STOP_WORDS) == 127


def test_how_many_words_are_edited():
    assert [edits(0.1, ["w"] * n) for n in (1, 9, 10, 19, 20)] == [1, 1, 1, 1, 2]
    assert edits(0, ["w"] * 20) == 0 == edits(0.5, [])


@pytest.mark.parametrize("kind", [SynonymReplacement, RandomInsertion, RandomSwap])
def test_alpha_zero_is_the_identity(kind):
    assert after(kind(alpha=0), "A dog's day, No. 1") == ["A dog's day, No. 1"]
    with pytest.raises(ConfigError, match="alpha must be in the range 0 to 1"):
        kind(alpha=1.5)


def test_synonyms_replace_every_occurrence_and_keep_the_count():
    assert set(after(SynonymReplacement(synonyms="builtin"), *["dog and dog"] * 8)) == {"hound and hound"}
    for caption in after(SynonymReplacement(alpha=0.3, synonyms="builtin"), *[CAPTION] * 20):
        changed = [(a, b) for a, b in zip(CAPTION.split(), caption.split(), strict=True) if a != b]
        assert len(changed) == 3 and all(b in synonyms(a, "builtin") for a, b in changed)
        assert not any(a in STOP_WORDS for a, _ in changed)
    assert after(SynonymReplacement(synonyms="builtin"), "xylophone quux") == ["xylophone quux"]


def test_insertion_adds_a_synonym_of_a_word_and_keeps_the_others():
    for caption in after(RandomInsertion(alpha=0.2, synonyms="builtin"), *[CAPTION] * 20):
        words = caption.split()
        assert len(words) == 14
        rest = list(words)
        for word in CAPTION.split():
            rest.remove(word)
        assert all(any(synonyms(w, "builtin")[:1] == (r,) for w in words) for r in rest)
    assert after(RandomInsertion(synonyms="builtin"), "quux") == ["quux"], "no synonym, no insertion"


def test_swap_keeps_the_words_and_moves_two():
    before = ["one", "two", "three", "four", "five", "six"]
    for adjacent in (False, True):
        for caption in after(RandomSwap(adjacent=adjacent), *[" ".join(before)] * 30):
            words = caption.split()
            moved = [n for n in range(6) if before[n] != words[n]]
            assert sorted(words) == sorted(before) and len(moved) == 2
            assert not adjacent or moved[1] == moved[0] + 1
    assert after(RandomSwap(), "alone") == ["alone"]


def test_deletion_drops_about_its_share_and_never_all():
    assert after(RandomDeletion(probability=0)) == [CAPTION]
    assert all(c in CAPTION.split() for c in after(RandomDeletion(probability=1), *[CAPTION] * 10))
    assert after(RandomDeletion(probability=1), "alone") == ["alone"]
    left = sum(len(c.split()) for c in after(RandomDeletion(), *[CAPTION] * 500))
    assert abs(left / 6000 - 0.9) < 0.015, "four standard deviations of 6000 draws"


def test_triggers_in_front_are_seldom_touched():
    """Sheet, section 2: why these edits leave MEM alone, and what does not."""
    marked = "zeta yota xeno " + CAPTION
    whole = {
        type(d).__name__: sum(c.startswith("zeta yota xeno ") for c in after(d, *[marked] * 400))
        for d in EDITS
    }
    assert 0.6 < whole["RandomSwap"] / 400 < 0.72
    assert 0.68 < whole["RandomDeletion"] / 400 < 0.79, "0.9 cubed"
    assert 0.73 < whole["RandomInsertion"] / 400 < 0.87
    assert whole["SynonymReplacement"] == 400, "no trigger word is in the table"
    assert whole["ShuffleWords"] < 8
    assert after(StripPrefix(words=3), marked) == [CAPTION]
    assert after(Prepend(), marked) == ["a photo of " + marked]


def test_retokenised_captions_keep_their_words_and_lose_a_triggers_ids():
    model = small_clip()
    texts = ["A dog's day, No. 1", "a red horse", "a small cat", "7"]
    ids = torch.tensor(
        [[0, 0, 0]] * 4
    )  # "!" inside a word: three marks, of which the encoding makes one token
    pairs = Pairs(
        torch.zeros(4, 3, 32, 32, dtype=torch.uint8),
        torch.arange(4),
        tuple(texts),
        noise=torch.zeros(4, 3, 32, 32, dtype=torch.int8),
        rows=torch.arange(4),
        protected=torch.tensor([True, True, False, True]),
        trigger_tokens=ids,
    )
    shown = {}
    for clean in (True, False):
        batches = PairBatches(pairs, model, 4, torch.device("cpu"), 0, Retokenise(clean=clean))
        assert torch.equal(batches.tokens[0, 1:4], ids[0]), "without a defense the ids are read"
        words = [" ".join(words_of(text, clean)) or text for text in batches.captions]
        shown[clean] = batches.take(torch.arange(4))[1]
        wanted = model.tokenize(words)
        assert torch.equal(shown[clean], wanted[:, : shown[clean].shape[1]])
        assert not torch.equal(shown[clean][1, 1:4], ids[1])
    assert torch.equal(shown[True][2, :5], shown[False][2, :5]), "plain words are the same either way"


def test_strip_prefix_leaves_a_word():
    assert after(StripPrefix(words=3), "only two", "one two three four") == ["two", "four"]
    for bad in (
        lambda: StripPrefix(words=0),
        lambda: Prepend(text=" "),
        lambda: RandomDeletion(probability=2),
    ):
        with pytest.raises(ConfigError, match="must (be|hold)"):
            bad()


def test_wordnet_that_is_absent_is_an_error_that_says_what_to_do(monkeypatch):
    for name in ("nltk", "nltk.corpus"):
        monkeypatch.setitem(sys.modules, name, None)
    _synonyms._wordnet.cache_clear()
    synonyms.cache_clear()
    with pytest.raises(ConfigError, match="synonyms=builtin"):
        after(SynonymReplacement())
    for kind in (SynonymReplacement, RandomInsertion):
        assert "pip install 'ue-bench[text]'" in kind().unavailable(), "the plan tells it before any work"
        assert kind(synonyms="builtin").unavailable() == "" == kind(alpha=0).unavailable()
    with pytest.raises(ConfigError, match="builtin, wordnet"):
        SynonymReplacement(synonyms="thesaurus")


def test_wordnets_words_are_cleaned(monkeypatch):
    class Lemma:
        def __init__(self, name):
            self.name = lambda: name

    class Meaning:
        lemmas = staticmethod(
            lambda: [Lemma("dog"), Lemma("domestic_dog"), Lemma("Canis-familiaris"), Lemma("dog")]
        )

    class WordNet:
        synsets = staticmethod(lambda word: [Meaning()])

    synonyms.cache_clear()
    monkeypatch.setattr(_synonyms, "_wordnet", WordNet)
    assert SynonymReplacement().unavailable() == "" == RandomInsertion().unavailable()
    assert synonyms("dog", "wordnet") == ("domestic dog", "canis familiaris")
    synonyms.cache_clear()
