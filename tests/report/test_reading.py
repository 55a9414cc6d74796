"""Tables that people read: what stands in them, how wide they are, what is said in words."""

from __future__ import annotations

import json

import pytest
from reports import CLEAN, RANDOM, SOUND, cells_of, seeds, world
from test_committed import COMMITTED, read
from test_several_metrics import made as retrieval

from ue_bench.report import FORMATS, View, build_report, render
from ue_bench.report.ablations import beyond
from ue_bench.report.display import Text
from ue_bench.report.sheets import Column, Legend, Sheet, arrange


def words(values, **changes):
    text = render(build_report(*world(values, **changes)))
    return next(line for line in text.splitlines() if line.startswith("**In words**")).removeprefix(
        "**In words**: "
    )


def tables(text):
    """The blocks of lines that begin with a bar."""
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    return [cells_of(block) for block in blocks]


def test_what_a_reader_compares_stands_first():
    rows = cells_of(render(build_report(*world(SOUND))))
    assert rows[2] == {
        "method": "mine (image)",
        "accuracy %": "**12.00 ± 2.00**",
        "vs random": "-77.0 [-81.3, -72.7]",  # -78, -78, -75: half width 4.30
        "core time": "18.0 s",  # twice (CPU cores) the 5 s of preparing and the mean, 4 s, of protecting
    }
    assert rows[0] == {"method": "plain", "accuracy %": "92.00 ± 2.00", "vs random": "–", "core time": "–"}
    text = render(build_report(*world(SOUND)))
    assert (
        "of 3 seeds" in text and "dataset tiny, victim net, no defense, ratio 100%, budget Linf 8/255" in text
    )


def test_the_number_of_seeds_is_told_where_it_differs():
    values = [*seeds(CLEAN, [90.0, 92.0, 94.0]), *seeds({}, [10.0, 12.0, None])]
    assert cells_of(render(build_report(*world(values))))[1]["accuracy %"] == "**11.00 ± 1.41** (2 of 3)"


def test_a_budget_is_a_column_only_where_it_varies():
    values = [*SOUND, *seeds({"method": "other", "budget": "L2 1"}, [50.0, 50.0, 50.0])]
    rows = cells_of(render(build_report(*world(values))))
    assert [row["budget"] for row in rows] == ["–", "Linf 8/255", "Linf 8/255", "L2 1"]
    assert rows[3]["vs random"] == "–", "there is no random noise of its budget"


def test_the_worst_column_tells_where_each_row_protects_least():
    """Values that do not count are left out of it."""
    table = {"rows": ["method"], "columns": ["defense"], "metric": "accuracy_last"}
    values = []
    for defense, clean, mine in (("none", 90.0, 12.0), ("jpeg", 85.0, 47.5), ("blur", 20.0, 60.0)):
        values += [*seeds({**CLEAN, "defense": defense}, [clean]), *seeds({"defense": defense}, [mine])]
    rows = cells_of(render(build_report(*world(values, table={**table, "worst": True}))))
    assert [list(row)[-1] for row in rows] == ["worst", "worst"]
    assert [row["worst"] for row in rows] == ["90.00", "47.50"], (
        "below the floor of a clean victim nothing counts"
    )
    assert "worst" not in cells_of(render(build_report(*world(values, table=table))))[0]


def test_retrieval_is_two_tables():
    text = render(retrieval())
    first, second = tables(text)
    assert list(first[0]) == ["method", "Hit@10", "MedR", "Hit@10 vs random", "core time"]
    assert list(second[0]) == ["method", "Hit@10", "Hit@10 vs random"]
    assert text.index("**image to text**") < text.index("**text to image**")
    assert [row["Hit@10"] for row in second] == [
        "9.00 ± 0.00",
        "9.50 ± 0.00",
        "**3.00 ± 0.00**",
        "**3.00 ± 0.00**",
    ]


def test_one_printed_column_named_once_above_the_table():
    text = render(retrieval(published=True))
    (column,) = [head for head in tables(text)[0][0] if head.startswith("printed")]
    assert column == "printed Hit@10/MedR"
    assert [row[column] for row in tables(text)[0]] == ["–", "–", "7.90 / 223.0", "–"]
    assert text.index("printed: T2UE table 2 (flickr8k, RN50), not measured here") < text.index("| method")
    assert text.count("T2UE table 2") == 1


