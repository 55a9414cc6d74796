"""Makes a configuration, and the registry of content that it may name, from the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence

from ue_bench.config import Config, compose, parse_words, read_suite
from ue_bench.errors import ConfigError
from ue_bench.registry import Registry
from ue_bench.training.recipe import CONTRASTIVE_PRESETS, PRESETS
from ue_bench.words import read_plugins, split_words

KINDS = ("methods", "victims", "defenses", "datasets")


def configure(words: Sequence[str]) -> tuple[Config, Registry]:
    """The run that ``suite=NAME key=value ...`` asks for, and the content that it may name.

    Raises:
        ConfigError: for a word that cannot be read, and a key, name or value that does not exist; it names the
            nearest ones.
    """
    typed = split_words(words)
    registry = Registry(read_plugins(typed.get("plugins", "")))
    if not typed.get("suite"):
        raise ConfigError(f"which suite? Say suite=NAME: {', '.join(registry.names('suites'))}")
    entry = registry.find("suites", typed["suite"])
    types = registry.parameters()
    given = parse_words(words, [key for key, annotation in types.items() if annotation == "str"])
    names = [name for kind in KINDS for name in registry.names(kind)]
    fields = {name for presets in (PRESETS, CONTRASTIVE_PRESETS) for name in vars(presets["standard"])}
    inner = [*(f"recipe.{name}" for name in sorted(fields)), *types]
    return compose(entry.name, read_suite(entry.path), given, names, inner), registry
