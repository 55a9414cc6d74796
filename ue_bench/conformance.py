"""Checks the promises that every method, victim, defense and dataset must keep, third parties' content included."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ue_bench.clock import Clock
from ue_bench.contracts.access import Access
from ue_bench.contracts.context import Context
from ue_bench.contracts.ledger import Ledger
from ue_bench.contracts.method import Method
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.crafting.paradigms import FOREIGN
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import AccessError, UnavailableError, unknown
from ue_bench.process import restored
from ue_bench.progress import Progress
from ue_bench.registry import Entry, Registry
from ue_bench.training.towers import Towers, contrastive_loss
from ue_bench.trials.environment import Environment

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Result:
    """The result for one promise of one piece of content; ``problem`` is None if the promise is kept."""

    name: str
    promise: str
    problem: str | None


@dataclass
class Subject:
    """The subject of a check: content under a name, and how to build surrogates for it.

    Attributes:
        asked: the paradigm in which to check a method, or "" for the one that ``paradigm`` chooses.
    """

    name: str
    content: Any
    environment: Environment
    asked: str = ""

    def protect(
        self, data: ImageSet, paradigm: str, seed: int = 1, access: Access | None = None
    ) -> Perturbation:
        """The method's noise for ``data``, with what it may prepare."""
        method: Method = self.content
        ledger = Ledger(self.environment.build_victim, self.environment.find_public)
        context = Context(CPU, seed, Clock(CPU), Progress(), ledger)
        torch.manual_seed(seed)
        context.prepared = method.prepare(context)
        seen = method.access if access is None else access
        return method.protect(ProtectorView(data, seen, paradigm, self.name), context)

    def paradigm(self) -> str:
        """The paradigm that was asked for, else supervised if the content supports it, else contrastive."""
        if self.asked:
            return self.asked
        return "supervised" if "supervised" in self.content.paradigms else "contrastive"

    def data(self) -> ImageSet:
        """A small training set; smaller where each image counts twice, as pairs do."""
        return sample(48 if self.paradigm() == "supervised" else 16)


def sample(count: int = 48, classes: int = 4, size: int = 32, seed: int = 0) -> ImageSet:
    """A small training set with labels, class names and two captions for each image."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, 4, 4), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.arange(count) % classes
    names = tuple(f"kind {number}" for number in range(classes))
    captions = tuple((f"a picture of {names[c]}", f"picture {i}") for i, c in enumerate(labels.tolist()))
    return ImageSet((smooth * 255).to(torch.uint8), labels, captions, names)


def permuted(data: ImageSet, seed: int = 5) -> ImageSet:
    """The same examples in another order."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    assert data.labels is not None and data.captions is not None
    captions = tuple(data.captions[index] for index in order.tolist())
    return ImageSet(data.images[order], data.labels[order], captions, data.class_names)


def doubled(data: ImageSet) -> ImageSet:
    """The same examples twice, one set after the other."""
    assert data.labels is not None and data.captions is not None
    return ImageSet(
        torch.cat([data.images] * 2), torch.cat([data.labels] * 2), data.captions * 2, data.class_names
    )


def parameters_are_stored(subject: Subject) -> None:
    """a constructor only stores parameters: frozen, equal when equal, repr and pickle"""
    content: Any = subject.content
    kind = type(content)
    assert dataclasses.is_dataclass(kind), (
        "it is not a dataclass: put @dataclass(frozen=True) above the class"
    )
    again = kind(**content.parameters())
    assert again == content, (
        "two instances with equal parameters differ: the constructor changes what it is given"
    )
    assert pickle.loads(pickle.dumps(content)) == content, "it does not survive pickle"
    assert kind.__name__ in repr(content), "its repr does not name the class"
    try:
        content.version = content.version
    except dataclasses.FrozenInstanceError:
        return
    raise AssertionError("it is not frozen: put @dataclass(frozen=True) above the class")


