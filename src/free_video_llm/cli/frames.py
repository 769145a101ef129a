"""`fvl frames`: the frames of a video that a question is about, as pictures, and no answer."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from free_video_llm.cli.common import Subparsers, add_command, add_video_options, clock, watch

EXAMPLES = """\
  fvl frames film.mp4 "a dog runs along the beach" --out beach/ --search --plan long
  fvl frames sample:needle "What color is the diamond?" --scorer tiny
  fvl frames talk.mp4 "the slide with the results" --plan 'best=prompt:1/concat' --json
"""


def add_commands(commands: Subparsers) -> None:
    """Add `frames`."""
    parser = add_command(
        commands,
        "frames",
        run_frames,
        "save the frames that a question is about, without a language model",
        EXAMPLES,
    )
    parser.add_argument("video", help="video file, folder of images, address, or sample:NAME")
    parser.add_argument("question", help="a question, or words for what is looked for")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("frames"),
        metavar="DIR",
        help="for the pictures and frames.json (default: frames)",
    )
    parser.add_argument("--plan", default="lean", metavar="PLAN", help="default: lean")
    parser.add_argument(
        "--scorer",
        metavar="NAME",
        help="CLIP or SigLIP model, a Hub id or folder (default: a small SigLIP or CLIP; of a "
        "bundled clip tiny)",
    )
    parser.add_argument("--device", metavar="NAME", help="cuda, mps, cpu (default: the best)")
    parser.add_argument("--json", action="store_true", help="print frames.json")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr")
    add_video_options(parser)


def run_frames(options: argparse.Namespace) -> int:
    """Choose, save, and say what was saved."""
    from free_video_llm import samples
    from free_video_llm.pipeline import VideoLLM
    from free_video_llm.plans.notation import resolve_plan
    from free_video_llm.show import save_frames

    plan = resolve_plan(options.plan)
    scorer = options.scorer
    if scorer is None and options.video.startswith(samples.PREFIX):
        scorer = "tiny"
    llm = VideoLLM.for_frames(scorer, device=options.device)
    video = watch(llm, options.video, options, plans=[plan])
    listed = save_frames(video.find(options.question, plan=plan), plan, options.out)
    if options.json:
        print(json.dumps(listed, ensure_ascii=False, indent=1))
        return 0
    for entry in listed:
        when = (
            "" if entry["second"] is None else f"  {clock(entry['second'])}  {entry['score']:.3f}"
        )
        print(f"{options.out / entry['file']}{when}")
    if not options.quiet:
        print(f"{options.out / 'frames.json'} lists them", file=sys.stderr)
    return 0
