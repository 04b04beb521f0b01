"""Several optimizers in Rosenbrock's valley. `Client("memory:")` runs the service in this process."""

# %%
import numpy as np
from optim_client import Client

client = Client("memory:")


# %%
def rosenbrock(x: float, y: float) -> tuple[float, dict[str, float]]:
    """Return the height at a place, and its slope there. The lowest point is (1, 1)."""
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2, {
        "x": -2 * (1 - x) - 400 * x * (y - x**2),
        "y": 200 * (y - x**2),
    }


# %%
def descend(optimizer: str, steps: int = 500, **settings: float) -> tuple[float, float, float]:
    session = client.sessions.create(optimizer, **settings)
    place = {"x": np.float64(-1), "y": np.float64(1)}
    for _ in range(steps):
        height, slope = rosenbrock(**place)
        place = session.step(place, {name: np.float64(value) for name, value in slope.items()}, loss=height)
    return float(place["x"]), float(place["y"]), rosenbrock(**place)[0]


# %%
for optimizer, settings in {
    "sgd": {"lr": 0.001, "momentum": 0.95},
    "rmsprop": {"lr": 0.02, "momentum": 0.9},
    "adam": {"lr": 0.5},
    "adamw": {"lr": 0.5, "weight_decay": 0.0},
}.items():
    x, y, height = descend(optimizer, **settings)
    print(f"{optimizer:8} x {x:6.3f}   y {y:6.3f}   height {height:.1e}")

# %%
client.close()
