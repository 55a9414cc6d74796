"""The supervised victims: they build at every size, are what they say, and learn by their recipes."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn

from ue_bench import Recipe, Victim
from ue_bench.clock import Clock
from ue_bench.data.cache import load_cached
from ue_bench.data.imageset import ImageSet
from ue_bench.datasets.cifar10 import Cifar10
from ue_bench.errors import ConfigError
from ue_bench.reading import read_module
from ue_bench.registry import Registry
from ue_bench.training.recipe import PRESETS
from ue_bench.training.supervised import accuracy, logits_of, train
from ue_bench.trials.environment import Environment

CPU = torch.device("cpu")
REGISTRY = Registry()
RESNETS = ("resnet18", "resnet50", "resnet101")
VGGS = ("vgg11", "vgg13", "vgg16", "vgg19")
VITS = ("vit_b_16", "vit_b_32", "vit_small", "vit_tiny")
OTHERS = ("densenet121", "googlenet", "resnet_tiny", "vgg_tiny", "densenet_tiny")
ALL = (*RESNETS, *VGGS, *VITS, *OTHERS)
GENERIC = "timm:test_vit"


def on_meta(name: str, classes: int, size: int) -> nn.Module:
    """The victim without its weights' memory: shapes are worked out, numbers are not."""
    with torch.device("meta"):
        return REGISTRY.create("victims", name).build(classes, (size, size))


def built(name: str, classes: int, size: int, **parameters) -> nn.Module:
    return Environment("", "cpu").build_victim(name, classes, (size, size), 0, parameters)


def weights(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_every_victim_of_the_issue_is_found_and_described():
    assert set(ALL) | {"timm"} <= set(REGISTRY.names("victims"))
    for name in ALL:
        entry = REGISTRY.find("victims", name)
        assert issubclass(REGISTRY.load("victims", name), Victim)
        assert entry.summary and entry.reading.class_name.lower() == name.replace("_", "")


@pytest.mark.parametrize("size", [32, 64, 96, 224])
@pytest.mark.parametrize("name", ALL)
def test_every_size_gives_logits_and_every_weight_learns(name, size):
    model = on_meta(name, 7, size)
    logits = model(torch.empty(2, 3, size, size, device="meta"))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    idle = [weight for weight, value in model.named_parameters() if value.grad is None]
    assert not idle, idle


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121", "googlenet", "vit_small"])
def test_logits_and_gradients_are_finite(name):
    model = built(name, 10, 32)
    logits = model(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert bool(logits.isfinite().all()) and float(logits.detach().std()) > 0
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters())


@pytest.mark.parametrize(
    ("name", "size", "classes", "count"),
    [  # the original networks, as torchvision and the papers count them for ImageNet
        ("resnet18", 224, 1000, 11_689_512),
        ("resnet50", 224, 1000, 25_557_032),
        ("resnet101", 224, 1000, 44_549_160),
        ("vgg16", 224, 1000, 138_365_992),
        ("densenet121", 224, 1000, 7_978_856),
        ("googlenet", 224, 1000, 6_624_904),  # without auxiliary classifiers
        ("vit_b_16", 224, 1000, 86_567_656),
        ("vit_b_32", 224, 1000, 88_224_232),
        # the field's CIFAR forms: against ImageNet 990 classes fewer, and 3x3 for 7x7 in the stem saves 7,680
        ("resnet18", 32, 10, 11_689_512 - 990 * 513 - 7_680),
        ("resnet50", 32, 10, 25_557_032 - 990 * 2049 - 7_680),
        ("resnet101", 32, 10, 44_549_160 - 990 * 2049 - 7_680),
        ("densenet121", 32, 10, 7_978_856 - 990 * 1025 - 7_680),
        ("googlenet", 32, 10, 6_624_904 - 990 * 1025 - 7_680),
        ("vgg16", 32, 10, 14_714_688 + 2 * 4_224 + 512 * 10 + 10),  # convolutions, batch norms, head
    ],
)
def test_weights_are_as_many_as_published(name, size, classes, count):
    assert weights(on_meta(name, classes, size)) == count


def test_small_images_get_the_fields_stem_and_large_ones_the_original():
    for name in RESNETS:
        small, large = on_meta(name, 10, 64), on_meta(name, 10, 96)
        assert (small.conv1.kernel_size, small.conv1.stride) == ((3, 3), (1, 1))
        assert isinstance(small.maxpool, nn.Identity)
        assert (large.conv1.kernel_size, large.conv1.stride) == ((7, 7), (2, 2))
    features = on_meta("densenet121", 10, 32).features
    assert (features.conv0.kernel_size, features.conv0.stride) == ((3, 3), (1, 1))
    assert isinstance(features.pool0, nn.Identity)
    assert on_meta("densenet121", 10, 96).features.conv0.kernel_size == (7, 7)
    small = on_meta("googlenet", 10, 32)
    assert small.conv1.conv.stride == (1, 1)
    seen = []
    small.inception3a.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[-1]))
    small(torch.empty(2, 3, 32, 32, device="meta"))
    assert seen == [32]
    linear = [layer for layer in on_meta("vgg19", 10, 96).modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(512, 10)]