def noise_keeps_its_promises(subject: Subject) -> None:
    """noise is whole steps of 1/255 of the images' shape, finite, within budget, not constant, two-sided"""
    data, paradigm = subject.data(), subject.paradigm()
    view = ProtectorView(data, subject.content.access, paradigm)
    noise = subject.protect(data, paradigm)
    assert isinstance(noise, Perturbation), f"protect returns {type(noise).__name__}, not a Perturbation"
    noise.check(len(view), data.image_size, subject.content.promised_budget(data.image_size))
    assert noise.budget.norm == subject.content.budget.norm, (
        "the norm of the noise is not the norm of the method's budget"
    )


def same_seed_same_noise(subject: Subject) -> None:
    """the same seed gives the same noise, bit for bit"""
    data, paradigm = subject.data(), subject.paradigm()
    one, two = subject.protect(data, paradigm, seed=3), subject.protect(data, paradigm, seed=3)
    assert torch.equal(one.noise, two.noise) and torch.equal(one.rows, two.rows), (
        "two runs with one seed differ"
    )


def noise_follows_the_image(subject: Subject) -> None:
    """noise follows the image, whatever the order of the dataset"""
    paradigm = subject.paradigm()
    if subject.content.granularity == "cluster":
        _equal_images_share_a_cluster(subject, paradigm)
        return
    for data in (subject.data(), permuted(subject.data())):
        noise = subject.protect(data, paradigm)
        assert data.labels is not None
        whole = ProtectorView(data, Access.LABELS, paradigm)
        if subject.content.budget.empty:
            return
        wanted = whole.rows(subject.content.granularity)
        pairs = set(zip(wanted.tolist(), noise.rows.tolist(), strict=True))
        granularity = subject.content.granularity
        assert len(pairs) == len(wanted.unique()), f"examples of one {granularity} get different noises"
        assert len({row for _, row in pairs}) == len(pairs), (
            f"examples of different {granularity} groups share a noise"
        )


def _equal_images_share_a_cluster(subject: Subject, paradigm: str) -> None:
    """Checks clusters that only the method knows, on data that holds every image twice in any order."""
    data = permuted(doubled(sample()))
    noise = subject.protect(data, paradigm)
    images = data.images[ProtectorView(data, Access.IMAGES, paradigm).image_of_example].flatten(1)
    different, kinds = images.unique(dim=0, return_inverse=True)
    pairs = set(zip(kinds.tolist(), noise.rows.tolist(), strict=True))
    assert len(pairs) == len(different), "equal images get different noises: rows must be the image's cluster"
    used = len(noise.rows.unique())
    assert 1 < used < len(different), (
        f"{len(different)} images make {used} clusters: there must be more than one, and fewer than there are images"
    )
    assert used == len(noise.noise), (
        f"{len(noise.noise) - used} of {len(noise.noise)} noises belong to no image"
    )


def inputs_stay_untouched(subject: Subject) -> None:
    """the training data is not changed"""
    data = subject.data()
    before = data.hash_content()
    subject.protect(data, subject.paradigm())
    assert data.hash_content() == before, "protect changed images or labels in place: work on a copy"


def process_stays_as_it_was(subject: Subject) -> None:
    """the process is left as it was: torch's and NumPy's settings, the working folder, environment variables"""
    changed: list[str] = []
    with restored(changed.append):
        subject.protect(subject.data(), subject.paradigm())
    assert not changed, f"protect leaves {' and '.join(changed)} changed: restore it, in a finally or a with"


def access_is_declared(subject: Subject) -> None:
    """only declared data is read, and all declared data is used"""
    data, paradigm = subject.data(), subject.paradigm()
    try:
        subject.protect(data, paradigm)
    except AccessError as error:
        raise AssertionError(str(error)) from None
    if subject.content.access and subject.content.granularity == "class":
        try:
            subject.protect(data, paradigm, access=Access.NOTHING)
        except AccessError:
            return
        raise AssertionError(
            "it declares access that it never uses: a method should ask only for what it needs"
        )


