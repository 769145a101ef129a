"""What looks at the pictures that a server is sent, checks how they came, and answers.

It knows nothing but colours: it names the one that most of the colourful pixels have.
"""

from __future__ import annotations

import base64
import colorsys
import io
import itertools
from collections import Counter
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"red": 0.0, "yellow": 60.0, "green": 120.0, "blue": 230.0, "purple": 290.0}


def pictures_in(body: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """The pictures of a request and the words before each.

    Fails where a request is not as every server takes it: one user's message of parts, a text
    before each picture, JPEGs as data addresses, the question at the end.
    """
    (message,) = body["messages"]
    assert message["role"] == "user"
    parts = message["content"]
    assert parts[-1]["type"] == "text"
    found = []
    for before, part in itertools.pairwise(parts):
        if part["type"] != "image_url":
            assert part["type"] == "text"
            continue
        assert before["type"] == "text", "two pictures without a text between them are fused"
        assert before["text"].strip()
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            assert image.format == "JPEG"
            found.append((before["text"], np.asarray(image.convert("RGB"))))
    assert parts[0]["type"] == "text"
    assert len(found) == sum(part["type"] == "image_url" for part in parts)
    return found


def frames_in(body: dict[str, Any]) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The frames of a request that sends them as one video, and what is said of them.

    Fails where it is not as vLLM takes it: JPEGs of one size, a place for each, the question last.
    """
    (message,) = body["messages"]
    video, question = message["content"]
    assert (video["type"], question["type"]) == ("video_url", "text")
    head, *frames = video["video_url"]["url"].split(",")
    assert head == "data:video/jpeg;base64"
    found = []
    for data in frames:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            assert image.format == "JPEG"
            found.append(np.asarray(image.convert("RGB")))
    assert len({frame.shape for frame in found}) == 1
    about = body["media_io_kwargs"]["video"]
    assert about["num_frames"] == -1
    places = about["frames_indices"]
    assert len(places) == len(found)
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] < about["total_num_frames"]
    return found, about


def colour_of(pixels: np.ndarray) -> str:
    """The colour of most of the colourful pixels."""
    small = pixels[::3, ::3].reshape(-1, 3) / 255
    counts: Counter[str] = Counter()
    for red, green, blue in small[np.ptp(small, axis=1) > 0.35]:
        hue = 360 * colorsys.rgb_to_hsv(red, green, blue)[0]
        counts[min(COLOURS, key=lambda name: abs((hue - COLOURS[name] + 180) % 360 - 180))] += 1
    return counts.most_common(1)[0][0] if counts else "grey"


def look(body: dict[str, Any]) -> str:
    """The colour in most of the pictures; with choices, the letter of the option that names it."""
    as_video = "media_io_kwargs" in body
    seen_ones = frames_in(body)[0] if as_video else [pixels for _, pixels in pictures_in(body)]
    counts = Counter(map(colour_of, seen_ones))
    seen = counts.most_common(1)[0][0]
    asked = body["messages"][0]["content"][-1]["text"].splitlines()
    letters = [line[1] for line in asked if line.startswith("(") and line[3:].strip() == seen]
    return letters[0] if letters else seen
