"""`python -m free_video_llm`, and the command `fvl`: nothing heavy is loaded before it."""

from __future__ import annotations

import sys


def main() -> int:
    """Run `fvl` with the process's arguments; returns the exit code."""
    try:
        from free_video_llm.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # while modules were still being loaded
        print("fvl: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
