# The `openai` package against the server: what it sends is understood, what it gets it can read.
import json

import openai
import pytest
from stub_server import StubServer


@pytest.fixture(scope="module")
def server():
    with StubServer() as one:
        yield one


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def ask(client, text, **fields):
    return client.chat.completions.create(model="stub", messages=[{"role": "user", "content": text}], **fields)


def test_models(client):
    assert [model.id for model in client.models.list()] == ["stub", "org/stub-model"]
    assert client.models.retrieve("stub").id == "stub"
    assert client.models.retrieve("org/stub-model").id == "org/stub-model"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("../../etc/passwd")
    assert error.value.code == "model_not_found"


def test_chat(client):
    answer = ask(client, "<<say:Hello, world! \u00e9\u4e2d\U0001f600>>")
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content == "Hello, world! \u00e9\u4e2d\U0001f600"
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.model == "stub"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.model_extra["timings"]["predicted_n"] == answer.usage.completion_tokens


def test_the_name_asked_for_comes_back(client):
    answer = client.chat.completions.create(
        model="org/stub-model", messages=[{"role": "user", "content": "<<say:x>>"}])
    assert answer.model == "org/stub-model"


def test_streamed_chat(client):
    chunks = list(ask(client, "<<say:Hello, world! \U0001f600 done>>", stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, world! \U0001f600 done"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


def test_streamed_usage_comes_last_and_alone(client):
    chunks = list(ask(client, "<<say:abc>>", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    # Three tokens and the one that ends the answer.
    assert chunks[-1].usage.completion_tokens == 4
    assert all("usage" not in chunk.model_fields_set for chunk in chunks[:-1])
    assert all(chunk.choices for chunk in chunks[:-1])


def test_continuous_usage(client):
    chunks = list(ask(client, "<<say:abc>>", stream=True,
                      stream_options={"include_usage": True, "continuous_usage_stats": True}))
    counts = [chunk.usage.completion_tokens for chunk in chunks if chunk.choices and chunk.usage]
    assert counts == [1, 2, 3, 4]


def test_one_chunk_a_token(client):
    chunks = list(ask(client, "anything", stream=True, max_tokens=50, extra_body={"ignore_eos": True}))
    # The role, fifty tokens, the finish.
    assert len(chunks) == 52
    assert chunks[-1].choices[0].finish_reason == "length"


def test_streamed_and_whole_answers_are_the_same_text(client):
    for seed in range(5):
        fields = {"max_tokens": 200, "temperature": 1.0, "seed": seed}
        whole = ask(client, "prompt", **fields).choices[0].message.content
        streamed = "".join(c.choices[0].delta.content or "" for c in ask(client, "prompt", stream=True, **fields))
        assert whole == streamed
        whole.encode()  # no half characters


def test_seed(client):
    def text(**fields):
        return ask(client, "p", max_tokens=30, temperature=1.0, extra_body={"ignore_eos": True}, **fields)

    assert text(seed=7).choices[0].message.content == text(seed=7).choices[0].message.content
    assert text(seed=7).choices[0].message.content != text(seed=8).choices[0].message.content
    assert text().choices[0].message.content != text().choices[0].message.content
    assert text(seed=-1).choices[0].message.content != text(seed=-1).choices[0].message.content


def test_n(client):
    answer = ask(client, "p", n=3, max_tokens=20, temperature=1.0, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.choices[0].message.content == ask(
        client, "p", max_tokens=20, temperature=1.0, seed=1).choices[0].message.content
    texts = {}
    for chunk in ask(client, "p", n=3, max_tokens=20, temperature=1.0, seed=1, stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert [texts[i] for i in range(3)] == [choice.message.content for choice in answer.choices]


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings(client, server, stream):
    def text(**fields):
        answer = ask(client, "<<say:one two three four>>", stream=stream, **fields)
        if not stream:
            return answer.choices[0].message.content, answer.choices[0].finish_reason
        chunks = list(answer)
        return "".join(c.choices[0].delta.content or "" for c in chunks), chunks[-1].choices[0].finish_reason

    assert text(stop="three") == ("one two ", "stop")
    assert text(stop=["zzz", "wo t"]) == ("one t", "stop")
    assert text(stop=["two"], extra_body={"include_stop_str_in_output": True}) == ("one two", "stop")
    assert text(stop="") == ("one two three four", "stop")
    assert text(stop=["", "five"]) == ("one two three four", "stop")
    assert text(stop="four") == ("one two three ", "stop")
    assert text(stop="one", extra_body={"min_tokens": 5}) == ("one two three four", "stop")
    server.wait_idle()


def test_stop_token_ids(client):
    answer = ask(client, "<<ids:65,66,67,68>>", extra_body={"stop_token_ids": [67]})
    assert answer.choices[0].message.content == "AB"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].model_extra["stop_reason"] == 67
    assert answer.usage.completion_tokens == 3


def test_chat_logprobs(client):
    answer = ask(client, "<<say:a\u4e2d>>", logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    assert content[0].token == "a" and content[0].bytes == [97]
    assert len(content[0].top_logprobs) == 2
    # Three tokens of one byte each make one character.
    assert bytes(b for token in content[1:4] for b in token.bytes).decode() == "\u4e2d"
    assert content[1].token == "\\xe4"
    streamed = []
    for chunk in ask(client, "<<say:a\u4e2d>>", logprobs=True, top_logprobs=2, stream=True):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert streamed == content


def test_reasoning_goes_under_both_names(client):
    fields = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
    message = ask(client, "<<say:because</think>so>>", **fields).choices[0].message
    assert message.content == "so"
    assert message.model_extra["reasoning"] == message.model_extra["reasoning_content"] == "because"
    content = reasoning = other = ""
    for chunk in ask(client, "<<say:because</think>so>>", stream=True, **fields):
        delta = chunk.choices[0].delta
        content += delta.content or ""
        reasoning += delta.model_extra.get("reasoning", "")
        other += delta.model_extra.get("reasoning_content", "")
    assert (content, reasoning, other) == ("so", "because", "because")


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}]
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}</tool_call>'


def test_tool_calls(client):
    answer = ask(client, f"<<say:Let me see.{CALL}>>", tools=TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content.strip() == "Let me see."
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.id.startswith("call_")
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris", "days": 2}


def test_a_call_alone_has_null_content(client):
    assert ask(client, f"<<say:{CALL}>>", tools=TOOLS).choices[0].message.content is None


def test_streamed_tool_calls(client):
    calls = {}
    finish = None
    for chunk in ask(client, f"<<say:{CALL}\n{CALL}>>", tools=TOOLS, stream=True):
        finish = chunk.choices[0].finish_reason or finish
        for part in chunk.choices[0].delta.tool_calls or []:
            if part.id:
                assert part.index not in calls
                calls[part.index] = {"id": part.id, "name": part.function.name, "arguments": ""}
                assert part.type == "function"
            calls[part.index]["arguments"] += part.function.arguments
    assert finish == "tool_calls"
    assert sorted(calls) == [0, 1]
    assert calls[0]["id"] != calls[1]["id"]
    for call in calls.values():
        assert call["name"] == "get_weather"
        assert json.loads(call["arguments"]) == {"city": "Paris", "days": 2}


def test_one_call_when_several_are_not_wanted(client):
    text = f"<<say:{CALL}{CALL}>>"
    answer = ask(client, text, tools=TOOLS, parallel_tool_calls=False)
    assert len(answer.choices[0].message.tool_calls) == 1
    indices = {part.index for chunk in ask(client, text, tools=TOOLS, parallel_tool_calls=False, stream=True)
               for part in chunk.choices[0].delta.tool_calls or []}
    assert indices == {0}


def test_the_sdk_accumulates_a_tool_call(client):
    with client.chat.completions.stream(
        model="stub", messages=[{"role": "user", "content": f"<<say:{CALL}>>"}], tools=TOOLS) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].function.name == "get_weather"


def test_tool_choice(client):
    assert ask(client, f"<<say:{CALL}>>", tools=TOOLS, tool_choice="none").choices[0].message.tool_calls is None
    assert ask(client, f"<<say:{CALL}>>", tools=TOOLS, tool_choice="auto").choices[0].message.tool_calls
    assert ask(client, f"<<say:{CALL}>>", tools=[]).choices[0].message.tool_calls is None
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        with pytest.raises(openai.BadRequestError) as error:
            ask(client, "x", tools=TOOLS, tool_choice=choice)
        assert error.value.param == "tool_choice" and error.value.code == "unsupported_value"


def test_a_conversation_with_tools_is_taken_back(client):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "weather"}, {"type": "text", "text": "in Paris?"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "user", "content": "<<say:Sunny.>>"},
    ]
    answer = client.chat.completions.create(model="stub", messages=messages, tools=TOOLS)
    assert answer.choices[0].message.content == "Sunny."


def test_errors_have_openais_shape(client):
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "x", temperature=9)
    assert error.value.param == "temperature"
    assert error.value.type == "invalid_request_error"
    assert "[0, 2]" in error.value.message and "9" in error.value.message
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "x"}])
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "x" * 5000)
    assert error.value.code == "context_length_exceeded"
    assert "4096" in error.value.message
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "x", response_format={"type": "json_object"})
    assert error.value.code == "unsupported_value"
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="stub", messages=[
            {"role": "user", "content": "x"}, {"role": "system", "content": "late"}])
    assert "system message comes first" in error.value.message.lower()