@pytest.mark.parametrize(
    ("name", "size", "patch"),
    [
        *(("vit_b_16", size, patch) for size, patch in ((32, 2), (64, 4), (96, 6), (224, 16), (48, 3))),
        *(("vit_b_32", size, patch) for size, patch in ((32, 4), (64, 8), (96, 12), (224, 32))),
        *(("vit_small", size, patch) for size, patch in ((32, 4), (96, 12), (224, 28))),
    ],
)
def test_patches_grow_with_the_image(name, size, patch):
    assert on_meta(name, 10, size).patch_embed.patch_size == (patch, patch)


def test_an_image_that_cannot_be_cut_is_refused():
    with pytest.raises(ConfigError, match=r"37x37 pixels cannot be cut.*such as 32, 64, 96"):
        REGISTRY.create("victims", "vit_b_16").build(10, (37, 37))


USERS = Recipe(epochs=7, batch_size=33, crop_padding=0, label_smoothing=0.1, schedule="constant")


@pytest.mark.parametrize("name", [*RESNETS, *OTHERS])
def test_networks_with_shortcuts_keep_the_recipe(name):
    if name != "vgg_tiny":
        assert REGISTRY.create("victims", name).recipe(USERS) == USERS


@pytest.mark.parametrize("name", [*VGGS, "vgg_tiny"])
def test_vggs_train_slower_and_warm_up(name):
    victim = REGISTRY.create("victims", name)
    clip = USERS.gradient_clip if name == "vgg_tiny" else 1.0
    wanted = {"learning_rate": 0.05, "warmup_epochs": 0.05 * 7, "gradient_clip": clip}
    assert victim.recipe(USERS) == dataclasses.replace(USERS, **wanted)
    gentle = dataclasses.replace(USERS, learning_rate=0.01, warmup_epochs=3.0, gradient_clip=clip)
    assert victim.recipe(gentle) == gentle


@pytest.mark.parametrize("name", [*VITS, GENERIC])
def test_transformers_train_with_adamw(name):
    victim = REGISTRY.create("victims", name)
    found = victim.recipe(USERS)
    assert (found.optimizer, found.weight_decay, found.gradient_clip) == ("adamw", 0.05, 1.0)
    assert 5e-4 <= found.learning_rate <= 1e-3 and found.warmup_epochs == pytest.approx(0.7)
    changed = ("optimizer", "learning_rate", "weight_decay", "warmup_epochs", "gradient_clip")
    assert dataclasses.replace(found, **{key: getattr(USERS, key) for key in changed}) == USERS
    chosen = dataclasses.replace(USERS, optimizer="adam", learning_rate=0.003)
    assert victim.recipe(chosen) == chosen
    assert victim.recipe(found) == found, "adjusting twice is adjusting once"


