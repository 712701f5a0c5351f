"""nibble bench: in-process, against servers, replayed requests, records and their comparison."""

from __future__ import annotations

import http.server
import json
import threading
import xml.etree.ElementTree

import pytest

OK, USAGE, PEER = 0, 2, 8
# The tiny model makes a token in some microseconds: a figure wants many of them, and a core left to see them come.
LONG = ("--device", "cpu", "--threads", 1, "--prompt-tokens", 8, "--output-tokens", 96, "--repeats", 2)
SHORT = ("--device", "cpu", "--prompt-tokens", 8, "--output-tokens", 6, "--repeats", 2)


@pytest.fixture
def record(nibble):
    def run(*arguments) -> dict:
        result = nibble("bench", *arguments, "--json")
        assert result.returncode == OK, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture
def nano(source):
    return source / "tests" / "golden" / "nano-nvfp4"


class RivalHandler(http.server.BaseHTTPRequestHandler):
    """Streams one word a token, as servers do that know no token ids; what it was asked is kept."""

    protocol_version = "HTTP/1.1"
    server_version = "rival/1.0"

    def log_message(self, *_):
        pass

    def answer(self, status: int, content_type: str, body: bytes):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, "application/json", b'{"object": "list", "data": [{"id": "rival-model"}]}')

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers.get("Authorization")))
        if self.server.fail:
            self.answer(400, "application/json", b'{"error": {"message": "ids beyond the vocabulary"}}')
            return
        count = body.get("max_tokens", 3)
        events = [{"choices": [{"index": 0, "text": "word "}]}] * (count // 2)
        usage = {"prompt_tokens": 5, "completion_tokens": count}
        events.append({"choices": [], "usage": usage})
        text = "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events) + "data: [DONE]\r\n\r\n"
        self.answer(200, "text/event-stream", text.encode())


@pytest.fixture
def rival():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RivalHandler)
    server.asked, server.fail = [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()
    server.server_close()


def test_a_record_says_what_was_measured_where_and_by_what(record, model_folder):
    taken = record(model_folder, *LONG, "--concurrency", "1,3")
    assert [run["concurrency"] for run in taken["runs"]] == [1, 3]
    for run in taken["runs"]:
        decode = run["decode_tokens_per_second"]
        assert 0 < decode["low"] <= decode["median"] <= decode["high"]
        assert 0 < run["ttft_ms"]["p50"] <= run["ttft_ms"]["p90"] <= run["ttft_ms"]["p99"]
        assert run["inter_token_ms"]["p50"] <= run["inter_token_ms"]["p99"]
        assert run["tokens"] == {"prompt": 2 * 8 * run["concurrency"], "cached": 0, "output": 2 * 96 * run["concurrency"]}
        assert run["ceiling_tokens_per_second"] > 0 and 0 < run["share_of_bandwidth"]
        assert run["bytes_per_step"] > 0 and run["read_bandwidth_gb_s"] > 0
    assert taken["counted"] == "token ids" and taken["prompts"] == "distinct random ids"
    assert len(taken["checkpoint"]["hash"]) == 64 and "headers" in taken["checkpoint"]["of"]
    assert taken["program"]["commit"] and taken["machine"]["cpu"] and taken["machine"]["kernel"]
    assert taken["device"]["name"] and taken["device"]["threads"] >= 1 and "state" in taken["device"]
    assert taken["flags"]["concurrency"] == "1, 3" and taken["flags"]["max-num-batched-tokens"].startswith("512")


def test_the_table_has_a_line_a_run(nibble, model_folder):
    result = nibble("bench", model_folder, *LONG, "--concurrency", "1,2")
    assert result.returncode == OK, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.split()[:1] in (["1"], ["2"])]
    assert len(lines) == 2 and all("%" in line for line in lines)


