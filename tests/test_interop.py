"""The recipes of docs/interop.md find what comparing with every row finds.

They run in an environment of their own, which `make test` makes of docs/interop.txt.
"""

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

sys.path.append(str(Path(__file__).parent / "search"))
from fake_tables import put, some_videos

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-interop" / "bin" / "python"
RECIPES = dict(re.findall(r"^## (.+?)\n\n```python\n(.+?)```", (ROOT / "docs" / "interop.md").read_text(), re.M | re.S))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists() and "TRISTREAM_REQUIRE_REFERENCE" not in os.environ,
        reason=f"there is no {PYTHON}: `make test` makes it",
    ),
]


def test_every_recipe_is_found() -> None:
    assert len(RECIPES) == (ROOT / "docs" / "interop.md").read_text().count("```python") == 8


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_finds_the_nearest(name: str, tmp_path: Path) -> None:
    table = put(tmp_path / "table", some_videos(60, silent=5))
    level = "video" if name == "FiftyOne" else "clip"
    rows = ds.dataset(table).to_table(filter=(ds.field("level") == level) & (ds.field("status") == "ok"))
    vectors = np.stack(rows["embedding"].to_numpy(zero_copy_only=False)).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors @ vectors[0]
    nearest = np.argsort(-scores)[:5]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HOME": str(tmp_path), "FIFTYONE_DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [PYTHON, "-c", RECIPES[name]], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout[done.stdout.index("path") :]  # after what a library has to say
    found = list(csv.DictReader(io.StringIO(printed)))
    assert [row["path"] for row in found] == [rows["path"][i].as_py() for i in nearest.tolist()]
    if level == "clip":
        assert [float(row["start_seconds"]) for row in found] == [
            rows["start_seconds"][i].as_py() for i in nearest.tolist()
        ]
        assert [float(row["score"]) for row in found] == pytest.approx(scores[nearest].tolist(), abs=1e-3)
