"""Questions about videos on a cluster by Ray Data LLM: frames are chosen here, vLLM or a server
answers, and every row that fails says why.

    pip install 'free-video-llm[cluster]'
    python deploy/ray_llm.py questions.jsonl answers --url http://127.0.0.1:8000/v1 --model qwen
    python deploy/ray_llm.py questions.jsonl answers --vllm Qwen/Qwen2.5-VL-7B-Instruct

questions.jsonl has a row for each question: video, question, and where wanted options, start, end.
answers/ gets Parquet or, with --json, JSON lines: the rows with answer, seconds (of the frames that
were seen) and error.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import ray.data
from ray.data.llm import (
    HttpRequestProcessorConfig,
    build_processor,
    vLLMEngineProcessorConfig,
)

from free_video_llm.integrations.ray_llm import ChooseFrames


def through_server(options: argparse.Namespace) -> Any:
    """Answers of an OpenAI-compatible server."""
    config = HttpRequestProcessorConfig(
        url=f"{options.url.rstrip('/')}/chat/completions", batch_size=16, max_retries=3
    )

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        messages = json.loads(row["messages"])
        return {"payload": {"model": options.model, "messages": messages, **decoding(options)}}

    def read(row: dict[str, Any]) -> dict[str, Any]:
        return kept(row, row["http_response"]["choices"][0]["message"]["content"])

    return build_processor(config, preprocess=ask, postprocess=read)


def through_vllm(options: argparse.Namespace) -> Any:
    """Answers of vLLM in Ray's own actors, a GPU each (or CPUs)."""
    config = vLLMEngineProcessorConfig(
        model_source=options.vllm,
        engine_kwargs=json.loads(options.engine),
        batch_size=16,
        concurrency=options.workers,
        prepare_multimodal_stage={"enabled": True},
        **({"placement_group_config": {"bundles": [{"CPU": 1}]}} if options.cpu else {}),
    )

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        return {"messages": json.loads(row["messages"]), "sampling_params": decoding(options)}

    def read(row: dict[str, Any]) -> dict[str, Any]:
        return kept(row, row["generated_text"])

    return build_processor(config, preprocess=ask, postprocess=read)


def kept(row: dict[str, Any], answer: str) -> dict[str, Any]:
    """What is written of a row."""
    names = ("video", "question", "seconds", "error")
    return {"answer": answer.strip(), **{name: row[name] for name in names}}


def decoding(options: argparse.Namespace) -> dict[str, Any]:
    """How an answer is decoded."""
    return {"temperature": 0.0, "max_tokens": options.max_tokens}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("questions")
    parser.add_argument("answers")
    parser.add_argument("--url", help="of a server, ending in /v1")
    parser.add_argument("--model", default="default", help="the model's name there")
    parser.add_argument("--vllm", metavar="MODEL", help="instead: Hub id or folder, for vLLM here")
    parser.add_argument("--engine", default="{}", metavar="JSON", help="vLLM's own options")
    parser.add_argument("--cpu", action="store_true", help="vLLM on CPUs")
    parser.add_argument("--workers", type=int, default=1, help="of vLLM")
    parser.add_argument("--choosers", type=int, default=1, help="processes that choose frames")
    parser.add_argument("--scorer")
    parser.add_argument("--plan", default="lean")
    parser.add_argument("--watch", default="{}", metavar="JSON", help='as in {"fps": 1.0}')
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="JSON lines, not Parquet")
    options = parser.parse_args()
    if (options.url is None) == (options.vllm is None):
        parser.error("give --url or --vllm")

    if options.cpu:  # its stages want a slot each, which a small machine does not have
        ray.init(num_cpus=8 + options.workers + options.choosers)
    rows = ray.data.read_json(options.questions, file_extensions=None)
    chosen = rows.map_batches(
        ChooseFrames,
        fn_constructor_kwargs={
            "scorer": options.scorer,
            "plan": options.plan,
            "watch": json.loads(options.watch),
        },
        batch_size=16,
        compute=ray.data.ActorPoolStrategy(size=options.choosers),
    ).materialize()  # chosen once, read twice
    answer = through_server(options) if options.url else through_vllm(options)
    answered = answer(chosen.filter(lambda row: not row["error"]))
    failed = chosen.filter(lambda row: bool(row["error"])).map(lambda row: kept(row, ""))
    result = answered.union(failed)
    write = result.write_json if options.json else result.write_parquet
    write(options.answers)


if __name__ == "__main__":
    main()
