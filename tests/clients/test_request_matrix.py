# Every field with every kind of wrong value: an answer below 500, and a 400 that names the field.
import json

import pytest
from stub_server import StubServer, chat, read_response, request_bytes

HUGE_LIST = "[" + ",".join(["1"] * 1_000_000) + "]"
ABSENT = object()


class Raw(str):
    """JSON text as it is."""


GENERAL = [ABSENT, None, Raw("true"), Raw('"x"'), Raw('""'), Raw("[]"), Raw("{}"), Raw("[1]"), Raw('{"a":1}'), Raw("-1"),
           Raw("0"), Raw("1"), Raw("-0"), Raw("-0.0"), Raw("0.5"), Raw("1.0"), Raw("2147483647"), Raw("2147483648"),
           Raw("4294967296"), Raw("9007199254740992"), Raw("9223372036854775807"), Raw("9223372036854775808"),
           Raw("-9223372036854775808"), Raw("-9223372036854775809"), Raw("1e308"), Raw("-1e308"), Raw("1e-320"),
           Raw("NaN"), Raw("1e999"), Raw('"' + "a" * (1 << 20) + '"'), Raw(HUGE_LIST), Raw("[null]"), Raw('[["a"]]'),
           Raw('[{"a":{"b":[]}}]')]

# field: (minimum, maximum) as the server documents them, for values at and beyond the edges.
RANGES = {
    "temperature": (0, 2), "top_p": (0, 1), "top_k": (-1, 2**31 - 1), "min_p": (0, 1), "repetition_penalty": (0.01, 100),
    "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2), "n": (1, 8), "max_tokens": (1, 2**31 - 1),
    "max_completion_tokens": (1, 2**31 - 1), "top_logprobs": (0, 20), "prompt_logprobs": (0, 20),
    "seed": (-(2**63), 2**63 - 1), "priority": (-(2**31), 2**31 - 1),
}
INTEGERS = {"top_k", "n", "max_tokens", "max_completion_tokens", "top_logprobs", "prompt_logprobs", "seed", "priority"}
SHARED = ["model", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
          "logit_bias", "stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens", "max_tokens",
          "max_completion_tokens", "n", "best_of", "seed", "stream", "stream_options", "skip_special_tokens",
          "return_token_ids", "return_tokens_as_token_ids", "prompt_logprobs", "priority", "response_format", "user",
          "metadata", "store", "service_tier", "cache_prompt", "use_beam_search", "truncate_prompt_tokens", "logprobs",
          "add_special_tokens", "echo", "guided_json", "grammar", "unheard_of", "functions", "chat_template"]
CHAT = SHARED + ["messages", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs", "chat_template_kwargs",
                 "reasoning_effort", "add_generation_prompt", "continue_final_message", "include_reasoning", "modalities",
                 "audio", "documents"]
COMPLETIONS = SHARED + ["prompt", "suffix"]
TOKENIZE = ["model", "prompt", "messages", "add_special_tokens", "return_token_strs", "add_generation_prompt", "tools",
            "chat_template_kwargs"]
DETOKENIZE = ["model", "tokens", "skip_special_tokens"]


@pytest.fixture(scope="module")
def server():
    with StubServer("--context=600") as one:
        yield one
        one.wait_idle(30)
        assert one.stats()["exchanges"] == 0


def body_with(base, field, value):
    parts = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in base.items() if k != field]
    if value is not ABSENT:
        parts.append(f"{json.dumps(field)}:{value if isinstance(value, Raw) else json.dumps(value)}")
    return ("{" + ",".join(parts) + "}").encode()


class Asker:
    def __init__(self, server, path):
        self.server, self.path, self.sock, self.count = server, path, None, 0

    def __call__(self, body):
        self.count += 1
        if self.sock is None:
            self.sock = self.server.connect(timeout=30)
        self.sock.sendall(request_bytes("POST", self.path, body))
        answer = read_response(self.sock)
        if answer is None or answer[1].get("connection") == "close":
            self.sock.close()
            self.sock = None
        return answer


def check(ask, base, field, value):
    status, fields, body = ask(body_with(base, field, value))
    what = (field, str(value)[:60], status, body[:300])
    assert status in (200, 400, 404), what
    if status != 200:
        error = json.loads(body)["error"]
        assert error["message"] and set(error) == {"message", "type", "param", "code"}, what
        if "not JSON" not in error["message"]:
            assert error["param"] and error["param"].split("[")[0].split(".")[0], what
    return status, body


SPACES = {
    "/v1/chat/completions": (chat("<<say:x>>", max_tokens=2), CHAT),
    "/v1/completions": ({"prompt": "<<say:x>>", "max_tokens": 2}, COMPLETIONS),
    "/tokenize": ({"prompt": "x"}, TOKENIZE),
    "/detokenize": ({"tokens": [1, 2]}, DETOKENIZE),
    "/apply-template": (chat("x"), CHAT),
}


