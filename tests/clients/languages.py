"""The table of languages, a row a client: its folder, and how it is built, tested and proven."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Language:
    """A client. Its commands run in its folder: `build`, then its own `tests`; `prove` starts its prover, if any.

    The tests find a service, of which they may do what they like, at `OPTIM_BASE_URL`.
    """

    name: str
    prove: tuple[str, ...]
    build: tuple[tuple[str, ...], ...] = ()
    tests: tuple[tuple[str, ...], ...] = ()
    tools: tuple[str, ...] = ()
    """The names of the tools that it needs, in `toolchains.py`."""
    form: str = field(default="bin")
    """The form of its bodies: `bin` for safetensors, or `json`."""
    resends: frozenset[int] = frozenset()
    """The statuses after which its platform sends the same request once more, on a new connection."""
    at: str | None = None
    """Its folder; without it, that of its name in `clients`."""

    @property
    def folder(self) -> Path:
        return ROOT / (self.at or f"clients/{self.name}")


NPM = ("npm", "--prefix", str(ROOT / "clients/typescript"))
QUIET = ("--no-audit", "--no-fund")
NPM_BUILD = ((*NPM, "ci", *QUIET), (*NPM, "run", "build"))
GO = ("env", "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local", "GOPROXY=off", "go")

LANGUAGES = {
    language.name: language
    for language in (
        Language("python", (sys.executable, "prove.py")),
        Language(
            "c",
            ("build/prove",),
            build=(("make", "--silent"),),
            tests=(("build/tests",), ("build/readme",)),
            tools=("cc", "libcurl"),
        ),
        Language(
            "go",
            ("build/prove",),
            build=((*GO, "build", "-o", "build/prove", "./prove"),),
            tests=(
                ("sh", "-c", 'test -z "$("$(go env GOROOT)/bin/gofmt" -l .)"'),
                (*GO, "vet", "./..."),
                (*GO, "test", "./..."),
            ),
            tools=("go",),
        ),
        Language(
            "java",
            # By default the JDK repeats a GET itself, once and at once.
            ("java", "-Djdk.httpclient.redirects.retrylimit=1", "-cp", "build", "Prove"),
            build=(("sh", "-c", "javac -Xlint:all -Werror -d build optim/*.java *.java"),),
            tests=(("java", "-cp", "build", "OptimTest"), ("java", "-cp", "build", "ServiceTest")),
            tools=("java",),
        ),
        Language(
            "shell",
            ("sh", "prove"),
            tests=(("sh", "tests.sh"), (sys.executable, "-m", "pytest", "-q", f"{ROOT}/tests/shell")),
            tools=("curl", "jq"),
            form="json",
        ),
        Language(
            "typescript",
            ("node", "prove.mjs"),
            build=NPM_BUILD,
            tests=(("npm", "test"),),
            tools=("node",),
            resends=frozenset({421}),  # as the standard of `fetch` says
        ),
        *(
            Language(
                runtime,
                (f"build/{runtime}/node_modules/.bin/{runtime}", "run", *flags, "prove.mjs"),
                build=(*NPM_BUILD, ("npm", "install", *QUIET, "--prefix", f"build/{runtime}", runtime)),
                tools=("node",),
                at="clients/typescript",
            )
            for runtime, flags in (("deno", ("--allow-all",)), ("bun", ()))
        ),
        Language(
            "browser",
            (),
            build=NPM_BUILD,
            tests=(
                (sys.executable, "-m", "pip", "install", "--quiet", "--group", f"{ROOT}/pyproject.toml:browser"),
                (sys.executable, "-m", "pytest", "-q", f"{ROOT}/tests/browser"),
            ),
            tools=("node", "chromium"),
            at="examples/browser",
        ),
    )
}