def victim_gives_logits(subject: Subject) -> None:
    """a victim maps [B, 3, H, W] to [B, classes], a CLIP maps images and texts to vectors; all weights can learn"""
    if subject.paradigm() == "contrastive":
        model = subject.environment.build_victim(subject.name, 0, (32, 32), 0)
        assert isinstance(model, Towers), f"it builds a {type(model).__name__}, not Towers"
        seen, read = model.encode_image(torch.rand(4, 3, 32, 32)), model.encode_text(model.tokenize("abcd"))
        assert seen.shape == read.shape, f"features are {list(seen.shape)} and {list(read.shape)}"
        contrastive_loss(seen, read, model.scale).backward()
        _nothing_is_idle(model)
        return
    for classes, size in ((10, 32), (3, 48)):
        model = subject.environment.build_victim(subject.name, classes, (size, size), 0)
        logits = model(torch.rand(4, 3, size, size))
        assert logits.shape == (4, classes), f"logits are {list(logits.shape)}, not [4, {classes}]"
        loss = logits.square().sum()
        if subject.content.learns == "views":
            learner: Any = model
            loss = loss + learner.objective(torch.rand(4, 3, size, size), torch.Generator().manual_seed(0))
        loss.backward()
        _nothing_is_idle(model)


def _nothing_is_idle(model: nn.Module) -> None:
    idle = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not idle, f"weights without a gradient: {', '.join(idle[:3])}"


def victim_is_seeded(subject: Subject) -> None:
    """the same seed builds the same victim"""
    one, two = (subject.environment.build_victim(subject.name, 5, (32, 32), 7).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one), "two victims of one seed differ"


def defense_keeps_the_form(subject: Subject) -> None:
    """a defense keeps shapes, dtypes and ranges, mixes targets to one, has a loss, and leaves its inputs alone"""
    data, defense = sample(), subject.content
    squeezed = defense.images_once(data.images)
    assert data.hash_content() == sample().hash_content(), "images_once changes its input in place"
    assert squeezed.dtype == torch.uint8 and squeezed.shape == data.images.shape, (
        "images_once changes the shape or dtype"
    )
    assert data.labels is not None
    dice = torch.Generator().manual_seed
    learnt = [defense.fit_once(data.images, data.labels, dice(2)) for _ in range(2)]
    assert data.hash_content() == sample().hash_content(), "fit_once changes its input in place"
    assert learnt[0].dtype in (torch.uint8, torch.float32) and learnt[0].shape == data.images.shape, (
        "fit_once changes the form: give uint8, or float32 on the same scale"
    )
    assert torch.equal(*learnt), "two fits of one seed differ: draw from the generator given"
    images, targets = data.images.float() / 255, torch.nn.functional.one_hot(data.labels).float()
    before = copy.deepcopy((images, targets))
    results = [defense.batch(images, targets, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(images, before[0]) and torch.equal(targets, before[1]), (
        "batch changes its input in place"
    )
    (mixed, goals), (again, _) = results
    assert mixed.shape == images.shape and mixed.dtype == images.dtype, (
        "batch changes the images' shape or dtype"
    )
    assert float(mixed.min()) >= 0 and float(mixed.max()) <= 1, "batch leaves the range [0, 1]"
    assert goals.shape == targets.shape and torch.allclose(goals.sum(1), torch.ones(len(goals))), (
        "targets do not sum to 1"
    )
    assert torch.equal(mixed, again), "two batches of one seed differ: draw from the generator given"
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), targets.shape[1]))
    cost = torch.nn.functional.cross_entropy
    losses = [
        defense.in_epoch(0, 1).loss(model, images, targets, cost, torch.Generator().manual_seed(2))
        for _ in range(2)
    ]
    assert torch.equal(images, before[0]) and torch.equal(targets, before[1]), (
        "loss changes its input in place"
    )
    assert losses[0][0].shape == () and losses[0][0].requires_grad, "the loss is no scalar with a gradient"
    assert losses[0][1].shape == targets.shape, "loss returns logits of another form than the targets"
    assert torch.equal(losses[0][0], losses[1][0]), (
        "two losses of one seed differ: draw from the generator given"
    )


