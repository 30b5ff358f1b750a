"""Commands answer at once: what is heavy is imported when it is used."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from start_up import best_seconds, imported_by

COMMANDS = ["embed-video", "train-video", "evaluate-video", "classify-video", "index-video", "search-video"]
HEAVY = {"torch", "timm", "cv2", "av", "numpy", "pyarrow", "pebble", "sklearn", "matplotlib", "rich.table", "faiss"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_answers_at_once_and_imports_nothing_heavy(name: str) -> None:
    assert best_seconds(Path(sys.executable).with_name(name), "--help") < 0.3
    assert imported_by(name.replace("-", "_"), ["--help"]).isdisjoint(HEAVY)


def test_importing_the_package_costs_nothing() -> None:
    bare = best_seconds(sys.executable, "-c", "pass")
    assert best_seconds(sys.executable, "-c", "import tristream") - bare < 0.1
