"""vLLM in this process decodes our visual tokens: `LLM(enable_prompt_embeds=True)`, which batches
what is asked together. For where vLLM is installed beside this package, as on a cluster's machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from free_video_llm.errors import ConfigError, MissingExtraError, first_line
from free_video_llm.llm.alone import write_alone
from free_video_llm.llm.foreign import ForeignLLM
from free_video_llm.llm.generate import Decoding, Generation, ImageLLM

#: What vLLM calls the dtypes that models are loaded in here.
_DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


class VllmTokens(ForeignLLM):
    """See `ForeignLLM`.

    Args:
        here: the model as it was loaded.
        folder: of its checkpoint, for the tokenizer.

    Raises:
        MissingExtraError: vLLM is not installed.
        ConfigError: vLLM cannot run the language model.
    """

    def __init__(self, here: ImageLLM, folder: Path) -> None:
        super().__init__(here)
        try:
            from vllm import LLM
        except ImportError:
            raise MissingExtraError(
                "engine=vllm needs vLLM in this environment: pip install vllm, or name a vLLM "
                "server by engine_url"
            ) from None
        dtype = _DTYPES[self.model.dtype]
        # vLLM reads weights from a folder; they are there only until it has.
        with tempfile.TemporaryDirectory(prefix="fvl-vllm-") as alone:
            write_alone(here, folder, Path(alone))
            self.let_go()
            try:
                self._engine: Any = LLM(
                    model=alone, enable_prompt_embeds=True, dtype=dtype,
                    max_model_len=self.max_positions,
                )  # fmt: skip
            except Exception as error:  # of many kinds, from other processes too
                raise ConfigError(f"vLLM cannot run this model: {first_line(error)}") from None

    def decode_prompts(
        self, embeds: Sequence[torch.Tensor], decoding: Decoding, stop: Sequence[str]
    ) -> list[Generation]:
        """Answers in the order of the prompts."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p or 1.0,
            top_k=decoding.top_k or 0,
            repetition_penalty=decoding.repetition_penalty or 1.0,
            seed=decoding.seed,
            stop=list(stop) or None,
        )
        begun = time.perf_counter()
        found = self._engine.generate(
            [{"prompt_embeds": prompt} for prompt in embeds], sampling, use_tqdm=False
        )
        seconds = (time.perf_counter() - begun) / len(embeds)
        return [
            Generation(
                text=result.outputs[0].text.strip(),
                token_ids=tuple(int(number) for number in result.outputs[0].token_ids),
                prompt_tokens=len(prompt),
                prefill_seconds=0.0,
                decode_seconds=seconds,
                new_tokens=len(result.outputs[0].token_ids),
            )
            for prompt, result in zip(embeds, found, strict=True)
        ]
