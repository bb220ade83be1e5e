"""Work of two processes in tests, in a module of its own because they import it."""

import copy
import hashlib
import os
import signal
import time
from dataclasses import replace

import torch
from lightning_fabric import Fabric

from semilung.models import build_model
from semilung.runs.run_folder import RunFolder
from semilung.strategies import Learner, build_strategy
from semilung.testing.problem import tiny_batch, tiny_learner
from semilung.training import TrainerConfig, loop
from semilung.training.ranks import Team
from semilung.training.setup import _fabric, set_up
from semilung.training.validate import validate
from semilung.types import UserError


def start() -> tuple[Fabric, Team]:
    fabric = _fabric(TrainerConfig(accelerator="cpu", devices=2))
    fabric.launch()
    return fabric, Team(fabric)


def digest(*states) -> str:
    """Of all bits of the states."""
    bits = hashlib.sha256()

    def take(value):
        if isinstance(value, torch.Tensor):
            bits.update(value.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                bits.update(str(key).encode())
                take(value[key])
        elif isinstance(value, list | tuple):
            for each in value:
                take(each)
        else:
            bits.update(repr(value).encode())

    take(list(states))
    return bits.hexdigest()


def digests_after_steps(configs, folder):
    """Of each config's training, on each process: all bits after its steps, and its metrics.

    The metrics of both processes together are next to those of one that evaluates all cases.
    """
    return {name: _digests(config, folder / name) for name, config in configs.items()}


def _digests(config, folder):
    training = set_up(config, RunFolder(folder), resume=False)
    for batch, _, _ in loop._fed(training):
        loop._optimize(training, batch)
        training.step += 1
    alone = copy.copy(training.team)
    alone.rank, alone.size = 0, 1
    metrics, pictures = zip(
        *(
            validate(training.learner.predictor, training.val, config, training.tasks, t)
            for t in (training.team, alone)
        ),
        strict=True,
    )
    assert (pictures[0] == pictures[1]).all()
    bits = digest(training.learner.state_dict(), training.optimizer.state_dict())
    return training.team.gather((bits, *metrics))


def _moved(learner):
    return {name: b.detach().clone() for name, b in learner.named_buffers() if b.ndim < 2}


def gradient_errors(makers):
    """Of each: DDP's gradients against the mean of the parts', and against the doubled batch's."""
    fabric, team = start()
    return {name: _errors(fabric, team, *maker) for name, maker in makers.items()}


def _errors(fabric, team, names, options, backend):
    def make():
        torch.manual_seed(7)  # a strategy may have weights of its own
        named = {name: build_strategy(name, options.get(name, {})) for name in names}
        if backend is None:
            return tiny_learner(lambda: named)
        net = build_model("reversible_unet", {"widths": (4, 8), "depth": 1, "backend": backend})
        return Learner(net, named).train()

    def terms_of(learner, batch, seed):
        torch.manual_seed(seed)
        return sum(t.weight * t.value for t in learner(batch, 1.0).values())

    learner = make()
    parts = [tiny_batch(*learner.strategies.values(), seed=rank) for rank in (0, 1)]
    module, optimizer = fabric.setup(learner, torch.optim.SGD(learner.parameters(), lr=0.1))
    for _ in range(2):  # DDP arranges its buckets anew after the first
        optimizer.zero_grad()
        fabric.backward(terms_of(module, parts[team.rank], team.rank))
    gradients = [p.grad for p in learner.parameters() if p.requires_grad]

    def error(*losses, of):
        parameters = [p for p in of.parameters() if p.requires_grad]
        for loss in losses:
            (loss / len(losses)).backward()
        scale = max(float(p.grad.abs().max()) for p in parameters)
        pairs = zip(gradients, parameters, strict=True)
        return max(float((a - p.grad).abs().max()) for a, p in pairs) / scale

    one, doubled = make(), make()
    mean = error(*(terms_of(one, part, rank) for rank, part in enumerate(parts)), of=one)
    whole = error(terms_of(doubled, _joined(*parts), 0), of=doubled)
    learner.after_step(1.0)
    doubled.after_step(1.0)
    team.even_out(learner)
    buffers = {n: float((b - _moved(doubled)[n]).abs().max()) for n, b in _moved(learner).items()}
    return team.gather((mean, whole, buffers))


def _joined(one, two):
    def join(a, b):
        return torch.cat([a, b]) if isinstance(a, torch.Tensor) else [*a, *b]

    return {s: {field: join(v, two[s][field]) for field, v in one[s].items()} for s in one}


def quick(makers, configs, folder):
    """All that the quick tests look at, of one pair of processes: starting them takes seconds."""
    return {
        "gradients": gradient_errors(makers),
        "digests": digests_after_steps(configs, folder),
        "agreed": agreed_things(folder),
        "mistake": agreed_error(),
    }


def fails_in_one(how):
    """The second process fails while the first waits for it."""
    _, team = start()
    if team.rank == 1:
        {"mistake": _mistake, "bug": _bug, "killed": _killed}[how]()
    team.highest(0)


def agreed_error():
    """What each process raises where the second has made a mistake."""
    _, team = start()
    try:
        with team.agreeing():
            if team.rank == 1:
                _mistake()
    except UserError as error:
        return team.gather((type(error).__name__, str(error)))


def _mistake():
    raise UserError("its scan cannot be read")


def _bug():
    raise ZeroDivisionError("a bug of ours")


def _killed():
    os.kill(os.getpid(), signal.SIGKILL)


def agreed_things(folder):
    """What the processes agree on, as the first one sees it."""
    _, team = start()
    turns = folder / "turns"
    with team.in_turn():
        time.sleep(0 if team.rank else 0.5)
        with turns.open("a") as file:
            file.write(str(team.rank))
    bag = torch.nn.Module()
    for name, value in {
        "mean": torch.tensor([1.0, 2.0]) + team.rank,
        "same": torch.tensor([0.1, float("-inf")]),
        "count": torch.tensor(3 + team.rank),
    }.items():
        bag.register_buffer(name, value)
    team.even_out(bag)
    every = team.gather({name: b.tolist() for name, b in bag.named_buffers()})
    mean = team.mean({"a": float(team.rank), **({"b": 5.0} if team.rank else {})})
    return turns.read_text(), team.highest(7 * team.rank), every, mean


def with_devices(config, devices=2, **trainer):
    return replace(config, trainer=replace(config.trainer, devices=devices, **trainer))
