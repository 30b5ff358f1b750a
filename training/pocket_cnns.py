"""The three CNNs of the small model: large trained ones made thinner, then taught what the large ones say.

real clips and sounds, made ones, ImageNet's MobileNetV1 and AudioSet's YAMNet -> weights of three thin MobileNetV1
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tristream.streams.config import StreamName
from tristream.streams.mobilenet import MobileNet
from tristream.streams.placement import place
from tristream.streams.weights import load_weights, read_weights
from tristream.streams.yamnet import YAMNet
from tristream.training import pocket_motions, pocket_pictures, pocket_sounds
from tristream.training.distilling import Distillation, Floats, Inputs, Pool, make_pool
from tristream.training.pocket_sources import Sources
from tristream.training.pocket_stages import Stages, tell
from tristream.training.pocket_steps import every_fifth, mean_flows_of, sound_of
from tristream.training.pruning import folded_convolutions, pruned, with_inputs

FEATURES = 1024
CALIBRATION = 384  # inputs that a thin network is fitted on


@dataclass(frozen=True)
class Course:
    """How a thin network is taught."""

    width: float  # its share of the whole one's channels
    parts: int  # of its pool
    part_size: int
    first_seed: int  # of the first part; the others have those that follow
    rate: float
    epochs: int
    batches: int  # of an epoch
    batch_size: int
    bfloat16: bool


PICTURES = Course(0.75, 24, 1024, 1000, rate=6e-4, epochs=22, batches=128, batch_size=64, bfloat16=True)
SOUNDS = Course(0.5, 24, 2048, 5000, rate=1e-3, epochs=30, batches=64, batch_size=128, bfloat16=False)
MOTIONS = Course(0.5, 16, 1024, 9000, rate=6e-4, epochs=16, batches=128, batch_size=64, bfloat16=True)


class ThinCNNs:
    """The stages of the CNNs."""

    def __init__(self, sources: Sources, stages: Stages) -> None:
        self._sources, self._stages = sources, stages

    def file(self, stream: StreamName) -> Path:
        """The weights of a stream's CNN."""
        make = {"spatial": self._make_spatial, "temporal": self._make_temporal, "audio": self._make_audio}[stream]
        return self._stages.kept(f"{stream}-cnn", make)

    def picture_features(self) -> Tensor:
        """What MobileNetV1 says (N, 1024) of all the pictures that the spatial CNN is taught with."""
        files = sorted((self._stages.work / "pictures").glob("features-*.npy"))
        return torch.from_numpy(np.concatenate([np.load(file) for file in files])).float()

    def _make_spatial(self) -> dict[str, Tensor]:
        """MobileNetV1, 3/4 of its width, taught to see at 160 pixels what the whole one sees at 224."""
        frames = self._array("frames", lambda: np.stack([f for clip in self._sources.clips for f in every_fifth(clip)]))
        teacher = self._frames_teacher()
        pool = self._pool("pictures", PICTURES, partial(pocket_pictures.pool_part, frames, teacher))
        prepare = pocket_pictures.as_network_sees
        thin = pruned(folded_convolutions(self._mobilenet), prepare(_first(pool)), PICTURES.width, FEATURES)
        self._teach("spatial", thin, pool, prepare, PICTURES)
        return dict(thin.state_dict())

    def _make_audio(self) -> dict[str, Tensor]:
        """YAMNet, half its width, taught to hear from VGGish's log-mel what the whole one hears from its own."""
        yamnet = YAMNet().eval().requires_grad_(False)
        load_weights(yamnet, read_weights(self._sources.yamnet), str(self._sources.yamnet))
        waveforms = (sound_of(path) for path in (*self._sources.sounds, *self._sources.clips))
        sounds = [pocket_sounds.magnitudes(waveform) for waveform in waveforms if waveform is not None]
        pool = self._pool("sounds", SOUNDS, partial(pocket_sounds.pool_part, sounds, yamnet))
        prepare = pocket_sounds.as_network_hears
        thin = pruned(folded_convolutions(yamnet), prepare(_first(pool)), SOUNDS.width, FEATURES, nn.ReLU)
        self._teach("audio", thin, pool, prepare, SOUNDS)
        return {f"layers.{name}": tensor for name, tensor in thin.state_dict().items()}

    def _make_temporal(self) -> dict[str, Tensor]:
        """MobileNetV1, half its width, taught to see in pictures of motion what the whole one sees in larger ones."""
        flows = self._array("flows", lambda: np.concatenate([mean_flows_of(clip) for clip in self._sources.clips]))
        teacher = self._frames_teacher()
        pool = self._pool("motions", MOTIONS, partial(pocket_motions.pool_part, flows, teacher))
        prepare = pocket_motions.as_network_sees
        folded = with_inputs(folded_convolutions(self._mobilenet), 1)
        thin = pruned(folded, prepare(_first(pool)), MOTIONS.width, FEATURES)
        self._teach("temporal", thin, pool, prepare, MOTIONS)
        return {f"shapes.{name}": tensor for name, tensor in thin.state_dict().items()}

    @cached_property
    def _mobilenet(self) -> nn.Module:
        network = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0, pad_type="same").eval()
        load_weights(network, read_weights(self._sources.mobilenet), str(self._sources.mobilenet))
        return network

    def _frames_teacher(self) -> pocket_pictures.Teacher:
        return place(pocket_pictures.Teacher(copy.deepcopy(self._mobilenet)), "cpu")

    def _array(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What a pool is made of, in a file that is mapped."""
        path, unfinished = (self._stages.work / f"{name}{end}.npy" for end in ("", "-"))
        if not path.is_file():
            np.save(unfinished, make())
            unfinished.replace(path)
        return np.asarray(np.load(path, mmap_mode="r"))

    def _pool(self, name: str, course: Course, make: Callable[[int, int], tuple[Inputs, Floats]]) -> Pool:
        def part(number: int) -> tuple[Inputs, Floats]:
            tell(f"  {name} {number + 1} of {course.parts}")
            return make(course.part_size, course.first_seed + number)

        return make_pool(self._stages.work / name, course.parts, part)

    def _teach(
        self, name: str, thin: MobileNet, pool: Pool, prepare: Callable[[Tensor], Tensor], course: Course
    ) -> None:
        """Fit a thin network, in place, to what its teacher says of the pool."""
        layout = torch.channels_last if course.bfloat16 else torch.contiguous_format
        thin.to(memory_format=layout)  # type: ignore[call-overload]
        task = Distillation(
            thin.means,
            pool,
            lambda inputs: prepare(inputs).contiguous(memory_format=layout),
            batch_size=course.batch_size,
            batches=course.batches,
            bfloat16=course.bfloat16,
        )
        self._stages.fit(task, name, course.rate, course.epochs)


def _first(pool: Pool) -> Tensor:
    """Some inputs of a pool, from six of its parts."""
    return torch.from_numpy(np.concatenate([pool.inputs[number][: CALIBRATION // 6] for number in range(6)]))
