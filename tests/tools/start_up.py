"""What starting a command costs, for its tests."""

import subprocess
import sys
import time
from pathlib import Path


def imported_by(module: str, arguments: list[str]) -> set[str]:
    """The modules that a command, `tristream.tools.MODULE`, has imported when it is done."""
    code = (
        "import sys\n"
        f"from tristream.tools.{module} import app\n"
        "from tristream.tools.shell import run_command\n"
        f"run_command(app, {arguments!r})\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def best_seconds(*command: str | Path) -> float:
    """The shortest of several runs: what it costs on a machine that is not busy."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began

    return min(once() for _ in range(7))
