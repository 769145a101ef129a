"""A language model behind a vLLM server that is given our visual tokens: prompts become embeddings
here, and the server pre-fills and decodes them (`/v1/completions`, `prompt_embeds`).

The server runs the language model alone (`fvl convert --language-model`) with
`--enable-prompt-embeds`. Embeddings are for servers that are trusted: vLLM takes them as they are.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from free_video_llm.errors import ModelServerError, shown
from free_video_llm.llm.foreign import ForeignLLM
from free_video_llm.llm.generate import Decoding, Generation, ImageLLM
from free_video_llm.openai_client import (
    check_url,
    count_of,
    open_blocking_client,
    reason_of,
    text_of,
)

#: Questions that are under way at a time: the server batches them itself.
CONCURRENCY = 8
_TIMEOUT_SECONDS = 600.0


class RemoteTokens(ForeignLLM):
    """See `ForeignLLM`; what decodes is a server.

    Args:
        here: the model as it was loaded; its layers are let go.
        url: the server's, ending in /v1.
        served: the model's name there; the only one that it has where None.

    Raises:
        ConfigError: an address that is none.
        ModelServerError: the server cannot be reached, or has several models.
    """

    def __init__(self, here: ImageLLM, url: str, served: str | None = None) -> None:
        super().__init__(here)
        check_url(url)
        self.url = url.rstrip("/")
        self._client = open_blocking_client(
            self.url, timeout_seconds=_TIMEOUT_SECONDS, retries=2, what="a vLLM engine",
            extra="server",
        )  # fmt: skip
        self.served = served or self._only_model()
        self.let_go()

    def decode_prompts(
        self, embeds: Sequence[torch.Tensor], decoding: Decoding, stop: Sequence[str]
    ) -> list[Generation]:
        """Answers in the order of the prompts. Raises ModelServerError."""
        with ThreadPoolExecutor(min(CONCURRENCY, len(embeds))) as pool:
            return list(pool.map(lambda e: self._decode(e, decoding, stop), embeds))

    def _decode(self, embeds: torch.Tensor, decoding: Decoding, stop: Sequence[str]) -> Generation:
        held = io.BytesIO()
        torch.save(embeds, held)
        extra: dict[str, Any] = {
            "prompt_embeds": base64.b64encode(held.getvalue()).decode(),
            "return_token_ids": True,
            "top_k": decoding.top_k or 0,
            "repetition_penalty": decoding.repetition_penalty or 1.0,
        }
        begun = time.perf_counter()
        import openai

        try:
            completion = self._client.completions.create(
                model=self.served,
                prompt="",
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p or 1.0,
                seed=decoding.seed,
                stop=list(stop) or None,
                extra_body=extra,
            )
        except (openai.OpenAIError, ValueError) as error:
            raise ModelServerError(
                f"the engine at {self.url} failed: {reason_of(error)}; is it vLLM with "
                "--enable-prompt-embeds, and the same language model?"
            ) from None
        choice = completion.choices[0]
        ids = getattr(choice, "token_ids", None) or ()
        text = choice.text or ""
        usage = getattr(completion, "usage", None)
        return Generation(
            text=text.strip(),
            token_ids=tuple(int(number) for number in ids),
            prompt_tokens=len(embeds),
            prefill_seconds=0.0,
            decode_seconds=time.perf_counter() - begun,
            new_tokens=count_of(getattr(usage, "completion_tokens", 0)) or len(ids),
        )

    def _only_model(self) -> str:
        import openai

        try:
            names = [str(model.id) for model in self._client.models.list()]
        except (openai.OpenAIError, ValueError) as error:
            raise ModelServerError(
                f"the engine at {self.url} cannot be reached ({reason_of(error)}): start vLLM with "
                "--enable-prompt-embeds"
            ) from None
        if len(names) != 1:
            listed = ", ".join(text_of(name) for name in names) or "none"
            raise ModelServerError(f"the engine at {self.url} has {shown(listed)}: one is needed")
        return names[0]