@pytest.fixture(scope="module")
def digits():
    """Size -> (96 training images of the digits 0, 1 and 2, all test images of them); guessing gives 33 %."""
    splits = {}

    def load(size: int):
        if size not in splits:
            split = REGISTRY.create("datasets", "digits").load(size)
            parts = [part.take((part.labels < 3).nonzero()[:, 0]) for part in (split.train, split.test)]
            splits[size] = parts[0].take(torch.arange(96)), parts[1]
        return splits[size]

    return load


@pytest.mark.parametrize(
    ("name", "size", "epochs", "parameters"),  # few pixels and tokens: the big ones want accelerators
    [
        ("resnet18", 8, 5, {}),
        ("resnet50", 8, 6, {}),
        ("resnet101", 8, 6, {}),
        ("vgg11", 32, 4, {}),
        ("vgg13", 32, 4, {}),
        ("vgg16", 32, 5, {}),
        ("vgg19", 32, 6, {}),
        ("densenet121", 8, 5, {}),
        ("googlenet", 8, 9, {}),
        ("vit_small", 8, 5, {"grid": 2}),
        ("resnet_tiny", 32, 6, {}),
        ("vgg_tiny", 32, 6, {}),
        ("densenet_tiny", 32, 6, {}),
        ("vit_tiny", 32, 12, {"grid": 4}),
        (GENERIC, 32, 6, {}),
    ],
)
def test_every_family_learns_with_its_recipe(digits, name, size, epochs, parameters):
    """Floors: 75 % of the training images as trained on and 60 % of test images, where guessing gives 33 %.

    Thirty steps are few: the running means of batch norms lag behind the weights of the big victims, which are
    therefore asked with the means of the test batch. Their accuracy on real images is for accelerators, and so is
    any training of ViT-Base, which takes minutes for these few steps here; its recipe is that of vit_small.
    """
    training, test = digits(size)
    preset = dataclasses.replace(PRESETS["tiny"], epochs=epochs, batch_size=16, flip=False)
    recipe = REGISTRY.create("victims", name).recipe(preset)
    model = built(name, 10, size, **parameters)
    torch.manual_seed(0)  # dropout draws from global state, which a trial's road seeds
    curves = train(model, training, recipe, device=CPU, seed=0, clock=Clock(CPU))
    assert curves.train_accuracy[-1] >= 75
    assert accuracy_by_its_batch(model, test) >= 60
    if name.endswith("_tiny") or name == GENERIC:
        assert accuracy(logits_of(model, test, CPU), test.labels) >= 60


