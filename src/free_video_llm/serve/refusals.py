"""Why a request is not answered: an HTTP status and one line, in OpenAI's form."""

from __future__ import annotations

from typing import Any

from free_video_llm.errors import CheckpointError, FreeVideoLLMError, ModelServerError, first_line

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}


class Refusal(Exception):  # noqa: N818  # what is done, not what went wrong
    """A request is refused.

    Attributes:
        status: of HTTP.
        param: what of the request is wrong, if one thing is.
        code: for programs.
    """

    def __init__(
        self, status: int, text: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.param, self.code = status, text, param, code

    def to_dict(self) -> dict[str, Any]:
        """The body of the reply."""
        return {
            "error": {
                "message": self.text,
                "type": _TYPES.get(self.status, "server_error"),
                "param": self.param,
                "code": self.code,
            }
        }


def refusal_of(error: BaseException) -> Refusal:
    """The refusal that an error is. What is not of ours keeps its words to itself."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ModelServerError):
        return Refusal(502, first_line(error), code="model_server_failed")
    if isinstance(error, CheckpointError):
        return Refusal(500, first_line(error), code="model_unusable")
    if isinstance(error, FreeVideoLLMError):
        return Refusal(400, first_line(error))
    if isinstance(error, MemoryError):
        return Refusal(503, "there is not enough memory for this: ask for fewer frames")
    return Refusal(500, "the request failed; the server's log says why", code="internal")
