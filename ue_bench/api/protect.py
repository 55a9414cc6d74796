"""Noise for a person's own arrays, made as a benchmark makes it."""

from __future__ import annotations

import dataclasses
import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.api.randomness import caller_randomness
from ue_bench.bounds import check_threads
from ue_bench.canonical import plain
from ue_bench.composition import preset_of
from ue_bench.config import number
from ue_bench.contracts.budget import steps
from ue_bench.contracts.method import Method
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.data.arrays import read_captions, read_images, read_labels
from ue_bench.data.decode import resize_all
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.errors import ConfigError, PerturbationError, UnavailableError, unknown
from ue_bench.progress import Progress, choose_progress
from ue_bench.threads import computing_with
from ue_bench.training.gain import bf16_pays
from ue_bench.trials.claims import when_free
from ue_bench.trials.environment import Environment
from ue_bench.trials.making import prepare_key
from ue_bench.trials.needs import lacks
from ue_bench.trials.protect import make_noise
from ue_bench.trials.trial import Choice, Trial

THEIRS = "your data"  # the name of the data in errors and warnings


def protect(
    method: str,
    images: Any,
    labels: Any = None,
    *,
    captions: Sequence[str] | Sequence[Sequence[str]] | None = None,
    class_names: Sequence[str] | None = None,
    epsilon: str | float | None = None,
    profile: str = "",
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    store: str | os.PathLike[str] = "runs",
    plugins: Sequence[str | os.PathLike[str]] = (),
    progress: bool = False,
    **parameters: Any,
) -> Perturbation:
    """Makes a method's noise for images in memory; ``noise.apply(images)`` then gives the protected images.

    It is the noise that a benchmark makes for the same data with the same seed, and passes the same checks. Warnings
    of the method become Python warnings. The caller's random state stays as it is.

    Example: ``noise = ue_bench.protect("em", images, labels, epsilon="8/255", surrogate="resnet18")``.

    Args:
        method: its name; ``ue-bench list methods`` lists all.
        images: a NumPy array or torch tensor, uint8 [N, 3, H, W] or [N, H, W, 3], 0..255. They stay as they are.
        labels: whole numbers [N], classes counted from 0, for methods that read them.
        captions: for each image one string, or a list of several. The noise is then made for training on pairs,
            as CLIP is trained, with one example for each (image, caption) pair.
        class_names: one name per class, for methods that read them.
        epsilon: the linf radius, ``"8/255"`` or 8; None: the method's own budget.
        profile: one of the method's presets, such as ``laptop``, that make it faster and weaker; "": its paper's
            settings.
        seed: the same seed gives the same noise on the same device.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: how many to compute with on a CPU; another number gives noise that differs in the last bits.
        store: folder or fsspec address that keeps what methods prepare once, such as a trained generator.
        plugins: files and folders with more methods and victims.
        progress: True to show progress.
        parameters: the method's; ``ue-bench show method NAME`` lists them, ``granularity`` and ``budget`` included.

    Raises:
        ConfigError: for a name or value that does not exist or does not fit; it names the nearest ones.
        DataError: for images, labels or captions of a wrong kind, shape or number.
        PerturbationError: if the noise breaks one of its promises.
    """
    check_threads(threads)
    train = _read(images, labels, captions, class_names)
    paradigm = "contrastive" if captions is not None else "supervised"
    environment = _Own(
        os.fspath(store), device, tuple(os.fspath(path) for path in plugins), threads, train=train
    )
    if environment.find_device().type == "cpu":
        environment = dataclasses.replace(environment, cpu_bf16=bf16_pays(threads))
    chosen = _choose(environment, method, paradigm, profile, epsilon, parameters)
    _check(method, chosen, train, paradigm)
    trial = _as_trial(Choice(method, plain(chosen.parameters()), chosen.edition()), train, paradigm, seed)
    trial = dataclasses.replace(trial, **vars(environment.arithmetic))
    if chosen.prepares:
        kept = environment.open_store().names("prepared", ".safetensors")
        if prepare_key(trial.method, seed, chosen, trial.arithmetic) not in kept:
            warnings.warn(
                f"{method}: what it prepares once is not in the store {environment.store} and is made now (at the "
                f"paper's settings: {chosen.cost})",
                stacklevel=2,
            )
    with caller_randomness(), computing_with(threads):
        shown = choose_progress() if progress else Progress()
        noise, facts = when_free(lambda: make_noise(trial, environment, shown), shown.say)
    if train.hash_content() != train.fingerprint:
        raise PerturbationError(
            f"{method} changed your images in place: it must work on a copy. Load them again"
        )
    for sentence in facts["warnings"]:
        warnings.warn(f"{method}: {sentence}", stacklevel=2)
    return noise