def test_an_error_in_the_middle_of_a_stream(client, server):
    got = ""
    with pytest.raises(openai.APIError) as error:
        for chunk in ask(client, "<<nan:5>>", stream=True, max_tokens=20, extra_body={"ignore_eos": True}):
            got += chunk.choices[0].delta.content or ""
    assert got
    assert error.value.code == "internal_error"
    with pytest.raises(openai.InternalServerError):
        ask(client, "<<nan:5>>", max_tokens=20, extra_body={"ignore_eos": True})
    server.wait_idle()


def test_request_ids(client):
    raw = client.chat.completions.with_raw_response.create(
        model="stub", messages=[{"role": "user", "content": "<<say:x>>"}], extra_headers={"x-request-id": "my-id.1"})
    assert raw.headers["x-request-id"] == "my-id.1"
    assert raw.parse().id == "chatcmpl-my-id.1"
    raw = client.models.with_raw_response.list()
    assert raw.headers["x-request-id"]


def test_continuing_the_last_message(client):
    answer = client.chat.completions.create(
        model="stub", messages=[{"role": "user", "content": "<<say:there>>"}, {"role": "assistant", "content": "Hello "}],
        extra_body={"continue_final_message": True, "add_generation_prompt": False})
    assert answer.choices[0].message.content == "there"
    with pytest.raises(openai.BadRequestError):
        ask(client, "x", extra_body={"continue_final_message": True})


