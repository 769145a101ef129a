"""What a decoder says of a file itself: corrupt frames, packets that do not decode, encryption."""

from __future__ import annotations

import re

import av
import numpy as np
import pytest

from free_video_llm.errors import VideoError
from free_video_llm.video import timeline
from free_video_llm.video.encryption import is_encrypted_file
from free_video_llm.video.read import read_frames
from media import decode_all, make_video, numbered, numbers_of, remux, scaled


def noise(number: int, wide: int, high: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (high, wide, 3), dtype=np.uint8)


def damaged(path, keyframes_only: bool = False):
    """Random bytes inside the pictures of a clip, its index and its lengths left whole."""
    make_video(path, frames=48, gop=12, width=160, height=128, picture=noise)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        spots = [
            (packet.pos, packet.size)
            for packet in container.demux(video=0)
            if packet.size and (packet.is_keyframe or not keyframes_only)
        ]
    for pos, size in spots[1:]:
        at = pos + size // 2
        data[at : at + 8] = b"\xa5\x13\x77\x5b\x00\xf1\xe4\x9a"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("mode", ["exact", "keyframes"])
def test_frames_that_the_decoder_marks_corrupt_are_warned_of(tmp_path, mode):
    frames = read_frames(damaged(tmp_path / "a.mp4"), count=12, size=32, mode=mode)
    (warning,) = [w for w in frames.warnings if w.startswith("damaged: ")]
    assert re.search(r"marks \d+ of the frames|\d+ packets? could not", warning)


def test_a_whole_clip_is_not_warned_of(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=48, gop=12, picture=noise)
    for mode in ("exact", "keyframes"):
        warnings = read_frames(path, count=4, size=32, mode=mode).warnings
        assert not any("damaged" in w for w in warnings)


@pytest.mark.skipif(
    int(av.__version__.split(".")[0]) < 16, reason="the FFmpeg of av 15 calls them damaged"
)
def test_an_encrypted_mp4_is_refused_as_such(tmp_path):
    scheme = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    for flags in ({}, {"movflags": "frag_keyframe+empty_moov"}, {"movflags": "faststart"}):
        path = make_video(tmp_path / "a.mp4", frames=12, container_options=scheme | flags)
        with pytest.raises(VideoError, match="is encrypted"):
            read_frames(path, size=16)


def element(number: int, body: bytes) -> bytes:
    """An EBML element (RFC 8794) with a size of four bytes."""
    size = (len(body) | 1 << 28).to_bytes(4, "big")
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + size + body


def test_what_matroska_asf_and_transport_streams_say(tmp_path):
    path = tmp_path / "file"
    for encrypted in (True, False):
        inside = element(0x5035, b"\x47\xe1\x81\x05") if encrypted else element(0x5034, b"")
        track = element(0xAE, element(0x6D80, element(0x6240, inside)))
        header = element(0x1A45DFA3, b"")
        path.write_bytes(header + element(0x18538067, element(0x1654AE6B, track)) + b"\x50\x35")
        assert is_encrypted_file(str(path), "matroska,webm") is encrypted
        guid = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
        path.write_bytes(bytes(300) + (guid if encrypted else guid[::-1]) + bytes(300))
        assert is_encrypted_file(str(path), "asf") is encrypted
        packet = bytes([0x47, 0x01, 0x00, 0xD0 if encrypted else 0x10]) + bytes(184)
        path.write_bytes(packet * 20)
        assert is_encrypted_file(str(path), "mpegts") is encrypted
        assert is_encrypted_file(str(path), "mov,mp4,m4a") is False


def test_real_files_of_every_kind_are_not_taken_for_encrypted(clips):
    for name, container in (("vp9.webm", "matroska,webm"), ("h264.ts", "mpegts")):
        assert not is_encrypted_file(str(clips / name), container)


@pytest.mark.parametrize("ending", ["wmv", "asf"])
def test_frames_out_of_order_where_only_decoding_times_are_kept(tmp_path, ending):
    path = make_video(
        tmp_path / f"b.{ending}", frames=100, gop=25, options={"bf": "3"}, container_format="asf"
    )
    for count in (5, 7, 40):
        frames = read_frames(path, count=count, size=32)
        assert numbers_of(frames.pixels) == frames.indices.tolist()


def test_a_trim_whose_keyframe_is_cut_away_gives_exact_frames(tmp_path):
    """Cut without coding anew: the only keyframe lies before the cut and is not shown."""
    only_one = {"bf": "0", "sc_threshold": "0"}
    whole = make_video(tmp_path / "whole.mp4", frames=60, gop=60, options=only_one)
    trimmed = remux(whole, tmp_path / "trim.mp4", lambda _, data: data)
    hide_before(trimmed, seconds=1)
    frames = read_frames(trimmed, count=6, size=32, mode="keyframes")
    assert frames.total == 30
    assert numbers_of(frames.pixels) == [i + 30 for i in frames.indices]
    assert any("none of its keyframes is shown" in w for w in frames.warnings)


def hide_before(path, seconds: int) -> None:
    """Set the start of an MP4's only edit (ISO/IEC 14496-12, 8.6.6), in the media's time."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4 + 8  # version and flags, number of entries
    with av.open(str(path)) as container:
        scale = int(1 / container.streams.video[0].time_base)
    data[at + 4 : at + 8] = (seconds * scale).to_bytes(4, "big")
    path.write_bytes(data)


def test_a_build_of_x264_that_only_the_first_packet_names_is_not_lost(tmp_path, monkeypatch):
    """Every way of reading gives what one pass in one thread gives."""
    path = make_video(
        tmp_path / "o.mp4", frames=40, gop=10, pix_fmt="yuv444p", width=96, height=64,
        options={"bf": "2"}, picture=noise,
    )  # fmt: skip
    assert not timeline.scan(str(path)).whole
    path.write_bytes(re.sub(rb"core \d\d\d", b"core 142", path.read_bytes()))
    assert timeline.scan(str(path)).whole
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        pictures = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    frames = read_frames(path, count=5, size=48, resize="pil")
    np.testing.assert_array_equal(frames.pixels, scaled(pictures[frames.indices], 48))


def test_a_cut_off_mp4_with_a_data_stream_gives_what_is_there(tmp_path):
    plain = make_video(tmp_path / "a.mp4", frames=60, width=160, height=128, picture=bars_in_noise)
    path = with_data_stream(plain, tmp_path / "data.mp4")
    whole, _ = decode_all(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    frames = read_frames(path, count=6, size=32)
    assert 6 <= frames.total < len(whole)
    assert numbers_of(frames.pixels) == frames.indices.tolist()
    assert any(w.startswith("truncated: ") for w in frames.warnings)


def bars_in_noise(number: int, wide: int, high: int) -> np.ndarray:
    """A numbered picture whose lower half costs bytes in every frame."""
    pixels = numbered(number, wide, high)
    pixels[high // 2 :] = noise(number, wide, high - high // 2) // 8 + pixels[high // 2 :] // 8 * 7
    return pixels


def with_data_stream(source, path):
    """The same video with a stream of data beside it, its index at the front."""
    options = {"movflags": "faststart"}
    with av.open(str(source)) as into, av.open(str(path), "w", container_options=options) as out:
        old = into.streams.video[0]
        stream = out.add_stream_from_template(old)
        stream.metadata["timecode"] = "00:00:00:00"  # MP4 keeps it as a track of data
        for packet in into.demux(old):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with av.open(str(path)) as made:
        if not made.streams.data:
            pytest.skip("this FFmpeg writes no track of data")
    return path
