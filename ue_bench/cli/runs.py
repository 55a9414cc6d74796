"""The commands for runs, costs, reports and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ue_bench.cli.app import Words, app
from ue_bench.cli.showing import choose_view, fit, format_help
from ue_bench.report.bill import make_bill
from ue_bench.report.bill_formats import FORMATS as COST_FORMATS
from ue_bench.report.bill_formats import render_bill
from ue_bench.report.formats import FORMATS
from ue_bench.text import one_line, visible


@app.command()
def run(
    words: Words = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done and how long it would take, but do nothing."),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="With --dry-run: list every trial.")] = False,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            help="Measure costs that are in no record, on slices of the data. A dry run does, for two minutes at most.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help=f"Format of the closing table: {format_help(FORMATS)}", show_default=False),
    ] = None,
) -> None:
    """Run a suite: ue-bench run suite=quickstart [method=[a,b] victim=v seeds=3 profile=p device=cuda store=DIR ...].

    A second run does only what is missing. Exit status: 0 done, 1 some trials failed, 2 bad input.
    """
    chosen, view = choose_view(format)
    from ue_bench.api.planned import PlannedRun
    from ue_bench.progress import choose_progress
    from ue_bench.report import build_report, render
    from ue_bench.report.outlook import list_trials, tell_plan
    from ue_bench.trials.ending import STATUS, Terminated

    planned, progress = PlannedRun.of(words or [], download=not dry_run), choose_progress()
    if dry_run:
        takes = planned.takes(planned.foretell(progress, measure=calibrate is not False, short=True))
        tell = list_trials if every else tell_plan
        waiting = {trial.id for trial in planned.missing}
        typer.echo(visible(tell(planned.plan.header, waiting, takes)))
        return
    try:
        summary = planned.work(progress, measure=calibrate is True)
    except KeyboardInterrupt as stopped:
        finished, todo = planned.pending()
        typer.echo(
            f"\nstopped: {len(finished)} of {len(planned.plan.trials)} trials are done and kept in "
            f"{planned.environment.store}, {len(todo)} are left. To continue: {planned.command}",
            err=True,
        )
        raise typer.Exit(STATUS if isinstance(stopped, Terminated) else 130) from None
    typer.echo(render(build_report(planned.plan.header, summary.records), chosen, view), nl=False)
    if summary.left:
        typer.echo(f"{len(summary.left)} trials are left. To continue: {planned.command}", err=True)
    if summary.failures:
        for trial, message in summary.failures:
            typer.echo(one_line(f"failed: {trial}: {message}"), err=True)
        raise typer.Exit(1)


@app.command()
def cost(
    words: Words = None,
    format: Annotated[str | None, typer.Option(help=format_help(COST_FORMATS), show_default=False)] = None,
    calibrate: Annotated[
        bool, typer.Option(help="Measure costs that are in no record, on slices of the data.")
    ] = True,
) -> None:
    """Say what a suite has cost and what the rest will cost: ue-bench cost suite=NAME [the words of a run].

    By phase, method and cell, in wall-clock time and in core-hours (CPU) or GPU-hours (accelerators).
    """
    chosen, view = choose_view(format, allowed=tuple(COST_FORMATS))
    from ue_bench.api.planned import PlannedRun
    from ue_bench.canonical import plain
    from ue_bench.forecast.prediction import note_forecast
    from ue_bench.progress import choose_progress
    from ue_bench.provenance import describe_device

    planned = PlannedRun.of(words or [], "cost", download=False)
    plan, store = planned.plan, planned.environment.open_store()
    device = describe_device(planned.environment.find_device())
    pieces = planned.foretell(choose_progress(), measure=calibrate)
    note_forecast(plan.header, [], store.read_plans(plan.config.suite))
    text = render_bill(make_bill(plan.header, planned.records, plain(pieces), device), chosen, view)
    typer.echo(fit(text, view.width, "  ") + "\n" if chosen == "markdown" else text, nl=False)


@app.command()
def report(
    words: Words = None,
    format: Annotated[str | None, typer.Option(help=format_help(FORMATS), show_default=False)] = None,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide", help="Print one table with all columns: best epochs, PSNR, phases, memory, speed."
        ),
    ] = False,
    details: Annotated[
        bool,
        typer.Option(
            "--details", help="On a terminal, also print what was reduced, versions, commit and costs."
        ),
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Show the papers' numbers beside ours.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Report every plan in the store, not only the newest.")
    ] = False,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw an overview, bars, curves, ratios and a gallery of noise into this folder.",
        ),
    ] = None,
) -> None:
    """Print the tables of what a store holds: ue-bench report [suite=NAME] [profile=NAME] [store=DIR] [out=FILE].

    One page for a browser: ue-bench report --format html out=page.html [store=[DIR,DIR]].
    plugins=[FILE] names more places where a gallery may find its dataset.
    """
    chosen, view = choose_view(format, wide, details)
    from ue_bench.cli.reporting import report_command

    report_command(words or [], chosen, view, published, every, figures)


@app.command()
def explain(words: Words = None) -> None:
    """Draw what explains a trial: ue-bench explain trial=ID [store=DIR out=DIR count=6 device=auto plugins=[...]]."""
    from ue_bench.explain.command import explain_command

    raise typer.Exit(explain_command(words or []))


@app.command()
def noise(words: Words = None) -> None:
    """Make noise from captions: ue-bench noise method=NAME captions=captions.csv size=224 out=noise.safetensors."""
    from ue_bench.publish.commands import noise_command

    raise typer.Exit(noise_command(words or []))


@app.command()
def export(words: Words = None) -> None:
    """Write a protected training set, or what a method prepared, from a store to files.

    ue-bench export trial=ID|noise=KEY format=imagefolder|parquet|npz out=DIR [store=DIR]: the training images as the
    trial's victim got them, and the clean test images. ue-bench export method=NAME out=FILE [store=DIR]: one file for
    ue-bench noise prepared=FILE.
    """
    from ue_bench.publish.commands import export_command

    raise typer.Exit(export_command(words or []))


@app.command("apply")
def apply_noise(words: Words = None) -> None:
    """Add noise to a folder of pictures: ue-bench apply noise=noise.safetensors images=FOLDER out=FOLDER."""
    from ue_bench.publish.commands import apply_command

    raise typer.Exit(apply_command(words or []))