def test_other_sources_stand_below():
    plan, records = read("clip_retrieval_flickr8k", "clip_retrieval")
    text = render(build_report(plan, records, published=True))
    assert "- MEM table 1 prints: clean i2t Hit@10 22.70" in text
    assert "22.70" not in text.partition("- MEM table 1")[0]


def test_long_names_get_keys_and_a_legend():
    long = {"method": "an-endless-name-of-some-method-that-goes-on-and-on"}
    values = [*seeds(CLEAN, [90.0]), *seeds(long, [10.0])]
    values += seeds({"chosen": {"words": ["a long list of words", "none"]}, "poison_ratio": 0.9}, [20.0])
    values += seeds({"chosen": {"words": ["none", "none"]}}, [30.0])
    text = render(build_report(*world(values)))
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 120
    assert "- [a] words=a long list of words" in text
    assert (
        "an-endless-name-of-some-me…[" in text
        and "an-endless-name-of-some-method-that-goes-on-and-on (image)" in text
    )


def test_paths_keep_their_ends():
    values = [*seeds(CLEAN, [90.0])]
    for number, name in enumerate(("first.npy", "second.npy")):
        values += seeds({"method": f"file:/a/long/folder/{name}"}, [10.0 + number])
    text = render(build_report(*world(values)))
    assert "first.npy (image)[a]" in text and "second.npy (image)[b]" in text
    assert "- [a] file:/a/long/folder/first.npy (image)" in text


def test_a_sheet_is_split_where_it_is_too_wide():
    names = (Column("method", (Text("em"),)),)
    values = tuple(Column(f"column {n}", (Text("1"),)) for n in range(5))  # 8 letters each
    parts = arrange([Sheet("title", names, values)], Legend(), 30, gap=3, edge=2)
    assert [[c.heading for c in part.values] for part in parts] == [
        ["column 0", "column 1"],  # 6 + 3 + 8 + 3 + 8 + 2 = 30
        ["column 2", "column 3"],
        ["column 4"],
    ]
    assert [part.title for part in parts] == ["title", "", ""]


@pytest.mark.parametrize("table", COMMITTED, ids=lambda table: f"{table['store']}-{table['suite']}")
@pytest.mark.parametrize("published", [False, True])
def test_no_table_is_wider_than_a_page_or_a_terminal(table, published):
    report = build_report(*read(table["store"], table["suite"]), published)
    lines = [line for line in render(report).splitlines() if line.startswith("|")]
    assert lines and max(len(line) for line in lines) <= 120
    for width in (60, 80, 120):
        for wide in (False, True):
            drawn = render(report, "terminal", View(width=width, wide=wide))
            assert max(len(line) for line in drawn.splitlines()) <= width
            assert "\x1b" not in drawn
    assert "\x1b[1m" in render(report, "terminal", View(colour=True))


def test_details_are_folded():
    values = [*SOUND, *seeds({"method": "b", "reduced": {"rounds": [5, 50]}}, [20.0])]
    report = build_report(*world(values))
    page = render(report)
    shown, folded = page.split("<details>")
    assert "b (image)°" in shown and "° reduced: ran with less" in shown and "rounds 5" not in shown
    assert "- reduced: b (image): rounds 5 (default: 50)" in folded and "torch 2.6.0" in folded
    brief, full = (render(report, "terminal", View(details=details)) for details in (False, True))
    assert "rounds 5" not in brief and "torch 2.6.0" not in brief and "--details" in brief
    assert "rounds 5 (default: 50)" in full and "torch 2.6.0" in full


def test_words_go_by_the_interval_where_there_are_seeds():
    values = [
        *SOUND,
        *seeds({"method": "loose"}, [10.0, 90.0, 20.0]),  # -78, 0, -69: the interval reaches above 0
        *seeds({"method": "tiny"}, [87.0, 89.0, 88.0]),  # -1 each: told apart, but less than a tenth
    ]
    assert words(values) == (
        "mine (image) protects, loose (image) and tiny (image) do not; the controls hold: the clean victim reaches "
        "its floor, random noise of the same budget does no harm."
    )


