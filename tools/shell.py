"""What every command shares: how errors are told, how an interruption ends, and the exit codes.

0 all done, 1 usage or set-up, 2 some inputs failed, 3 all failed, 130 interrupted and resumable
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import typer

from tristream.streams.errors import TristreamError, UsageError

EXIT_USAGE = 1
EXIT_INTERRUPTED = 130


def say(message: str) -> None:
    """A message to the person at the terminal; standard output is for data."""
    with suppress(BrokenPipeError):
        print(message, file=sys.stderr, flush=True)


def paths_of(inputs: Sequence[str], fps: float | None) -> tuple[str, ...]:
    """The files that inputs stand for; says how many others their folders hold.

    Raises:
        UsageError: as `find_inputs`, or there is none.
    """
    from tristream.streams.inputs import find_inputs

    found = find_inputs(inputs, fps)
    if found.passed_over:
        say(f"{found.passed_over} files in the folders have no suffix of a video or sound file and were passed over")
    if not found.paths:
        frames = "; --fps says that folders of numbered pictures are videos" if found.passed_over and not fps else ""
        raise UsageError(
            f"no video or sound file in the inputs: name files, or a folder, glob or list that has some{frames}"
        )
    return found.paths


def run_command(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; every error is told here, once."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _end_like_ctrl_c()
    try:
        code = int(app(list(arguments), standalone_mode=False) or 0)
        if code == EXIT_INTERRUPTED:  # typer makes this of Ctrl-C, in silence
            raise KeyboardInterrupt
        return code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted: what was done is kept; run the same command again to go on")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our standard output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_USAGE
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        say(f"error: {_in_words(error)}")
        return EXIT_USAGE


def _in_words(error: Exception) -> str:
    if isinstance(error, TristreamError):
        return str(error)
    if isinstance(error, typer.exceptions.TyperException):  # a wrong option or value
        text = getattr(error, "format_message", error.__str__)()
        return f"{text.replace('Value error, ', '').rstrip('.')}; see --help"
    return f"{type(error).__name__}: {error}; this is a fault of tristream, --debug shows where"


def _end_like_ctrl_c() -> None:
    """What ends a run politely ends it as Ctrl-C does: a scheduler's SIGTERM, a closed terminal's SIGHUP."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with suppress(ValueError):  # not in the main thread, as in a test
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
                signal.signal(number, interrupt)
