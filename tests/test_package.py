"""What is installed: every module of every room under one name, and a small public surface."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tristream
from tristream.streams import errors

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("streams", "fusion", "search", "anomaly", "training", "tools")


@pytest.mark.slow
def test_the_wheel_holds_every_module_of_every_room(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "demo"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"tristream/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).glob("*.py")}
    models = {f"tristream/{path.relative_to(ROOT)}" for path in (ROOT / "fusion" / "models").glob("*/*")}
    assert modules | models | {"tristream/__init__.py", "tristream/py.typed"} <= held
    assert not [name for name in held if "test" in name or "benchmark" in name]


def test_every_room_is_a_link_in_the_package() -> None:
    for room in ROOMS:
        assert (ROOT / "src" / "tristream" / room).resolve() == ROOT / room


def test_the_public_names_are_there() -> None:
    assert sorted(tristream.__all__) == [
        "AutoencoderDetector",
        "ClipEmbedding",
        "Detector",
        "DetectorError",
        "FlowError",
        "FusionSVM",
        "MediaError",
        "Model",
        "ModelError",
        "Query",
        "SearchError",
        "SourceError",
        "TableError",
        "TristreamError",
        "UsageError",
        "VideoEmbedding",
        "VideoIndex",
        "load_detector",
        "load_model",
        "update_index",
    ]
    for name in tristream.__all__:
        assert getattr(tristream, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tristream.nonsense


def test_every_error_is_public_and_has_one_root() -> None:
    leaves = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(leaf, tristream.TristreamError) for leaf in leaves)
    assert {leaf.__name__ for leaf in leaves} <= set(tristream.__all__)


def test_one_module_opens_media_files_one_cameras_and_one_writes_media() -> None:
    importing = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).glob("*.py")
        if any(line.startswith(("import av", "from av")) for line in path.read_text().splitlines())
    }
    assert importing == {"streams/media.py", "streams/live.py", "streams/clip_file.py"}
