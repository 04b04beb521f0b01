"""The data of the demo: the whole published file, in the same batches every time."""

import gzip
import hashlib
import re
from importlib.resources import files

import numpy as np

from app.demo import digits


def test_the_data_is_the_file_that_its_note_describes() -> None:
    note = files("app.demo").joinpath("SOURCE.md").read_text(encoding="utf-8")
    packed = files("app.demo").joinpath("digits.csv.gz").read_bytes()
    assert re.findall("[0-9a-f]{64}", note) == [hashlib.sha256(packed).hexdigest()]
    assert len(gzip.decompress(packed).splitlines()) == 1797


def test_images_are_64_numbers_and_labels_are_digits() -> None:
    train, test = digits.load()
    assert (len(train), len(test)) == (1437, 360)
    for part in (train, test):
        assert part.images.shape == (len(part), 64)
        assert part.images.dtype == np.float32
        assert (part.images.min(), part.images.max()) == (0, 1)
        assert set(part.labels.tolist()) == set(range(10))


def test_an_epoch_shows_no_image_twice() -> None:
    train, _ = digits.load()
    numbered = digits.Digits(train.images, np.arange(len(train)))
    seen = np.concatenate([numbered.batch(step, 64).labels for step in range(1, 23)])
    assert len(seen) == len(set(seen.tolist())) == 22 * 64


def test_epochs_differ_and_a_batch_depends_on_its_number_alone() -> None:
    train, _ = digits.load()
    assert np.array_equal(train.batch(5, 64).images, digits.load()[0].batch(5, 64).images)
    assert not np.array_equal(train.batch(1, 64).images, train.batch(23, 64).images)
