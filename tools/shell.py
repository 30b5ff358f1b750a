"""What every command shares: how errors are told, and the exit codes.

0 all done, 1 usage or set-up, 2 some inputs failed, 3 all failed, 130 interrupted and resumable
"""

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from tristream.streams.errors import TristreamError

EXIT_USAGE = 1
EXIT_INTERRUPTED = 130


def say(message: str) -> None:
    """A message to the person at the terminal; standard output is for data."""
    print(message, file=sys.stderr, flush=True)


def run_command(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; every error is told here, once."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = app(list(arguments), standalone_mode=False)
        return int(code or 0)
    except typer.exceptions.TyperException as error:  # a wrong option or value
        say(f"error: {getattr(error, 'format_message', error.__str__)()}\nSee --help.")
    except TristreamError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        say(f"error: {error}")
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted: what was done is kept; run the same command again to go on")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our standard output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_USAGE
    return EXIT_USAGE
