"""How many bytes a media file says it has and lacks, read from its container's structure: file -> reason or None.

Only what ends early is looked for, by a bounded walk over headers; whatever cannot be understood is left to
the decoder. An MPEG transport or program stream, a raw stream and a fragmented MP4 declare no length: one that
was cut between two of its packets cannot be told from a whole one.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

MAX_ELEMENTS = 200_000  # headers that are looked at in one file
TAIL_BYTES = 262_144  # where a container is read backwards, so much of its end is looked at
RIFF_SLACK_BYTES = 8  # some writers count the header, too
MP3_SLACK_BYTES = 4096  # of a tag that was counted and taken away later
UNKNOWN_32 = 0xFFFFFFFF
EBML_SEGMENT, EBML_CLUSTER = 0x18538067, 0x1F43B675
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def missing_part(path: Path, container: str) -> str | None:
    """What a file of this container (FFmpeg's name of it) lacks at its end, in words; None where nothing is known.

    Raises:
        OSError: the file cannot be read.
    """
    check = _CHECKS.get(container)
    if check is None:
        return None
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        return check(file, size_bytes)


def _short(end_bytes: int, size_bytes: int, slack_bytes: int = 0) -> str | None:
    if end_bytes <= size_bytes + slack_bytes:
        return None
    return f"the file has {size_bytes} of the {end_bytes} bytes it declares"


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _riff(file: BinaryIO, size_bytes: int) -> str | None:
    """RIFF (AVI, WAV) and FORM (AIFF): the chunks that fill the file; an AVI over 1 GB has several."""
    position = 0
    while len(head := _read(file, position, 8)) == 8:
        kind, length = head[:4], int.from_bytes(head[4:], "big" if head[:4] in (b"FORM", b"RIFX") else "little")
        if kind not in (b"RIFF", b"RIFX", b"FORM") or length in (0, UNKNOWN_32):
            return None
        position += 8 + length + length % 2
        if short := _short(position - length % 2, size_bytes, RIFF_SLACK_BYTES):
            return short
    return None


def _boxes(file: BinaryIO, size_bytes: int) -> str | None:
    """MP4 and MOV: the boxes of the top level."""
    position = 0
    for _ in range(MAX_ELEMENTS):
        head = _read(file, position, 16)
        if len(head) < 8:
            return "the file ends within the header of a box" if len(head) > 0 and any(head) else None
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: to the end of the file
            return None
        position += length
        if short := _short(position, size_bytes):
            return short
    return None


def _ebml(file: BinaryIO, size_bytes: int) -> str | None:
    """Matroska and WebM: the segment, or where its size is unknown (live recordings) what lies in it."""
    position = 0
    for _ in range(MAX_ELEMENTS):
        if position >= size_bytes:
            return None
        head = _read(file, position, 12)
        identity, id_bytes = _vint(head, keep_marker=True)
        length, length_bytes = _vint(head[id_bytes:], keep_marker=False)
        if not id_bytes or not length_bytes:
            return "the file ends within the header of an element" if len(head) < 12 else None
        position += id_bytes + length_bytes
        if length == (1 << 7 * length_bytes) - 1:  # unknown: go on with what is inside
            if identity not in (EBML_SEGMENT, EBML_CLUSTER):
                return None
            continue
        position += length
        if short := _short(position, size_bytes):
            return short
    return None


def _vint(data: bytes, keep_marker: bool) -> tuple[int, int]:
    """An EBML number and how many bytes it takes; 0 bytes where there is none."""
    length = 9 - data[0].bit_length() if data and data[0] else 0
    if not length or len(data) < length:
        return 0, 0
    value = int.from_bytes(data[:length], "big")
    return (value if keep_marker else value & (1 << 7 * length) - 1), length


def _transport_packets(file: BinaryIO, size_bytes: int) -> str | None:
    """MPEG transport stream: packets of 188 bytes, or 192 with a time code (M2TS), 204 with a checksum."""
    head = _read(file, 0, 204 * 4)
    for unit, sync in ((188, 0), (192, 4), (204, 0)):
        if len(head) >= unit * 3 and all(head[sync + i * unit] == 0x47 for i in range(3)):
            extra_bytes = size_bytes % unit
            return f"the file ends {extra_bytes} bytes into a packet of {unit}" if extra_bytes else None
    return None


def _program_packets(file: BinaryIO, size_bytes: int) -> str | None:
    """MPEG program stream: whether a walk from a pack near the end comes out at the end of the file."""
    begin = max(0, size_bytes - TAIL_BYTES)
    tail = _read(file, begin, TAIL_BYTES)
    pack = tail.find(b"\0\0\1\xba")
    while pack >= 0:
        end = _walk_packs(tail, pack)
        if end is not None:
            return None if end <= len(tail) else _short(begin + end, size_bytes)
        pack = tail.find(b"\0\0\1\xba", pack + 4)
    return None


def _walk_packs(tail: bytes, position: int) -> int | None:
    """Where the packets that begin at `position` end, past the tail or not; None if that was no packet."""
    while position + 4 <= len(tail):
        if tail[position : position + 3] != b"\0\0\1":
            return None if any(tail[position:]) else len(tail)  # padding of zeros
        code = tail[position + 3]
        if code == 0xB9:  # the end code
            position += 4
        elif code == 0xBA:
            mpeg2 = len(tail) > position + 13 and tail[position + 4] >> 6 == 1
            position += 14 + (tail[position + 13] & 7) if mpeg2 else 12
        elif code < 0xBB:
            return None
        else:
            position += 6 + int.from_bytes(tail[position + 4 : position + 6].ljust(2, b"\0"), "big")
    # One to three bytes are the beginning of a packet that is not there.
    return position if position >= len(tail) else len(tail) + 1


def _flash_tags(file: BinaryIO, size_bytes: int) -> str | None:
    """FLV: the size in its metadata, and the tags."""
    head = _read(file, 0, 65_536)
    key = head.find(b"\0\x08filesize\0")
    if key >= 0 and len(head) >= key + 19:
        declared = struct.unpack(">d", head[key + 11 : key + 19])[0]
        if size_bytes < declared < 2**53:
            return _short(int(declared), size_bytes)
    position = int.from_bytes(head[5:9], "big") + 4
    for _ in range(MAX_ELEMENTS):
        tag = _read(file, position, 4)
        if not tag or tag[0] & 0x1F not in (8, 9, 18):
            return None
        position += 11 + int.from_bytes(tag[1:4].ljust(3, b"\0"), "big")
        if len(tag) < 4 or position > size_bytes:
            return _short(max(position, size_bytes + 1), size_bytes)
        position += 4  # the size of this tag once more
    return None


def _ogg_pages(file: BinaryIO, size_bytes: int) -> str | None:
    """Ogg: the last page of each of its streams is whole and says that it is the last."""
    begin = max(0, size_bytes - TAIL_BYTES)
    tail = _read(file, begin, TAIL_BYTES)
    last: dict[bytes, int] = {}  # stream -> flags of its last page
    end = page = tail.find(b"OggS")
    while page >= 0:
        segments = tail[page + 27 : page + 27 + tail[page + 26]] if len(tail) > page + 26 else b""
        end = page + 27 + (len(segments) and sum(segments) + tail[page + 26])
        if end > len(tail) or not segments:
            return "the file ends within a page"
        last[tail[page + 14 : page + 18]] = tail[page + 5]
        page = tail.find(b"OggS", end)
    if last and not all(flags & 4 for flags in last.values()):
        return "the last page does not say that it is the last"
    return None


def _gif_trailer(file: BinaryIO, size_bytes: int) -> str | None:
    tail = _read(file, max(0, size_bytes - 1024), 1024)
    return None if tail.rstrip(b"\0\r\n")[-1:] == b";" else "the byte that ends a GIF is not there"


def _asf_properties(file: BinaryIO, size_bytes: int) -> str | None:
    """ASF (WMV, WMA): the file size that its header gives."""
    head = _read(file, 0, 65_536)
    found = head.find(ASF_FILE_PROPERTIES)
    if found < 0 or len(head) < found + 92 or head[found + 88] & 1:  # bit 0: a broadcast, which has no size
        return None
    return _short(int.from_bytes(head[found + 40 : found + 48], "little"), size_bytes)


def _mp3_xing(file: BinaryIO, size_bytes: int) -> str | None:
    """MP3: the size in the Xing or Info frame that most encoders put first."""
    head = _read(file, 0, 10)
    tag_bytes = 0
    if head[:3] == b"ID3" and len(head) == 10:
        tag_bytes = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    frame = _read(file, tag_bytes, 256)
    found = max(frame.find(b"Xing"), frame.find(b"Info"))
    if found < 0 or len(frame) < found + 16 or not frame[found + 7] & 2:
        return None
    declared = found + 12 if frame[found + 7] & 1 else found + 8
    return _short(tag_bytes + int.from_bytes(frame[declared : declared + 4], "big"), size_bytes, MP3_SLACK_BYTES)


_CHECKS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    "avi": _riff,
    "wav": _riff,
    "aiff": _riff,
    "mov,mp4,m4a,3gp,3g2,mj2": _boxes,
    "matroska,webm": _ebml,
    "mpegts": _transport_packets,
    "mpeg": _program_packets,
    "flv": _flash_tags,
    "ogg": _ogg_pages,
    "gif": _gif_trailer,
    "asf": _asf_properties,
    "mp3": _mp3_xing,
}
