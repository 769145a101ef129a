"""What is not collected for doctests where an extra, or another program, is missing."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = []
if find_spec("gradio") is None:
    collect_ignore += [
        f"src/free_video_llm/web/{name}.py" for name in ("downloads", "handlers", "layout")
    ]
if any(find_spec(name) is None for name in ("fastapi", "prometheus_client", "python_multipart")):
    collect_ignore += ["src/free_video_llm/serve", "tests/serve"]
if find_spec("mcp") is None:
    collect_ignore += ["src/free_video_llm/integrations/mcp_server.py"]
if find_spec("lmms_eval") is None:
    collect_ignore += ["src/free_video_llm/integrations/lmms_eval.py"]
