"""The page for a browser: what it lists, how it ranks, what it says about sources, and that it is one safe file."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from reports import CLEAN, RANDOM, SOUND, entry, record, seeds, world

from ue_bench.report import View, build_report, render
from ue_bench.report.field_numbers import parse as parse_field
from ue_bench.report.printed import Figure
from ue_bench.report.web.boards import make_boards
from ue_bench.report.web.claims import make_claims
from ue_bench.report.web.columns import COLUMNS, complete, off_printed
from ue_bench.report.web.drawing import Scale, place_texts, round_step
from ue_bench.report.web.entries import collect

COLUMN = {column.key: column for column in COLUMNS}


def entries_of(values, **changes):
    return collect([build_report(*world(values, **changes))])


def figure(method, value, source="one", **changes):
    usual = {"granularity": "", "victim": "net", "defense": "none", "poison_ratio": 1.0, "direction": ""}
    given = {
        "paradigm": "supervised",
        "dataset": "tiny",
        "metric": "accuracy",
        "table": 1,
        **usual,
        **changes,
    }
    return Figure(source=source, method=method, value=value, **given)


def everywhere(method, accuracies, **changes):
    """One seed of a method under several defenses."""
    pairs = []
    for defense, accuracy in accuracies.items():
        pairs += seeds({"method": method, "defense": defense, **changes}, [accuracy])
    return pairs


DEFENDED = [
    *everywhere("plain", {"none": 90.0, "jpeg": 80.0}, **{k: v for k, v in CLEAN.items() if k != "method"}),
    *everywhere("dice", {"none": 89.0, "jpeg": 79.0}, control="random"),
    *everywhere("early", {"none": 9.0, "jpeg": 60.0}),
    *everywhere("late", {"none": 30.0, "jpeg": 20.0}),
    *everywhere("lucky", {"none": 1.0}),
]


def test_methods_are_ranked_by_their_weakest_link_and_fewer_places_have_no_rank():
    (board,) = make_boards(entries_of(DEFENDED))
    shown = [(row.name, row.rank, row.weakest and board.places[row.weakest].words) for row in board.rows]
    assert [name for name, _, _ in shown] == [
        "plain",
        "dice (image)",
        "late (image)",
        "early (image)",
        "lucky (image)",
    ]
    assert [rank for _, rank, _ in shown] == [None, None, 1, 2, None], (
        "30 is lower than 60, and 1 was tried once"
    )
    assert shown[3][2] == "net, jpeg" and board.rows[4].tried == 1


def test_equal_results_share_a_rank():
    pairs = [
        *seeds(CLEAN, [90.0]),
        *(p for m in "abc" for p in seeds({"method": m}, [40.0 if m == "c" else 10.0])),
    ]
    (board,) = make_boards(entries_of(pairs))
    assert [(row.name[0], row.rank) for row in board.ranked] == [("a", 1), ("b", 1), ("c", 3)]


def test_a_difference_that_seeds_do_not_show_gives_no_better_rank():
    """b varies so much that a is not clearly better; c is 20 points worse in every seed."""
    values = {"a": [20.0, 21.0, 22.0], "b": [15.0, 30.0, 45.0], "c": [40.0, 41.0, 42.0]}
    pairs = [*seeds(CLEAN, [90.0] * 3), *(p for m, v in values.items() for p in seeds({"method": m}, v))]
    (board,) = make_boards(entries_of(pairs))
    assert [(row.name[0], row.rank) for row in board.ranked] == [("a", 1), ("b", 1), ("c", 3)]
    close = [
        *seeds(CLEAN, [90.0]),
        *(p for m, v in (("a", 40.0), ("b", 50.0)) for p in seeds({"method": m}, [v])),
    ]
    (board,) = make_boards(entries_of(close))
    assert [row.rank for row in board.ranked] == [1, 1], "one seed: 10 points are less than a quarter of 90"


def test_a_board_says_its_size_and_other_data_are_another_board():
    def made(method, value, fingerprint, **changes):
        config = {"train_fingerprint": fingerprint}
        noise = None if changes else {"key": method, "examples": 5085}
        return [
            (t, {**r, "config": config, "noise": noise})
            for t, r in seeds({**changes, "method": method}, [value])
        ]

    pairs = [*made("plain", 90.0, "x", control="clean"), *made("a", 10.0, "x"), *made("b", 5.0, "y")]
    boards = make_boards(entries_of(pairs))
    assert [[row.name[:5] for row in board.rows] for board in boards] == [["plain", "a (im"], ["b (im"]]
    assert "5,085 images" in boards[0].what and boards[0].toy
    assert {e.size for e in entries_of(pairs)} == {"5,085 images"}, "the clean row has the size of its data"
    (paper,) = make_boards(entries_of(DEFENDED, profile="paper"))
    assert not paper.toy
    text = page_of(pairs)
    assert "toy size" in text and "No picture: the noise of this row was not kept" in text
    assert "no picture of a (image), b (image)" in text
    assert '"toy"' not in page_of(DEFENDED, profile="paper")


def test_colour_is_the_share_of_the_clean_result_that_is_lost():
    (board,) = make_boards(entries_of(DEFENDED))
    levels = {row.name: [tile and tile.level for tile in row.tiles] for row in board.rows}
    assert levels["plain"] == [0, 0]
    assert levels["early (image)"] == [9, 2], "9 of 90 remain, and 60 of 80: 2.5 tenths, rounded to even"
    assert levels["lucky (image)"] == [10, None]


def test_what_may_not_be_read_is_never_a_weakest_link_and_tells_why():
    broken = [
        pair for pair in DEFENDED if not (pair[0]["control"] == "clean" and pair[0]["defense"] == "jpeg")
    ]
    broken += everywhere("plain", {"jpeg": 30.0}, **{k: v for k, v in CLEAN.items() if k != "method"})
    entries = entries_of(broken)
    (board,) = make_boards(entries)
    late = next(row for row in board.rows if row.name == "late (image)")
    assert late.tried == 1 and board.places[late.weakest].defense == "none"
    grey = next(e for e in entries if e.trial["method"] == "late" and e.trial["defense"] == "jpeg")
    assert not grey.valid and not complete(grey) and "reaches 30.00 %, the floor is 80 %" in grey.reason


@pytest.mark.parametrize(
    ("recipe", "words"),
    [({"epochs": 2}, "2 epochs"), ({"crop_padding": 4}, "crops"), ({"flip": False}, "no flips")],
)
def test_other_recipes_are_boards_of_their_own(recipe, words):
    """A method that met another recipe stands in no ranking beside the others."""
    other = [(t, {**r, "config": {"recipe": recipe}}) for t, r in seeds({"method": "b"}, [5.0])]
    boards = make_boards(entries_of([*SOUND, *other]))
    assert sorted(len(board.rows) for board in boards) == [1, 3]
    assert min(boards, key=lambda board: len(board.rows)).what.endswith(f", {words}")


def test_a_cell_of_two_suites_is_one_row_and_controls_come_first():
    one = build_report(*world([*seeds({}, [10.0]), *seeds(CLEAN, [90.0])], suite="one"))
    two = build_report(*world([*seeds(CLEAN, [90.0]), *seeds({"method": "b"}, [20.0])], suite="two"))
    entries = collect([one, two])
    assert [(e.trial["method"], e.suites) for e in entries] == [
        ("plain", ("one", "two")),
        ("mine", ("one",)),
        ("b", ("two",)),
    ]


def test_cells_hold_full_precision_and_say_which_way():
    mine = next(e for e in entries_of(SOUND) if e.trial["method"] == "mine")
    result, difference, protect = (COLUMN[key].cell(mine) for key in ("result", "difference", "protect"))
    assert (result.text, result.value, result.more) == ("12.00 ± 2.00", 12.0, (2.0,))
    assert difference.value == pytest.approx(-77.0) and difference.text.startswith("-77.0 [")
    assert protect.value == pytest.approx(2 * 4 / 3600), "8 core-seconds: 3, 4 and 5 seconds on two cores"
    assert COLUMN["ratio"].cell(mine).value == 100.0 and complete(mine)


@pytest.mark.parametrize(("mean", "off"), [(12.0, 0.0), (8.0, -2.0), (25.0, 5.0)])
def test_the_difference_to_what_is_printed_counts_from_the_nearest_end(mean, off, monkeypatch):
    figures = (figure("mine", 10.0), figure("mine", 20.0, "two"))
    monkeypatch.setattr("ue_bench.report.printed.load", lambda: figures)
    monkeypatch.setattr("ue_bench.report.field_numbers.load", lambda: ())
    (found,) = entries_of(seeds({"published_names": ["mine"]}, [mean]))
    assert off_printed(found) == off
    assert COLUMN["off"].cell(found).text == (f"{off:+.1f}" if off else "within")
    assert COLUMN["printed"].cell(found).text == "10.00 to 20.00 (2)"


def test_who_says_what():
    figures = (
        figure("A-B", 10.0),
        figure("AB", 30.5, "two"),
        figure("AB", 12.0, "two", granularity="class"),
        figure("C", 50.0),
        figure("C", 51.0, "two", defense="jpeg"),
    )
    (claim,) = make_claims([], figures)
    assert (claim.method, claim.place, claim.spread, claim.sources) == (
        "A-B",
        "tiny, net, no defense",
        20.5,
        2,
    )


def test_our_number_stands_beside_the_claims_once(monkeypatch):
    figures = (figure("mine", 10.0), figure("mine", 30.0, "two"))
    monkeypatch.setattr("ue_bench.report.printed.load", lambda: figures)
    monkeypatch.setattr("ue_bench.report.field_numbers.load", lambda: ())
    given = [(dict(entry(published_names=["mine"]), id=name), 12.0) for name in ("one", "again")]
    reports = [build_report(*world([(trial, record(trial, value))])) for trial, value in given]
    (claim,) = make_claims(collect(reports))
    assert [e.cell.summary.mean for e in claim.ours] == [12.0] and claim.spread == 20.0


def test_figures_of_the_field_keep_their_spread_and_every_row_is_read():
    lines = [
        "paper,table,dataset,method,victim,defense,metric,value",
        "P,readme,tiny,AB,net,none,accuracy,12.5",
    ]
    lines += ["P,readme,tiny,AB,net,none,accuracy_sd,0.3", "P,2,tiny,AB,net,jpeg,accuracy,80"]
    found = parse_field(lines, {"methods": {}, "defenses": {}})
    assert [(f.value, f.sd, f.origin) for f in found] == [(12.5, 0.3, "P readme"), (80.0, None, "P table 2")]


def test_scales_and_texts():
    assert [round_step(x) for x in (0.17, 13, 1)] == [0.2, 20, 1]
    assert Scale(0, 100, 10, 110).at(25) == 35 and Scale(1, 100, 0, 100, log=True).at(10) == 50
    assert Scale(0, 60, 0, 1).ticks()[-1][1] == "60"
    places = place_texts([(10, 50, "one"), (11, 50, "two"), (12, 50, "three")], 400, 200)
    boxes = [(x - (6.2 * len(t) if side == "end" else 0), y, 6.2 * len(t))
             for (x, y, side), t in zip(places, ("one", "two", "three"), strict=True)]  # fmt: skip
    for n, (x, y, wide) in enumerate(boxes):
        for left, other, width in boxes[:n]:
            assert abs(y - other) >= 12 or x + wide <= left or left + width <= x, "one text covers another"
    ((_, beside, _),) = place_texts([(10, 50, "one")], 400, 200)
    ((_, away, _),) = place_texts([(10, 50, "one")], 400, 200, levels=[50])
    assert beside == 54 and abs(away - beside) == 12, "a text makes way for a level line"


SCRIPT = "<script>alert(1)</script>"


def page_of(values, **changes):
    return render(build_report(*world(values, **changes)), "html")


def test_the_same_records_give_the_same_bytes():
    assert page_of(DEFENDED) == page_of(DEFENDED)


def test_the_page_is_whole_and_safe():
    text = page_of(
        [*SOUND, *seeds({"method": SCRIPT, "dataset_label": '"><img src=x>'}, [5.0])], title=SCRIPT
    )
    assert SCRIPT not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "<img" not in text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|url\(|@import|style=|\son\w+=""", text)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1].replace(
        "&#39;", "'"
    )
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_everything_stands_in_the_page_without_a_script():
    curves = {"test_accuracy": [10.0, 20.0], "train_accuracy": [50.0, 60.0]}
    trial = entry(reduced={"rounds": [5, 50]})
    made = record(trial, 10.0, curves=curves)
    pairs = [*seeds(CLEAN, [90.0]), *seeds(RANDOM, [89.0]), (trial, made)]
    links = {trial["id"]: "store/trials/one.json"}
    text = render(build_report(*world(pairs)), "html", View(links=links))
    for part in (
        "rounds 5 (default: 50)",
        "abc1234",
        "torch 2.6.0",
        "ue-bench run suite=demo",
        "store/trials/one.json",
    ):
        assert part in text, part
    assert (
        text.count('role="dialog"') == text.count("<tr data-n=") + text.count('class="control" data-n=') == 3
    )
    assert "training data as published" in text and 'popovertarget="d2"' in text


