"""Engine, training and prediction on every device that is here: a GPU where there is one."""

import os
import signal

import pytest
import torch
from same_bits import same

from semilung.inference import predict_probability
from semilung.models import ReversibleUNet3d
from semilung.runs.checkpoint import load_checkpoint
from semilung.runs.load import load_predictor
from semilung.training import loop, train

gpu = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
)
on_each = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])


def gradients(device, backend, depth=2, half=False):
    """Of all weights after one step, as one vector."""
    torch.manual_seed(0)
    net = ReversibleUNet3d(1, 1, (8, 16), depth, backend, dropout=0.2).to(device)
    image = torch.rand(2, 1, 16, 16, 16).to(device)
    torch.manual_seed(1)  # the masks of dropout
    with torch.autocast(device, torch.bfloat16, enabled=half):
        loss = net(image).float().square().mean()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


@on_each
@pytest.mark.parametrize(("half", "bound"), [(False, 1e-4), (True, 1e-2)])
def test_the_engine_gives_plain_autograds_gradients(device, half, bound):
    found, wanted = (gradients(device, backend, half=half) for backend in ("fused", "plain"))
    assert (found - wanted).norm() <= bound * wanted.norm()


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
def test_couplings_cost_no_memory_on_a_gpu(device):
    peaks = {}
    for backend in ("fused", "plain"):
        for depth in (2, 6):
            torch.cuda.reset_peak_memory_stats()
            gradients(device, backend, depth)
            peaks[backend, depth] = torch.cuda.max_memory_allocated()
    grown = {name: peaks[name, 6] - peaks[name, 2] for name in ("fused", "plain")}
    assert grown["fused"] < 0.2 * grown["plain"]


@on_each
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_is_interrupted_and_goes_on_to_the_same_end(
    tiny, tmp_path, monkeypatch, device, precision
):
    config = tiny(max_steps=4, validate_every=0)
    config.trainer.accelerator, config.trainer.precision = device, precision
    train(config, tmp_path / "whole")
    optimize = loop._optimize

    def interrupted(training, batch):
        assert training.fabric.device.type == device
        if training.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return optimize(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_optimize", interrupted)
        assert not train(config, tmp_path / "cut").finished
    assert train(config, tmp_path / "cut", resume=True).finished
    ends = [load_checkpoint(tmp_path / run / "last.pt")["learner"] for run in ("whole", "cut")]
    assert ends[0].keys() == ends[1].keys()
    if device == "cpu":
        assert same(*ends)
    for name, value in ends[0].items():
        assert torch.allclose(value.float(), ends[1][name].float(), atol=1e-3), name


@on_each
def test_a_prediction_is_the_processors(tiny, tmp_path, device):
    train(tiny(max_steps=1, validate_every=0), tmp_path / "run")
    model, image = load_predictor(tmp_path / "run"), torch.rand(20, 18, 16)
    wanted = predict_probability(model.to("cpu"), image, window=(16, 16, 16))
    found = predict_probability(model.to(device), image, window=(16, 16, 16))
    assert found.device.type == "cpu"
    assert torch.allclose(found, wanted, atol=1e-3)
