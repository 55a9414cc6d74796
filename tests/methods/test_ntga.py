"""NTGA: kernels by hand and against wide networks, the flow against steps of descent, and what the noise does."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import fresh_context
from learnable import pictures
from torch import Tensor
from torch.nn import functional

from ue_bench import ProtectorView
from ue_bench.errors import ConfigError
from ue_bench_methods._ntga.flow import RIDGE, Block, Flow, passed, quotients
from ue_bench_methods._ntga.kernels import _window_mean, cnn, erf_products, fnn, relu_products
from ue_bench_methods.ntga import NTGA

PI = math.pi


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def images(count: int, side: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=generator, dtype=torch.float64)


def test_products_of_erf_by_hand():
    """Variance 1/2: asin(1/2) is a sixth of pi, and the slopes' product is 4 / (pi sqrt(2 * 2 - 1))."""
    values, slopes = erf_products(numbers(0.5, 0.0, -0.5), numbers(0.5, 0.5, 0.5), numbers(0.5, 1.5, 0.5))
    assert values.tolist() == pytest.approx([1 / 3, 0, -1 / 3])
    assert slopes.tolist() == pytest.approx([4 / (PI * math.sqrt(each)) for each in (3, 8, 3)])


def test_products_of_relu_by_hand():
    values, slopes = relu_products(numbers(2, 0, -2, 1), numbers(2, 2, 2, 2), numbers(2, 8, 2, 2))
    sixty = (math.sin(PI / 3) + (PI - PI / 3) / 2) / PI  # 60 degrees apart, variance 2
    assert values.tolist() == pytest.approx([1, 4 / (2 * PI), 0, sixty], abs=1e-6)
    assert slopes.tolist() == pytest.approx([1 / 2, 1 / 4, 0, 1 / 3], abs=1e-6)


def test_a_window_holds_25_places_and_black_ones_count():
    """Of 4 x 3 places windows of 5, every two: one row of padding above, two beside."""
    k = torch.arange(12.0).view(1, 1, 4, 3)
    found = _window_mean(k)[0, 0]
    rows = [k[0, 0, :4], k[0, 0, 1:]]  # windows begin at rows -1 and 1, at columns -2 and 0
    wanted = [[float(row.sum()) / 25, float(row.sum()) / 25] for row in rows]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_the_kernel_of_erf_networks_is_that_of_wide_ones():
    """One layer of 500 units, then one unit whose erf is the output: 2,000 networks' gradients, on average."""
    torch.manual_seed(0)
    pair, width, nets = images(2, side=1), 500, 2000
    flat = pair.flatten(1).float()

    def output(one, bias, two, last, picture):
        hidden = torch.erf(math.sqrt(1.76 / 3) * one @ picture + math.sqrt(0.18) * bias)
        return torch.erf(math.sqrt(1.76 / width) * two @ hidden + math.sqrt(0.18) * last)

    slopes = torch.func.vmap(torch.func.grad(output, (0, 1, 2, 3)), (0, 0, 0, 0, None))
    weights = [torch.randn(nets, *shape) for shape in ((width, 3), (width,), (width,), ())]
    one, two = (slopes(*weights, picture) for picture in flat)
    found = sum(float((a * b).sum()) for a, b in zip(one, two, strict=True)) / nets
    assert found == pytest.approx(float(fnn(pair[:1], pair[1:], depth=2)), rel=0.05)