def test_return_token_ids(client):
    body = {"return_token_ids": True}
    answer = ask(client, "<<say:ab>>", extra_body=body)
    ids = answer.choices[0].model_extra["token_ids"]
    assert len(ids) == answer.usage.completion_tokens == 3
    assert len(answer.model_extra["prompt_token_ids"]) == answer.usage.prompt_tokens
    streamed, prompt = [], None
    for chunk in ask(client, "<<say:ab>>", stream=True, extra_body=body):
        prompt = prompt or chunk.model_extra.get("prompt_token_ids")
        streamed += chunk.choices[0].model_extra.get("token_ids", [])
    assert streamed == ids and prompt == answer.model_extra["prompt_token_ids"]


def test_completions(client):
    answer = client.completions.create(model="stub", prompt="<<say:Hello>>")
    assert answer.choices[0].text == "Hello"
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason == "stop"
    answer = client.completions.create(model="stub", prompt="x", extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16  # the default
    texts = [c.choices[0].text for c in client.completions.create(model="stub", prompt="<<say:Hello>>", stream=True)]
    assert "".join(texts) == "Hello"


def test_completions_of_several_prompts(client):
    answer = client.completions.create(model="stub", prompt=["<<say:one>>", "<<say:two>>", "<<say:three>>"], n=2)
    assert [choice.text for choice in answer.choices] == ["one", "one", "two", "two", "three", "three"]
    assert [choice.index for choice in answer.choices] == list(range(6))
    many = client.completions.create(model="stub", prompt=[f"<<say:{i}>>" for i in range(300)])
    assert [choice.text for choice in many.choices] == [str(i) for i in range(300)]
    texts = {}
    for chunk in client.completions.create(model="stub", prompt=["<<say:one>>", "<<say:two>>"], stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    assert texts == {0: "one", 1: "two"}


def test_completions_of_token_ids(client):
    ids = list(b"<<say:Hi>>")
    answer = client.completions.create(model="stub", prompt=ids, echo=True)
    assert answer.choices[0].text == "<<say:Hi>>Hi"
    assert answer.usage.prompt_tokens == len(ids)
    answer = client.completions.create(model="stub", prompt=[ids, ids], echo=True)
    assert [choice.text for choice in answer.choices] == ["<<say:Hi>>Hi"] * 2


def test_completion_logprobs(client):
    answer = client.completions.create(model="stub", prompt="<<say:abc>>", logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs.tokens == ["a", "b", "c", "<|im_end|>"]
    assert logprobs.text_offset == [0, 1, 2, 3]
    assert len(logprobs.token_logprobs) == 4
    for token, value, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
        assert top[token] == value
        assert 2 <= len(top) <= 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_echo_scores_the_prompt(client, stream, max_tokens):
    prompt = "caf\u00e9 \u4e2d!"
    fields = {"model": "stub", "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": max_tokens,
              "temperature": 0, "seed": 1234, "extra_body": {"ignore_eos": True}}
    if stream:
        tokens, values, tops, offsets, text = [], [], [], [], ""
        for chunk in client.completions.create(stream=True, **fields):
            text += chunk.choices[0].text
            part = chunk.choices[0].logprobs
            if part:
                tokens += part.tokens
                values += part.token_logprobs
                tops += part.top_logprobs
                offsets += part.text_offset
    else:
        answer = client.completions.create(**fields)
        assert answer.usage.completion_tokens == max_tokens
        part = answer.choices[0].logprobs
        tokens, values, tops, offsets = part.tokens, part.token_logprobs, part.top_logprobs, part.text_offset
        text = answer.choices[0].text
        assert answer.choices[0].finish_reason == "length"
    count = len(prompt.encode())  # every token of it is a byte
    assert text.startswith(prompt)
    assert len(tokens) == len(values) == len(tops) == len(offsets) == count + max_tokens
    assert values[0] is None and tops[0] is None
    assert all(value < 0 for value in values[1:])
    assert tokens[:5] == ["c", "a", "f", "bytes:\\xc3", "bytes:\\xa9"]
    assert offsets[:7] == [0, 1, 2, 3, 4, 4, 5]
    for token, value, top in zip(tokens[1:], values[1:], tops[1:]):
        assert top[token] == value
