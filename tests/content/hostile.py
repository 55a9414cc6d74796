"""A method for tests that does one thing that no method may do, or returns what no method may return."""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView
from ue_bench.errors import DamagedError, StoreError
from ue_bench.trials.claims import Busy, Claim


@dataclass(frozen=True)
class Hostile(Method):
    """Stripes of alternating sign, and a deed."""

    budget: Budget = Budget("linf", 8)  # steps of 1/255
    deed: str = ""  # one of DEEDS, or nothing

    access = Access.IMAGES | Access.LABELS

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        noise = torch.full((len(view), 3, *view.image_size), 8, dtype=torch.int16)
        noise[:, :, ::2] *= -1
        honest = Perturbation(noise, view.rows("image"), self.budget)
        done = DEEDS[self.deed](honest, view, context) if self.deed else None
        return honest if done is None else done


class Departure(SystemExit):
    """A way out of somebody's own."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unchecked(Perturbation):
    def check(self, *_) -> None:
        """Checks nothing."""


def raises(error: BaseException) -> Callable:
    def deed(*_):
        raise error

    return deed


def test_set(context: Context):
    return context.load_public("blobs", None).test


def shuffle_test_labels(honest: Perturbation, view: ProtectorView, context: Context) -> None:
    test_set(context).labels.add_(1).remainder_(4)


def replace_test_labels(honest: Perturbation, view: ProtectorView, context: Context) -> None:
    object.__setattr__(test_set(context), "labels", torch.zeros_like(test_set(context).labels))


def shuffle_and_fail(honest: Perturbation, view: ProtectorView, context: Context) -> None:
    shuffle_test_labels(honest, view, context)
    raise ValueError("and away")


def blacken(values: torch.Tensor) -> None:
    values.zero_()


def leave_gradients_off(*_) -> None:
    torch.no_grad().__enter__()


entered: list[torch.inference_mode] = []


def stay_in_inference(*_) -> None:
    entered.append(torch.inference_mode())
    entered[-1].__enter__()


def note_itself(honest: Perturbation, view: ProtectorView, context: Context) -> None:
    context.notes["self"] = context.notes


def draw_elsewhere(*_) -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def print_escapes(*_) -> None:
    print("\x1b[2J\x1b]0;owned\x07 one line \udcff too many".encode("utf-8", "replace").decode())


# What is found out: the trial fails with these words.
FAILING: dict[str, tuple[Callable, str]] = {
    "more than promised": (
        lambda honest, *_: Perturbation(honest.noise * 2, honest.rows, Budget("linf", 16)),
        "measures 16 in linf, over its budget of 8",
    ),
    "without bounds": (
        lambda honest, *_: Perturbation(honest.noise * 31, honest.rows, Budget("none")),
        "measures 248 in linf, over its budget of 8",
    ),
    "another norm": (
        lambda honest, *_: Perturbation(honest.noise * 2, honest.rows, Budget("l2", 100.0)),
        "measures 16 in linf, over its budget of 8",
    ),
    "one sign": (
        lambda honest, *_: Perturbation(
            honest.noise.clamp_min(0), honest.rows, Budget("linf", 8, "positive")
        ),
        "one sign only",
    ),
    "nothing at all": (
        lambda honest, *_: Perturbation(honest.noise * 0, honest.rows, Budget("linf", 0)),
        "noise 0 is constant",
    ),
    "a check of its own": (
        lambda honest, *_: Unchecked(honest.noise * 2, honest.rows, honest.budget),
        "must return a Perturbation, not Unchecked",
    ),
    "other test labels": (shuffle_test_labels, "hostile changed the test set of blobs in place"),
    "replaced test labels": (replace_test_labels, "hostile changed the test set of blobs in place"),
    "other test labels, and an error": (shuffle_and_fail, "ValueError: and away"),
    "other images": (
        lambda honest, view, _: blacken(view.images),
        "hostile changed the training set of blobs in place",
    ),
    "other labels": (
        lambda honest, view, _: blacken(view.labels),
        "hostile changed the training set of blobs in place",
    ),
    "sys.exit": (lambda *_: sys.exit(0), "SystemExit: 0"),
    "its own way out": (raises(Departure("bye")), "Departure: bye"),
    "the end of generators": (raises(GeneratorExit()), "GeneratorExit"),
    "an error of the store": (raises(StoreError("mine")), "mine"),
    "already being done": (raises(Busy(Claim("trial-x"))), "Busy: trial-x is being worked on"),
    "a damaged file": (raises(DamagedError("mine")), "mine"),
    "no words": (raises(Unspeakable()), "its text cannot be read (RuntimeError)"),
    "half a letter": (raises(ValueError("caf\udce9 \ud800")), "ValueError: caf\\udce9 \\ud800"),
    "several lines": (raises(ValueError("one\n# two\r\x1b[2Jthree")), "ValueError: one"),
    "a flood of words": (raises(ValueError("ab" * 10**6)), "ValueError: abab"),
    "no end": (note_itself, "RecursionError"),
    "nothing": (lambda *_: "noise", "protect must return a Perturbation, not str"),
    "not a number": (
        lambda honest, view, _: Perturbation.from_float(honest.noise * torch.nan, honest.rows, honest.budget),
        "noise 0 is not finite",
    ),
    "floats": (
        lambda honest, *_: replace(honest, noise=honest.noise / 2),
        "noise must be int8 or int16",
    ),
    "the images themselves": (
        lambda honest, view, _: replace(honest, noise=view.images.view(torch.int8)),
        "over its budget of 8",
    ),
    "rows of others": (
        lambda honest, *_: replace(honest, rows=honest.rows + 1),
        "rows point to noise 64, but there are 64",
    ),
    "too few rows": (lambda honest, *_: replace(honest, rows=honest.rows[1:]), r"rows must be int64 [64]"),
    "more than fits": (
        lambda honest, *_: replace(honest, noise=honest.noise[:1].expand(10**9, -1, -1, -1)),
        "there are 1000000000 noises for 64 examples",
    ),
}
# What is set back: the record says so in these words, or, where it hurts nobody, nothing.
LEAKING: dict[str, tuple[Callable, str]] = {
    "double precision": (lambda *_: torch.set_default_dtype(torch.float64), "torch's default dtype"),
    "another device": (lambda *_: torch.set_default_device("meta"), "torch's default device"),
    "no gradients": (leave_gradients_off, "torch's gradient mode"),
    "inference mode": (stay_in_inference, "torch's inference mode"),
    "threads": (lambda *_: torch.set_num_threads(3), "torch's number of threads"),
    "determinism": (lambda *_: torch.use_deterministic_algorithms(True), "torch's deterministic mode"),
    "denormals": (lambda *_: torch.set_flush_denormal(True) and None, "torch's flushing of denormal numbers"),
    "errors of NumPy": (
        lambda *_: np.seterr(all="raise") and None,
        "NumPy's handling of floating-point errors",
    ),
    "another folder": (lambda *_: os.chdir("/"), "the working folder"),
    "deaf to Ctrl-C": (
        lambda *_: signal.signal(signal.SIGINT, signal.SIG_IGN) and None,
        "the handlers of signals",
    ),
    "another PATH": (lambda *_: os.environ.update(PATH="/nowhere"), "the environment variable PATH"),
    "warnings as errors": (lambda *_: warnings.simplefilter("error"), ""),
    "random states": (draw_elsewhere, ""),
    "prints": (print_escapes, ""),
    "half a letter in a warning": (
        lambda honest, view, context: context.warn("caf\udce9"),
        "caf\\udce9",
    ),
}
DEEDS = {name: deed for name, (deed, _) in (FAILING | LEAKING).items()}
