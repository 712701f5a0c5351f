# /metrics, /health and the tokenizer routes.
import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from stub_server import StubServer, chat


@pytest.fixture(scope="module")
def server():
    with StubServer() as one:
        yield one


def scrape(server):
    answer = httpx.get(server.url + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families, name, **labels):
    for family in families.values():
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    raise KeyError(name)


def test_metrics_can_be_parsed_and_count(server):
    def post(path, **body):
        return httpx.post(server.url + path, json=body)

    before = scrape(server)
    assert post("/v1/chat/completions", **chat("<<say:hello there>>"), user="u", unheard_of=1, another=2).status_code == 200
    assert post("/v1/chat/completions", **chat("anything", max_tokens=10, ignore_eos=True, stream=True)).status_code == 200
    assert post("/v1/chat/completions", **chat("x", temperature=7)).status_code == 400
    after = scrape(server)

    def grown(name, **labels):
        try:
            base = value(before, name, **labels)
        except KeyError:
            base = 0
        return value(after, name, **labels) - base

    assert grown("nibble_ignored_fields_total", field="user") == 1
    assert grown("nibble_ignored_fields_total", field="other") == 2
    assert grown("nibble_requests_finished_total", reason="stop") == 1
    assert grown("nibble_requests_finished_total", reason="length") == 1
    assert grown("vllm:request_success_total", finished_reason="length") == 1
    assert grown("nibble_answers_total", status="400") == 1
    assert grown("vllm:generation_tokens_total") == grown("nibble_generated_tokens_total") > 10
    assert grown("vllm:prompt_tokens_total") > 10
    assert grown("vllm:time_to_first_token_seconds_count") == 2
    assert grown("vllm:request_decode_time_seconds_count") == 2


def test_the_names_that_dashboards_read_are_there(server):
    families = scrape(server)
    for name in ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
                 "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total", "vllm:prompt_tokens_total",
                 "vllm:generation_tokens_total", "vllm:e2e_request_latency_seconds_sum",
                 "vllm:inter_token_latency_seconds_sum", "vllm:request_queue_time_seconds_sum",
                 "vllm:request_prefill_time_seconds_sum", "nibble_step_age_seconds", "nibble_http_connections"]:
        value(families, name, model_name="stub")
    assert value(families, "vllm:cache_config_info", block_size="16", num_gpu_blocks="8192") == 1
    for family in families.values():
        assert family.documentation
        if family.type == "histogram":
            counts = [s.value for s in family.samples if s.name.endswith("_bucket")]
            assert counts == sorted(counts)
            assert [s for s in family.samples if s.name.endswith("_bucket")][-1].labels["le"] == "+Inf"
            assert counts[-1] == [s for s in family.samples if s.name.endswith("_count")][0].value


def test_unknown_field_names_do_not_become_labels(server):
    with httpx.Client() as client:
        for index in range(200):
            client.post(server.url + "/tokenize", json={"prompt": "x", f"made_up_{index}": 1})
    assert "made_up" not in httpx.get(server.url + "/metrics").text


def test_health(server):
    for path, status in (("/health", "ready"), ("/health/ready", "ready"), ("/health/live", "live")):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200 and answer.json() == {"status": status}
    assert httpx.get(server.url + "/version").json() == {"version": "0.1.0-stub"}


def test_tokenize_and_detokenize(server):
    def post(path, **body):
        return httpx.post(server.url + path, json=body).json()

    text = "hello world, caf\u00e9 \u4e2d<|im_end|>"
    answer = post("/tokenize", prompt=text)
    assert answer["count"] == len(answer["tokens"]) and answer["max_model_len"] == 4096
    assert answer["tokens"][-1] == 300 and answer["token_strs"] is None
    assert post("/detokenize", tokens=answer["tokens"]) == {"prompt": text}
    strings = post("/tokenize", prompt=" the", return_token_strs=True)
    assert strings["token_strs"] == ["\u0120the"]
    assert post("/detokenize", tokens=[]) == {"prompt": ""}
    assert post("/detokenize", tokens=[319]) == {"prompt": ""}  # the model's, not the tokenizer's


def test_messages_are_tokenized_as_they_are_rendered(server):
    def post(path, **body):
        answer = httpx.post(server.url + path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    rendered = post("/apply-template", messages=messages)["prompt"]
    assert rendered == "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    tokens = post("/tokenize", messages=messages)["tokens"]
    assert post("/detokenize", tokens=tokens)["prompt"] == rendered
    assert post("/tokenize", messages=messages, add_generation_prompt=False)["count"] < len(tokens)
    thinking = post("/apply-template", messages=messages, chat_template_kwargs={"enable_thinking": True})["prompt"]
    assert thinking.endswith("<think>\n")
    assert post("/apply-template", messages=messages, reasoning_effort="high")["prompt"] == thinking
    assert post("/apply-template", messages=messages, reasoning_effort="none")["prompt"] == rendered
    open_end = post("/apply-template", messages=[*messages, {"role": "assistant", "content": "so"}],
                    continue_final_message=True)["prompt"]
    assert open_end.endswith("<|im_start|>assistant\nso")
    usage = httpx.post(server.url + "/v1/chat/completions", json={"messages": messages, "max_tokens": 1}).json()["usage"]
    assert usage["prompt_tokens"] == len(tokens)


def test_no_template_no_chat():
    with StubServer("--no-template") as server:
        answer = httpx.post(server.url + "/v1/chat/completions", json=chat("x"))
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "messages"
        assert httpx.post(server.url + "/v1/completions", json={"prompt": "<<say:x>>"}).status_code == 200