def dataset_is_stable(subject: Subject) -> None:
    """a dataset gives the same images every time, and none of the training images again as test images"""
    one, two = subject.content.load(32), subject.content.load(32)
    assert one.train.fingerprint == two.train.fingerprint, "two loads give different training sets"
    assert one.train.image_size == (32, 32), f"images are {one.train.image_size}, not 32 pixels as asked"
    train, test = ({image.numpy().tobytes() for image in part.images} for part in (one.train, one.test))
    assert not train & test, f"{len(train & test)} images are in both training and test set"


CHECKS: dict[str, tuple[Callable[[Subject], None], ...]] = {
    "methods": (
        parameters_are_stored,
        noise_keeps_its_promises,
        same_seed_same_noise,
        noise_follows_the_image,
        inputs_stay_untouched,
        process_stays_as_it_was,
        access_is_declared,
    ),
    "victims": (parameters_are_stored, victim_gives_logits, victim_is_seeded),
    "defenses": (parameters_are_stored, defense_keeps_the_form),
    "datasets": (parameters_are_stored, dataset_is_stable),
}


def subjects(entry: Entry, registry: Registry) -> list[Subject]:
    """The content with its smallest preset; a method once for each paradigm and granularity."""
    environment = Environment(store="", device="cpu", plugins=registry.plugins)
    content = registry.load(entry.kind, entry.name)
    presets = getattr(content, "presets", {})
    if entry.reading is not None and entry.reading.argument and not entry.argument:
        return []  # its name must say what it builds
    one = registry.create(entry.kind, entry.name, presets.get("smoke", {}))
    if not isinstance(one, Method):
        return [Subject(entry.name, one, environment)]
    found = []
    for paradigm in sorted(one.paradigms, reverse=True):
        preset = presets.get(f"{paradigm} smoke", presets.get("smoke", {}))
        both = len(one.paradigms) > 1
        for way in one.granularities:
            if both and way in FOREIGN[paradigm]:
                continue
            method = registry.create(entry.kind, entry.name, {**preset, "granularity": way}, paradigm)
            words = f"{way}, contrastive" if both and paradigm == "contrastive" else way
            found.append(Subject(f"{entry.name} ({words})", method, environment, paradigm))
    return found


def check(entry: Entry, registry: Registry) -> list[Result]:
    """Runs every check that applies to an entry."""
    results = []
    for subject in subjects(entry, registry):
        for promise in CHECKS[entry.kind]:
            problem = None
            try:
                with restored(str):
                    promise(subject)
            except AssertionError as error:
                problem = str(error)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                problem = (
                    f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
                )
            results.append(Result(subject.name, (promise.__doc__ or "").strip(), problem))
    return results


def check_target(target: str, plugins: Iterable[str] = ()) -> list[Result]:
    """Checks a file's or a name's content."""
    path = Path(target)
    if path.suffix == ".py" or path.is_file():
        registry = Registry([*plugins, path])
        found = [entry for kind in CHECKS for entry in registry.entries(kind) if entry.path == path]
    else:
        registry = Registry(plugins)
        stem = target.partition(":")[0]
        found = [registry.find(kind, target) for kind in CHECKS if stem in registry.names(kind)]
    if not found:
        for broken in registry.unavailable:
            if broken.name == path.stem:
                raise UnavailableError(f"'{target}' is unavailable: {broken.problem}")
        names = [name for kind in CHECKS for name in registry.names(kind)]
        raise unknown("method, victim, defense or dataset", target, names, "ue-bench list")
    return [result for entry in found for result in check(entry, registry)]