@dataclass(frozen=True)
class _Own(Environment):
    """An environment whose trials protect what is in memory."""

    train: ImageSet | None = None

    def load_dataset(
        self, name: str, image_size: int | None, parameters: Mapping[str, Any] | None = None
    ) -> Split:
        if name != THEIRS:
            return super().load_dataset(name, image_size, parameters)
        assert self.train is not None
        if image_size is None:
            return Split(self.train, self.train)
        small = ImageSet(resize_all(self.train.images, image_size), self.train.labels, self.train.captions)
        return Split(small, small)


def _read(images: Any, labels: Any, captions: Any, class_names: Any) -> ImageSet:
    pixels, _ = read_images(images)
    names = None if class_names is None else tuple(map(str, class_names))
    return ImageSet(
        pixels,
        None if labels is None else read_labels(labels, len(pixels)),
        None if captions is None else read_captions(captions, len(pixels)),
        names,
    )


def _choose(
    environment: Environment,
    name: str,
    paradigm: str,
    profile: str,
    epsilon: str | float | None,
    parameters: Mapping[str, Any],
) -> Method:
    """The method, configured."""
    registry = environment.registry()
    kind: type[Method] = registry.load("methods", name)
    known = {each.name for each in kind.__dataclass_fields__.values()}
    own = [key for key in inspect.signature(protect).parameters if key not in ("images", "parameters")]
    for key in parameters:
        if key not in known:
            hint = f"ue-bench show method {name}"
            raise unknown(f"parameter of ue_bench.protect and of method '{name}'", key, [*known, *own], hint)
    if profile not in ("", "paper", *kind.presets):
        raise unknown(f"profile of method '{name}'", profile, ("paper", *kind.presets))
    preset = preset_of(kind, profile, paradigm)
    method: Method = registry.create("methods", name, {**preset, **parameters}, paradigm)
    if epsilon is None:
        return method
    if method.budget.norm != "linf" or method.budget.empty:
        raise ConfigError(
            f"epsilon={epsilon} is an linf radius, but the budget of {name} is {method.budget}: leave epsilon out"
        )
    radius = number(epsilon) if isinstance(epsilon, str) else epsilon
    if isinstance(radius, bool) or not isinstance(radius, (int, float)) or not 0 < radius <= 255:
        raise ConfigError(f"epsilon is a radius above 0 and up to 255, such as '8/255' or 8, not {epsilon!r}")
    return method.with_epsilon(steps(radius))


def _check(name: str, method: Method, train: ImageSet, paradigm: str) -> None:
    """ConfigError for a method that cannot work with what was given, UnavailableError if it cannot work here."""
    if paradigm not in method.paradigms:
        way = "leave captions out" if paradigm == "contrastive" else "give captions="
        raise ConfigError(
            f"{name} is for {' and '.join(sorted(method.paradigms))} training, not {paradigm}: {way}"
        )
    reason = method.conflict(paradigm) or lacks(method, THEIRS, train, paradigm)
    if reason:
        advice = ": give " + " and ".join(
            f"{word}=" for word in method.access.words() if f"needs {word}" in reason
        )
        raise ConfigError(reason + (advice if advice.endswith("=") else ""))
    if reason := method.unavailable():
        raise UnavailableError(f"{name}: {reason}")


def _as_trial(choice: Choice, train: ImageSet, paradigm: str, seed: int) -> Trial:
    nothing = Choice("", {})
    return Trial(
        paradigm=paradigm,
        dataset=Choice(THEIRS, {}),
        image_size=None,
        train_fingerprint=train.fingerprint,
        test_fingerprint="",
        method=choice,
        victim=nothing,
        defense=nothing,
        recipe={},
        poison_ratio=1.0,
        seed=seed,
    )