def test_words_go_by_a_quarter_with_one_seed():
    values = [
        *seeds(CLEAN, [90.0]),
        *seeds(RANDOM, [80.0]),
        *seeds({}, [60.0]),
        *seeds({"method": "b"}, [60.1]),
    ]
    assert words(values).startswith("mine (image) protects, b (image) does not; the controls hold")


def test_words_have_a_verb_where_nothing_protects():
    values = [
        *seeds(CLEAN, [90.0]),
        *seeds(RANDOM, [80.0]),
        *seeds({}, [79.0]),
        *seeds({"method": "b"}, [78.0]),
    ]
    assert words(values).startswith("mine (image) and b (image) do not protect; the controls hold")


def test_words_count_places_and_name_the_few():
    values = []
    for victim, mine in (("net", 10.0), ("vit", 85.0)):
        for changes, value in ((CLEAN, 90.0), (RANDOM, 88.0), ({}, mine), ({"method": "b"}, 9.0)):
            values += seeds({**changes, "victim": victim}, [value])
    table = {"rows": ["method"], "columns": ["victim"], "metric": "accuracy_last"}
    told = words(values, table=table)
    assert told.startswith(
        "b (image) protects everywhere, mine (image) protects in 1 of 2 places (net); the controls"
    )


@pytest.mark.parametrize(
    ("clean", "noise", "changes", "told"),
    [
        (70.0, 69.0, {}, "the controls do not hold: a clean victim misses its floor"),
        (90.0, 50.0, {}, "the controls do not hold: random noise of the same budget already does much harm"),
        (90.0, 81.5, {}, "random noise of the same budget does no harm"),
        (90.0, 80.5, {}, "floor, random noise of the same budget takes at most 9.5 (Linf 8/255)"),
        (90.0, 88.0, {"floors": {}}, "nothing shows yet that the controls hold"),
    ],
)
def test_words_tell_whether_the_controls_hold(clean, noise, changes, told):
    values = [*seeds(CLEAN, [clean]), *seeds(RANDOM, [noise]), *seeds({}, [10.0])]
    assert told in words(values, **changes)


def test_below_ratio_one_the_clean_share_is_the_line_to_beat():
    share = {"method": "part", "control": "share", "budget": "none (no noise)"}
    values = [*seeds(CLEAN, [90.0, 90.0]), *seeds(RANDOM, [89.0, 89.0])]
    values += seeds({**RANDOM, "poison_ratio": 0.5}, [88.0, 88.0])
    values += seeds({**share, "poison_ratio": 0.5}, [70.0, 71.0])
    values += seeds({"poison_ratio": 0.5}, [71.0, 72.0]) + seeds({}, [10.0, 11.0])
    table = {"rows": ["method"], "columns": ["poison_ratio"], "metric": "accuracy_last"}
    text = render(build_report(*world(values, table=table)))
    differences = tables(text)[1]
    mine = next(row for row in differences if row["method"] == "mine (image)")
    assert (mine["ratio 50%"][:4], mine["ratio 100%"][:5]) == ("+1.0", "-78.5")
    assert "mine (image) protects in 1 of 2 places (ratio 100%)" in text


HOSTILE = "a\nb\x1b[31m|<script>alert(1)</script>`x`\u202e\x9b2J [link](http://x) $x_{$ & **b** \ud800"


