"""The commands ``noise``, ``export`` and ``apply``: they take key=value words and return an exit status."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ue_bench.bounds import MOST_THREADS
from ue_bench.contracts.method import Method
from ue_bench.errors import ConfigError, StoreError, unknown
from ue_bench.progress import choose_progress
from ue_bench.publish.account import WHAT_IT_IS, build_table, check_report, summarise, write_report
from ue_bench.publish.apply import FileResult, Settings, apply_noise
from ue_bench.publish.captions import MATCHES, read_captions
from ue_bench.publish.noise import Request, choose_method, describe, make_noise, read_noise, write_noise
from ue_bench.publish.pictures import EXIF, OUTPUTS
from ue_bench.publish.preparation import (
    Preparation,
    check_settings,
    find_preparation,
    read_preparation,
    ways_to_prepare,
    write_preparation,
)
from ue_bench.publish.training_set import export_training_set
from ue_bench.text import visible
from ue_bench.threads import set_threads
from ue_bench.training.gain import bf16_pays
from ue_bench.trials.environment import Environment
from ue_bench.trials.store import Store
from ue_bench.words import number, read_flag, read_number, read_plugins, read_whole, read_words, split_words

NOISE = {
    "method": "",
    "captions": "",
    "size": "224",
    "out": "noise.safetensors",
    "seed": "0",
    "epsilon": "",
    "profile": "",
    "device": "auto",
    "threads": "1",
    "store": "runs",
    "prepared": "",
    "plugins": "",
    "checkpoint_minutes": "10",
    "overwrite": "false",
}
EXPORT = {"method": "", "out": "", "store": "runs", "key": "", "overwrite": "false"}
APPLY = {
    "noise": "",
    "images": "",
    "out": "",
    "exif": "strip",
    "format": "png",
    "match": "name",
    "resize": "nearest",
    "overwrite": "false",
    "inside": "false",
    "max_pixels": str(Settings.max_pixels),
}
USAGE = {
    "noise": "ue-bench noise method=NAME captions=FILE size=224 out=FILE",
    "export": "ue-bench export method=NAME out=FILE, or trial=ID format=imagefolder out=DIR",
    "apply": "ue-bench apply noise=FILE images=FOLDER out=FOLDER",
}
SIDES = (8, 4096)  # the least and the most pixels of a side of noise


def noise_command(words: Sequence[str]) -> int:
    """Makes noise for pictures that are elsewhere, from their captions.

    The words are ``method=NAME captions=captions.csv``, and optionally ``size=224 out=noise.safetensors prepared=`` (a
    file written by ``export``, in place of training), ``seed= epsilon= profile= device= threads=1 store= plugins=
    checkpoint_minutes=10 overwrite=`` and the method's parameters as ``NAME.parameter=``.

    Returns:
        The exit status 0. A mistake raises UEBenchError.
    """
    given = read_words(words, NOISE, ("method", "captions"), USAGE["noise"], dotted=True)
    name, out = given["method"], Path(given["out"]).expanduser()
    if out.suffix != ".safetensors" or out.is_dir():
        raise ConfigError(f"out={given['out']}: noise is kept in a file such as out=noise.safetensors")
    threads = read_whole(given, "threads", least=1, most=MOST_THREADS)
    environment = Environment(
        given["store"],
        given["device"],
        read_plugins(given["plugins"]),
        threads,
        checkpoint_minutes=read_number(given, "checkpoint_minutes"),
    )
    set_threads(threads)
    if environment.find_device().type == "cpu":
        environment = dataclasses.replace(environment, cpu_bf16=bf16_pays(threads))
    parameters = _parameters(given, name, environment)
    overwrite, size, seed = read_flag(given, "overwrite"), _size(given["size"]), read_whole(given, "seed")
    epsilon = read_number(given, "epsilon") if given["epsilon"] else None
    if given["prepared"]:
        preparation = read_preparation(Path(given["prepared"]).expanduser())
        if preparation.method != name:
            raise ConfigError(
                f"prepared={given['prepared']} was prepared by {preparation.describe()}, not by {name}"
            )
        _check_alone(split_words(words), preparation)
        seed = preparation.seed
        kind: type[Method] = environment.registry().load("methods", name)
        kept = {key: value for key, value in preparation.parameters.items() if key not in kind.protect_only}
        method = choose_method(environment.registry(), name, {**kept, **parameters}, epsilon)
        check_settings(preparation, method)
    else:
        method = choose_method(environment.registry(), name, parameters, epsilon, given["profile"])
    request = Request(name, method, read_captions(given["captions"]), size, seed, environment.arithmetic)
    if given["prepared"]:
        preparation.put(environment.open_store(), request.preparation)
    if out.exists() and not overwrite:
        there = read_noise(out)
        if there.facts.get("request") != request.key:
            raise ConfigError(
                f"out={out} already exists and holds other noise: name another file, or say overwrite=true. "
                f"It holds {describe(there)}"
            )
        print(visible(f"{out} already exists and is intact: {describe(there)}"))
        return 0
    if not (given["prepared"] or given["profile"]):
        _ask_first(request, words, parameters, epsilon, environment)
    noise = make_noise(request, environment, choose_progress())
    write_noise(out, noise)
    environment.remove_checkpoints(request.work)
    print(visible(f"wrote {out}: {describe(noise)}"))
    print("It holds the pictures' names, not their captions. Take it to where the pictures are, then:")
    print(visible(f"  ue-bench apply noise={out} images=FOLDER out=FOLDER"))
    return 0


def _ask_first(
    request: Request,
    words: Sequence[str],
    parameters: Mapping[str, Any],
    epsilon: float | None,
    environment: Environment,
) -> None:
    """Raises ConfigError with all ways and their costs if a costly preparation is missing and was not asked for."""
    kind, store = type(request.method), environment.open_store()
    if not kind.preparations or request.preparation in store.names("prepared", ".safetensors"):
        return
    registry = environment.registry()
    methods = {
        profile: choose_method(registry, request.name, parameters, epsilon, profile)
        for profile in kind.preparations
    }
    keys = {
        profile: dataclasses.replace(request, method=method).preparation
        for profile, method in methods.items()
    }
    command = shlex.join(["ue-bench", "noise", *words])
    raise ways_to_prepare(kind, request.name, command, store, keys)


def export_command(words: Sequence[str]) -> int:
    """Writes what a method prepared in a store to one file, for ``ue-bench noise prepared=FILE`` elsewhere.

    The words are ``method=NAME out=FILE.safetensors``, and optionally ``store= key= overwrite=``. With ``trial=`` or
    ``noise=`` it writes a protected training set, see ``export_training_set``.

    Returns:
        The exit status 0. A mistake raises UEBenchError.
    """
    if {"trial", "noise", "format"} & split_words(words, USAGE["export"]).keys():
        return export_training_set(words)
    given = read_words(words, EXPORT, ("method", "out"), USAGE["export"])
    out = Path(given["out"]).expanduser()
    if out.suffix != ".safetensors" or out.is_dir():
        raise ConfigError(
            f"out={given['out']}: it is kept in a file such as out={given['method']}.safetensors"
        )
    if out.exists() and not read_flag(given, "overwrite"):
        raise ConfigError(f"out={out} already exists: name another file, or say overwrite=true")
    preparation = find_preparation(Store(given["store"]), given["method"], given["key"] or None)
    write_preparation(out, preparation)
    print(visible(f"wrote {out}: {preparation.describe()}. It makes noise wherever the captions are:"))
    print(
        f"  ue-bench noise method={given['method']} prepared={out} captions=captions.csv size=224 out=noise.safetensors"
    )
    return 0


def apply_command(words: Sequence[str]) -> int:
    """Adds noise to a folder of pictures, and writes them without loss to another folder.

    The words are ``noise=noise.safetensors images=FOLDER out=FOLDER``, and optionally ``exif=strip|keep
    format=png|webp match=name|stem resize=nearest|none overwrite= inside= max_pixels=``.

    Returns:
        0 if every picture is protected; 1 if some are not, each named; 130 if stopped. A mistake raises UEBenchError.
    """
    given = read_words(words, APPLY, ("noise", "images", "out"), USAGE["apply"])
    settings = Settings(
        exif=_one_of(given, "exif", EXIF),
        format=_one_of(given, "format", OUTPUTS),
        match=_one_of(given, "match", MATCHES),
        resize=_one_of(given, "resize", ("nearest", "none")),
        overwrite=read_flag(given, "overwrite"),
        inside=read_flag(given, "inside"),
        max_pixels=read_whole(given, "max_pixels"),
    )
    images, out = (Path(given[key]).expanduser() for key in ("images", "out"))
    noise = read_noise(Path(given["noise"]).expanduser())
    if not settings.overwrite:
        check_report(out)
    outcomes: list[FileResult] = []
    stopped = False
    work = apply_noise(noise, images, out, settings, choose_progress())
    try:
        for outcome in work:
            outcomes.append(outcome)
    except KeyboardInterrupt:
        stopped = True
    failed = any(each.status == "failed" or each.open for each in outcomes)
    try:
        where = f"every file is in {write_report(out, outcomes)}"
    except StoreError as error:
        failed, where = True, str(error)
    print(visible(f"{describe(noise)}\n{build_table(outcomes)}\n{summarise(outcomes)}; {where}"))
    if stopped:
        print("stopped: the files written so far are complete; the same command continues")
        return 130
    print(f"\n{WHAT_IT_IS}")
    return 1 if failed else 0


def _check_alone(given: Mapping[str, str], preparation: Preparation) -> None:
    """Raises ConfigError for words that set something which the preparation has fixed already."""
    if given.get("profile"):
        raise ConfigError(
            f"profile={given['profile']} cannot change what has been prepared: leave out profile= or prepared="
        )
    if given.get("seed") and read_whole(given, "seed") != preparation.seed:
        raise ConfigError(
            f"seed={given['seed']}, but prepared={given['prepared']} was made with seed {preparation.seed}, and noise "
            "is drawn with it: leave out seed= or prepared="
        )


def _parameters(given: Mapping[str, str], name: str, environment: Environment) -> dict[str, Any]:
    """The method's parameters from ``NAME.parameter=``; text stays as it was typed."""
    kinds = environment.registry().parameters()
    parameters: dict[str, Any] = {}
    for key in given.keys() - NOISE.keys():
        head, _, parameter = key.partition(".")
        if head != name:
            raise unknown("name", head, [name], f"{key}= sets a parameter of the method, {name}.{parameter}=")
        parameters[parameter] = given[key] if kinds.get(key) == "str" else number(given[key])
    return parameters


def _one_of(given: Mapping[str, str], key: str, allowed: Sequence[str]) -> str:
    if given[key] not in allowed:
        raise unknown(key, given[key], allowed)
    return given[key]


def _size(text: str) -> tuple[int, int]:
    """``224`` or ``HxW``, such as ``224x160``."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip())
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(SIDES[0] <= side <= SIDES[1] for side in sides):
        raise ConfigError(
            f"size={text}: the noise's sides are {SIDES[0]} to {SIDES[1]} pixels, such as size=224, or HEIGHTxWIDTH "
            "such as size=224x160. Pictures of any size can be protected with it"
        )
    return sides
