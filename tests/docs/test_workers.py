"""docs/workers.md: its pictures are those that its script draws."""

from docs.images.make_workers_pictures import pictures
from tests.docs.blocks import ROOT, read

PAGE = read("docs/workers.md")


def test_the_pictures_are_those_of_their_script() -> None:
    for name, picture in pictures().items():
        assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == picture
        assert f"](images/{name})" in PAGE
