"""The picture that a CNN wants, in plain numbers: frame (H, W) -> scaled (H', W') -> cut (height, width)."""

from dataclasses import dataclass
from typing import Literal

from tristream.streams.errors import UsageError

PixelFormat = Literal["rgb24", "gray"]
Interpolation = Literal["bilinear", "bicubic", "area"]  # timm's weights want the first two


@dataclass(frozen=True)
class PictureFormat:
    """How a decoded frame becomes the (height, width) picture of a CNN, by torchvision's rounding.

    With `resize_shorter` None the frame is squashed to (height, width), its aspect ratio lost. Otherwise its
    shorter side is scaled to so many pixels, the other in proportion, and the centre is cut out.

    Raises:
        UsageError: a size under one pixel, or `resize_shorter` too small to cut (height, width) from.
    """

    height: int
    width: int
    pixel_format: PixelFormat = "rgb24"
    resize_shorter: int | None = None
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise UsageError(f"a picture needs at least one pixel, got {self.height = }, {self.width = }")
        if self.resize_shorter is not None and self.resize_shorter < max(self.height, self.width):
            raise UsageError(
                f"resize_shorter must be at least the picture's sides, "
                f"got {self.resize_shorter = } for {self.height = }, {self.width = }"
            )

    def scaled_size(self, frame_height: int, frame_width: int) -> tuple[int, int]:
        """(height, width) in pixels that a whole frame is scaled to, before the centre is cut out."""
        if self.resize_shorter is None:
            return self.height, self.width
        shorter, longer = sorted((frame_height, frame_width))
        scaled_longer = int(self.resize_shorter * longer / shorter)  # torchvision's Resize cuts off, too
        if frame_height >= frame_width:
            return scaled_longer, self.resize_shorter
        return self.resize_shorter, scaled_longer

    def crop(self, scaled_height: int, scaled_width: int) -> tuple[int, int]:
        """(top, left) in pixels, from where (height, width) is cut out of the scaled frame."""
        # round() to even at .5, as torchvision's CenterCrop does
        return round((scaled_height - self.height) / 2), round((scaled_width - self.width) / 2)