def test_the_kernel_of_convolutional_networks_is_that_of_wide_ones():
    torch.manual_seed(0)
    pair, width = images(2, side=5, seed=1), 128
    sums = [0.0, 0.0, 0.0]
    for _ in range(30):
        shapes = [(width, 3, 5, 5), (width, width, 5, 5), (width, width * 4), (width, width), (1, width)]
        weights = [torch.randn(shape).requires_grad_() for shape in shapes]
        biases = [torch.randn(shape[0]).requires_grad_() for shape in shapes]

        def output(x: Tensor, weights=weights, biases=biases) -> Tensor:
            for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                scaled = weight * math.sqrt(1.76 / weight[0].numel())
                if layer < 2:  # 5 x 5 becomes 3 x 3 and then 2 x 2; padding by 2 on all sides
                    x = (
                        functional.conv2d(x, scaled, stride=2, padding=2)
                        + math.sqrt(0.18) * bias[:, None, None]
                    )
                    x = x.relu()
                else:
                    x = x.flatten(1) @ scaled.T + math.sqrt(0.18) * bias
            return x.squeeze()

        slopes = [
            torch.cat(
                [each.flatten() for each in torch.autograd.grad(output(x[None].float()), weights + biases)]
            )
            for x in pair
        ]
        for place, (a, b) in enumerate(((0, 0), (0, 1), (1, 1))):
            sums[place] += float(slopes[a] @ slopes[b]) / 30
    kernel = cnn(pair, pair)
    assert sums == pytest.approx([float(kernel[0, 0]), float(kernel[0, 1]), float(kernel[1, 1])], rel=0.06)


