"""What is not collected for doctests where an extra is missing."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("gradio") is None:
    collect_ignore = [
        f"src/free_video_llm/web/{name}.py" for name in ("downloads", "handlers", "layout")
    ]
