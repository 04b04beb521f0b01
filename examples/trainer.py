"""A Trainer as Hugging Face's library has it, without the library: its loop takes a remote optimizer as any other.

Stopped at any moment and started again with the id that it prints, it goes on: the session has parameters, moments and
step. The learning rate and the order of the data follow from the step's number.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from optim_client import Client
from optim_client.torch import RemoteAdamW
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from app.demo import digits

Batch = dict[str, torch.Tensor]


@dataclass
class Arguments:
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 20
    max_steps: int = 200
    batch_size: int = 16
    accumulation_steps: int = 2
    max_grad_norm: float = 1.0
    logging_steps: int = 50


@dataclass
class Trainer:
    model: nn.Module
    args: Arguments
    data: digits.Digits
    client: Client
    callbacks: list[Callable[[dict[str, float]], None]] = field(default_factory=list)

    def groups(self) -> list[dict[str, object]]:
        """Return the param groups: decay for the matrices, none for biases and norms."""
        named = list(self.model.named_parameters())
        decayed = [(name, param) for name, param in named if param.ndim > 1]
        others = [(name, param) for name, param in named if param.ndim < 2]
        return [{"params": decayed, "weight_decay": self.args.weight_decay}, {"params": others, "weight_decay": 0.0}]

    def optimizer(self, session_id: str | None) -> RemoteAdamW:
        if session_id:
            return RemoteAdamW.resume(self.client, session_id, self.groups())
        return RemoteAdamW(self.groups(), lr=self.args.learning_rate, client=self.client)

    def factor(self, step: int) -> float:
        warmup, steps = self.args.warmup_steps, self.args.max_steps
        return (step + 1) / warmup if step < warmup else max(0.0, (steps - step) / (steps - warmup))

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield the micro-batches of a step, 1, 2, …"""
        for i in range(self.args.accumulation_steps):
            part = self.data.batch((step - 1) * self.args.accumulation_steps + i + 1, self.args.batch_size)
            yield {"images": torch.from_numpy(part.images), "labels": torch.from_numpy(part.labels)}

    def training_step(self, batch: Batch) -> float:
        loss = cross_entropy(self.model(batch["images"]), batch["labels"]) / self.args.accumulation_steps
        loss.backward()
        return loss.item()

    def train(self, session_id: str | None = None) -> RemoteAdamW:
        """Train up to the last step, from the beginning or from a session's last step."""
        optimizer = self.optimizer(session_id)
        done = optimizer.session.info.step
        for group in optimizer.param_groups:
            group["initial_lr"] = self.args.learning_rate
        scheduler = LambdaLR(optimizer, self.factor, last_epoch=done - 1)
        print(f"session {optimizer.session.id}, after step {done}")
        for step in range(done + 1, self.args.max_steps + 1):
            loss = sum(self.training_step(batch) for batch in self.batches(step))
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if step % self.args.logging_steps == 0:
                for callback in self.callbacks:
                    callback({"step": step, "loss": loss, "grad_norm": float(norm), "lr": scheduler.get_last_lr()[0]})
        return optimizer


if __name__ == "__main__":
    torch.set_num_threads(1)  # more would wait for each other: the network is small
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 48), nn.LayerNorm(48), nn.GELU(), nn.Linear(48, 10))
    with Client() as client:
        Trainer(network, Arguments(), digits.load()[0], client, [print]).train(*sys.argv[1:])
