"""What Prometheus reads."""

import socket
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tristream.anomaly import board as module
from tristream.anomaly.board import Board, metrics_at
from tristream.anomaly.events import Event, Score
from tristream.anomaly.notes import Alarm, Pulse, Scored, State
from tristream.streams.errors import UsageError


def read(port: int) -> dict[tuple[str, str], float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels["camera"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_of_two_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "time", lambda: 5000.0 + now)
    board = Board(["yard", "door"])
    score = Score(0, 1, 3.5, None, {})
    for connection in range(2):
        board(State("yard", "watching"))
        for frame in range(0, 101, 4):  # 20 a second come, 16 are worked on
            now += 0.2
            board(Pulse("yard", frame, frame // 20, 3 if frame % 20 else 4, 5000.0 + now))
        if connection == 0:
            board(State("yard", "lost", "gone", pause_seconds=1.0))
    board(Scored("yard", score, 9.0, 5000.0, 0.7, True))
    board(Alarm("yard", False, Event(0, 1, score, 0, 0.1), 5000.0))
    with metrics_at(0, board) as port:
        found = read(port)
    assert found["tristream_up", "yard"] == 1
    assert found["tristream_up", "door"] == 0
    assert found["tristream_camera_fps", "yard"] == pytest.approx(20, rel=0.05)
    assert found["tristream_process_fps", "yard"] == pytest.approx(16, rel=0.05)
    assert found["tristream_dropped_total", "yard"] == 10
    assert found["tristream_reconnects_total", "yard"] == 1
    assert found["tristream_last_frame_age_seconds", "yard"] == 0
    assert found["tristream_score", "yard"] == 3.5
    assert found["tristream_threshold", "yard"] == 9
    assert found["tristream_latency_seconds", "yard"] == 0.7
    assert found["tristream_alarmed", "yard"] == 1
    assert found["tristream_alarms_total", "yard"] == 1
    assert ("tristream_score", "door") not in found
    now += 30
    assert board.cameras["yard"].camera_fps < 5


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}"), metrics_at(port, Board([])):
            pass
