"""Light variations of training images: shifted by a few pixels, mirrored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


def varied(images: Images, random: np.random.Generator, *, shift: int, flip: bool, channels_first: bool) -> Images:
    """Each image moved by up to ``shift`` pixels on both axes, its border repeated, and mirrored left to right or not.

    images: [N, C, H, W], or [N, H, W, C] unless ``channels_first``. The same ``random`` gives the same images.
    """
    count, axis = len(images), 2 if channels_first else 1
    height, width = images.shape[axis : axis + 2]
    if shift:
        pads = [(0, 0)] * 4
        pads[axis] = pads[axis + 1] = (shift, shift)
        wide = np.pad(images, pads, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width), (axis, axis + 1))
        top, left = random.integers(0, 2 * shift + 1, (2, count))
        every = np.arange(count)
        # Advanced indices with a slice between them come first: [N, C, H, W] from both layouts.
        images = windows[every, :, top, left] if channels_first else np.moveaxis(windows[every, top, left], 1, -1)
    if flip:
        mirrored = random.random(count) < 0.5
        images = images.copy()
        images[mirrored] = np.flip(images[mirrored], axis + 1)
    return np.ascontiguousarray(images)
