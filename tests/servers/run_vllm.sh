#!/usr/bin/env bash
# The tests that want a real vLLM, on a CPU: `make test-vllm`, which makes the two environments.
#   tests/servers/run_vllm.sh OURS VLLM     (folders of the environments)
set -euo pipefail
ours=$1/bin/python vllm=$2/bin/python
export VLLM_CPU_KVCACHE_SPACE=1
mkdir -p build

# with_server PORT LOG COMMAND…: starts it and waits until it answers; it ends with this script.
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true' EXIT
with_server() {
    local port=$1 log=$2
    shift 2
    "$@" >"$log" 2>&1 &
    servers+=($!)
    until curl --silent --fail "http://127.0.0.1:$port/health"; do
        kill -0 "${servers[-1]}" || { tail -20 "$log" && exit 1; }
        sleep 2
    done
}
end_server() { kill "${servers[-1]}" && wait "${servers[-1]}" 2>/dev/null || true; }

echo "tiny, shown pictures"
with_server 8123 build/vllm.log "$vllm" tests/servers/vllm_tiny.py build/vllm-tiny 8123
FVL_VLLM_URL=http://127.0.0.1:8123/v1 "$ours" -m pytest -s tests/servers/test_vllm.py
end_server

echo "tiny's language model, given our tokens"
rm -rf build/language && "$ours" -m free_video_llm convert tiny build/language --language-model
with_server 8124 build/vllm2.log "$vllm" -m vllm.entrypoints.openai.api_server \
    --model build/language --enable-prompt-embeds --dtype float32 --max-model-len 4096 \
    --gpu-memory-utilization 0.2 --host 127.0.0.1 --port 8124
FVL_VLLM_EMBEDS_URL=http://127.0.0.1:8124/v1 "$ours" -m pytest -s tests/servers/test_vllm.py
end_server

echo "a random Qwen3-VL, given frames as a video"
with_server 8125 build/vllm3.log "$vllm" tests/servers/vllm_qwen.py build/qwen 8125
FVL_VLLM_QWEN_URL=http://127.0.0.1:8125/v1 "$ours" -m pytest -s tests/servers/test_vllm.py
end_server

echo "tiny's language model by vLLM in one process, and behind Ray Data"
"$vllm" -m pytest -s tests/servers/test_vllm_here.py
