"""Pictures scaled as the image libraries that trained the backbones do: (H, W, 3) or (H, W) uint8 -> uint8.

swscale's bicubic differs from Pillow's (another coefficient), by enough to move MobileNetV1 features to a
cosine of 0.998; PyTorch's antialiased one is Pillow's to the bit or nearly, and takes half of swscale's time.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tristream.streams.picture import Interpolation

_PILLOW = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


def scale(picture: NDArray[np.uint8], height: int, width: int, interpolation: Interpolation) -> NDArray[np.uint8]:
    """A picture (H, W, 3) or (H, W) scaled to (height, width), antialiased when it gets smaller."""
    if picture.shape[:2] == (height, width):
        return picture
    if interpolation == "area":
        return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if interpolation in _PILLOW:
        return np.asarray(Image.fromarray(picture).resize((width, height), _PILLOW[interpolation]))
    import torch  # which a thumbnail does without

    planes = torch.from_numpy(picture if picture.ndim == 3 else picture[..., None]).permute(2, 0, 1)[
        None
    ]  # (1, C, H, W)
    scaled = torch.nn.functional.interpolate(planes, (height, width), mode=interpolation, antialias=True)
    return np.ascontiguousarray(scaled[0].permute(1, 2, 0).reshape(height, width, *picture.shape[2:]).numpy())
