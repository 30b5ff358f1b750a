"""Addresses on the network, which may hold secrets: taken apart, filled in, and shown without them."""

import os
import re
from urllib.parse import SplitResult, quote, urlsplit

from tristream.streams.errors import UsageError

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VALUE = re.compile(r"=[^/]*")  # in the path of cameras that have their password there


def redacted(address: str) -> str:
    """What may be shown of an address: its scheme, host, and path without whatever follows a "="."""
    scheme, mark, rest = address.partition("://") if "://" in address else ("", "", address)
    secret, at, shown = rest.rpartition("@")
    if "?" in secret:  # an @ in the query, or a ? in the password: who knows
        return f"{scheme}{mark}***"
    path, query, _ = shown.partition("?")
    return f"{scheme}{mark}{'***@' if at else ''}{_VALUE.sub('=***', path)}{'?***' if query else ''}"


def split_address(address: str) -> SplitResult:
    """The parts of an address.

    Raises:
        UsageError: it has none.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port, parts.hostname
    except ValueError:  # whose text has the address
        raise UsageError(
            f"{redacted(address)} is no address: in a user or password, /, @, ?, #, [ and ] are written %2F, %40, …"
        ) from None
    if any(character.isspace() or not character.isprintable() for character in address):
        raise UsageError(f"{redacted(address)} is no address: there is a space in it, which is written %20")
    return parts


def filled(address: str) -> str:
    """An address with variables of the environment in the place of `${NAME}`.

    Those after `://` are parts of it, as a password, and so may hold any character; one that stands for all of it, or
    its beginning, is taken as it is.

    Raises:
        UsageError: there is no such variable.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise UsageError(f"{redacted(address)} has ${{{match[1]}}}, and the environment has no such variable")
        return quote(found, safe="") if "://" in address[: match.start()] else found

    return _VARIABLE.sub(value, address)
