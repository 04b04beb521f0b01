"""The routes of the page: its files, their headers, and nothing besides them."""

import posixpath
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from httpx2 import Client

from app.routes.html import policy
from app.routes.page import MEDIA_TYPES, page, page_files
from tests.docs.blocks import ROOT, read
from tests.service.calls import problem, serving

PATHS = sorted(page_files())
SCRIPTS = [path for path in PATHS if path.endswith(".js")]
OUTSIDE = [
    "/page/", "/page/nothing.js", "/page/%2e%2e/main.py", "/page/..%2fmain.py", "/page//etc/passwd",
    "/page/vendor", "/page/vendor/", "/page/main.js/", "/page/main.js%00", "/page/..\\main.py",
]  # fmt: skip
"""Paths that are no file of the page."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving() as client:
        yield client


def test_the_page_has_a_strict_policy(client: Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    allowed = answer.headers["content-security-policy"]
    theme, module, *sheets = re.findall(r"'sha256-[\w+/]{43}='", allowed)
    assert "unsafe" not in allowed
    assert dict(part.split(" ", 1) for part in allowed.split("; ")) == {
        "default-src": "'none'", "script-src": f"{theme} {module}", "style-src": " ".join(sheets),
        "img-src": "'self' data: blob:", "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'",
        "frame-ancestors": "'none'",
    }  # fmt: skip


def test_a_file_of_the_page_has_a_strict_policy(client: Client) -> None:
    allowed = client.get("/page/index.html").headers["content-security-policy"]
    assert allowed == policy()
    assert "script-src 'self'; style-src 'self';" in allowed


@pytest.mark.parametrize("path", PATHS)
def test_each_file_has_its_type_and_tag(client: Client, path: str) -> None:
    answer = client.get(f"/page/{path}")
    assert answer.content == page_files()[path].body
    assert answer.headers["content-type"] == MEDIA_TYPES[f".{path.rpartition('.')[2]}"]
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get(f"/page/{path}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    head = client.head(f"/page/{path}")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))


@pytest.mark.parametrize("path", PATHS)
def test_each_file_is_answered_as_it_is(path: str) -> None:
    assert page_files()[path].body == (ROOT / "app/page" / path).read_bytes()


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_of_the_page_is_served(client: Client, path: str) -> None:
    problem(client.get(path), 404, "route_not_found")


def test_the_page_takes_no_query(client: Client) -> None:
    problem(client.get("/?session=1"), 400, "malformed_query")
    problem(client.get("/page/main.js?v=2"), 400, "malformed_query")


def test_the_page_itself_needs_no_key(tmp_path: Path) -> None:
    with serving(api_key_sha256="0" * 64) as client:
        assert [client.get(path).status_code for path in ("/", "/page/main.js")] == [200, 200]
        problem(client.get("/v1/sessions"), 401, "unauthenticated")


def test_another_host_gets_no_page(client: Client) -> None:
    problem(client.get("/", headers={"Host": "evil.example"}), 421, "misdirected")


def test_the_page_is_no_call_of_the_api(client: Client) -> None:
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path == "/" or path.startswith("/page")]


@pytest.mark.parametrize("path", [path for path in PATHS if path.endswith((".html", ".js", ".css"))])
def test_a_file_loads_only_files_of_the_page(path: str) -> None:
    text = (ROOT / "app/page" / path).read_text(encoding="utf-8")
    loads = {
        "html": r'(?:src|href)="([^"#]+)"',
        "js": r"^import .*'([^'\n]+)'$",
        "css": r"""url\(["']?([^"')]+)|@import (.*)""",
    }[path.rpartition(".")[2]]
    folder = PurePosixPath("/page", path).parent if path != "index.html" else PurePosixPath("/")
    for address in re.findall(loads, text, re.MULTILINE):
        found = posixpath.normpath(folder / address)
        assert found.removeprefix("/page/") in PATHS or found == "/docs"


@pytest.mark.parametrize("path", [path for path in SCRIPTS if not path.startswith("vendor/")])
def test_a_script_makes_no_markup_of_text(path: str) -> None:
    text = (ROOT / "app/page" / path).read_text(encoding="utf-8")
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser", text
    )
    assert text.count("\n") <= 250, "split it: one noun a file"


def test_the_page_asks_for_its_sign_alone() -> None:
    """Each other file would cost a browser milliseconds, for which the first curve waits."""
    text = page().body.decode()
    assert set(re.findall(r'<(?:link|script|img)[^>]* (?:href|src)="([^"]+)"', text)) == {"page/icon.svg"}
    assert "await import(" not in text


def test_the_page_has_every_sheet() -> None:
    sheets = [path for path in PATHS if path.endswith(".css") and path != "docs.css"]
    assert all(f"<style>{page_files()[path].body.decode()}</style>" in page().body.decode() for path in sheets)


def test_wheel_and_image_get_every_file_of_the_page() -> None:
    """The build of the wheel leaves out what git ignores; the image is made of the folder `app`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "app/page"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True)
    assert {f"app/page/{path}" for path in PATHS} == set(listed.split())
    assert "app" in tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert "\nCOPY app app\n" in read("Dockerfile")
    assert "!app" in read(".dockerignore").split()
