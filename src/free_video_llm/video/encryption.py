"""Whether a video is encrypted. A decoder given such packets makes pictures of noise.

Each container says it in a place of its own, which is read here: FFmpeg passes little of it on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

#: How much of a file's beginning is looked at: the headers of all that is not MP4.
_HEADER_BYTES = 1 << 20
#: A description of more bytes would be of weeks of video.
_MOVIE_BYTES = 1 << 28
#: ASF's Content Encryption and Extended Content Encryption objects (Advanced Systems Format
#: specification, 10.1): GUIDs as stored.
_ASF_OBJECTS = (
    bytes.fromhex("fbb31122 23bd d211 b4b7 00a0c955fc6e"),
    bytes.fromhex("14e68a29 2226 174c b935 dae07ee9289c"),
)
_TS_PACKET = 188
#: Matroska's elements that lead to an encryption of a track (RFC 9559).
_SEGMENT, _TRACKS, _TRACK, _ENCODINGS, _ENCODING, _ENCRYPTION = (
    0x18538067, 0x1654AE6B, 0xAE, 0x6D80, 0x6240, 0x5035,
)  # fmt: skip
_PARENTS = frozenset((_SEGMENT, _TRACKS, _TRACK, _ENCODINGS, _ENCODING))


def is_encrypted_file(path: str, container: str) -> bool:
    """Whether a file's header says that its video is encrypted.

    Args:
        path: a regular file.
        container: FFmpeg's name of its format.
    """
    with open(path, "rb") as file:
        if "mp4" in container:
            return b"encv" in _movie_box(file)
        start = file.read(_HEADER_BYTES)
    if "matroska" in container:
        return any(element == _ENCRYPTION for element in _elements(start, 0, len(start)))
    if container == "asf":
        return any(guid in start for guid in _ASF_OBJECTS)
    if container == "mpegts":
        return _mostly_scrambled(start)
    return False


def _movie_box(file: BinaryIO) -> bytes:
    """The box of an MP4 that describes its tracks; an encrypted one's samples are of type "encv"
    (ISO/IEC 14496-12, 8.12)."""
    while len(head := file.read(8)) == 8:
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        if size == 1:
            size = int.from_bytes(file.read(8), "big") - 8
        if name == b"moov":
            return file.read(min(max(size - 8, 0), _MOVIE_BYTES) if size else _MOVIE_BYTES)
        if size < 8:  # 0: up to the end of the file
            break
        file.seek(size - 8, 1)
    return b""


def _mostly_scrambled(start: bytes) -> bool:
    """MPEG-TS marks each packet's payload (ISO/IEC 13818-1, transport_scrambling_control)."""
    packets = [start[i : i + 4] for i in range(0, len(start) - 3, _TS_PACKET)]
    packets = [p for p in packets if p[0] == 0x47 and p[3] & 0x10]  # those with a payload
    scrambled = sum(bool(p[3] & 0xC0) for p in packets)
    return 2 * scrambled > len(packets)


def _elements(data: bytes, at: int, end: int) -> Iterator[int]:
    """The ids of EBML elements from `at` on, and of those inside the ones that can lead further."""
    while at < end:
        size_of_id = _length(data, at)
        size_of_size = _length(data, at + size_of_id)
        body = at + size_of_id + size_of_size
        if not size_of_id or not size_of_size or body > end:
            return
        number = int.from_bytes(data[at : at + size_of_id], "big")
        size = int.from_bytes(data[at + size_of_id : body], "big") & ((1 << 7 * size_of_size) - 1)
        unknown = size == (1 << 7 * size_of_size) - 1
        stop = end if unknown else min(end, body + size)
        yield number
        if number in _PARENTS:
            yield from _elements(data, body, stop)
        at = stop


def _length(data: bytes, at: int) -> int:
    """Bytes of the EBML number that begins at `at`: its leading zeros tell; 0 if there is none."""
    if at >= len(data) or not data[at]:
        return 0
    return 9 - data[at].bit_length()
