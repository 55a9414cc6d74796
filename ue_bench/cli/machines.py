"""The commands about machines and processes: env, bench, status, slurm."""

from __future__ import annotations

import shlex
from importlib.resources import files
from string import Template
from typing import Annotated

import typer

from ue_bench.cli.app import Words, app, one_of
from ue_bench.errors import ConfigError
from ue_bench.text import visible
from ue_bench.words import read_number, read_whole, read_words, split_words

ENV = {"threads": "1"}
STATUS = {"store": "runs", "suite": ""}
SLURM = {"gpus": "", "hours": ""}
MOST_JOBS = 1000  # schedulers accept no longer array
SPARE = 600  # seconds that stay free at the end of a job


@app.command()
def status(words: Words = None) -> None:
    """Say how many trials are done, in progress, failed and left: ue-bench status [store=DIR suite=NAME]."""
    from ue_bench.report.status import tell_claims, tell_status
    from ue_bench.trials.claims import LEASE
    from ue_bench.trials.environment import Environment

    given = read_words(words or [], STATUS, (), "ue-bench status [store=DIR suite=NAME]")
    environment = Environment(given["store"])
    store, claims = environment.open_store(), environment.claims().all()
    plans = {(plan["suite"], plan["profile"]): plan for plan in store.read_plans(given["suite"] or None)}
    if not plans:
        raise ConfigError(
            f"store {store.address} has no run{' of ' + given['suite'] if given['suite'] else ''}: name another, "
            "store=DIR, or see: ue-bench run suite=NAME"
        )
    for plan in plans.values():
        records = store.read_records((entry["id"] for entry in plan["trials"]), later=True)
        alive = [claim for claim in claims if not claim.dead(LEASE)]
        typer.echo(visible(tell_status(plan, records, alive)))
    for line in tell_claims(claims):
        typer.echo(visible(line))


@app.command()
def env(words: Words = None) -> None:
    """Say what this machine computes with: versions, CPU and GPUs, bf16, folders: ue-bench env [threads=N]."""
    import joblib
    import torch

    from ue_bench.bounds import MOST_THREADS
    from ue_bench.data.locate import cache_root, data_root
    from ue_bench.provenance import commit, versions
    from ue_bench.training.gain import bf16_in_words, name_of_cpu

    given = read_words(words or [], ENV, (), "ue-bench env [threads=N]")
    threads = read_whole(given, "threads", 1, MOST_THREADS)
    graphics = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    lines = {
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "commit": commit() or "unknown: not a checkout",
        "CPU": f"{name_of_cpu()}, {joblib.cpu_count()} cores for this process",
        "GPUs": ", ".join(f"{each.name} ({each.total_memory / 2**30:.0f} GiB)" for each in graphics)
        or "none",
        "bf16 on this CPU": bf16_in_words(threads),
        "cache": str(cache_root()),
        "data": str(data_root() or "UE_BENCH_DATA is not set"),
    }
    for name, text in lines.items():
        typer.echo(visible(f"{name}: {text}"))


@app.command()
def slurm(words: Words = None) -> None:
    """Print a job array that works through a suite: ue-bench slurm suite=NAME gpus=8 hours=4 [the words of a run]."""
    from ue_bench.configure import configure

    usage = "ue-bench slurm suite=NAME gpus=8 hours=4 [store=DIR ...]"
    typed = split_words(words or [], usage)
    own = [f"{key}={typed.pop(key)}" for key in SLURM if key in typed]
    given = read_words(own, SLURM, ("gpus", "hours"), usage)
    count, seconds = read_whole(given, "gpus", 1, MOST_JOBS), 3600 * read_number(given, "hours")
    if not 2 * SPARE <= seconds < 10**7:
        raise ConfigError(
            f"hours={given['hours']}: a job needs at least 0.4 hours, and may have at most 2700"
        )
    if "stop_after" in typed:
        raise ConfigError("stop_after= is computed from hours=: leave it out")
    run = [f"{key}={value}" for key, value in typed.items()]
    config, _ = configure(run)
    minutes, begin = round(seconds / 60), round((seconds - SPARE) / 60)
    text = files("ue_bench").joinpath("templates", "slurm.txt").read_text(encoding="utf-8")
    script = Template(text).substitute(
        suite=config.suite,
        last=count - 1,
        count=count,
        time=f"{minutes // 60:02}:{minutes % 60:02}:00",
        stop_after=f"{begin // 60}h{begin % 60}m",
        command=shlex.join(["ue-bench", "run", *run]),
    )
    typer.echo(script, nl=False)


@app.command()
def bench(
    words: Words = None,
    format: Annotated[str, typer.Option(help="markdown or json.")] = "markdown",
) -> None:
    """Measure how fast this machine trains: ue-bench bench [victim=[NAME,NAME] seconds=90 size=32 batch=128 threads=1].

    Images a second of training and evaluation, in turns with an ordinary training loop, and the share of the device's
    peak. NAME.parameter=value sets a victim's. A machine that does something else at the same time spoils the figures.
    """
    from ue_bench.bench.command import bench as measure_victims
    from ue_bench.bench.table import FORMATS

    one_of("format", format, tuple(FORMATS))
    typer.echo(visible(measure_victims(words or [], format, lambda line: typer.echo(line, err=True))))
