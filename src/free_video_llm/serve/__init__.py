"""An OpenAI-compatible server that takes videos: see `docs/serve.md`."""
