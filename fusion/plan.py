"""What a model has to read of a file, and with which flow engine; needs no torch but for `raft`."""

from dataclasses import replace
from pathlib import Path

from tristream.fusion.config import ModelConfig
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.streams.config import MotionCNNName
from tristream.streams.errors import MediaError
from tristream.streams.flow import FlowEngine, make_engine
from tristream.streams.frame_folder import FrameFolder
from tristream.streams.log_mel import LOG_OFFSET, LOG_OFFSETS
from tristream.streams.media import MediaReader
from tristream.streams.picture import PictureFormat, PixelFormat
from tristream.streams.stacks import FLOW_CENTRES
from tristream.streams.steps import StepPlan

LEARNED: tuple[MotionCNNName, ...] = ("motion", "small")


def step_plan(config: ModelConfig, picture: PictureFormat | None, windows: Windows) -> StepPlan:
    """What the streams of a model need to be made of a file; `picture` is what its spatial stream sees.

    With a grid, that is what it sees of a tile: the frame is scaled once, to the size whose tiles are such pictures.
    So is that of the flow, for a motion CNN that has learned on pictures of one size; any other takes tiles of any.
    """
    if picture is not None and not windows.grid.is_whole:
        height, width = windows.grid.picture_size(picture.height, picture.width)
        picture = replace(picture, height=height, width=width, resize_shorter=None)
    flow = config.flow
    if config.temporal and config.temporal.cnn in LEARNED and not windows.grid.is_whole:
        height, width = windows.grid.picture_size(flow.height, flow.width)
        flow = replace(flow, height=height, width=width)
    pixel_format: PixelFormat = "rgb24" if flow.engine == "raft" else "gray"
    return StepPlan(
        spatial=picture,
        flow=PictureFormat(flow.height, flow.width, pixel_format, None, "area"),
        stack_pairs=config.temporal.pairs if config.temporal else None,
        stack_stride=config.temporal.stride if config.temporal else 1,
        flow_centre=FLOW_CENTRES[config.temporal.cnn] if config.temporal else "none",
        audio=config.audio is not None,
        sampling=config.sampling,
        window_seconds=windows.window_seconds,
        log_offset=LOG_OFFSETS[config.audio.cnn] if config.audio else LOG_OFFSET,
    )


def flow_engine(source: ModelSource, plan: StepPlan, device: str) -> FlowEngine | None:
    """A flow engine for one video, where its flow may be needed."""
    if plan.stack_pairs is None and not (plan.needs_video and plan.sampling.strategy == "adaptive"):
        return None
    weights = source.weights.get("flow")
    return make_engine(source.config.flow, weights.path if weights else None, device)


def open_media(
    path: str,
    plan: StepPlan,
    engine: FlowEngine | None,
    threads: int,
    skip_to_seconds: float = 0.0,
    fps: float | None = None,
) -> MediaReader | FrameFolder:
    """A reader of what the plan needs; what lies before `skip_to_seconds` may be left out.

    A folder is read as numbered frames, `fps` of them a second.

    Raises:
        MediaError: the file cannot be opened, or has none of the streams; a folder without `fps`.
    """
    if Path(path).is_dir():
        if fps is None:
            raise MediaError(f"{path} is a folder: --fps says how many frames a second its numbered pictures are")
        return FrameFolder(path, fps, skip_to_seconds)
    return MediaReader(
        path,
        video=plan.needs_video,
        audio=plan.audio,
        motion_vectors=engine is not None and engine.needs_motion_vectors,
        threads=threads,
        skip_to_seconds=skip_to_seconds,
    )