def test_the_profile_names_rows_and_counts_the_experts_that_were_read(record, nano):
    taken = record(nano, *SHORT, "--concurrency", 4, "--profile")
    run, profile = taken["runs"][0], taken["profile"][0]
    assert 1 <= run["distinct_experts"] <= 8 and run["expected_distinct_experts"] > 1
    assert {"moe", "linear", "attention"} <= {step["op"] for step in profile["steps"]}
    assert all(step["row"] and step["microseconds"] > 0 for step in profile["steps"])
    assert sum(line["count"] for line in profile["ops"]) == len(profile["steps"])


def test_the_routing_that_was_measured_is_what_audit_reads(nibble, record, nano, model_folder, tmp_path):
    file = tmp_path / "routing.json"
    record(nano, *SHORT, "--concurrency", 3, "--write-routing", file)
    routing = json.loads(file.read_text())
    config = json.loads((nano / "config.json").read_text())
    assert len(routing) == config["hybrid_override_pattern"].count("E")
    tokens = (1 + 2) * 3 * (8 + 6 - 1)  # rounds with the one that warms up; a generation's last token is not fed
    for counts in routing.values():
        assert len(counts) == config["n_routed_experts"]
        assert sum(counts) == tokens * config["num_experts_per_tok"]
    audited = nibble("audit", nano, "--routing", file, "--batch", 4, "--json")
    assert json.loads(audited.stdout)["models"][0]["routing"] == "measured", audited.stderr

    dense = nibble("bench", model_folder, *SHORT, "--write-routing", file)
    assert dense.returncode == USAGE and "no routed layer" in dense.stderr
    away = nibble("bench", "--url", "http://127.0.0.1:1", "--write-routing", file)
    assert away.returncode == USAGE and "--write-routing" in away.stderr


def test_identical_prompts_are_labelled_and_share_their_experts(record, nibble, nano):
    assert record(nano, *SHORT, "--same-prompt")["prompts"] == "identical"
    assert "IDENTICAL PROMPTS" in nibble("bench", nano, *SHORT, "--same-prompt").stdout


def test_a_server_is_measured_by_its_url(record, serve, model_folder):
    server = serve(model_folder, "--device", "cpu")
    taken = record("--url", server.url, *SHORT, "--concurrency", "1,2", "--vocab-size", 200)
    assert taken["target"] == server.url and taken["counted"] == "token ids"
    assert [run["tokens"]["output"] for run in taken["runs"]] == [12, 24]
    assert [run["tokens"]["prompt"] for run in taken["runs"]] == [16, 32]
    assert "checkpoint" not in taken and "share_of_bandwidth" not in taken["runs"][0]
    known = record(model_folder, "--url", server.url, *LONG, "--vocab-size", 200)
    assert known["checkpoint"]["hash"] and known["runs"][0]["share_of_bandwidth"] > 0


def test_a_rival_without_token_ids_is_counted_by_its_usage(record, nibble, rival):
    taken = record("--url", rival.url + "/v1", *SHORT, "--concurrency", 2, "--api-key", "sesame")
    assert taken["counted"] == "the server's usage"
    assert taken["server"] == {"software": taken["server"]["software"], "model": "rival-model"}
    assert taken["server"]["software"].startswith("rival/1.0")
    assert taken["runs"][0]["tokens"] == {"prompt": 20, "cached": 0, "output": 24}
    assert len(rival.asked) == 2 * 3  # the first round warms up
    prompts = [tuple(body["prompt"]) for _, body, _ in rival.asked]
    assert len(set(prompts)) == len(prompts) and all(len(prompt) == 8 for prompt in prompts)
    path, body, key = rival.asked[0]
    assert path == "/v1/completions" and key == "Bearer sesame" and body["model"] == "rival-model"
    assert body["stream"] and body["ignore_eos"] and body["temperature"] == 0 and body["max_tokens"] == 6
    assert "sesame" not in json.dumps(taken)


