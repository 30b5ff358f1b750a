"""What a model has to read of a file, and with which flow engine; needs no torch but for `raft`."""

from tristream.fusion.config import ModelConfig
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.streams.flow import FlowEngine, make_engine
from tristream.streams.log_mel import LOG_OFFSET, LOG_OFFSETS
from tristream.streams.media import MediaReader
from tristream.streams.picture import PictureFormat, PixelFormat
from tristream.streams.steps import StepPlan


def step_plan(config: ModelConfig, picture: PictureFormat | None, windows: Windows) -> StepPlan:
    """What the streams of a model need to be made of a file; `picture` is what its spatial stream sees."""
    flow = config.flow
    pixel_format: PixelFormat = "rgb24" if flow.engine == "raft" else "gray"
    return StepPlan(
        spatial=picture,
        flow=PictureFormat(flow.height, flow.width, pixel_format, None, "area"),
        stack_pairs=config.temporal.pairs if config.temporal else None,
        stack_stride=config.temporal.stride if config.temporal else 1,
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
    path: str, plan: StepPlan, engine: FlowEngine | None, threads: int, skip_to_seconds: float = 0.0
) -> MediaReader:
    """A reader of what the plan needs; what lies before `skip_to_seconds` may be left out.

    Raises:
        MediaError: the file cannot be opened, or has none of the streams.
    """
    return MediaReader(
        path,
        video=plan.needs_video,
        audio=plan.audio,
        motion_vectors=engine is not None and engine.needs_motion_vectors,
        threads=threads,
        skip_to_seconds=skip_to_seconds,
    )
