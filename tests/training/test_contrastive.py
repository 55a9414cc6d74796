"""The contrastive trainer: pairs as published, triggers, schedules, defenses, and the whole road once."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import ClassVar

import pytest
import torch

from ue_bench import Budget, Defense, ImageSet, Perturbation
from ue_bench.clock import Clock
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.registry import Registry
from ue_bench.training.contrastive import ContrastiveCurves, train_contrastive
from ue_bench.training.optim import contrastive_learning_rate, make_contrastive_optimizer
from ue_bench.training.pairs import PairBatches, Pairs
from ue_bench.training.recipe import ContrastiveRecipe
from ue_bench.training.towers import Towers
from ue_bench.trials.paradigms import WAYS
from ue_bench.trials.plan import make_recipe
from ue_bench.trials.poison import publish_pairs

CPU = torch.device("cpu")
SIZES = {"channels": 8, "width": 32, "layers": 1, "heads": 2, "token_width": 16, "embed": 32}
RECIPE = ContrastiveRecipe(epochs=2, batch_size=16, learning_rate=1e-3, warmup_steps=4)


def tiny(seed: int = 0, size: int = 32) -> Towers:
    torch.manual_seed(seed)
    return Registry().create("victims", "clip_tiny", SIZES).build(0, (size, size))


@pytest.fixture(scope="module")
def towers() -> Towers:
    return tiny()


def fit(pairs: Pairs, recipe: ContrastiveRecipe = RECIPE, seed: int = 0, **more) -> ContrastiveCurves:
    return train_contrastive(tiny(), pairs, recipe, device=CPU, seed=seed, clock=Clock(CPU), **more)


@dataclasses.dataclass(frozen=True)
class Spy(Defense):
    """Writes down what it is given, upside down; edits what begins with "number"."""

    seen: list = dataclasses.field(default_factory=list)
    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def captions(self, captions, generator):
        self.seen.append(("captions", list(captions), generator.device.type))
        return [text.replace("number", "item") for text in captions]

    def pairs(self, images, captions, generator):
        self.seen.append(("pairs", list(captions), float(images.max())))
        return images * 0.5, captions

    def attack_pairs(self, loss, images, generator):
        images = images.detach()
        bent = images.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(bent), bent)
        self.seen.append(("attack", float(gradient.abs().sum()), float(images.max())))
        return (images + 0.01 * gradient.sign()).clamp(0, 1).detach()


def test_defenses_act_in_order_on_pairs_and_never_on_test_data(make_images):
    data, test, spy = make_images(8, 4), make_images(6, 3, seed=1), Spy()
    before = test.hash_content(), data.hash_content()
    model = tiny()
    kept = [buffer.clone() for name, buffer in model.named_buffers() if "running_mean" in name]
    words = tuple(f"word{number}" for number in range(16))
    mask = torch.ones(8, dtype=torch.bool)
    noise = torch.randint(
        -8, 9, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.int8
    )
    perturbation = Perturbation(noise, torch.arange(16), Budget("linf", 8), triggers=words)
    pairs = publish_pairs(data, perturbation, mask)[0]
    recipe = dataclasses.replace(RECIPE, epochs=1)
    train_contrastive(model, pairs, recipe, device=CPU, seed=0, clock=Clock(CPU), test=test, defense=spy)
    assert [entry[0] for entry in spy.seen] == ["captions", "pairs", "attack"]
    (_, given, device), (_, edited, brightest), (_, size, halved) = spy.seen
    assert device == "cpu" and all(text.startswith("word") for text in given), "triggers stand in front"
    assert edited == [text.replace("number", "item") for text in given] and edited != given
    assert brightest > 0.9 and halved == pytest.approx(brightest / 2) and size > 0
    assert (test.hash_content(), data.hash_content()) == before
    now = [buffer for name, buffer in model.named_buffers() if "running_mean" in name]
    assert any(not torch.equal(a, b) for a, b in zip(kept, now, strict=True)), "the step itself trains"


def test_an_attack_leaves_weights_gradients_and_normalisations_alone(make_images):
    from ue_bench.training.contrastive import _loss_of_images

    model, data = tiny(), make_images(4, 4)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.rand(4, 3, 32, 32, requires_grad=True)
    loss = _loss_of_images(model, model.tokenize(Pairs.of(data).captions[::2]), bf16=True)
    first = loss(images)
    torch.autograd.grad(first, images)
    assert torch.equal(loss(images), first), "deterministic"
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_only_what_a_defense_rewrites_is_tokenised_again(make_images, towers, monkeypatch):
    counts = []
    real = Towers.tokenize
    monkeypatch.setattr(
        Towers, "tokenize", lambda self, texts: counts.append(len(texts)) or real(self, texts)
    )
    data = make_images(8, 4)
    for defense, wanted in ((None, [16]), (Defense(), [16]), (Spy(), [16, 8])):
        counts.clear()
        batches = PairBatches(Pairs.of(data), towers, 16, CPU, 0, defense)
        ((images, tokens),) = list(batches.epoch())
        assert counts == wanted, "half of the captions hold the word"
        assert len(images) == len(tokens) == 16
    edited = [text.replace("number", "item") for text in Pairs.of(data).captions]
    everything = batches.take(torch.arange(16))[1]
    assert torch.equal(everything, real(towers, edited)[:, : everything.shape[1]])


def test_a_defense_that_loses_pairs_is_named(make_images, towers):
    @dataclasses.dataclass(frozen=True)
    class Loses(Defense):
        def captions(self, captions, generator):
            return captions[1:]

    with pytest.raises(TrainingError, match="Loses made 4 images and 3 captions of 4 pairs"):
        PairBatches(Pairs.of(make_images(8, 4)), towers, 4, CPU, 0, Loses()).take(torch.arange(4))


def test_learning_rates_by_hand():
    recipe = ContrastiveRecipe(epochs=3, learning_rate=1.0, warmup_steps=4)
    rates = [contrastive_learning_rate(recipe, epoch, step, 4) for epoch in range(3) for step in range(4)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)])
    authors = dataclasses.replace(recipe, off_by_one=True)
    assert [contrastive_learning_rate(authors, 1, step, 4) for step in range(4)] == pytest.approx(rates[8:])


def test_the_authors_schedule_gives_the_numbers_of_the_sheet():
    """Flickr8k ramps from 1.2e-5 to 3.9e-4 and never decays; Flickr30k climbs back to 2.3e-6."""
    authors = ContrastiveRecipe(off_by_one=True)
    assert contrastive_learning_rate(authors, 0, 0, 234) == pytest.approx(1.175e-5)
    assert contrastive_learning_rate(authors, 31, 233, 234) == pytest.approx(3.86e-4, rel=1e-3)
    assert contrastive_learning_rate(authors, 31, 1131, 1132) == pytest.approx(2.3e-6, rel=0.01)
    short = dataclasses.replace(authors, epochs=2, warmup_steps=10)
    assert [contrastive_learning_rate(short, 1, step, 5) for step in range(5)] == [5e-4] * 5, (
        "held, no cosine"
    )
    ours = ContrastiveRecipe()
    assert contrastive_learning_rate(ours, 31, 1131, 1132) < 1e-11 + 5e-4 * (math.pi / 26224) ** 2


def test_weight_decay_passes_over_parameters_by_name():
    with torch.device("meta"):
        from ue_bench_victims._openclip import build_clip

        model = build_clip("RN50", (224, 224), device="meta")
    names = {id(weight): name for name, weight in model.named_parameters()}
    optimizer = make_contrastive_optimizer(model, ContrastiveRecipe())
    decays, exempt = ([names[id(w)] for w in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]
    assert len(decays) + len(exempt) == len(names)
    assert "clip.logit_scale" in exempt and "clip.text.ln_final.weight" in exempt
    assert "clip.visual.layer1.0.bn1.weight" in exempt and "clip.visual.attnpool.q_proj.bias" in exempt
    scales = [name for name in decays if "downsample.1.weight" in name]
    assert len(scales) == 4, "as in the authors' code, these BatchNorm scales decay"
    assert {"clip.text.text_projection", "clip.text.positional_embedding"} <= set(decays)
    assert not [name for name in decays if name not in scales and "bias" in name]
    assert optimizer.defaults["betas"] == (0.9, 0.999) and optimizer.defaults["eps"] == 1e-8


def test_recipes_by_paradigm_and_their_limits():
    recipe = make_recipe({"preset": "standard", "warmup_steps": 500}, "contrastive")
    assert isinstance(recipe, ContrastiveRecipe) and (recipe.warmup_steps, recipe.epochs) == (500, 32)
    assert make_recipe("standard").optimizer == "sgd"
    assert {"standard", "tiny", "fine_tune"} <= set(WAYS["contrastive"].presets)
    with pytest.raises(ConfigError, match="unknown contrastive recipe 'no_augmentation'"):
        make_recipe("no_augmentation", "contrastive")
    with pytest.raises(ConfigError, match="unknown key of recipe 'momentum'"):
        make_recipe({"momentum": 0.9}, "contrastive")
    for changes in ({"batch_size": 1}, {"epochs": 0}, {"learning_rate": 0.0}, {"beta2": 1.0}, {"max_scale": 0.5},
                    {"warmup_steps": -1}, {"weight_decay": -0.1}, {"gradient_clip": -1.0}):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(changes))):
            ContrastiveRecipe(**changes)


def test_the_temperature_stays_below_its_limit(make_images):
    model = tiny()
    recipe = dataclasses.replace(RECIPE, epochs=1, max_scale=10.0)
    train_contrastive(model, Pairs.of(make_images(16, 4)), recipe, device=CPU, seed=0, clock=Clock(CPU))
    assert 9.9 < float(model.scale.detach()) <= 10.0 + 1e-5, "it starts at 14.3"


def test_same_seed_same_curves_and_clean_data_untouched(make_images):
    data, test = make_images(24, 4), make_images(12, 4, seed=1)
    before = data.hash_content()
    clock = Clock(CPU)
    runs = [fit(Pairs.of(data), seed=seed, test=test) for seed in (0, 0, 1)]
    train_contrastive(tiny(), Pairs.of(data), RECIPE, device=CPU, seed=0, clock=clock, test=test)
    assert runs[0] == runs[1] and runs[0].train_loss != runs[2].train_loss
    assert set(clock.seconds) == {"warmup", "train", "evaluate"}
    assert data.hash_content() == before
    assert len(runs[0].train_loss) == 2 and len(runs[0].retrieval["i2t_hit@10"]) == 3, (
        "the untrained one first"
    )
    first = {name: values[0] for name, values in runs[0].retrieval.items()}
    assert first == {name: values[0] for name, values in runs[2].retrieval.items()}, "the same victim starts"


def test_a_pair_wise_shortcut_is_learned_and_a_clean_victim_learns(make_images):
    """Captions name the noise and nothing else: the loss falls far below that of the clean pairs."""
    data = make_images(48, 4, 16)
    flat = dataclasses.replace(data, images=torch.full_like(data.images, 128), _memo={})
    rows = data.labels.repeat_interleave(2)
    noise = (
        16 * torch.randint(0, 2, (4, 3, 16, 16), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
        - 8
    )
    captions = tuple((f"class{c}", f"class{c}") for c in data.labels.tolist())
    flat = dataclasses.replace(flat, captions=captions, _memo={})
    perturbation = Perturbation(noise, rows, Budget("linf", 8))
    pairs = publish_pairs(flat, perturbation, torch.ones(48, dtype=torch.bool))[0]
    recipe = ContrastiveRecipe(epochs=10, batch_size=16, learning_rate=3e-3, warmup_steps=5)
    protected, clean = fit(pairs, recipe), fit(Pairs.of(flat), recipe)
    assert protected.train_loss[-1] < clean.train_loss[-1] - 0.5
    assert clean.train_loss[-1] == pytest.approx(math.log(16), abs=0.2), "grey pictures tell nothing"


def test_last_best_and_mean_by_hand():
    i2t, t2i = [9.0, 1.0, 5.0, 3.0, 4.0, 4.0, 2.0], [9.0, 2.0, 4.0, 6.0, 4.0, 4.0, 1.0]
    curves = ContrastiveCurves([1.0] * 6, [50.0] * 6, {"i2t_hit@10": i2t, "t2i_hit@10": t2i}, [False] * 7)
    assert curves.metrics() == {
        **{"i2t_hit@10": 2.0, "t2i_hit@10": 1.0, "train_accuracy_last": 50.0},
        "best": {"i2t_hit@10": 5.0, "t2i_hit@10": 4.0, "epoch": 2},
        "mean5": {"i2t_hit@10": 3.6, "t2i_hit@10": 3.8},
    }


def test_a_loss_that_is_not_finite_stops_with_advice(make_images):
    model = tiny()
    torch.nn.init.constant_(model.clip.text.widen.weight, torch.nan)
    with pytest.raises(TrainingError, match=r"epoch 1: lower recipe\.learning_rate"):
        train_contrastive(model, Pairs.of(make_images(16, 4)), RECIPE, device=CPU, seed=0, clock=Clock(CPU))


def test_a_collapse_is_no_protection(make_images):
    found = {**{f"{way}_hit@10": 0.0 for way in ("i2t", "t2i")}, "i2t_medr": 9.0, "t2i_medr": 9.0}
    curves = ContrastiveCurves([1.0], [1.0])
    curves.add({**found, "collapsed": False})
    curves.add({**found, "collapsed": True})
    remarks = WAYS["contrastive"].remarks(curves, make_images(20, 4))
    assert remarks.status == "invalid" and "a collapse is no protection" in remarks.warnings[0]
    assert remarks.notes["random_retrieval"]["t2i_medr"] == 10.5
    curves.collapsed = [False, False]
    assert WAYS["contrastive"].remarks(curves, make_images(20, 4)).warnings == []


def test_training_without_captions_is_an_error():
    with pytest.raises(TrainingError, match="needs captions"):
        Pairs.of(ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)))


def test_the_whole_road(command, tmp_path):
    ended = command("run", "suite=clip_retrieval", "profile=smoke", "method=[]", "poison_ratio=[0.5,1]")
    assert ended.status == 0, ended.err
    assert "Hit@10 i2t" in ended.err and "MedR" in ended.err and "i2t Hit@10" in ended.out
    found = [json.loads(path.read_text()) for path in (tmp_path / "store" / "trials").glob("*.json")]
    records = {(r["method"], r["poison_ratio"]): r for r in found}
    assert set(records) == {("clean", 0.0), ("random", 0.5), ("random", 1.0)}
    whole, half = records["random", 1.0], records["random", 0.5]
    assert whole["noise"]["changed_images"] == 200 and half["noise"]["changed_images"] == 100
    assert (
        whole["noise"]["examples"] == 400 and whole["noise"]["linf"] == 8 and whole["granularity"] == "pair"
    )
    for record in records.values():
        metrics = record["metrics"]
        names = {f"{way}_{kind}" for way in ("i2t", "t2i") for kind in ("hit@1", "hit@5", "hit@10", "medr")}
        assert names <= set(metrics) and names == set(metrics["best"]) - {"epoch"} == set(metrics["mean5"])
        assert all(len(record["curves"]["retrieval"][name]) == 3 for name in names)
        assert record["notes"]["random_retrieval"]["t2i_medr"] == 30.5
        assert record["status"] == "done" and record["config"]["recipe"]["beta2"] == 0.999
    again = command("run", "suite=clip_retrieval", "profile=smoke", "method=[]", "poison_ratio=[0.5,1]")
    assert "3 trials, 3 done, 0 to do" in again.err


def test_floors_may_name_retrieval(command):
    ended = command(
        "run", "suite=clip_retrieval", "profile=smoke", "method=[]", "floors.clean_i2t_hit@10=100"
    )
    assert ended.status == 0 and "the clean victim reaches" in ended.out
    wrong = command("run", "suite=clip_retrieval", "profile=smoke", "floors.clean_i2t_hit@100=3")
    assert wrong.status != 0 and "clean_i2t_hit@10" in wrong.err
