"""Pictures read back: what a test may say of one without keeping a copy of it."""

import io

import numpy as np
from PIL import Image

WHITE = [255, 255, 255]
NO_DATA = [189, 183, 178]
COAST = [17, 17, 17]


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def share_of(png: bytes, colour: list[int]) -> float:
    return float((pixels(png) == colour).all(axis=-1).mean())


def assert_nothing_touches_the_border(png: bytes) -> None:
    drawn = pixels(png)
    for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):
        assert (edge == WHITE).all()
