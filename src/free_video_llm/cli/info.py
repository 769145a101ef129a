"""`fvl plans`, `models`, `samples`, `doctor`, `cache`: what there is, what this machine can do."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import metadata
from typing import Any

from free_video_llm.cli.common import Subparsers, add_command, positive, table
from free_video_llm.models.known import MODELS

EXTRAS = {
    "judge": ("openai",),
    "server": ("openai",),
    "cluster": ("ray",),
    "web": ("gradio",),
    "quantize": ("bitsandbytes",),
}


def add_commands(commands: Subparsers) -> None:
    """Add them."""
    parser = add_command(
        commands,
        "pull",
        run_pull,
        "download models, each with its scorer, so that nothing is waited for later",
        "  fvl pull llava-hf/llava-onevision-qwen2-0.5b-ov-hf\n"
        "  fvl pull org/model --revision 1a2b3c --scorer google/siglip2-base-patch16-224\n",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="Hub ids (fvl models)")
    parser.add_argument("--revision", metavar="REF", help="commit, tag or branch")
    parser.add_argument("--scorer", metavar="NAME", help="in the place of the one that matches")
    parser = add_command(
        commands,
        "plans",
        run_plans,
        "list the plans: what each keeps, and its tokens",
        "  fvl plans\n  fvl plans --frames 16 --side 27 --json\n",
    )
    parser.add_argument("--frames", type=positive, default=50, help="sampled frames (default: 50)")
    parser.add_argument(
        "--side",
        type=positive,
        default=24,
        help="patches along a frame's side (24: CLIP ViT-L/14 at 336 px)",
    )
    parser.add_argument("--json", action="store_true")
    parser = add_command(
        commands,
        "models",
        run_models,
        "list the image LLMs that this is made for",
        "  fvl models\n",
    )
    parser.add_argument("--json", action="store_true")
    parser = add_command(
        commands,
        "samples",
        run_samples,
        "list the bundled clips and what to ask them",
        "  fvl samples\n",
    )
    parser.add_argument("--json", action="store_true")
    parser = add_command(
        commands,
        "doctor",
        run_doctor,
        "tell what is installed, which models are cached, what this machine can run",
        "  fvl doctor\n  fvl doctor --json\n",
    )
    parser.add_argument("--json", action="store_true")

    parser = add_command(
        commands,
        "cache",
        run_cache,
        "tell what the cache of encoded videos holds, or empty it",
        "  fvl cache\n  fvl cache --clear\n",
    )
    parser.add_argument("folder", nargs="?", help="default: $FVL_CACHE, else ~/.cache/…")
    parser.add_argument("--clear", action="store_true", help="remove everything in it")
    parser.add_argument("--json", action="store_true")


def run_cache(options: argparse.Namespace) -> int:
    """The folder, how many videos, how much room; or what was removed."""
    from free_video_llm.encoder.cache import FeatureCache, default_folder

    cache = FeatureCache(options.folder or default_folder())
    files = cache.files()
    size = sum(path.stat().st_size for path in files)
    if options.clear:
        cache.clear()
    facts = {"folder": str(cache.folder), "videos": len(files), "bytes": size}
    if options.json:
        print(json.dumps(facts | {"cleared": options.clear}))
        return 0
    verb = "removed" if options.clear else "kept"
    print(f"{cache.folder}: {len(files)} videos {verb}, {size / 1e9:.2f} GB")
    return 0


def run_pull(options: argparse.Namespace) -> int:
    """Download, and say where it lies."""
    from free_video_llm.models.load import fetch

    for name in options.names:
        folder = fetch(name, revision=options.revision, scorer=options.scorer)
        print(f"{name}  {folder}", flush=True)
    return 0


def run_plans(options: argparse.Namespace) -> int:
    """Each preset with its tokens."""
    from free_video_llm.plans.presets import PRESETS

    everything = options.frames * options.side**2
    listed: list[dict[str, Any]] = []
    for name, preset in PRESETS.items():
        tokens = preset.plan.count_by_pathway(frames=options.frames, side=options.side)
        listed.append(
            {
                "name": name,
                "tokens": sum(tokens.values()),
                "by_pathway": tokens,
                "summary": preset.summary,
                "source": preset.source,
                "notation": str(preset.plan),
                "plan": preset.plan.to_dict(),
            }
        )
    if options.json:
        document = {"frames": options.frames, "side": options.side, "all_tokens": everything}
        print(json.dumps(document | {"plans": listed}, ensure_ascii=False, indent=1))
        return 0
    rows: list[tuple[str, ...]] = [("plan", "tokens", "share", "what it keeps")]
    for entry in listed:
        share = f"{entry['tokens'] / everything:.0%}"
        rows.append((entry["name"], f"{entry['tokens']:,}", share, entry["summary"]))
    print(table(rows))
    print(
        f"\nTokens for {options.frames} frames of {options.side}×{options.side} patches "
        f"({everything:,} in all). Add @released for exactly what the paper's released code "
        "computes.\nA plan of your own: --plan 'slow=prompt:4/spatial_1d_max_pool/crop:0.7"
        "+fast=all/adaptive_2d_pool:4x4'"
    )
    return 0


def run_models(options: argparse.Namespace) -> int:
    """The catalogue, and what local servers have."""
    from free_video_llm.models.servers import SERVERS, running
    from free_video_llm.profiling.memory import total_gb

    if options.json:
        entries = [
            {
                "name": m.name,
                "billions": m.billions,
                "memory_gb": {str(bits): round(m.memory_gb(bits), 1) for bits in (32, 16, 8, 4)},
                "download_gb": round(m.download_gb, 1),
                "licence": m.licence,
                "level": "tokens",
                "note": m.note,
                "original": m.original,
            }
            for m in MODELS
        ]
        entries += [
            {
                "name": f"{prefix}:{model}",
                "level": "pictures",
                "note": "behind a server that runs here",
            }
            for prefix, models in running().items()
            for model in models
        ]
        print(json.dumps(entries, indent=1))
        return 0
    rows: list[tuple[str, ...]] = [
        ("", "model", "parameters", "download", "GPU, 16 bit", "4 bit", "CPU", "licence", "note")
    ]
    here_gb = total_gb()
    for m in MODELS:
        fits = "*" if m.memory_gb(32) <= 0.9 * here_gb else ""
        if m.billions < 0.1:
            million = f"{m.billions * 1000:.0f} M"
            rows.append(("*", m.name, million, "none", "none", "none", "1 GB", m.licence, m.note))
            continue
        size = [f"{m.memory_gb(bits):.0f} GB" for bits in (16, 4, 32)]
        download = f"{m.download_gb:.1f} GB"
        rows.append((fits, m.name, f"{m.billions:g} B", download, *size, m.licence, m.note))
    print(table(rows))
    print(
        f"\n* fits this machine's {here_gb:.0f} GB at 32 bit. Memory is for weights and working "
        "space at the paper's plan; of 7 billion\nparameters a CPU takes minutes for an answer. "
        "All of these are given visual tokens; any other image-text-to-text model\nof transformers "
        "is shown pictures. The original checkpoints (liuhaotian/llava-v1.6-vicuna-7b, …) load as "
        "they are."
        "\n\nBehind a server, by name (it is shown the kept frames as pictures):"
    )
    here = running()
    served: list[tuple[str, ...]] = [("name", "server", "now")]
    for server in SERVERS:
        names = ", ".join(here.get(server.prefix, ())) or "no model"
        now = "" if not server.local else f"runs: {names}" if server.prefix in here else "not up"
        served.append((f"{server.prefix}:MODEL", server.title, now))
    print(table(served))
    return 0


def run_samples(options: argparse.Namespace) -> int:
    """The bundled clips."""
    from free_video_llm.samples import PREFIX, all_samples

    samples = all_samples()
    if options.json:
        print(
            json.dumps(
                [
                    {
                        "name": PREFIX + s.name,
                        "about": s.about,
                        "path": str(s.path),
                        "questions": s.questions,
                    }
                    for s in samples.values()
                ],
                indent=1,
            )
        )
        return 0
    for sample in samples.values():
        print(f"{PREFIX}{sample.name}  {sample.about}")
        for question, answer in sample.questions:
            print(f"    {question}  ({answer})")
    return 0


def examine() -> dict[str, Any]:
    """What `fvl doctor` tells, as data."""
    import torch

    from free_video_llm.models.servers import running
    from free_video_llm.profiling.memory import total_gb

    wanted = ("torch", "transformers", "av", "numpy", "pillow", "safetensors", "accelerate")
    extras = {
        name: {package: _version(package) for package in packages}
        for name, packages in EXTRAS.items()
    }
    gpus: list[dict[str, Any]] = [
        {
            "name": torch.cuda.get_device_name(i),
            "memory_gb": round(torch.cuda.get_device_properties(i).total_memory / 1e9, 1),
        }
        for i in range(torch.cuda.device_count())
    ]
    memory = total_gb()
    cached = _cached_models()
    gpu_memory = max((g["memory_gb"] for g in gpus), default=0.0)
    models = []
    for model in MODELS:
        ways = []
        if gpu_memory:
            ways += [f"GPU, {b} bit" for b in (16, 8, 4) if model.memory_gb(b) <= gpu_memory][:1]
        if model.memory_gb(32) <= memory * 0.9:
            ways.append("CPU, 32 bit" if model.billions > 0.1 else "CPU, in seconds")
        here = model.name == "tiny" or model.name in cached or model.original in cached
        models.append({"name": model.name, "cached": here, "runs": ways})
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gb": memory,
        "gpus": gpus,
        "packages": {name: _version(name) for name in wanted},
        "extras": extras,
        "cached": sorted(cached),
        "models": models,
        "servers": {name: list(models) for name, models in running().items()},
        "recommended": _recommended(gpu_memory, memory),
    }


def _recommended(gpu_gb: float, memory_gb: float) -> str | None:
    """The largest known model that answers well here: on the GPU at 16 bit, else on the CPU."""
    from free_video_llm.models.choose import largest_fitting

    on_gpu = [m for m in MODELS if m.billions > 0.1 and m.memory_gb(16) <= 0.9 * gpu_gb]
    best = max(on_gpu, key=lambda m: m.billions, default=None) or largest_fitting(memory_gb)
    return best.name if best else None


def run_doctor(options: argparse.Namespace) -> int:
    """Print the examination; 0 where `tiny` can run, which needs only the core packages."""
    found = examine()
    missing = [name for name, version in found["packages"].items() if version is None]
    if options.json:
        print(json.dumps(found, indent=1))
        return 1 if missing else 0
    memory = f"{found['memory_gb']:.0f} GB"
    gpus = ", ".join(f"{g['name']} ({g['memory_gb']} GB)" for g in found["gpus"]) or "none"
    print(f"machine   {found['system']}, {found['cores']} cores, {memory} memory, GPU: {gpus}")
    versions = ", ".join(f"{k} {v or 'MISSING'}" for k, v in found["packages"].items())
    print(f"packages  Python {found['python']}, {versions}")
    for name, packages in found["extras"].items():
        lacks = [package for package, version in packages.items() if version is None]
        hint = f"not installed: pip install 'free-video-llm[{name}]'" if lacks else "installed"
        print(f"extra     {name}: {hint}")
    print(f"cached    {', '.join(found['cached']) or 'no model in the Hub cache'}")
    rows = []
    for model in found["models"]:
        where = ", ".join(model["runs"]) or "not enough memory here"
        state = "ready" if model["cached"] else "is downloaded on first use"
        rows.append((model["name"], where, state if model["runs"] else ""))
    print("models\n" + table(rows, indent="  "))
    for name, models in found["servers"].items():
        print(f"server    {name}: {', '.join(f'{name}:{model}' for model in models) or 'no model'}")
    if found["recommended"]:
        print(f"try       --model {found['recommended']}: the largest that answers well here")
    if missing:
        print(f"fvl: missing packages: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cached_models() -> set[str]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return {repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model"}
    except CacheNotFound:
        return set()
