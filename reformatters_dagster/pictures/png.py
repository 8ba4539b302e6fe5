"""In: a matplotlib figure. Out: PNG bytes in 256 colours, small enough for run metadata."""

import base64
import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

type Uint8Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
type IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

DPI = 100
_SHIFTS = np.array([16, 8, 0])
_RARE_STEP = 12
NOT_DRAWN = "not drawn: matplotlib is not installed where this ran, as in the project's container image"


def can_draw() -> bool:
    """Whether matplotlib is installed. The container image leaves it out."""
    return find_spec("matplotlib") is not None


def to_png(figure: "Figure") -> bytes:
    """The figure at its own size and resolution; the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()  # once: `savefig` would find the layout twice
    packed = io.BytesIO()
    indices, palette = _in_palette(np.asarray(canvas.buffer_rgba())[..., :3])
    picture = Image.fromarray(indices)
    picture.putpalette(palette.tobytes())
    picture.save(packed, format="png", optimize=True)
    return packed.getvalue()


def as_markdown_image(png: bytes, alt: str) -> str:
    """The picture inside a Markdown text, without a file of its own."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def _in_palette(picture: Uint8Array) -> tuple[Uint8Array, Uint8Array]:
    """The 256 commonest colours as they are, a rarer one as the nearest of them, greys in 16 steps.

    Letters and coastlines have smoothed edges in many shades, which would leave no room for the levels of several
    colour bars.

    Parameters
    ----------
    picture : (row, column, 3) uint8

    Returns
    -------
    indices : (row, column) uint8
    palette : (colour, 3) uint8
    """
    neutral = (picture == picture[..., :1]).all(axis=2, keepdims=True)
    stepped = np.where(neutral, np.round(picture / 17) * 17, picture)
    codes = stepped.astype(np.int64) @ (1 << _SHIFTS)
    place, colours = pd.factorize(codes.ravel(), sort=True)  # hashes: a picture has many points, and few colours
    channels = colours[:, None] >> _SHIFTS & 255
    common = np.sort(np.argsort(-np.bincount(place), kind="stable")[:256])
    nearest = _nearest(channels, channels[common])
    nearest[common] = np.arange(len(common))
    return nearest[place.reshape(codes.shape)], channels[common].astype(np.uint8)


def _nearest(colours: IntArray, palette: IntArray) -> Uint8Array:
    """Index of the nearest colour of a palette. Colours are rounded first, since there are many and each costs 256 distances."""
    rounded = np.round(colours / _RARE_STEP).astype(np.int64) * _RARE_STEP
    place, codes = pd.factorize(rounded @ np.array([1 << 20, 1 << 10, 1]))
    distinct = np.empty((len(codes), 3), np.int64)
    distinct[place] = rounded
    distances = np.square(distinct[:, None].astype(np.float32) - palette.astype(np.float32)).sum(axis=2)
    return distances.argmin(axis=1).astype(np.uint8)[place]
