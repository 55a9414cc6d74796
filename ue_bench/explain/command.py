"""The command ``explain``: key=value words in, pictures and an exit status out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ue_bench.errors import ConfigError, UEBenchError
from ue_bench.explain.attention import draw_attention
from ue_bench.explain.cards import draw_cards
from ue_bench.explain.curves import draw_curves, find_control
from ue_bench.explain.features import draw_features
from ue_bench.explain.subject import find_record, load_subject
from ue_bench.explain.victim import recover_clean, recover_victim
from ue_bench.progress import choose_progress
from ue_bench.report.figures.style import Drawn
from ue_bench.text import visible
from ue_bench.threads import set_threads
from ue_bench.trials.environment import Environment
from ue_bench.words import read_plugins, read_whole, read_words

WORDS = {"trial": "", "store": "runs", "out": "", "count": "6", "device": "auto", "plugins": ""}
USAGE = "ue-bench explain trial=ID [store=DIR out=DIR count=6 device=auto plugins=[...]]"
MOST = 24  # the most examples that are shown one by one


def explain_command(words: Sequence[str]) -> int:
    """Draws the figures that explain one trial: features, curves, cards, attention.

    The words are ``trial=ID``, a trial's id or the beginning of it, and optionally ``store= out= count= device=
    plugins=``. The trial's victim and that of its clean control are taken from the store, or trained again and kept
    there.

    Returns:
        0 if every figure that this trial can have is written; 1 if some are not, each named with its reason. A
        mistake raises UEBenchError.
    """
    given = read_words(words, WORDS, ("trial",), USAGE)
    count = read_whole(given, "count", least=1, most=MOST)
    environment = Environment(given["store"], given["device"], read_plugins(given["plugins"]))
    device = environment.find_device()
    store = environment.open_store()
    record = find_record(store, given["trial"])
    threads = record["config"].get("threads", 1) if device.type == "cpu" else 1
    environment = dataclasses.replace(environment, threads=threads)
    set_threads(threads)
    folder = Path(given["out"] or f"explained/{record['id']}").expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out={given['out']} is a file: name a folder")
    subject = load_subject(record, environment)
    print(visible(f"trial {record['id']}: {subject.title}"))
    model, origin = recover_victim(subject, environment, choose_progress())
    print(visible(origin))
    control = find_control(store, record)
    clean, lack, origin = recover_clean(record, control, environment, choose_progress())
    print(visible(origin))
    failed = False
    pictures: dict[str, Callable[[], Drawn]] = {
        "features": lambda: draw_features(subject, model, folder, clean, lack),
        "curves": lambda: draw_curves(record, control, folder),
        "cards": lambda: draw_cards(subject, model, folder, count),
        "attention": lambda: draw_attention(subject, model, folder, count),
    }
    for name, draw in pictures.items():
        try:
            print(draw())
        except UEBenchError as error:
            failed = True
            print(Drawn(name, problem=str(error)))
    return 1 if failed else 0