def test_the_flow_is_the_limit_of_descent():
    """10,000 steps of descent on the mean of 4 * 2 halved squares, for the block and for an image beside it."""
    block, other = images(4), images(1, seed=3)
    targets = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0]]
    kernel, beside, time = fnn(block, block), fnn(other, block), 30.0
    ridged = kernel + RIDGE * kernel.diagonal().mean() * torch.eye(4)
    mine, its = torch.zeros(4, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    for _ in range(10_000):
        error = (mine - targets) * (time / 10_000 / 8)
        mine, its = mine - ridged @ error, its - beside @ error
    assert torch.allclose(beside @ Flow(kernel, targets, time).weights, its, atol=3e-4)


def test_one_image_learns_exponentially():
    kernel, targets = numbers(2.0).view(1, 1), numbers(1.0, 0.0).view(1, 2)
    k = 2.0 * (1 + RIDGE)  # time 3 over two outputs: 1.5
    weights = Flow(kernel, targets, 3.0).weights
    assert (k * weights).tolist() == [pytest.approx([1 - math.exp(-1.5 * k), 0])]


def test_quotients_of_eigenvalues_by_hand():
    values = numbers(1.0, 1.0 + 1e-9, 3.0)
    found, first, third = quotients(values, 0.5), 1 - math.exp(-0.5), (1 - math.exp(-1.5)) / 3
    assert float(found[0, 2]) == pytest.approx((third - first) / 2)
    slope = 0.5 * math.exp(-0.5) - first
    assert found[:2, :2].flatten().tolist() == pytest.approx([slope] * 4)
    tiny = quotients(numbers(1e-9, 2e-9), 0.5)  # passed is 0.5 - 0.125 a there
    assert tiny.flatten().tolist() == pytest.approx([-0.125] * 4)
    assert float(passed(numbers(1e-9), 0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize(("kernel", "time"), [(fnn, 40.0), (cnn, 3.0)])
def test_the_gradient_is_autograds(kernel, time, monkeypatch):
    """Also where kernels are computed two rows at a time."""
    block, held = images(6), images(5, seed=4)
    targets = torch.eye(3, dtype=torch.float64)[torch.arange(6) % 3]
    truth, still = torch.arange(5) % 3, torch.eye(6, dtype=torch.float64)
    place = block.clone().requires_grad_()
    own = kernel(place, place)
    own = own + RIDGE * own.diagonal().mean() * still
    weights = torch.linalg.solve(own, (still - torch.matrix_exp(-time / 18 * own)) @ targets)
    loss = functional.cross_entropy(kernel(held, place) @ weights, truth, reduction="sum")
    (wanted,) = torch.autograd.grad(loss, place)
    for at_once in (2**20, 2 * 6 * 36):
        monkeypatch.setattr("ue_bench_methods._ntga.flow.VALUES_AT_ONCE", at_once)
        found = Block(kernel, time, targets, held, truth).gradient(block)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-13)


def test_equal_images_have_a_gradient():
    block = images(4)[[0, 0, 1, 1]]
    targets = torch.eye(2, dtype=torch.float64)[[0, 0, 1, 1]]
    for kernel in (fnn, cnn):
        found = Block(kernel, 8.0, targets, images(3, seed=5), torch.tensor([0, 1, 1])).gradient(block)
        assert bool(found.isfinite().all()) and torch.allclose(found[0], found[1], rtol=1e-6)


def test_every_image_is_in_one_block_and_never_asked_about_in_it():
    parts = NTGA(block_size=30)._parts(103, torch.Generator().manual_seed(0))
    # A fifth, 21 images, is held back and then attacked.
    assert [len(block) for block, _ in parts] == [28, 27, 27, 21]
    assert torch.cat([block for block, _ in parts]).sort().values.tolist() == list(range(103))
    assert all(len(held) == 21 and not set(block.tolist()) & set(held.tolist()) for block, held in parts)
    few = NTGA(held_share=0.9)._parts(2, torch.Generator().manual_seed(0))
    assert sorted(len(block) for block, _ in few) == [1, 1]


def protect(method: NTGA, data=None):
    data = data or pictures(60)
    context = fresh_context()
    noise = method.protect(ProtectorView(data, method.access, "supervised", "ntga"), context)
    noise.check(len(data), data.image_size)
    return noise.noise, context.notes


@pytest.mark.parametrize("surrogate", ["fnn", "cnn"])
def test_networks_of_protected_blocks_learn_nothing_of_others(surrogate):
    noise, notes = protect(
        NTGA(surrogate=surrogate, iterations=3, time=4096.0)
    )  # such pale pictures take long
    assert notes["surrogate_clean_held_accuracy_percent"] > 70
    assert notes["surrogate_held_accuracy_percent"] < 30
    assert int(noise.abs().max()) == 8 and len(noise.unique(dim=0)) == 60


def test_one_step_goes_the_whole_budget_and_ten_ask_again(monkeypatch):
    asked, real = [], Block.gradient
    monkeypatch.setattr(Block, "gradient", lambda block, at: asked.append(at.clone()) or real(block, at))
    one, _ = protect(NTGA(official_one_step=True))
    assert len(asked) == 2, "one for each block"
    assert one.unique().tolist() == [-8, 8]
    asked.clear()
    ten, _ = protect(NTGA())
    assert len(asked) == 20
    far = 255 * (asked[1] - asked[0])  # 1.1 of 8, a tenth of it
    assert far.abs().flatten().tolist() == pytest.approx([0.88] * far.numel(), abs=1e-6)
    assert torch.equal(one[noise_of(asked[0])], 8 * far.sign().to(torch.int8))
    assert not torch.equal(one, ten) and int(ten.abs().max()) == 8


def noise_of(block: Tensor) -> Tensor:
    """int64 [N]: where a block's images are among the pictures."""
    whole = pictures(60).images.double().flatten(1)
    return torch.cdist(255 * block.flatten(1), whole).argmin(1)


def test_networks_train_as_long_as_the_readme_says_unless_told(monkeypatch):
    seen = []
    monkeypatch.setattr(Block, "gradient", lambda block, at: seen.append(block) or torch.rand_like(at) - 0.5)
    for method in (NTGA(), NTGA(surrogate="cnn"), NTGA(surrogate="cnn", time=64.0)):
        protect(method)
    assert [block.time for block in seen[::20]] == [4096, 8, 64]
    assert [block.kernel for block in seen[::20]] == [fnn, cnn, cnn]


def test_labels_decide_the_noise_and_one_image_is_refused():
    data = pictures(40)
    other = type(data)(data.images, data.labels.sort().values, None, data.class_names)
    assert not torch.equal(protect(NTGA(iterations=1), data)[0], protect(NTGA(iterations=1), other)[0])
    with pytest.raises(ConfigError, match="at least two images"):
        protect(NTGA(), data.take(torch.tensor([0])))