def test_what_a_server_refuses_is_said(nibble, rival):
    rival.fail = True
    result = nibble("bench", "--url", rival.url, *SHORT)
    assert result.returncode == PEER and "400: ids beyond the vocabulary" in result.stderr


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [("https://127.0.0.1:1", USAGE, "https"), ("127.0.0.1:8000", USAGE, "http://"), ("http://127.0.0.1:1", PEER, "127.0.0.1:1")],
)
def test_a_url_that_cannot_be_asked_is_named(nibble, url, code, says):
    result = nibble("bench", "--url", url, *SHORT)
    assert result.returncode == code and says in result.stderr and result.stdout == ""


def test_a_file_of_requests_is_replayed(record, nibble, model_folder, rival, tmp_path):
    file = tmp_path / "requests.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0},
        {"prompt": "Once upon a time", "max_tokens": 3},
        {"custom_id": "3", "method": "POST", "url": "/v1/completions", "body": {"model": "x", "prompt": "And", "max_tokens": 4}},
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    taken = record(model_folder, "--device", "cpu", "--requests", file, "--concurrency", "1,2", "--repeats", 1)
    assert taken["requests"]["count"] == 3 and len(taken["requests"]["hash"]) == 16
    assert taken["prompts"] == "of a file" and len(taken["runs"]) == 2
    assert 3 <= taken["runs"][0]["tokens"]["output"] <= 11 and taken["runs"][0]["share_of_bandwidth"] > 0

    record("--url", rival.url, "--requests", file, "--repeats", 1)
    asked = [path for path, _, _ in rival.asked]
    assert asked == ["/v1/chat/completions", "/v1/completions", "/v1/completions"] * 2
    assert all(body["model"] == "rival-model" and body["stream"] for _, body, _ in rival.asked)

    file.write_text('{"prompt": "x"}\n{"input": "y"}\n')
    result = nibble("bench", model_folder, "--device", "cpu", "--requests", file)
    assert result.returncode == USAGE and "requests.jsonl:2" in result.stderr


def test_the_picture_has_the_curve_and_the_ceiling(nibble, model_folder, tmp_path):
    picture = tmp_path / "bench.svg"
    result = nibble("bench", model_folder, *LONG, "--concurrency", "1,2,4", "--svg", picture)
    assert result.returncode == OK, result.stderr
    text = picture.read_text()
    assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
    assert "ceiling of memory" in text and text.count("<circle") == 3


def test_records_are_compared_and_unlike_ones_refused(record, nibble, model_folder, nano, tmp_path):
    files = []
    for name, arguments in {
        "a": (model_folder, *LONG),
        "b": (model_folder, *LONG),
        "seeded": (model_folder, *LONG, "--seed", 2),
        "same": (model_folder, *LONG, "--same-prompt"),
        "nano": (nano, *LONG),
        "longer": (model_folder, "--device", "cpu", "--threads", 1, "--prompt-tokens", 9, "--output-tokens", 96, "--repeats", 1),
    }.items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(record(*arguments)))
    a, b, seeded, same, other_model, longer = files
    result = nibble("bench", "compare", a, b)
    assert result.returncode == OK, result.stderr
    assert " x" in result.stdout
    ratios = json.loads(nibble("bench", "compare", a, b, "--json").stdout)
    decode = ratios["runs"][0]["decode_tokens_per_second"]
    assert decode["ratio"] == pytest.approx(decode["b"] / decode["a"])
    for unlike, field in [(seeded, "seed: 1 and 2"), (same, "prompts"), (other_model, "checkpoint.hash"), (longer, "no combination")]:
        result = nibble("bench", "compare", a, unlike)
        assert result.returncode == USAGE and field in result.stderr and result.stdout == ""
    nothing = tmp_path / "nothing.json"
    nothing.write_text("[1]")
    assert nibble("bench", "compare", a, nothing).returncode == USAGE
    assert nibble("bench", "compare", a).returncode == USAGE
