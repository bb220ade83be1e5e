from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from reversible_stages import EXACT, assert_same, branch, gradients, image, rel_err, stage
from torch import Tensor, nn
from torch.func import functional_call
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from semilung.models import ReversibleStage


@pytest.mark.parametrize("backend", ["fused", "checkpoint", "memcnn"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_gradients_equal_plain(backend: str, depth: int) -> None:
    expected = gradients(stage("plain", depth), image())
    assert len(expected) == 1 + 8 * depth
    assert_same(gradients(stage(backend, depth), image()), expected, 1e-4)


@pytest.mark.parametrize("backend", ["fused", "checkpoint"])
@pytest.mark.parametrize(("bf16", "bound"), [(False, 1e-4), (True, 2e-3)])
def test_gradients_equal_plain_with_dropout_and_autocast(
    backend: str, bf16: bool, bound: float
) -> None:
    expected = gradients(stage("plain", 3, dropout=0.4), image(), bf16=bf16)
    got = gradients(stage(backend, 3, dropout=0.4), image(), bf16=bf16)
    assert_same(got, expected, bound)
    without = gradients(stage("plain", 3), image(), bf16=bf16)
    assert rel_err(without["input"], expected["input"]) > 0.05  # the masks were there


@pytest.mark.parametrize("backend", ["fused", "checkpoint", "memcnn", "plain"])
def test_without_couplings_a_stage_is_the_identity(backend: str) -> None:
    x, empty = image(), ReversibleStage([], backend=backend)
    assert empty(x) is x
    assert empty(x.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(empty.inverse(x), x)


@pytest.mark.parametrize("backend", ["fused", "checkpoint", "memcnn"])
@pytest.mark.parametrize("before", [nn.ReLU(), nn.Sigmoid()])
def test_an_operation_that_saved_its_output_may_precede(backend: str, before: nn.Module) -> None:
    expected = gradients(stage("plain"), image(), before=before)
    assert_same(gradients(stage(backend), image(), before=before), expected, 1e-4)


@pytest.mark.parametrize("backend", ["fused", "checkpoint", "memcnn"])
def test_input_without_gradient(backend: str) -> None:
    expected = gradients(stage("plain"), image(requires_grad=False))
    assert "input" not in expected
    assert_same(gradients(stage(backend), image(requires_grad=False)), expected, 1e-4)


@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("frozen", [("0.",), ("1.",), ("0.f", "0.g.3.weight"), ("0.", "1.", "2.f")])
def test_frozen_weights(frozen: tuple[str, ...], requires_grad: bool) -> None:
    def with_frozen(backend: str) -> ReversibleStage:
        net = stage(backend, 3)
        for name, weight in net.couplings.named_parameters():
            weight.requires_grad_(not name.startswith(frozen))
        return net

    expected = gradients(with_frozen("plain"), image(requires_grad))
    assert_same(gradients(with_frozen("fused"), image(requires_grad)), expected, 1e-4)


def test_all_frozen_passes_the_gradient_on() -> None:
    expected = gradients(stage("plain").requires_grad_(False), image())
    assert list(expected) == ["input"]
    assert_same(gradients(stage("fused").requires_grad_(False), image()), expected, 1e-4)


def test_autograd_grad() -> None:
    def grads(backend: str) -> list[Tensor]:
        net, x = stage(backend), image()
        return list(torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()]))

    for got, expected in zip(grads("fused"), grads("plain"), strict=True):
        assert rel_err(got, expected) <= 1e-4


@pytest.mark.parametrize("shared", ["f is g", "across couplings"])
def test_shared_branches_add_their_gradients(shared: str) -> None:
    def net(backend: str) -> ReversibleStage:
        torch.manual_seed(0)
        f, g = branch(4, 0.0), branch(4, 0.0)
        return ReversibleStage(
            [(f, f)] if shared == "f is g" else [(f, g), (f, g)], backend=backend
        )

    assert_same(gradients(net("fused"), image()), gradients(net("plain"), image()), 1e-4)


def test_hooks_on_weights_see_each_gradient_once() -> None:
    def doubled(backend: str) -> dict[str, Tensor]:
        net = stage(backend)
        for weight in net.parameters():
            weight.register_hook(lambda grad: 2 * grad)
        return gradients(net, image())

    assert_same(doubled("fused"), doubled("plain"), 1e-4)


def test_two_forwards_before_one_backward() -> None:
    def two_views(backend: str) -> dict[str, Tensor]:
        net, x = stage(backend, dropout=0.4), image()
        torch.manual_seed(3)
        (net(x) * net(x + 1).tanh()).sum().backward()
        return {name: p.grad for name, p in net.named_parameters()} | {"input": x.grad}

    assert_same(two_views("fused"), two_views("plain"), 1e-4)


def test_backward_twice_over_a_retained_graph() -> None:
    net, x = stage("fused"), image()
    loss = net(x).square().sum()
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert torch.equal(x.grad, 2 * once)


def test_weights_of_functional_call_are_those_of_the_recomputation() -> None:
    def grads(backend: str) -> Tensor:
        net, x = stage(backend), image()
        others = {name: 2 * p.detach() for name, p in net.named_parameters()}
        functional_call(net, others, (x,)).square().sum().backward()
        assert all(p.grad is None for p in net.parameters())
        return x.grad

    assert rel_err(grads("fused"), grads("plain")) <= 1e-4


def test_fused_inside_activation_checkpointing() -> None:
    class Outer(nn.Module):
        def __init__(self, backend: str) -> None:
            super().__init__()
            self.stage = stage(backend, dropout=0.4)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(lambda z: self.stage(z).sin(), x, use_reentrant=False)

    assert_same(gradients(Outer("fused"), image()), gradients(Outer("plain"), image()), 1e-4)


def test_generator_state_after_a_step_is_that_of_plain() -> None:
    def after(backend: str) -> Tensor:
        gradients(stage(backend, dropout=0.4), image())
        return torch.get_rng_state()

    assert torch.equal(after("fused"), after("plain"))


@pytest.mark.parametrize("backend", EXACT)
def test_stream_is_fp32_under_autocast(backend: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = stage(backend)(image().bfloat16())
    assert y.dtype == torch.float32


@pytest.mark.parametrize("backend", ["memcnn", *EXACT])
def test_state_is_interchangeable(backend: str) -> None:
    source, target = stage("fused"), stage(backend)
    nn.init.constant_(target.couplings[0].f[3].weight, 9.0)
    assert list(source.state_dict()) == list(target.state_dict())
    target.load_state_dict(source.state_dict())
    target(image())  # what the backend builds on the way is not kept
    assert list(source.state_dict()) == list(target.state_dict())
    assert torch.equal(source(image()), target(image()))


def test_coupling_by_hand() -> None:
    class Scale(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.tensor(by))

        def forward(self, x: Tensor) -> Tensor:
            return self.by * x

    net = ReversibleStage([(Scale(2.0), Scale(3.0))])
    x = torch.tensor([[5.0, 7.0]], requires_grad=True)  # y1 = 5 + 2*7 = 19, y2 = 7 + 3*19 = 64
    y = net(x)
    assert y.tolist() == [[19.0, 64.0]]
    y[0, 1].backward()
    assert x.grad.tolist() == [[3.0, 7.0]]  # dy2/dx1 = 3, dy2/dx2 = 1 + 3*2
    assert net.couplings[0].f.by.grad == 21.0  # 3 * x2
    assert net.couplings[0].g.by.grad == 19.0  # y1


@pytest.mark.parametrize("backend", ["memcnn", *EXACT])
def test_inverse(backend: str) -> None:
    net, x = stage(backend, depth=5), image(requires_grad=False)
    assert rel_err(net(x), x) > 0.1
    assert rel_err(net.inverse(net(x)), x) < 1e-5


def saved_bytes(backend: str, depth: int) -> int:
    """Bytes of the activations that the graph of one forward pass holds, each storage once."""
    net, storages = stage(backend, depth), {}
    weights = {p.data_ptr() for p in net.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = net(image())
    assert y.requires_grad
    return sum(storages.values())


def test_saved_activations_do_not_grow_with_depth() -> None:
    output = image().untyped_storage().nbytes()
    assert saved_bytes("fused", 1) == saved_bytes("fused", 8) == output
    assert saved_bytes("plain", 8) > 7 * saved_bytes("plain", 1) > 14 * output


def step_peak(depth: int) -> float:
    """Peak of live bytes over a step, less weights and their gradients, in sizes of the stream."""
    layout = torch.channels_last_3d  # oneDNN does not reorder it

    def branch() -> nn.Module:
        return nn.Sequential(nn.LeakyReLU(), nn.Conv3d(16, 16, 3, padding=1))

    net = ReversibleStage([(branch(), branch()) for _ in range(depth)]).to(memory_format=layout)
    x = torch.randn(2, 32, 24, 24, 24).contiguous(memory_format=layout).requires_grad_()
    net(x)  # what is allocated once
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        net(x).sin().sum().backward()
    events = trace.profiler.kineto_results.events()
    memory = sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns())
    peak = max(accumulate(event.nbytes() for event in memory))
    return (peak - sum(p.nbytes for p in net.parameters())) / x.nbytes


def test_memory_of_a_step_does_not_grow_with_depth() -> None:
    """In addition to the input: the stream, its gradient, and half of each while a branch runs."""
    assert step_peak(1) < 3.1
    assert step_peak(6) < 3.1


def test_backward_writes_neither_output_nor_gradient() -> None:
    """The output may be a skip connection, and the gradient may be anyone's."""
    net, x = stage("fused", 3), image()
    y = net(x)
    grad = torch.randn_like(y)
    output, gradient = y.detach().clone(), grad.clone()
    y.backward(grad)
    assert torch.equal(y, output)
    assert y._version == 0
    assert torch.equal(grad, gradient)
    assert grad._version == 0


@pytest.mark.parametrize("backend", ["fused", "plain"])
def test_hooks_on_the_output_see_its_gradient(backend: str) -> None:
    net, captured = stage(backend), []
    y = net(image())
    y.retain_grad()
    y.register_hook(captured.append)
    grad = torch.randn_like(y)
    y.backward(grad)
    assert torch.equal(y.grad, grad)
    assert torch.equal(captured[0], grad)


def test_branches_that_return_their_input() -> None:
    """Values and gradients that share memory with the stream are not overwritten."""

    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.randn(2, 4, 6, 6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.by

    def net(backend: str) -> ReversibleStage:
        torch.manual_seed(0)
        pairs = [(Shift(), nn.Identity()), (nn.Identity(), Shift()), (Shift(), Shift())]
        return ReversibleStage(pairs, backend=backend)

    assert_same(gradients(net("fused"), image()), gradients(net("plain"), image()), 1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", ["memcnn", *EXACT])
def test_caller_keeps_its_input(backend: str, training: bool) -> None:
    net, x = stage(backend).train(training), image()
    before, version = x.detach().clone(), x._version
    net(x).sum().backward()
    with torch.no_grad():
        net(x)
    assert torch.equal(x, before)
    assert x._version == version


@pytest.mark.parametrize("backend", ["memcnn", "fused"])
def test_evaluation_is_a_plain_forward(backend: str) -> None:
    net, x = stage(backend), image()
    nodes = []

    def walk(node: torch.autograd.graph.Node | None) -> None:
        if node is not None:
            nodes.append(node.name())
            for child, _ in node.next_functions:
                walk(child)

    walk(net(x).grad_fn)
    trained = [name for name in nodes if "Fused" in name or "Invertible" in name]
    nodes.clear()
    walk(net.eval()(x).grad_fn)
    assert trained
    assert "ConvolutionBackward0" in nodes
    assert not [name for name in nodes if "Fused" in name or "Invertible" in name]
    x_off = image(requires_grad=False)
    with torch.no_grad():
        assert torch.equal(net.train()(x_off), stage("plain")(x_off))


def test_channels_last_is_kept_by_output_gradient_and_inner_convolutions() -> None:
    layout = torch.channels_last_3d
    net, captured = stage("fused").to(memory_format=layout), []
    for coupling in net.couplings:
        coupling.f[3].register_forward_hook(lambda m, args, out: captured.append(args[0]))
    x = image().detach().contiguous(memory_format=layout).requires_grad_()
    y = net(x)
    y.sin().sum().backward()
    assert len(captured) == 4  # two couplings, forward and again in backward
    assert all(t.is_contiguous(memory_format=layout) for t in (*captured, y, x.grad))


def test_in_place_without_gradients_writes_over_its_input_alone() -> None:
    chain, x = stage("fused", 2).eval(), image()
    expected, before = chain(x), x.clone()
    with torch.no_grad():
        assert torch.equal(chain(x), expected)
        assert torch.equal(x, before)
    assert torch.equal(chain(x, in_place=True), expected)  # gradients need the input
    assert torch.equal(x, before)
    with torch.no_grad():
        y = chain(x, in_place=True)
    assert torch.equal(y, expected)
    assert y.data_ptr() == x.data_ptr()
