"""Changed copies of frames, as CoReHAR makes them: (T, H, W, 3) uint8 -> (T, H, W, 3) uint8."""

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode, v2

from tristream.training.recipes import Augmentation

Frames = NDArray[np.uint8]


class FrameAugmenter:
    """Rotates, crops and mirrors each frame at random (Mihanpour et al. 2020, 4-4); the size stays.

    The crop is scaled back to the frame's size, so that the CNN sees what it was made for.
    """

    def __init__(self, config: Augmentation, height: int, width: int, seed: int) -> None:
        self._generator_seed = seed
        cut = round(height * config.crop_share), round(width * config.crop_share)
        self._transform = v2.Compose(
            [
                v2.RandomRotation(config.rotation_degrees, interpolation=InterpolationMode.BILINEAR),
                v2.RandomCrop(cut),
                v2.Resize((height, width), antialias=True),
                v2.RandomHorizontalFlip(config.flip_probability),
            ]
        )

    def __call__(self, frames: Frames, first_step: int) -> Frames:
        """The frames (T, H, W, 3), changed; `first_step` is the number of the first of them in its clip.

        The change depends on the seed and on the step's number alone, so features are the same in any batches.
        """
        changed = []
        with torch.random.fork_rng(devices=[]):
            for number, frame in enumerate(torch.from_numpy(frames).permute(0, 3, 1, 2), first_step):  # (3, H, W)
                torch.manual_seed(self._generator_seed * 1_000_003 + number)
                changed.append(self._transform(frame))
        return torch.stack(changed).permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
