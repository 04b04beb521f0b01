"""The mirrors of modules: the tests of a module are in a file of its name, in the folder that mirrors its own."""

import pytest

from tests.docs.blocks import ROOT

MIRRORS = {
    "app": ("", "service"),
    "app/backup": ("backup",),
    "app/bench": ("bench",),
    "app/doctor": ("doctor",),
    "app/commands": ("commands",),
    "app/contributions": ("service",),
    "app/demo": ("demo",),
    "app/metrics": ("metrics",),
    "app/routes": ("service",),
    "app/store": ("store",),
    "app/web": ("web",),
    "app/wire": ("wire",),
    "app/workers": ("service",),
    "optim_engine": ("engine",),
    "optim_engine/rules": ("engine/rules",),
    "clients/python/optim_client": ("client",),
    "clients/python/optim_client/optax": ("client/optax", "peers/optax_client"),
    "clients/python/optim_client/torch": ("peers/torch_client",),
}
"""The folders of `tests` by the package that they mirror."""


def noun(module: str) -> str:
    """Return the name that tests of a module have. Twins share it: `_session` and `_async_session` are `session`."""
    return module.removeprefix("_").removeprefix("async_")


def test_every_package_has_a_mirror() -> None:
    roots = ("app", "optim_engine", "clients/python/optim_client")
    packages = {path.parent for root in roots for path in ROOT.glob(f"{root}/**/*.py")}
    assert {package.relative_to(ROOT).as_posix() for package in packages} == MIRRORS.keys()


@pytest.mark.parametrize("package", MIRRORS)
def test_every_module_has_tests_of_its_name(package: str) -> None:
    modules = {path.stem for path in ROOT.glob(f"{package}/*.py")} - {"__init__"}
    files = {path.name for folder in MIRRORS[package] for path in (ROOT / "tests" / folder).glob("test_*.py")}
    missing = sorted(module for module in modules if f"test_{noun(module)}.py" not in files)
    if missing:
        pytest.fail(f"these modules of {package} have no test file of their name: {', '.join(missing)}", pytrace=False)
