"""The options and arguments that commands share: each is said once, as a type."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tristream.streams.config import AudioCNNName, FlowEngineName, MotionCNNName, SamplingStrategy
from tristream.streams.errors import UsageError

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Videos or sound files, folders, globs, a .txt or .csv list, or - for a list on standard input.",
        show_default=False,
    ),
]

# What is changed of a model

Streams = Annotated[
    str | None, typer.Option(help="Only these streams of the model, as in spatial,audio.", show_default=False)
]
Backbone = Annotated[str | None, typer.Option(help="Another timm backbone for the spatial stream.", show_default=False)]
SamePadding = Annotated[
    bool | None,
    typer.Option("--same-padding", help="Pad the backbone as TensorFlow does, for weights converted from it."),
]
TemporalCNN = Annotated[
    MotionCNNName | None,
    typer.Option(help="Another motion CNN; histogram needs no training.", show_default=False),
]
AudioCNN = Annotated[
    AudioCNNName | None,
    typer.Option(help="Another CNN for the audio stream; --audio-weights gives its weights.", show_default=False),
]
Recurrent = Annotated[
    Literal["gru", "lstm", "rnn", "mean"] | None,
    typer.Option(help="Another recurrent cell; mean needs no training.", show_default=False),
]
Sampling = Annotated[
    SamplingStrategy | None,
    typer.Option(help="Another way to choose which frames become steps.", show_default=False),
]
Flow = Annotated[
    FlowEngineName | None,
    typer.Option(help="Optical flow engine; codec reads the bit stream's motion vectors.", show_default=False),
]
SpatialWeights = Annotated[
    Path | None, typer.Option(help="Weights of the backbone, .safetensors or .npz.", show_default=False)
]
TemporalWeights = Annotated[
    Path | None,
    typer.Option(help="Weights of the motion CNN: MODEL/temporal.safetensors of another model.", show_default=False),
]
AudioWeights = Annotated[
    Path | None,
    typer.Option(help="Weights of the audio CNN (VGGish, YAMNet, small), .safetensors or .npz.", show_default=False),
]
FlowWeights = Annotated[Path | None, typer.Option(help="Weights of RAFT-small, .safetensors.", show_default=False)]

# Data sets

Layout = Annotated[
    Literal["auto", "ucf101", "hmdb51", "kth", "ucf11", "ucf50", "folders", "csv"],
    typer.Option(help="How the data set is laid out."),
]
Split = Annotated[int, typer.Option(metavar="N", help="The published split of UCF101 and HMDB-51.")]
TestGroup = Annotated[
    int | None, typer.Option(metavar="N", help="The group of UCF-11 and UCF50 to test on.", show_default=False)
]
Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where step features are kept.", show_default="~/.cache/tristream/features"),
]
CacheSize = Annotated[float, typer.Option(metavar="GB", help="How much the cache may hold.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep step features for this run only.")]

Grid = Annotated[
    str,
    typer.Option(metavar="ROWSxCOLUMNS", help="Cut the picture into overlapping tiles, each of them a clip."),
]
Fps = Annotated[
    float | None,
    typer.Option(
        min=0, help="Frames a second of folders of numbered pictures, which are videos then.", show_default=False
    ),
]

# Detectors

DetectorModel = Annotated[
    str | None,
    typer.Option(help="Where the detector's model is.", show_default="where it was when the detector was made"),
]
FalseAlarmsPerHour = Annotated[
    float | None,
    typer.Option(help="Other than what the detector was made for.", show_default="the detector's"),
]

# Running

Window = Annotated[float, typer.Option(help="Seconds a clip.")]
TrainedWindow = Annotated[
    float | None, typer.Option(help="Seconds a clip.", show_default="as the model was trained, or 36")
]
Stride = Annotated[float | None, typer.Option(help="Seconds from one clip to the next.", show_default="the window")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the networks run.")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Precision of the networks; auto takes bfloat16 where the hardware has it."),
]
StepsAtOnce = Annotated[int, typer.Option(min=1, metavar="N", help="Steps that go through a CNN together.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Worker processes.", show_default="one a core")]
Timeout = Annotated[float, typer.Option(help="Seconds a file may take.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]


def names_of(streams: str | None) -> tuple[str, ...] | None:
    """The streams that `--streams` names."""
    return tuple(name.strip() for name in streams.split(",")) if streams is not None else None


def check_picture(path: Path | None, option: str, suffixes: tuple[str, ...]) -> None:
    """Find out before the work whether a picture or page can be written where it is wanted.

    Raises:
        UsageError: another suffix, or no such folder.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} {path}: {option.strip('-')} writes {' or '.join(suffixes)} files")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.absolute().parent}")
