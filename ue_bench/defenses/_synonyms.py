"""Synonyms from WordNet, or from a small table of ours where WordNet is absent."""

from __future__ import annotations

import functools
import re

from ue_bench.errors import ConfigError

# Groups of synonyms that occur in captions of photographs, written for this project.
_GROUPS = """
man fellow gentleman guy; woman lady; boy lad; girl lass; child kid youngster; children kids youngsters
baby infant; people folks persons; person individual; crowd throng; group bunch cluster; dog hound
puppy pup; dogs hounds; cat kitty; bird fowl; horse steed; bike bicycle; motorcycle motorbike
car automobile; truck lorry; street road; path trail track; sidewalk pavement; mountain peak; hill slope
rock stone; rocks stones; cliff bluff; forest woods; field meadow; grass lawn; beach shore; ocean sea
lake pond; river stream; water liquid; snow powder; sky heavens; sun sunlight; building structure
house home; room chamber; stairs steps; couch sofa; shirt top; coat jacket; hat cap; pants trousers
sneakers trainers; ball sphere; toy plaything; photo picture photograph; stick branch; rope cord
fence barrier; bench seat; boat vessel; big large huge; small little tiny; young youthful
old elderly aged; happy glad cheerful; sad unhappy; fast quick swift; slow sluggish
pretty lovely beautiful; wet damp soaked; dry arid; dirty muddy soiled; red crimson scarlet; blue azure
green emerald; yellow golden; white ivory; black ebony; brown tan; gray grey; colorful bright vivid
dark dim; runs races dashes; run race dash; running racing dashing; walks strolls; walk stroll
walking strolling; jumps leaps hops; jump leap hop; jumping leaping hopping; sits rests; sitting resting
stands poses; standing posing; looks gazes stares; looking gazing staring; watches observes
watching observing; smiles grins; smiling grinning; laughs chuckles; laughing chuckling
holds grasps grips; holding grasping gripping; carries bears; carrying bearing; throws tosses hurls
throwing tossing hurling; catches grabs; catching grabbing; climbs scales; climbing scaling; plays frolics
playing frolicking; rides travels; talks chats speaks; talking chatting speaking; wears sports
wearing sporting; near beside; across over
"""


@functools.cache
def synonyms(word: str, source: str) -> tuple[str, ...]:
    """Synonyms of ``word`` (lower-case letters and spaces), the most common first; empty if the source has none.

    Args:
        source: ``wordnet`` (Princeton WordNet through NLTK) or ``builtin`` (some 150 words of captions).

    Raises:
        ConfigError: if ``source`` is ``wordnet`` and WordNet is absent.
    """
    if source == "builtin":
        return _builtin().get(word, ())
    found: dict[str, None] = {}
    for meaning in _wordnet().synsets(word):
        for lemma in meaning.lemmas():
            text = re.sub(r"[^a-z ]", "", re.sub(r"[_-]", " ", lemma.name()).lower()).strip()
            if text and text != word:
                found[text] = None
    return tuple(found)


def lacking(source: str) -> str:
    """Why this machine cannot use the source; "" if it can."""
    if source == "wordnet":
        try:
            _wordnet()
        except ConfigError as error:
            return str(error)
    return ""


@functools.cache
def _builtin() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for group in re.split(r"[;\n]", _GROUPS):
        words = group.split()
        for word in words:
            table.setdefault(word, tuple(other for other in words if other != word))
    return table


@functools.cache
def _wordnet():
    try:
        from nltk.corpus import wordnet

        wordnet.synsets("word")
    except ImportError:
        problem = "the package nltk is not installed: pip install 'ue-bench[text]'"
    except LookupError:
        problem = "NLTK has no WordNet data here: python -m nltk.downloader wordnet"
    else:
        return wordnet
    raise ConfigError(
        f"{problem}; or say random_insertion.synonyms=builtin (or synonym_replacement.synonyms=builtin) for the "
        "small table that comes with ue-bench"
    )
