"""A small convolutional network learns hand-written digits, with its optimizer in the service.

One line differs from a script that trains locally: the one that makes the optimizer.
"""

import sys

import torch
from optim_client.torch import RemoteAdamW
from torch import nn
from torch.nn.functional import cross_entropy

from app.demo import digits

STEPS, BATCH = 500, 32
train, test = digits.load()


def network() -> nn.Module:
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *convolution, nn.Flatten(), nn.Linear(128, 10))


def accuracy(model: nn.Module) -> float:
    with torch.no_grad():
        found = model(torch.from_numpy(test.images)).argmax(1)
    return float((found == torch.from_numpy(test.labels)).float().mean())


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> None:
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for step in range(1, steps + 1):
        batch = train.batch(step, BATCH)
        loss = cross_entropy(model(torch.from_numpy(batch.images)), torch.from_numpy(batch.labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 100 == 0:
            print(f"step {step}   loss {loss.item():.3f}   accuracy {accuracy(model):.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)  # more would wait for each other: the network is small
    model = network()
    if "local" in sys.argv:
        optimizer = torch.optim.AdamW(model.named_parameters(), weight_decay=0.05)
    else:
        optimizer = RemoteAdamW(model.named_parameters(), weight_decay=0.05)
    learn(model, optimizer)