@pytest.mark.parametrize("path", SPACES)
def test_no_value_of_any_field_makes_a_5xx(server, path):
    base, fields = SPACES[path]
    ask = Asker(server, path)
    for field in fields:
        for value in GENERAL:
            check(ask, base, field, value)
    print(path, ask.count)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_the_edges_of_every_range(server, path):
    base, fields = SPACES[path]
    ask = Asker(server, path)
    for field, (low, high) in RANGES.items():
        if field not in fields:
            continue
        if path == "/v1/completions" and field in ("max_tokens", "max_completion_tokens"):
            low = 0
        step = 1 if field in INTEGERS else 0.001
        more = {"logprobs": True} if field == "top_logprobs" else {}
        for value, good in [(low, True), (high, True), (low - step, False), (high + step, False)]:
            status, body = check(ask, {**base, **more}, field, Raw(value))
            assert status == (200 if good else 400), (field, value, body)
            if not good:
                error = json.loads(body)["error"]
                assert error["param"] == field
                assert str(low) in error["message"] and str(high) in error["message"], error
        if field in INTEGERS:
            assert check(ask, {**base, **more}, field, Raw(f"{max(low, 1)}.0"))[0] == 200
            assert check(ask, {**base, **more}, field, Raw(f"{max(low, 1)}.5"))[0] == 400


CASES = [
    # (path, fields, status, param)
    ("chat", {"messages": None}, 400, "messages"),
    ("chat", {"messages": []}, 400, "messages"),
    ("chat", {"messages": [1]}, 400, "messages[0]"),
    ("chat", {"messages": [{}]}, 400, "messages[0].role"),
    ("chat", {"messages": [{"role": "root", "content": "x"}]}, 400, "messages[0].role"),
    ("chat", {"messages": [{"role": "user"}]}, 400, "messages[0].content"),
    ("chat", {"messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content"),
    ("chat", {"messages": [{"role": "user", "content": [5]}]}, 400, "messages[0].content[0]"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 400, "messages[0].content[0].text"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400,
     "messages[0].content[0].type"),
    ("chat", {"messages": [{"role": "user", "content": "x"}] * 5000}, 400, "messages"),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, 400, "messages[0].tool_calls[0].function"),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, 400,
     "messages[0].tool_calls[0].function.name"),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}]}, 400,
     "messages[0].tool_calls[0].function.arguments"),
    ("chat", {"tools": [{}]}, 400, "tools[0].type"),
    ("chat", {"tools": [{"type": "web_search"}]}, 400, "tools[0].type"),
    ("chat", {"tools": [{"type": "function", "function": {}}]}, 400, "tools[0].function.name"),
    ("chat", {"tools": [{"type": "function", "function": {"name": "a b"}}]}, 400, "tools[0].function.name"),
    ("chat", {"tools": [{"type": "function", "function": {"name": "f", "parameters": 3}}]}, 400,
     "tools[0].function.parameters"),
    ("chat", {"tools": [{"type": "function", "function": {"name": "f"}}] * 129}, 400, "tools"),
    ("chat", {"tool_choice": "maybe"}, 400, "tool_choice"),
    ("chat", {"top_logprobs": 3}, 400, "top_logprobs"),
    ("chat", {"stream_options": {"include_usage": True}}, 400, "stream_options"),
    ("chat", {"stream": True, "stream_options": {"include_usage": 1}}, 400, "stream_options.include_usage"),
    ("chat", {"response_format": {"type": "json_schema", "json_schema": {}}}, 400, "response_format.type"),
    ("chat", {"response_format": {"type": "yaml"}}, 400, "response_format.type"),
    ("chat", {"response_format": {}}, 400, "response_format.type"),
    ("chat", {"response_format": {"type": "text"}}, 200, None),
    ("chat", {"stop": ["x"] * 17}, 400, "stop"),
    ("chat", {"stop": "x" * 257}, 400, "stop"),
    ("chat", {"stop": "x" * 256}, 200, None),
    ("chat", {"stop": [5]}, 400, "stop"),
    ("chat", {"stop_token_ids": [-1]}, 400, "stop_token_ids"),
    ("chat", {"stop_token_ids": [320]}, 400, "stop_token_ids"),
    ("chat", {"logit_bias": {"5": 100, "6": -100.0}}, 200, None),
    ("chat", {"logit_bias": {"5": 101}}, 400, "logit_bias"),
    ("chat", {"logit_bias": {"320": 1}}, 400, "logit_bias"),
    ("chat", {"logit_bias": {"-1": 1}}, 400, "logit_bias"),
    ("chat", {"logit_bias": {"5x": 1}}, 400, "logit_bias"),
    ("chat", {"logit_bias": {"": 1}}, 400, "logit_bias"),
    ("chat", {"logit_bias": {"99999999999999999999": 1}}, 400, "logit_bias"),
    ("chat", {"logit_bias": {"5": None}}, 400, "logit_bias"),
    ("chat", {"logit_bias": {f"{'0' * i}5": 1 for i in range(1025)}}, 400, "logit_bias"),
    ("chat", {"min_tokens": 3, "max_tokens": 2}, 400, "min_tokens"),
    ("chat", {"best_of": 2}, 400, "best_of"),
    ("chat", {"n": 2, "best_of": 2}, 200, None),
    ("chat", {"prompt_logprobs": 1, "stream": True}, 400, "prompt_logprobs"),
    ("chat", {"reasoning_effort": "extreme"}, 400, "reasoning_effort"),
    ("chat", {"reasoning_effort": "none"}, 200, None),
    ("chat", {"model": "other"}, 404, "model"),
    ("chat", {"model": "../../../etc/passwd"}, 404, "model"),
    ("chat", {"model": ""}, 200, None),
    ("chat", {"model": None}, 200, None),
    ("chat", {"max_tokens": 100000}, 200, None),
    ("chat", {"echo": True}, 400, "echo"),
    ("completions", {"prompt": None}, 400, "prompt"),
    ("completions", {"prompt": []}, 400, "prompt"),
    ("completions", {"prompt": [[]]}, 400, "prompt"),
    ("completions", {"prompt": ""}, 400, "prompt"),
    ("completions", {"prompt": [1, "a"]}, 400, "prompt"),
    ("completions", {"prompt": ["a", 1]}, 400, "prompt"),
    ("completions", {"prompt": [320]}, 400, "prompt"),
    ("completions", {"prompt": [-1]}, 400, "prompt"),
    ("completions", {"prompt": [1.5]}, 400, "prompt"),
    ("completions", {"prompt": [5.0]}, 200, None),
    ("completions", {"prompt": [2**31]}, 400, "prompt"),
    ("completions", {"prompt": [2**63]}, 400, "prompt"),
    ("completions", {"prompt": ["x"] * 1025}, 400, "prompt"),
    ("completions", {"prompt": [5] * 600}, 400, "prompt"),
    ("completions", {"prompt": [5] * 599}, 200, None),
    ("completions", {"prompt": [5] * 600, "max_tokens": 0}, 200, None),
    ("completions", {"prompt": [5] * 601, "max_tokens": 0}, 400, "prompt"),
    ("completions", {"logprobs": 21}, 400, "logprobs"),
    ("completions", {"logprobs": True}, 400, "logprobs"),
    ("completions", {"suffix": "x"}, 400, "suffix"),
    ("completions", {"suffix": ""}, 200, None),
    ("completions", {"prompt": "x" * (4 << 20) + "y"}, 400, "prompt"),
]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_the_field_at_fault_is_named(server, index):
    kind, fields, status, param = CASES[index]
    path = "/v1/chat/completions" if kind == "chat" else "/v1/completions"
    answer = Asker(server, path)(json.dumps({**SPACES[path][0], **fields}).encode())
    assert answer[0] == status, answer[2][:500]
    if param:
        assert json.loads(answer[2])["error"]["param"] == param, answer[2]


