"""Addresses hold secrets, and none of them is shown, whatever they look like."""

import pytest

from tristream.anomaly.cameras import cameras_of
from tristream.streams.addresses import filled, redacted, split_address
from tristream.streams.errors import UsageError
from tristream.streams.live_source import Address

CANARY = "sw0rdf1sh"


@pytest.mark.parametrize(
    "address, shown",
    [
        ("rtsp://h:554/a", "rtsp://h:554/a"),
        ("rtsp://u:{}@h:554/a", "rtsp://***@h:554/a"),
        ("rtsp://u:p:{}@h/a?user=u&pass={}", "rtsp://***@h/a?***"),
        ("https://{}@h/", "https://***@h/"),
        ("rtsp://u:{}@ss/w@h/a", "rtsp://***@h/a"),
        ("rtsp://u:p {}@h/a", "rtsp://***@h/a"),
        ("rtsp://u:p?{}@h/a", "rtsp://***"),
        ("rtsp://h/a?token=ab/{}==", "rtsp://h/a?***"),
        ("rtsp://h/a?{}", "rtsp://h/a?***"),
        ("rtsp://h/a?mail=me@x&k={}", "rtsp://***"),
        ("rtsp://h:554/user=admin_password={}_channel=1.sdp", "rtsp://h:554/user=***"),
        ("admin:{}@10.0.0.5/s", "***@10.0.0.5/s"),
        ("rtsp://u:{}[@h/a", "rtsp://***@h/a"),
    ],
)
def test_what_is_shown(address: str, shown: str) -> None:
    assert redacted(address.format(CANARY, CANARY)) == shown


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://u:{}[x@h/a",
        "rtsp://u:{}\u2100@h/a",
        "rtsp://u:{}/x@h:port/a",
        "rtsp://u:{} x@h/a",
        "admin:{}@10.0.0.5/s",
        "rtmp://u:{}@h/x",
    ],
)
@pytest.mark.parametrize("realtime", [False, True])
def test_what_cannot_be_an_address_is_refused_without_its_secret(address: str, realtime: bool) -> None:
    with pytest.raises(UsageError) as error:
        Address(address.format(CANARY), realtime=realtime)
    assert CANARY not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("address", ["rtsp://u:p@{}/w@h/a", "rtsp://u:{}@h/a", "rtsp://h/{}", "http://h/?{}"])
def test_a_camera_is_not_named_after_a_secret(address: str) -> None:
    assert cameras_of([address.format(CANARY)], "detector")[0].name == "h"


def test_variables_fill_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "p/@ :?#[%")
    monkeypatch.setenv("URL", "rtsp://u:p%40@h/x")
    assert filled("mqtt://${PASSWORD}@h") == "mqtt://p%2F%40%20%3A%3F%23%5B%25@h"
    assert split_address(filled("rtsp://u:${PASSWORD}@h/x")).hostname == "h"
    assert filled("${URL}") == "rtsp://u:p%40@h/x"
    assert filled("/dev/video0") == "/dev/video0"
    with pytest.raises(UsageError, match="no such variable") as error:
        filled(f"mqtt://u:{CANARY}@h/${{NOT_SET}}")
    assert CANARY not in str(error.value)