def test_what_a_method_remarks_stands_in_every_view():
    notes = {"remarks": ["only raises values"]}
    text = page_of([*seeds(CLEAN, [90.0]), *seeds({}, [10.0], notes=notes)])
    assert text.count("only raises values") == 3, "ranking, table, behind the row"


def test_pictures_stand_once_in_the_page():
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (4, 2)).save(content, "WEBP", lossless=True)
    pairs = [*seeds(CLEAN, [90.0]), *seeds({}, [10.0, 11.0])]
    report = build_report(*world(pairs))
    pictures = {r["noise"]["key"]: content.getvalue() for r in report.records if r["noise"]}
    text = render(report, "html", View(pictures=pictures))
    assert text.count("data:image/webp;base64,") == 1 and text.count('<use href="#p0"/>') == 2


def test_a_page_of_nothing_and_of_what_is_missing():
    assert "Nothing is measured yet" in render(build_report({}, {}), "html")
    assert "missing" in page_of([(trial, None) for trial, _ in SOUND])
    assert render([], "html").startswith("<!doctype html>")


def test_ablations_have_no_rank_and_rows_of_their_own():
    pairs = [
        *seeds(CLEAN, [90.0]),
        *seeds({"method": "a"}, [40.0]),
        *seeds({"method": "a", "control": "ablation", "chosen": {"part": ["no", "yes"]}, "id": "x"}, [5.0]),
    ]
    (board,) = make_boards(entries_of(pairs))
    assert [(row.full_name, row.rank) for row in board.rows] == [
        ("plain", None),
        ("a (image), part=no", None),
        ("a (image)", 1),
    ]