@torch.no_grad()
def accuracy_by_its_batch(model: nn.Module, data: ImageSet) -> float:
    """Percent of the images, batch norms taking mean and deviation from this batch."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    guesses = torch.cat([model(images.float() / 255).argmax(1) for images in data.images.split(64)])
    return 100 * float((guesses == data.labels).float().mean())


def test_a_small_victim_learns_real_images(real_data):
    """CIFAR-10, 5,000 images, recipe tiny, three epochs; chance is 10."""
    if not (real_data / "cifar10").is_dir():
        pytest.skip("cifar10/ absent from UE_BENCH_DATA")
    split = load_cached(Cifar10(train_images=5000, test_images=1000), None)
    victim = REGISTRY.create("victims", "vgg_tiny")
    recipe = victim.recipe(dataclasses.replace(PRESETS["tiny"], epochs=3))
    curves = train(
        built("vgg_tiny", 10, 32), split.train, recipe, device=CPU, seed=0, clock=Clock(CPU), test=split.test
    )
    assert curves.test_accuracy[-1] >= 35


def test_any_model_of_timm_by_its_name():
    entry = REGISTRY.find("victims", GENERIC)
    assert (entry.name, entry.argument, entry.reading.argument) == (GENERIC, "test_vit", "architecture")
    victim = REGISTRY.create("victims", GENERIC, {"patch_size": 4})
    assert victim.parameters() == {"architecture": "test_vit", "patch_size": 4, "start": "own"}
    assert REGISTRY.create("victims", GENERIC, victim.parameters()) == victim, "as a worker gets it"
    assert built(GENERIC, 10, 32, patch_size=4).patch_embed.num_patches == 64
    assert built("timm:test_convnext", 3, 32)(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    one, two = (built(GENERIC, 10, 32).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_models_of_timm_train_as_their_layers_ask():
    assert REGISTRY.create("victims", "timm:test_resnet").recipe(USERS) == USERS
    assert REGISTRY.create("victims", "timm:test_convnext").recipe(USERS).optimizer == "adamw"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm", "needs its architecture in its name: say timm:ARCHITECTURE"),
        ("timm:", "needs its architecture in its name: say timm:ARCHITECTURE"),
        ("timm:test_vitt", "unknown architecture of timm 'test_vitt': did you mean 'test_vit'"),
        ("timm:qqqq", r"timm\.list_models\(\) in Python lists all names"),
        ("timm:convnext_atto.d2_in1k", "names pretrained weights.*say timm:convnext_atto$"),
        ("tim:test_vit", "unknown victim 'tim': did you mean 'timm'"),
        ("resnet18:34", "victim 'resnet18' takes no argument: say resnet18, not resnet18:34"),
    ],
)
def test_bad_names_are_told(name, message):
    with pytest.raises(ConfigError, match=message):
        REGISTRY.create("victims", name)


def test_a_name_has_the_last_word_on_its_parameter():
    with pytest.raises(ConfigError, match="is 'test_vit', as the name says, and cannot be 'test_resnet' too"):
        REGISTRY.create("victims", GENERIC, {"architecture": "test_resnet"})
    with pytest.raises(ConfigError, match=r"unknown parameter of victim 'timm:test_vit' 'patchsize'"):
        REGISTRY.create("victims", GENERIC, {"patchsize": 4})


def test_an_image_size_that_a_model_cannot_take_names_one_that_works():
    with pytest.raises(ConfigError, match=r"does not take images of 32x32 pixels: image_size=96 works"):
        REGISTRY.create("victims", "timm:inception_v3").build(10, (32, 32))
    with pytest.raises(ConfigError, match=r"in patches of 4: no larger one up to 512 does either"):
        REGISTRY.create("victims", "timm:test_resnet", {"patch_size": 4}).build(10, (32, 32))


def test_a_name_with_an_argument_runs_from_the_command_line(command, tmp_path):
    shown = command("show", "victim", GENERIC)
    assert "victim timm:test_vit" in shown.out and "architecture = 'test_vit'" in shown.out
    assert "named: timm:ARCHITECTURE" in command("show", "victim", "timm").out
    ended = command(
        "run", "suite=quickstart", "profile=smoke", "method=[]", f"victim=[{GENERIC}]", "recipe.epochs=1"
    )
    assert ended.status == 0, ended.err
    records = [json.loads(path.read_text()) for path in (tmp_path / "store" / "trials").glob("*.json")]
    assert records and {record["config"]["victim"]["name"] for record in records} == {GENERIC}
    assert {record["config"]["recipe"]["optimizer"] for record in records} == {"adamw"}


def test_content_of_any_kind_may_take_an_argument(tmp_path):
    (tmp_path / "shade.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom ue_bench import Defense\n\n"
        '@dataclass(frozen=True)\nclass Shade(Defense):\n    """D."""\n    argument: ClassVar[str] = "tone"\n'
        '    tone: str = ""  # a word\n    depth: int = 1  # steps\n'
    )
    assert read_module(tmp_path / "shade.py").argument == "tone"
    registry = Registry([tmp_path])
    made = registry.create("defenses", "shade:dark", {"depth": 2})
    assert made.parameters() == {"tone": "dark", "depth": 2}
