"""The picture of `optim sessions watch`: text as text, braille as dots."""

from xml.etree import ElementTree

from rich.text import Text

from docs.images.make_watch_picture import draw

SVG = "{http://www.w3.org/2000/svg}"


def test_text_is_text_and_braille_is_dots() -> None:
    text = Text.assemble(("loss <1", "bold"), "\n", ("  ⣿⠀⠁", "cyan"))
    picture = ElementTree.fromstring(draw(text))
    words = [(each.text, each.get("class")) for each in picture.iter(f"{SVG}text")]
    paths = [(each.get("d", "").count("M"), each.get("class")) for each in picture.iter(f"{SVG}path")]
    assert words == [("loss <1", "bold")]
    assert paths == [(9, "cyan")]
