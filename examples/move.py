"""A run that begins in local PyTorch, moves to the service, and comes back: nothing is lost on the way.

Each move is exact: settings, counts and moments arrive to the bit, which the program asserts. Between the moves, the
service and PyTorch compute the same AdamW, but round some intermediate results differently. So the run ends within
rounding of one that stayed local, and the program says how near.
"""

import torch
from optim_client import Client
from optim_client.torch import RemoteAdamW

STEPS = 100  # in each of the three places
LR = 0.01

torch.set_num_threads(1)
x = torch.linspace(-1, 1, 200).unsqueeze(1)
y = torch.sin(3 * x) + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def new_model() -> torch.nn.Module:
    """Return the model, at the same start each time."""
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> float:
    """Take steps, wherever the optimizer is; return the last loss."""
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def move(source: torch.optim.Optimizer, target: torch.optim.Optimizer) -> None:
    """Move the optimizer's state; check that what comes out is what went in, to the bit."""
    target.load_state_dict(source.state_dict())
    ours, theirs = source.state_dict()["state"], target.state_dict()["state"]
    assert ours.keys() == theirs.keys()
    for number, entries in ours.items():
        assert entries.keys() == theirs[number].keys()
        assert all(torch.equal(entry, theirs[number][name]) for name, entry in entries.items())


with Client() as client:
    model = new_model()
    local = torch.optim.AdamW(model.named_parameters(), lr=LR)
    train(model, local)

    remote = RemoteAdamW(model.named_parameters(), lr=LR, client=client)
    move(local, remote)
    train(model, remote)

    returned = torch.optim.AdamW(model.named_parameters(), lr=LR)
    move(remote, returned)
    loss = train(model, returned)
    remote.session.delete()

stayed = new_model()
expected = train(stayed, torch.optim.AdamW(stayed.named_parameters(), lr=LR), 3 * STEPS)
ours, theirs = (torch.nn.utils.parameters_to_vector(each.parameters()).detach() for each in (model, stayed))
apart = float((ours - theirs).abs().max() / theirs.abs().max())
print(f"loss {loss:.4f} after {3 * STEPS} steps; {expected:.4f} if all are local")
print(f"the moves are exact; the parameters are {apart:.0e} apart, which is rounding")
