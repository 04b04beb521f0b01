"""The packages of the image: exact versions with hashes, and nothing that is not in the lock."""

import re
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from tests.chaos.trial import Trial
from tests.docs.blocks import read

IMAGE = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "python_version": "3.13"}
"""The platform of the image."""


class Locked(NamedTuple):
    version: str
    hashes: list[str]


def lock(name: str) -> dict[str, Locked]:
    """Return the locked versions and hashes, by the package's name."""
    found = {}
    for entry in re.sub(r"\\\n\s*|^#.*$", " ", read(name), flags=re.MULTILINE).strip().splitlines():
        words, *hashes = entry.split("--hash=")
        requirement = Requirement(words)
        if requirement.marker is None or requirement.marker.evaluate(IMAGE):
            [version] = requirement.specifier
            assert version.operator == "=="
            found[requirement.name] = Locked(version.version, [given.strip() for given in hashes])
    return found


def declared(path: str) -> Iterator[Requirement]:
    """Yield the foreign requirements of a package of this repository."""
    for line in tomllib.loads(read(path))["project"]["dependencies"]:
        requirement = Requirement(line)
        if requirement.name != "optim-client" and (not requirement.marker or requirement.marker.evaluate(IMAGE)):
            yield requirement


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lacks(locked: dict[str, Locked], wanted: Iterator[Requirement] | list[Requirement]) -> list[str]:
    """Return the requirements that the lock does not satisfy."""
    return [
        str(requirement)
        for requirement in wanted
        if normal(requirement.name) not in locked
        or not requirement.specifier.contains(locked[normal(requirement.name)].version)
    ]


@pytest.mark.requirement("R16")
def test_the_lock_has_hashes_of_every_package(trial: Trial) -> None:
    for name in ("requirements.lock", "requirements-build.lock"):
        assert "://" not in read(name)
        for package, locked in lock(name).items():
            assert locked.hashes, package
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", given) for given in locked.hashes), package
            trial.tried["packages locked"] += 1
            trial.tried["hashes"] += len(locked.hashes)
    for path in ("pyproject.toml", "clients/python/pyproject.toml"):
        wanted = list(declared(path))
        assert lacks(lock("requirements.lock"), wanted) == []
        trial.tried["requirements satisfied"] += len(wanted)
    project = tomllib.loads(read("pyproject.toml"))
    assert project["dependency-groups"]["build"] == project["build-system"]["requires"]
    assert lacks(lock("requirements-build.lock"), [*map(Requirement, project["build-system"]["requires"])]) == []


def test_an_outdated_lock_is_noticed() -> None:
    locked = lock("requirements.lock")
    assert lacks(locked, [Requirement("not-locked"), Requirement("numpy>=99"), Requirement("ml_dtypes")]) == [
        "not-locked",
        "numpy>=99",
    ]


@pytest.mark.requirement("R16")
def test_the_image_installs_only_packages_with_hashes(trial: Trial) -> None:
    lines = re.findall(r"pip (?:install|wheel|download) [^&\n]*", read("Dockerfile"))
    assert len(lines) == 4
    for line in lines:
        assert re.search(r"--require-hashes --only-binary :all: -r requirements\S*\.lock|--no-deps ", line), line
        trial.tried["commands that install or build"] += 1
    assert "--no-build-isolation" in "".join(line for line in lines if "wheel " in line)
