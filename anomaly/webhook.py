"""Alarms posted to an http(s):// address."""

import json
from base64 import b64encode
from threading import Event
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tristream.anomaly.notes import Alarm, Note
from tristream.anomaly.outlets import NotTakenError
from tristream.streams.addresses import split_address
from tristream.streams.errors import UsageError

ANSWER_SECONDS = 10.0
PAUSES_SECONDS = (0.0, 1.0, 4.0, 16.0)  # before each try


class Webhook:
    """Posts each alarm to an http(s):// address, again after 1, 4 and 16 s where that fails.

    Raises:
        UsageError: another kind of address.
    """

    kinds = (Alarm,)

    def __init__(self, url: str) -> None:
        parts = split_address(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("a webhook is an http:// or https:// address")
        self.name = f"the webhook at {parts.hostname}"  # the path is mostly the secret
        self._stop = Event()
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._headers = {"Content-Type": "application/json", "User-Agent": "tristream"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        self._opener = build_opener(_NoRedirect)

    def send(self, note: Note) -> None:
        if not isinstance(note, Alarm):
            return
        data, error = json.dumps(note.to_json()).encode(), "it had no time"
        for pause_seconds in PAUSES_SECONDS:
            if pause_seconds and self._stop.wait(pause_seconds):
                break
            try:
                request = Request(self._url, data, self._headers, method="POST")  # noqa: S310 it is http(s)
                with self._opener.open(request, timeout=ANSWER_SECONDS):
                    return
            except HTTPError as refusal:
                error = f"it answers {refusal.code}"
                refusal.close()
                if refusal.code < 500 and refusal.code not in (408, 429):
                    break  # it will not like it better
            except (URLError, OSError) as failure:
                reason = getattr(failure, "reason", failure)
                error = getattr(reason, "strerror", None) or type(reason).__name__
        raise NotTakenError(error)

    def stop(self) -> None:
        self._stop.set()

    def close(self, seconds: float) -> None: ...


class _NoRedirect(HTTPRedirectHandler):
    """Alarms go where they were sent, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None