@pytest.mark.parametrize("format", FORMATS)
def test_what_others_wrote_steers_neither_page_nor_terminal(format):
    error = {"kind": "Error", "message": HOSTILE}
    values = [
        *seeds({**CLEAN, "dataset_label": HOSTILE}, [90.0], warnings=[HOSTILE]),
        *seeds({"method": HOSTILE, "reduced": {HOSTILE: [HOSTILE, HOSTILE]}}, [10.0]),
        *seeds({"method": "b", "defense": HOSTILE}, [10.0], status="failed", error=error),
    ]
    skipped = [{"what": HOSTILE, "reason": HOSTILE}]
    plan, records = world(values, title=HOSTILE, source=HOSTILE, command=HOSTILE, skipped=skipped)
    for view in (View(), View(wide=True, details=True)):
        text = render(build_report(plan, records), format, view)
        assert not [
            c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u202e\ud800"
        ]
        text.encode()
        if format == "markdown":
            bare = text.replace("<details>", "").replace("</details>", "")
            bare = bare.replace("<summary>", "").replace("</summary>", "")
            outside = "".join(line for line in bare.splitlines() if not line.startswith("- command"))
            for mark in "<$`":
                assert mark not in outside.replace(f"\\{mark}", ""), mark
            assert "](" not in outside
            for block in (b for b in text.replace(r"\|", "").split("\n\n") if b.startswith("|")):
                assert len({line.count("|") for line in block.splitlines()}) == 1, (
                    "a bar in a name opens no cell"
                )
        if format == "json":
            json.loads(text)


ABLATED = [
    *seeds(CLEAN, [90.0]),
    *seeds(RANDOM, [88.0]),
    *seeds({**RANDOM, "granularity": "class", "control": "ablation"}, [11.0]),
    *seeds({"method": "em", "granularity": "class"}, [10.0]),
    *seeds({"method": "weak", "granularity": "class"}, [70.0]),
    *seeds(
        {"granularity": "class", "control": "ablation", "chosen": {"part": ["no", "yes"]}, "id": "b"}, [8.0]
    ),
    *seeds({"granularity": "class", "chosen": {}}, [12.0]),
    *seeds({}, [20.0]),
]


def test_what_a_method_adds_to_random_noise_per_class_is_told_and_is_no_method_itself():
    """Ablations lead no table and are not called methods, even where they end lowest (8 and 11 of 90)."""
    report = build_report(*world(ABLATED))
    text = render(report)
    assert words(ABLATED).startswith(
        "em (class), mine (class) and mine (image) protect, weak (class) does not;"
    )
    assert "**10.00**" in text and "**8.00**" not in text
    assert beyond(report) == [
        "beyond dice (class), Linf 8/255: em (class) -1.0, weak (class) +59.0, mine (class) +1.0",
        "beyond mine (class), part=no, Linf 8/255: mine (class) +4.0",
    ]
    rows = {row["method"]: row for row in cells_of(text)}
    assert rows["em (class)"]["vs random"] == "-78.0", "the control is still random noise of each image"
    assert set(rows) >= {"mine (class), part=no", "mine (class)"}


def test_what_a_method_adds_has_an_interval_and_a_number_for_each_column():
    table = {"rows": ["method"], "columns": ["defense"], "metric": "accuracy_last"}
    values = []
    for defense in ("none", "jpeg"):
        ablation = {**RANDOM, "granularity": "class", "control": "ablation", "defense": defense}
        values += seeds({**RANDOM, "defense": defense}, [80.0, 80.0])
        values += seeds(ablation, [10.0, 12.0])
        values += seeds({"granularity": "class", "defense": defense}, [11.0, 15.0])
    # differences 1 and 3: mean 2, standard deviation 1.414, t(1) = 12.706, half width 12.706
    assert beyond(build_report(*world(values, table=table))) == [
        "beyond dice (class), Linf 8/255: mine (class) +2.0 [-10.7, +14.7] / +2.0 [-10.7, +14.7]"
    ]


def test_the_last_and_the_best_epoch_have_columns_of_their_own():
    """The second hacker's best is what early stopping can give at most."""
    table = {"rows": ["method"], "columns": ["defense"], "metrics": ["accuracy_last", "accuracy_best"]}
    values = []
    for defense, last in (("none", 10.0), ("stops", 30.0)):
        values += seeds({**CLEAN, "defense": defense}, [90.0])
        values += seeds({"defense": defense}, [last])
    text = render(build_report(*world(values, table={**table, "worst": True})))
    found = {}
    for rows in tables(text):
        found |= rows[1]
    assert found == {
        "method": "mine (image)",
        "no defense accuracy %": "**10.00**",
        "no defense accuracy best %": "**20.00**",
        "stops accuracy %": "**30.00**",
        "stops accuracy best %": "**40.00**",
        "core time": "16.0 s",
        "worst accuracy %": "30.00",
        "worst accuracy best %": "40.00",
    }
