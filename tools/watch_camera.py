"""`watch-camera`: cameras in, alarms out, as they happen."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from tristream.tools.options import Debug, DetectorModel, Device, Dtype, FalseAlarmsPerHour, StepsAtOnce
from tristream.tools.shell import run_command, say

if TYPE_CHECKING:  # its libraries would slow --help down
    from tristream.anomaly.notes import Listener, Note
    from tristream.anomaly.outlets import Sink

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def watch_camera(
    detector: Annotated[
        str | None,
        typer.Argument(metavar="DETECTOR", help="The folder that fit-anomaly made.", show_default=False),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="rtsp://, http://, /dev/video0; ${NAME} in it is a variable of the environment, as for a password.",
            show_default=False,
        ),
    ] = None,
    cameras: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Cameras, each with settings of its own.", show_default=False),
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Sources are files, played at their own pace.")] = False,
    listen: Annotated[
        bool, typer.Option("--listen", help="Cameras connect to the rtsp:// addresses, not the other way round.")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="The most frames a second that are taken.", show_default="all")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Raise an alarm above this score.", show_default="the detector's"),
    ] = None,
    false_alarms_per_hour: FalseAlarmsPerHour = None,
    mask: Annotated[
        str | None,
        typer.Option(metavar="PICTURE", help="Black where nothing shall be looked for.", show_default=False),
    ] = None,
    stall: Annotated[
        float, typer.Option(metavar="SECONDS", help="Without a picture for so long, a camera is taken for lost.")
    ] = 10.0,
    retry: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longest pause before a lost camera is tried again; 0: give up.")
    ] = 30.0,
    event_folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep a snapshot and a short clip of each event there.", show_default=False),
    ] = None,
    event_folder_size: Annotated[
        float, typer.Option(metavar="GB", help="How much that folder may hold; the oldest go first.")
    ] = 1.0,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Post each alarm there, as JSON.", show_default=False)
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(metavar="URL", help="Publish alarms: mqtt://HOST/TOPIC.", show_default=False)
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Add every score to a file.", show_default=False)
    ] = None,
    metrics: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve Prometheus metrics at http://127.0.0.1:PORT/metrics; 0 takes a free port.",
            show_default=False,
        ),
    ] = None,
    model: DetectorModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: StepsAtOnce = 64,
    debug: Debug = False,
) -> int:
    """Watch cameras, and raise an alarm when one shows what it has never shown.

    Alarms are JSON Lines on standard output: one with kind "alarm" when an event opens, one with kind "event" and the
    same id when it is over. A camera that is lost is tried again. Ends when all sources are at their end, or by Ctrl-C
    or SIGTERM, which tell the events that go on as over. Exit codes: 0 done, 1 usage or set-up, 2 some cameras failed,
    3 all failed.
    """
    from tristream.anomaly.board import Board, metrics_at
    from tristream.anomaly.cameras import cameras_of, check_names, read_cameras
    from tristream.anomaly.notes import Alarm
    from tristream.anomaly.outlets import JsonLines
    from tristream.anomaly.recorder import GB, Recorder
    from tristream.anomaly.watcher import Watcher
    from tristream.streams.errors import UsageError
    from tristream.tools.watch_screen import screen

    settings = {
        "fps": fps,
        "threshold": threshold,
        "false_alarms_per_hour": false_alarms_per_hour,
        "mask": mask,
        "stall": stall,
        "retry": retry,
        "listen": listen,
        "realtime": realtime,
    }
    watched = read_cameras(cameras, detector=detector, **settings) if cameras else []
    if detector is not None and "://" in detector:
        raise UsageError("the first word is the DETECTOR, a folder that fit-anomaly made; addresses come after it")
    if sources and detector:
        watched += cameras_of(sources, detector, **settings)
    if not watched:
        raise UsageError("name a DETECTOR and a SOURCE to watch, or --cameras FILE.toml")
    check_names(watched, "the command line")
    stop, board = Event(), Board(camera.name for camera in watched)
    lines = JsonLines(stop)
    with ExitStack() as stack:
        stack.enter_context(_stopping(stop))
        if metrics is not None:
            say(f"metrics: http://127.0.0.1:{stack.enter_context(metrics_at(metrics, board))}/metrics")
        tell = _outlets(stack, [lines, _StateWords()], webhook, mqtt, scores)
        recorder = None
        if event_folder is not None:
            recorder = Recorder(event_folder, int(event_folder_size * GB), tell, say)
            stack.callback(recorder.close)  # before the outlets are closed, which its alarms go to

        def listen_to(note: "Note") -> None:
            board(note)
            if recorder is not None:
                recorder(note)
            if recorder is None or not isinstance(note, Alarm):
                tell(note)

        watcher = Watcher(
            watched, model=model, device=device, dtype=dtype, batch_size=batch_size, pictures=recorder is not None
        )
        with screen(board):
            failed = watcher.run(listen_to, stop)
    if lines.broken:
        raise BrokenPipeError
    return 0 if not failed else 3 if len(failed) == len(watched) else 2


def _outlets(
    stack: ExitStack, sinks: "list[Sink]", webhook: str | None, mqtt: str | None, scores: Path | None
) -> "Listener":
    """A listener that passes notes on to all sinks; they are closed with the stack."""
    from tristream.anomaly.mqtt import Mqtt
    from tristream.anomaly.outlets import Outlet, ScoreLines, close_all
    from tristream.anomaly.webhook import Webhook
    from tristream.streams.addresses import filled

    if webhook is not None:
        sinks.append(Webhook(filled(webhook)))
    if mqtt is not None:
        sinks.append(Mqtt(filled(mqtt), say))
    if scores is not None:
        sinks.append(ScoreLines(stack.enter_context(_opened(scores))))
    outlets = [Outlet(sink, say) for sink in sinks]
    stack.callback(close_all, outlets)

    def tell(note: "Note") -> None:
        for outlet in outlets:
            outlet(note)

    return tell


class _StateWords:
    """Says how a camera does, where that changes."""

    name = "standard error"

    def __init__(self) -> None:
        from tristream.anomaly.notes import State

        self.kinds = (State,)
        self._last: dict[str, tuple[str, str]] = {}

    def send(self, note: "Note") -> None:
        from tristream.anomaly.notes import State

        if not isinstance(note, State) or self._last.get(note.camera) == (note.state, note.message):
            return
        self._last[note.camera] = note.state, note.message
        rate = f" ({note.fps:.3g} frames a second)" if note.fps else ""
        again = "; it is tried again" if note.pause_seconds is not None else ""
        if note.state != "connecting":
            say(f"{note.camera}: {note.state}{rate}" + (f": {note.message}" if note.message else "") + again)

    def stop(self) -> None: ...

    def close(self, seconds: float) -> None: ...


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A file to which lines are added.

    Raises:
        UsageError: it cannot be written.
    """
    from tristream.streams.errors import UsageError

    try:
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    with file:
        yield file


@contextmanager
def _stopping(stop: Event) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the watch in order; a second one ends it at once."""

    def end(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {}
    with suppress(ValueError):  # not in the main thread, as in a test
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
