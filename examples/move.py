"""A run that begins in local PyTorch, goes on in the service, and comes back: nothing is lost on the way.

Each move is exact: names, counts and moments arrive to the bit, which the program asserts. Between the moves, the
service and PyTorch compute the same AdamW, but round some intermediate results differently. So the run ends within
rounding of one that stayed local, and the program says how near.
"""

import tempfile
from pathlib import Path

import torch
from optim_client import Client, Session
from optim_client.torch import by_name, export_torch, import_torch

STEPS = 100  # in each of the three places
LR = 0.01

torch.set_num_threads(1)
x = torch.linspace(-1, 1, 200).unsqueeze(1)
y = torch.sin(3 * x) + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Return the model at its start, and a local optimizer that knows the names of its parameters."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    return model, torch.optim.AdamW(model.named_parameters(), lr=LR)


def loss_of(model: torch.nn.Module) -> torch.Tensor:
    """Compute the loss, and with it the gradients."""
    model.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    return loss


def train_here(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Take steps of the local optimizer."""
    for _ in range(STEPS):
        loss_of(model)
        optimizer.step()


def train_there(model: torch.nn.Module, session: Session) -> None:
    """Take steps of the session."""
    params = dict(model.named_parameters())
    for _ in range(STEPS):
        loss = loss_of(model)
        grads = {name: param.grad for name, param in params.items()}
        answered = session.step({name: param.detach() for name, param in params.items()}, grads, loss=loss.item())
        model.load_state_dict({name: torch.from_numpy(array) for name, array in answered.items()})


def there(client: Client, optimizer: torch.optim.Optimizer, folder: Path) -> Session:
    """Move the optimizer's state into a new session. Without groups, biases decay too, as in torch."""
    torch.save(optimizer.state_dict(), folder / "local.pt")
    import_torch(folder / "local.pt", folder / "local.safetensors")
    session = client.sessions.create("adamw", lr=LR, groups=[], ttl_seconds=86400)
    session.load_state(folder / "local.safetensors", digest="none")
    return session


def back(session: Session, model: torch.nn.Module, folder: Path) -> torch.optim.Optimizer:
    """Move the session's state into a new local optimizer."""
    session.save_state(folder / "session.safetensors")
    export_torch(folder / "session.safetensors", folder / "session.pt")
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=LR)
    optimizer.load_state_dict(by_name(optimizer, torch.load(folder / "session.pt")))
    return optimizer


def assert_same(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer) -> None:
    """Check that two optimizers have the same settings, counts and moments, to the bit."""
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for place, entries in theirs["state"].items():
        assert ours["state"][place].keys() == entries.keys()
        assert all(torch.equal(ours["state"][place][name], entry) for name, entry in entries.items())


with tempfile.TemporaryDirectory() as name, Client() as client:
    folder = Path(name)
    model, optimizer = made()
    train_here(model, optimizer)

    session = there(client, optimizer, folder)
    assert session.info.step == STEPS
    assert_same(back(session, model, folder), optimizer)  # there and back without a step
    train_there(model, session)

    optimizer = back(session, model, folder)
    train_here(model, optimizer)
    again = there(client, optimizer, folder)
    assert again.info.step == 3 * STEPS
    for each in (session, again):
        each.delete()

stayed, local = made()
for _ in range(3):
    train_here(stayed, local)
moved, unmoved = (torch.nn.utils.parameters_to_vector(each.parameters()).detach() for each in (model, stayed))
apart = float((moved - unmoved).abs().max() / unmoved.abs().max())
print(f"loss {loss_of(model):.4f} after {3 * STEPS} steps; {loss_of(stayed):.4f} if all are local")
print(f"the moves are exact; the parameters are {apart:.0e} apart, which is rounding")
