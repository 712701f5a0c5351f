# label: slow
# Hundreds of clients at once, some of which leave: every answer is the one that a quiet server gives.
import asyncio
import json
import random

from stub_server import StubServer, chat, events, read_response, request_bytes

REQUESTS, CLIENTS = 4000, 250
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = '<tool_call>{"name": "f", "arguments": {"a": [1, "\u4e2d"]}}</tool_call>'


def kinds():
    for seed in range(12):
        yield "chat", chat("tell me", temperature=1, seed=seed, max_tokens=5 + 20 * (seed % 4))
        yield "chat", chat("tell me", temperature=1, seed=seed, max_tokens=40, n=3, stop=["e", "the"])
        yield "chat", chat("tell me", seed=seed, max_tokens=30, logprobs=True, top_logprobs=3, min_tokens=10)
        yield "completions", {"prompt": ["a b c", "d e"], "seed": seed, "temperature": 1, "max_tokens": 20}
        yield "completions", {"prompt": "a b c " * seed + "x", "echo": True, "logprobs": 2, "max_tokens": seed}
    yield "chat", chat(f"<<say:I call.{CALL}{CALL}>>", tools=TOOLS)
    yield "chat", chat("<<say:why</think>because>>", chat_template_kwargs={"enable_thinking": True})
    yield "chat", chat("<<say:\u00e9\u4e2d\U0001f600 " + "word " * 50 + ">>")


def essence(path, body, stream, raw):
    """What of an answer must not depend on the company it was given in."""
    if not stream:
        answer = json.loads(raw)
        for name in ("id", "created", "timings"):
            answer.pop(name)
        for choice in answer["choices"]:
            for call in choice.get("message", {}).get("tool_calls", []):
                call.pop("id")
        return json.dumps(answer)
    data = list(events(raw))
    assert data[-1] == "[DONE]" and data.count("[DONE]") == 1
    choices = {}
    for event in data[:-1]:
        event = json.loads(event)
        assert "error" not in event, event
        for choice in event["choices"]:
            kept = choices.setdefault(choice["index"], {"text": "", "logprobs": [], "finish": None, "calls": {}})
            assert kept["finish"] is None
            delta = choice.get("delta", {})
            kept["text"] += choice.get("text", "") + delta.get("content", "") + delta.get("reasoning", "")
            for call in delta.get("tool_calls", []):
                kept["calls"][call["index"]] = kept["calls"].get(call["index"], "") + call["function"].get("name", "") + \
                    call["function"]["arguments"]
            kept["logprobs"].append(choice.get("logprobs"))
            kept["finish"] = choice["finish_reason"]
    assert all(choice["finish"] for choice in choices.values())
    return json.dumps(choices, sort_keys=True)


async def exchange(port, data, leave_after=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if leave_after is not None:
            await reader.read(leave_after)
            return None
        out = await reader.read(-1)
        return out
    finally:
        writer.close()


class Replay:
    """A response already read, for stub_server.read_response."""

    def __init__(self, data):
        self.data = data

    def recv(self, count):
        out, self.data = self.data[:count], self.data[count:]
        return out


def test_no_answer_is_lost_crossed_or_changed():
    requests = []
    for kind, body in kinds():
        path = "/v1/chat/completions" if kind == "chat" else "/v1/completions"
        for stream in (False, True):
            data = request_bytes("POST", path, {**body, "stream": stream}, ["Connection: close"])
            requests.append((path, body, stream, data))

    with StubServer("--slots=64", "--queue=4000") as server:
        expected = []
        for path, body, stream, data in requests:
            with server.connect() as sock:
                sock.sendall(data)
                status, _, raw = read_response(sock)
            assert status == 200, raw
            expected.append(essence(path, body, stream, raw))

        rng = random.Random(3)
        counts = {"same": 0, "left": 0}

        async def client(turns):
            for index, leave in turns:
                path, body, stream, data = requests[index]
                raw = await exchange(server.port, data, leave)
                if leave is not None:
                    counts["left"] += 1
                    continue
                status, _, raw = read_response(Replay(raw))
                assert status == 200, raw
                assert essence(path, body, stream, raw) == expected[index]
                counts["same"] += 1

        async def run():
            each = REQUESTS // CLIENTS
            await asyncio.gather(*(client([(rng.randrange(len(requests)), rng.randrange(2000) if rng.random() < 0.05 else None)
                                           for _ in range(each)]) for _ in range(CLIENTS)))

        files = server.open_files()
        asyncio.run(run())
        assert counts["same"] + counts["left"] == REQUESTS
        server.wait_idle(5)
        server.wait(lambda s: s["connections"] == 0 and s["exchanges"] == 0, 5)
        assert server.open_files() <= files
        before = server.rss_bytes()
        asyncio.run(run())
        server.wait_idle(5)
        assert server.rss_bytes() - before < 16 << 20