def test_a_prompt_beyond_the_context_tells_both_numbers(server):
    answer = Asker(server, "/v1/completions")({"prompt": [5] * 700})
    error = json.loads(answer[2])["error"]
    assert error["code"] == "context_length_exceeded" and "700" in error["message"] and "600" in error["message"]


def test_doubled_names_take_the_last(server):
    answer = Asker(server, "/v1/completions")(b'{"prompt":"<<say:a>>","prompt":"<<say:b>>"}')
    assert json.loads(answer[2])["choices"][0]["text"] == "b"


def test_two_fields_at_once(server):
    """Sampling fields against the ways of answering: nothing that passes alone fails in company."""
    ask = Asker(server, "/v1/chat/completions")
    sampling = [{"temperature": 0}, {"temperature": 2, "seed": 1}, {"top_k": 1}, {"min_p": 1}, {"top_p": 0},
                {"repetition_penalty": 100}, {"presence_penalty": -2, "frequency_penalty": 2},
                {"logit_bias": {"5": -100, "6": 100}}, {"stop": ["a", "b"]}, {"min_tokens": 5}, {"ignore_eos": True},
                {"stop_token_ids": [5], "include_stop_str_in_output": True}]
    ways = [{}, {"stream": True}, {"n": 3}, {"n": 3, "stream": True}, {"logprobs": True, "top_logprobs": 20},
            {"logprobs": True, "stream": True}, {"prompt_logprobs": 20}, {"return_token_ids": True, "stream": True},
            {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
            {"tools": [{"type": "function", "function": {"name": "f"}}], "stream": True},
            {"chat_template_kwargs": {"enable_thinking": True}, "stream": True},
            {"skip_special_tokens": False, "logprobs": True}]
    for one in sampling:
        for other in ways:
            status, _, body = ask(json.dumps({**chat("anything"), "max_tokens": 8, **one, **other}).encode())
            assert status == 200, (one, other, body[:300])
            if other.get("stream"):
                assert body.endswith(b"data: [DONE]\n\n") and b'"error"' not in body


def test_strict_refuses_what_it_does_not_know():
    with StubServer("--strict") as server:
        ask = Asker(server, "/v1/chat/completions")
        status, _, body = ask(chat("<<say:x>>", unheard_of=1))
        assert status == 400 and json.loads(body)["error"]["param"] == "unheard_of"
        assert ask(chat("<<say:x>>", user="u", metadata={"a": "b"}, store=False))[0] == 200
