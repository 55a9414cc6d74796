"""Figures: the numbers that are drawn, the lines that arms get, and files that do not change without cause."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch
from conftest import CONTENT
from PIL import Image
from reports import CLEAN, RANDOM, seeds, world

from ue_bench import Budget
from ue_bench.cli import main
from ue_bench.gallery import amplify, collect
from ue_bench.overview import best, draw_overview
from ue_bench.report import build_report
from ue_bench.report.figures import draw_bars, draw_curves, draw_ratios, save
from ue_bench.report.figures.bars import bars_of, tell_apart
from ue_bench.report.figures.curves import curves_of
from ue_bench.report.figures.ratios import ratio_lines
from ue_bench.report.figures.style import BLACK, COLOURS, GREY, arm_name, arms, cells, looks
from ue_bench.trials.artefacts import load_perturbation, save_perturbation
from ue_bench.trials.environment import Environment
from ue_bench.trials.store import Store


def with_curves(pairs, *runs):
    for (_, record), run in zip(pairs, runs, strict=True):
        loss = [2.0 / epoch for epoch, _ in enumerate(run, 1)]
        record["curves"] = {
            "test_accuracy": run,
            "train_accuracy": [50.0] * len(run),
            "train_loss": loss,
        }
    return pairs


def report_of(pairs, **changes):
    return build_report(*world(pairs, **changes))


SHARE = {**CLEAN, "method": "rest", "control": "share"}
RATIOS = [
    *seeds({**CLEAN, "poison_ratio": 0.0}, [90.0, 92.0]),
    *seeds({**SHARE, "poison_ratio": 0.5}, [70.0, 72.0]),
    *[pair for ratio in (1.0, 0.5) for pair in seeds({"poison_ratio": ratio}, [100 - 80 * ratio])],
]


def test_curves_are_means_over_seeds_up_to_the_last_common_epoch():
    report = report_of(with_curves(seeds({}, [0.0, 0.0]), [10.0, 20.0, 99.0], [14.0, 20.0]))
    found = curves_of(report, list(cells(report)))
    ((name, curve),) = found["test"].items()
    assert arm_name(report, name) == "mine (image)"
    assert curve == [(1, 12.0, pytest.approx(8**0.5)), (2, 20.0, 0.0)]
    assert [point[:2] for point in found["train"][name]] == [(1, 50.0), (2, 50.0)]


def test_training_loss_has_a_panel_of_its_own(tmp_path):
    pairs = with_curves(seeds({}, [0.0, 0.0]), [10.0, 20.0, 30.0], [10.0, 20.0, 30.0])
    pairs[1][1]["curves"]["train_loss"] = [4.0, "nan", 0.0]
    report = report_of(pairs)
    (curve,) = curves_of(report, list(cells(report)))["loss"].values()
    assert [point[:2] for point in curve] == [(1, 3.0), (3, pytest.approx(1 / 3))], (
        "what diverged is left out"
    )
    svg = draw_curves(report, tmp_path).paths[1].read_text()
    assert svg.count("training loss (log scale)") == 1 and svg.count("accuracy (%)") == 2
    for _, found in pairs:
        found["curves"].pop("train_loss")
    without = draw_curves(report_of(pairs), tmp_path).paths[1].read_text()
    assert "training loss" not in without and without.count("accuracy (%)") == 2, "no empty panel"


def test_each_place_is_a_readable_figure_of_its_own(tmp_path, monkeypatch):
    """Twelve defenses were one sheet of 5,700 pixels, whose legend lay over its title."""
    pairs = []
    for defense in ("none", "jpeg", "jpeg (quality=30)", "j/p/e/g"):
        for number in range(9):
            changes = {"defense": defense, "method": f"method_with_a_long_name_{number}"}
            pairs += with_curves(seeds(changes, [0.0]), [10.0, 20.0])
    sheets = []
    monkeypatch.setattr(
        "ue_bench.report.figures.curves.save",
        lambda figure, *more, **flat: sheets.append(figure) or save(figure, *more, **flat),
    )
    drawn = draw_curves(report_of(pairs, title="A title of many words " * 8), tmp_path)
    names = ("curves_no_defense", "curves_jpeg", "curves_jpeg_quality_30", "curves_j_p_e_g")
    assert [path.name for path in drawn.paths] == [
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    ]
    for figure in sheets:
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        (legend,), title = figure.legends, figure.texts[0]
        boxes = [axis.get_tightbbox() for axis in figure.axes]
        top, bottom = title.get_window_extent(), legend.get_window_extent()
        assert width < 1800 and height < 1000
        assert bottom.y1 <= min(box.y0 for box in boxes) and max(box.y1 for box in boxes) <= top.y0
        assert bottom.x0 >= 0 and bottom.x1 <= width and bottom.y0 >= 0 and top.x0 >= 0 and top.y1 <= height


def test_names_are_no_mathematics(tmp_path):
    curves = {"test_accuracy": [10.0, 20.0], "train_accuracy": [1.0, 2.0], "train_loss": [2.0, 0.02]}
    values = seeds({"method": "$x_{$", "dataset": r"$\frac{$"}, [50.0], curves=curves)
    drawn = draw_curves(build_report(*world(values, title="$_{$")), tmp_path)
    svg = next(path for path in drawn.paths if path.suffix == ".svg").read_text()
    assert "$x_{$ (image)" in svg and "mathdefault" not in svg and ">0.1<" in svg


def test_retrieval_is_drawn_from_before_the_first_epoch():
    pairs = seeds({}, [0.0], metrics={"i2t_hit@10": 30.0}, curves={"retrieval": {"i2t_hit@10": [1.0, 30.0]}})
    report = report_of(pairs, table={"rows": ["method"], "columns": [], "metric": "i2t_hit@10"})
    assert list(curves_of(report, list(cells(report)))["test"].values()) == [[(0, 1.0, 0.0), (1, 30.0, 0.0)]]


def test_runs_without_a_number_are_not_drawn():
    failed = seeds({"method": "b"}, [1.0], status="failed")
    report = report_of([*with_curves(seeds({}, [0.0]), [10.0]), *failed, *seeds({"method": "c"}, [None])])
    assert [arm[0] for arm in curves_of(report, list(cells(report)))["test"]] == ["mine"]


def test_the_largest_ratio_is_the_one_whose_curve_is_drawn():
    low = with_curves(seeds({"poison_ratio": 0.2}, [0.0]), [80.0])
    report = report_of([*with_curves(seeds({"poison_ratio": 0.8}, [0.0]), [30.0]), *low])
    assert list(curves_of(report, list(cells(report)))["test"].values()) == [[(1, 30.0, 0.0)]]


def test_lines_over_ratios():
    report = report_of(RATIOS)
    lines = {arm[0]: line for arm, line in ratio_lines(report, list(cells(report))).items()}
    assert lines == {
        "plain": [(0.0, 91.0, pytest.approx(2**0.5))],
        "rest": [(50.0, 71.0, pytest.approx(2**0.5))],
        "mine": [(50.0, 60.0, 0.0), (100.0, 20.0, 0.0)],
    }


def test_controls_are_black_and_grey_and_no_two_arms_look_alike():
    methods = [
        *seeds(CLEAN, [90.0]),
        *seeds(RANDOM, [80.0]),
        *seeds({"method": "dice", "granularity": "class"}, [9.0]),
    ]
    methods += seeds({**SHARE, "poison_ratio": 0.5}, [70.0])
    for number in range(12):
        for granularity in ("image", "class"):
            methods += seeds({"method": f"m{number}", "granularity": granularity}, [10.0])
    report = report_of(methods)
    found = {arm_name(report, arm): look for arm, look in looks(report).items()}
    assert len(found) == len(arms(report)) == 28
    assert (found["plain"].colour, found["plain"].dash) == (BLACK, "-")
    assert {found[name].colour for name in ("dice (image)", "dice (class)")} == {GREY}
    assert found["rest"].colour == BLACK and found["rest"].dash != "-", "the clean share alone is dashed"
    assert {look.colour for name, look in found.items() if name.startswith("m")} == set(COLOURS)
    looked = [(look.colour, look.dash) for look in found.values()]
    assert len(set(looked)) == len(looked)


def test_a_budget_or_variant_is_named_where_it_tells_arms_apart():
    other = {"budget": "Linf 16/255"}
    report = report_of(
        [*seeds({}, [1.0]), *seeds(other, [2.0]), *seeds({"reduced": {"rounds": [5, 50]}}, [3.0])]
    )
    assert [arm_name(report, arm) for arm in arms(report)] == [
        "mine (image, Linf 8/255, rounds=50)",
        "mine (image, Linf 16/255)",
        "mine (image, Linf 8/255, rounds=5)",
    ]


def test_the_same_records_give_the_same_bytes(tmp_path):
    pairs = with_curves(seeds({}, [10.0, 12.0]), [30.0, 10.0], [30.0, 12.0])
    sums = []
    for folder in ("one", "two"):
        drawn = [
            draw_curves(report_of(pairs), tmp_path / folder),
            draw_ratios(report_of(RATIOS), tmp_path / folder),
        ]
        paths = [path for figure in drawn for path in figure.paths]
        assert [path.name for path in paths] == ["curves.png", "curves.svg", "ratio.png", "ratio.svg"]
        sums.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(
            path.name for path in paths
        )
    assert sums[0] == sums[1]
    text = (tmp_path / "one" / "curves.svg").read_text()
    assert "mine (image)" in text and "epoch" in text and "<dc:date>" not in text


def test_what_cannot_be_drawn_says_why(tmp_path):
    assert (
        str(draw_curves(report_of(seeds({}, [None])), tmp_path)) == "no curves: no finished trial has curves"
    )
    assert (
        str(draw_ratios(report_of(seeds({}, [1.0])), tmp_path)) == "no ratio: the poison ratio does not vary"
    )
    waiting = [*seeds({"poison_ratio": 0.5}, [1.0]), *seeds({"poison_ratio": 1.0}, [None])]
    assert draw_ratios(report_of(waiting), tmp_path).problem == "no arm is measured at two ratios yet"
    assert not list(tmp_path.iterdir())


def test_noise_is_shown_at_full_contrast():
    noise = torch.tensor([-8, -4, 0, 4, 8], dtype=torch.int8).view(1, 1, 1, 5)
    assert amplify(noise, 8.0).flatten().tolist() == [0, 64, 128, 191, 255]


def test_the_command_draws_what_a_store_holds(command, tmp_path, capsys):
    store, folder = tmp_path / "store", tmp_path / "figures"
    command("run", "suite=toy", "poison_ratio=[0.5,1.0]")
    ended = command("report", f"plugins=[{CONTENT}]", "--figures", str(folder))
    assert ended.status == 0 and ended.err.count("wrote ") == 3, ended.err
    assert {path.name for path in folder.iterdir()} == {
        *("curves.png", "curves.svg", "ratio.png", "ratio.svg", "gallery.png")
    }
    with Image.open(folder / "gallery.png") as picture:
        assert picture.width > 500 and len(picture.convert("RGB").getcolors(1 << 24)) > 100

    plan = Store(store).read_plans()[0]
    records = Store(store).read_records(trial["id"] for trial in plan["trials"])
    exhibits, lost = collect(plan, records, Environment(str(store), "cpu", (CONTENT,)))
    assert not lost and [exhibit.label.splitlines()[0] for exhibit in exhibits] == [
        *("random (image)", "fragile (image)", "fragile (class)")
    ]
    change = exhibits[1].published.short() - exhibits[1].clean.short()
    assert change.unique().tolist() == [-8, 8]
    assert torch.equal(exhibits[1].noise == 255, change == 8)
    assert exhibits[1].label.splitlines()[1:] == ["Linf 8/255", "PSNR 30.1 dB"]

    gone = next(record["noise"]["key"] for record in records.values() if record["granularity"] == "class")
    (store / "noise" / f"{gone}.safetensors").unlink()
    with pytest.raises(SystemExit):
        main(["report", f"store={store}", f"plugins=[{CONTENT}]", "--figures", str(folder)])
    assert f"no gallery of fragile (class): the noise is not in {store}" in capsys.readouterr().err
    lost = command("report", "--figures", str(folder)).err
    assert "no gallery of random (image), fragile (image)" in lost and "unknown dataset 'blobs'" in lost


def test_noise_over_its_methods_budget_is_not_shown(command, tmp_path):
    """Though its file is whole and tells of a budget that it keeps."""
    command("run", "suite=toy", "method=fragile")
    store = Store(tmp_path / "store")
    records = store.read_records(store.names("trials", ".json"))
    key = next(record["noise"]["key"] for record in records.values() if record["method"] == "fragile")
    kept, facts = load_perturbation(store, key)
    more = dataclasses.replace(kept, noise=kept.noise * 2, budget=Budget("linf", 16))
    save_perturbation(store, key, more, facts)
    ended = command("report", f"plugins=[{CONTENT}]", "--figures", str(tmp_path / "figures"))
    assert "no gallery of fragile (image): noise 0 measures 16 in linf, over its budget of 8" in ended.err


def test_figures_cannot_be_drawn_into_a_file(command, tmp_path):
    command("run", "suite=toy", "method=fragile")
    (tmp_path / "file").write_text("mine")
    ended = command("report", f"plugins=[{CONTENT}]", "--figures", str(tmp_path / "file"))
    assert ended.status == 2 and "cannot draw into" in ended.err and "--figures DIR" in ended.err
    assert (tmp_path / "file").read_text() == "mine"


def test_the_overview_shows_the_method_that_protects_best(command, tmp_path):
    folder = tmp_path / "figures"
    command("run", "suite=toy")
    assert "overview.png" in command("report", f"plugins=[{CONTENT}]", "--figures", str(folder)).err
    with Image.open(folder / "overview.png") as picture:
        assert picture.width > 1000

    plan = Store(tmp_path / "store").read_plans()[0]
    records = Store(tmp_path / "store").read_records(trial["id"] for trial in plan["trials"])
    for record in records.values():
        record["metrics"]["accuracy_last"] = {"class": 5.0, "image": 50.0}.get(record["granularity"], 90.0)
        record["metrics"]["accuracy_last"] -= 49.0 * (record["method"] == "random")
    report = build_report(plan, records)
    environment = Environment(str(tmp_path / "store"), "cpu", (CONTENT,))
    exhibits, _ = collect(plan, records, environment)
    chosen = best(report, bars_of(report, list(cells(report))), exhibits)
    assert chosen.label.startswith("fragile (class)"), "random noise is a control, however strong it is"


def test_there_is_no_overview_of_several_ratios(tmp_path):
    assert not bars_of(report_of(RATIOS), list(cells(report_of(RATIOS))))
    assert "one ratio only" in draw_bars(report_of(RATIOS), tmp_path).problem
    drawn = draw_overview(report_of(RATIOS), Environment(str(tmp_path), "cpu", ()), tmp_path)
    assert "one dataset, victim, defense and ratio" in drawn.problem


def test_bars_stand_for_the_cells_of_one_place(tmp_path):
    far = [pair for name in ("net", "far") for pair in seeds({"victim": name}, [10.0, 12.0])]
    report = report_of([*seeds(CLEAN, [90.0, 92.0]), *far, *seeds({"granularity": "class"}, [None])])
    assert [path.name for path in draw_bars(report, tmp_path).paths] == ["bars.png", "bars.svg"]
    here = [cell for cell in cells(report) if cell.trial["victim"] == "net"]
    named = {arm_name(report, arm): cell.summary.mean for arm, cell in bars_of(report, here).items()}
    assert named == {"plain": 91.0, "mine (image)": 11.0}
    text = (tmp_path / "bars.svg").read_text()
    assert ">91<" in text and text.count(">11<") == 2


def test_panels_are_named_by_what_tells_them_apart():
    assert tell_apart(["a, net, jpeg", "a, net, mixup"]) == ("a, net", ["jpeg", "mixup"])
    assert tell_apart(["a, net, no defense"]) == ("a, net, no defense", [""])


def test_titles_and_names_of_any_length_stay_inside_the_picture(tmp_path):
    from matplotlib.image import imread

    long = {"reduced": {f"a_parameter_of_the_method_{n}": [1, 2] for n in range(3)}}
    report = report_of([*seeds({}, [10.0, 12.0]), *seeds(long, [11.0])])
    report = dataclasses.replace(report, plan={**report.plan, "title": "a title of many words " * 9})
    draw_bars(report, tmp_path)
    picture = imread(tmp_path / "bars.png")
    edges = (picture[:1], picture[-1:], picture[:, :1], picture[:, -1:])
    assert all((edge[..., :3] == 1).all() for edge in edges), "nothing is cut at the edge"


def test_retrieval_has_a_panel_for_each_direction(tmp_path):
    names = ["i2t_hit@1", "i2t_hit@10", "t2i_hit@1", "t2i_hit@10"]
    pairs = seeds({}, [0.0], metrics=dict(zip(names, (1.0, 30.0, 2.0, 40.0), strict=True)))
    draw_bars(report_of(pairs, table={"rows": ["method"], "columns": [], "metrics": names}), tmp_path)
    text = (tmp_path / "bars.svg").read_text()
    assert ">30<" in text and ">40<" in text and ">1.0<" not in text
    assert "i2t Hit@10" in text and "t2i Hit@10" in text


def test_several_plans_get_folders_of_their_own(command, tmp_path):
    command("run", "suite=toy", "method=fragile")
    command("run", "suite=toy", "method=fragile", "seeds=2")
    command("report", "--all", f"plugins=[{CONTENT}]", "--figures", str(tmp_path / "figures"))
    assert [path.name for path in sorted((tmp_path / "figures").iterdir())] == ["toy_1", "toy_2"]
    assert (tmp_path / "figures" / "toy_2" / "curves.svg").is_file()
