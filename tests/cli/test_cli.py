"""The command line from outside: exit codes, where values come from, what is said and where."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest

import served
import tiny_model

OK, INTERNAL, USAGE, MODEL, DOES_NOT_FIT, DEVICE, ADDRESS = 0, 1, 2, 3, 4, 5, 6


def setting(output: str, flag: str) -> tuple[str, str]:
    """(value, origin) of a line of --print-config."""
    found = re.search(rf"^{flag} +(\S.*?)  +(\S.*)$", output, re.MULTILINE)
    assert found, f"no {flag} in:\n{output}"
    return found[1], found[2]


# ------------------------------------------------------------------------------------------------- words and usage


def test_version_names_commit_and_devices(nibble):
    result = nibble("version", "--json")
    assert result.returncode == OK
    version = json.loads(result.stdout)
    assert re.fullmatch(r"\d+\.\d+\.\d+", version["version"])
    assert version["commit"]
    assert "cpu" in version["devices"]
    assert {"llama", "nemotron_h"} <= set(version["families"])
    plain = nibble("version")
    assert plain.returncode == OK and version["version"] in plain.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("run", "--help"), ("version", "--help")])
def test_help_goes_to_stdout(nibble, arguments):
    result = nibble(*arguments)
    assert result.returncode == OK
    assert "Options" in result.stdout or "OPTIONS" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "expected a verb (serve, run"),
        (("fly",), "fly"),
        (("serve", "m", "--no-such-flag"), "--no-such-flag"),
        (("serve", "m", "--port", "99999"), "--port"),
        (("serve", "m", "--port", "eighty"), "--port"),
        (("serve", "m", "--max-model-len", "-5"), "--max-model-len"),
        (("serve", "m", "--max-model-len", "many"), "--max-model-len"),
        (("serve", "m", "--memory-budget", "24XB"), "--memory-budget"),
        (("serve", "m", "--kv-cache-dtype", "int3"), "--kv-cache-dtype"),
        (("serve", "m", "--threads", "-1"), "--threads"),
        (("serve", "m", "--chat-template", "/nowhere/x.jinja"), "--chat-template"),
        (("serve", "m", "surplus"), "surplus"),
        (("run", "m", "hello", "surplus"), "surplus"),
        (("run", "m", "hello", "--temperature", "-1"), "--temperature"),
        (("run", "m", "hello", "--top-p", "2"), "--top-p"),
        (("version", "surplus"), "surplus"),
    ],
)
def test_mistakes_of_usage_exit_2_and_say_which(nibble, arguments, says):
    result = nibble(*arguments)
    assert result.returncode == USAGE, result.stderr
    assert says in result.stderr
    assert result.stdout == ""


def test_every_flag_is_documented_and_every_documented_flag_exists(nibble, source):
    document = (source / "docs" / "cli.md").read_text()
    verbs = re.findall(r"^  (\w+) {2,}\S", nibble("--help").stdout.split("Subcommands:")[1], re.MULTILINE)
    assert {"serve", "run", "version"} <= set(verbs)
    exist = set()
    for verb in verbs:
        assert f"\n## {verb}\n" in document, f"docs/cli.md has no section {verb}"
        exist |= set(re.findall(r"^  .*?(--[a-z][a-z0-9-]+)", nibble(verb, "--help").stdout, re.MULTILINE))
        exist |= set(re.findall(r",(--no-[a-z-]+)", nibble(verb, "--help").stdout))
    exist.discard("--help")
    documented = set(re.findall(r"`(--[a-z][a-z0-9-]+)[ `]", document))
    assert exist - documented == set(), "not in docs/cli.md"
    assert documented - exist == set(), "in docs/cli.md alone"


def test_a_parser_or_device_that_does_not_exist_is_a_mistake_of_usage(nibble, model_folder):
    for flag in ("--reasoning-parser", "--tool-call-parser", "--device"):
        result = nibble("run", model_folder, "hello", flag, "no-such-name")
        assert result.returncode == USAGE, result.stderr
        assert "no-such-name" in result.stderr


def test_a_gpu_that_is_not_there_exits_5(nibble, model_folder):
    if os.path.exists("/dev/nvidia0"):
        pytest.skip("there is a GPU")
    result = nibble("run", model_folder, "hello", "--device", "cuda")
    assert result.returncode == DEVICE
    assert len(result.stderr.strip().splitlines()) == 1


# ------------------------------------------------------------------------------------------ where a value comes from


def test_flag_beats_environment_beats_file_beats_default(nibble, tmp_path):
    config = tmp_path / "nibble.yaml"
    config.write_text("model: from-file\nport: 1111\nmax_num_seqs: 11\nthreads: 3\nserved-model-name: [a, b]\nstrict: true\n")
    result = nibble(
        "serve", "--config", config, "--port", "3333", "--print-config",
        env={"NIBBLE_PORT": "2222", "NIBBLE_MAX_NUM_SEQS": "22", "NIBBLE_LOG_JSONL": "true"},
    )  # fmt: skip
    assert result.returncode == OK, result.stderr
    assert setting(result.stdout, "port") == ("3333", "command line")
    assert setting(result.stdout, "max-num-seqs") == ("22", "NIBBLE_MAX_NUM_SEQS")
    assert setting(result.stdout, "threads") == ("3", f"{config}:4")
    assert setting(result.stdout, "model") == ("from-file", f"{config}:1")
    assert setting(result.stdout, "served-model-name") == ("a, b", f"{config}:5")
    assert setting(result.stdout, "strict") == ("true", f"{config}:6")
    assert setting(result.stdout, "log-jsonl") == ("true", "NIBBLE_LOG_JSONL")
    assert setting(result.stdout, "host") == ("127.0.0.1", "built in")


def test_the_environment_may_name_the_model_and_repeat_a_flag(nibble):
    result = nibble("serve", "--print-config", env={"NIBBLE_MODEL": "org/name", "NIBBLE_SERVED_MODEL_NAME": "a,b"})
    assert setting(result.stdout, "model") == ("org/name", "NIBBLE_MODEL")
    assert setting(result.stdout, "served-model-name") == ("a, b", "NIBBLE_SERVED_MODEL_NAME")


def test_a_variable_that_is_no_flag_is_an_error_with_a_hint(nibble):
    result = nibble("serve", "m", "--print-config", env={"NIBBLE_MAX_MODEL_LENGHT": "1"})
    assert result.returncode == USAGE and "NIBBLE_MAX_MODEL_LENGHT" in result.stderr
    result = nibble("version", env={"NIBBLE_PRT": "1"})
    assert result.returncode == USAGE and "NIBBLE_PORT" in result.stderr


def test_a_variable_of_another_verb_is_no_error(nibble):
    assert nibble("version", env={"NIBBLE_PORT": "80"}).returncode == OK


@pytest.mark.parametrize(
    ("variable", "value"), [("NIBBLE_PORT", "http"), ("NIBBLE_STRICT", "perhaps"), ("NIBBLE_MEMORY_BUDGET", "big")]
)
def test_a_wrong_variable_is_named(nibble, variable, value):
    result = nibble("serve", "m", "--print-config", env={variable: value})
    assert result.returncode == USAGE
    assert f"{variable}={value}" in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port: 80\nport: 81\n", ":2: port is set twice"),
        ("prot: 80\n", ":1: prot is no flag"),
        ("port: http\n", ":1: port"),
        ("- port\n", "expected a mapping"),
        ("port: {a: b}\n", "expected a value"),
        ("port: [80\n", "not YAML"),
        ("config: other.yaml\n", "config is no flag"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(nibble, tmp_path, text, says):
    config = tmp_path / "nibble.yaml"
    config.write_text(text)
    result = nibble("serve", "m", "--config", config, "--print-config")
    assert result.returncode == USAGE
    assert str(config) in result.stderr and says in result.stderr


def test_a_config_file_that_is_not_there_exits_2(nibble, tmp_path):
    assert nibble("serve", "m", "--config", tmp_path / "none.yaml").returncode == USAGE


def test_keys_are_never_shown(nibble):
    result = nibble("serve", "m", "--api-key", "tops3cret", "--print-config", env={})
    assert result.returncode == OK and "tops3cret" not in result.stdout + result.stderr
    result = nibble("serve", "m", "--print-config", env={"NIBBLE_API_KEY": "tops3cret"})
    assert result.returncode == OK and "tops3cret" not in result.stdout + result.stderr


# -------------------------------------------------------------------------------------------------- the model's files


def test_a_model_that_is_not_there_exits_3_and_says_where_was_looked(nibble, tmp_path):
    result = nibble("run", tmp_path / "nowhere", "hello")
    assert result.returncode == MODEL and "nowhere" in result.stderr
    result = nibble("run", "no-org/no-name", "hello", env={"HF_HUB_CACHE": str(tmp_path)})
    assert result.returncode == MODEL and "no-org/no-name" in result.stderr and str(tmp_path) in result.stderr


def damage(folder, how: str) -> str:
    """Damages a copy of the model; returns what the message must name."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    data = bytearray(weights.read_bytes())
    settings = json.loads(config.read_text())
    if how == "truncated weights":
        weights.write_bytes(data[:-100])
    elif how == "header length":
        weights.write_bytes(struct.pack("<Q", 1 << 60) + data[8:])
    elif how == "empty weights":
        weights.write_bytes(b"")
    elif how == "no weights":
        weights.unlink()
        return ""
    elif how == "config is no JSON":
        config.write_text("{")
        return "config.json"
    elif how == "hidden_size":
        config.write_text(json.dumps(settings | {"hidden_size": 96}))
        return "96"
    elif how == "family":
        config.write_text(json.dumps(settings | {"model_type": "mammoth", "architectures": ["MammothForCausalLM"]}))
        return "mammoth"
    elif how == "tokenizer":
        (folder / "tokenizer.json").write_text('{"model": {"type": "Unigram"}}')
        return "tokenizer.json"
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        return "tokenizer.json"
    elif how == "template":
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "{% for x in %}"}))
        return "tokenizer_config.json"
    elif how == "missing tensor":
        tensors = tiny_model.tensors(settings)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tiny_model.write_safetensors(weights, tensors)
        return "model.layers.1.mlp.up_proj"
    elif how == "surplus tensor":
        tensors = tiny_model.tensors(settings)
        tensors["model.layers.7.extra.weight"] = tensors["model.norm.weight"]
        tiny_model.write_safetensors(weights, tensors)
        return "model.layers.7.extra.weight"
    return "model.safetensors"


@pytest.mark.parametrize(
    "how",
    ["truncated weights", "header length", "empty weights", "no weights", "config is no JSON", "hidden_size", "family",
     "tokenizer", "no tokenizer", "template", "missing tensor", "surplus tensor"],
)  # fmt: skip
def test_a_damaged_model_exits_3_and_names_what_is_wrong(nibble, model_folder, tmp_path, how):
    folder = tmp_path / "damaged"
    shutil.copytree(model_folder, folder)
    named = damage(folder, how)
    result = nibble("run", folder, "hello")
    assert result.returncode == MODEL, result.stderr
    assert named in result.stderr
    assert result.stdout == ""


def test_verify_finds_a_flipped_bit(nibble, model_folder, tmp_path):
    folder = tmp_path / "summed"
    shutil.copytree(model_folder, folder)
    weights = folder / "model.safetensors"
    sums = subprocess.run(["sha256sum", weights.name], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / "SHA256SUMS").write_text(sums)
    good = nibble("run", folder, "hello", "--max-tokens", "2", "--verify")
    assert good.returncode == OK and "SHA-256" not in good.stderr
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert nibble("run", folder, "hello", "--max-tokens", "2").returncode == OK  # one bit of one weight
    bad = nibble("run", folder, "hello", "--verify")
    assert bad.returncode == MODEL and "SHA-256" in bad.stderr and "model.safetensors" in bad.stderr


# ------------------------------------------------------------------------------------------------------------- memory


def test_what_does_not_fit_is_refused_with_the_sum_line_by_line(nibble, model_folder):
    result = nibble("run", model_folder, "hello", "--memory-budget", "100KiB")
    assert result.returncode == DOES_NOT_FIT
    for line in ("weights", "keys and values", "scratch", "together", "--memory-budget"):
        assert line in result.stderr
    result = nibble("run", model_folder, "hello", "--memory-budget", "1000TiB")
    assert result.returncode == DOES_NOT_FIT and "available" in result.stderr


def test_a_context_beyond_the_models_is_refused_with_both_numbers(nibble, model_folder):
    result = nibble("run", model_folder, "hello", "--max-model-len", "513")
    assert result.returncode == USAGE and "513" in result.stderr and "512" in result.stderr


# ---------------------------------------------------------------------------------------------------------------- run


def test_run_answers_on_stdout_alone(nibble, model_folder):
    first = nibble("run", model_folder, "hello", "--temperature", "0", "--max-tokens", "8")
    again = nibble("run", model_folder, "hello", "--temperature", "0", "--max-tokens", "8")
    assert first.returncode == OK, first.stderr
    assert first.stdout.endswith("\n") and first.stdout == again.stdout
    assert first.stderr == ""


def test_run_is_the_same_whatever_the_threads(nibble, model_folder):
    one = nibble("run", model_folder, "hello", "--temperature", "0", "--max-tokens", "32", "--threads", "1")
    two = nibble("run", model_folder, "hello", "--temperature", "0", "--max-tokens", "32", "--threads", "2")
    assert one.returncode == OK and one.stdout == two.stdout


def test_a_seed_repeats_a_drawn_answer(nibble, model_folder):
    def answer(seed):
        return nibble("run", model_folder, "hello", "--temperature", "1", "--seed", seed, "--max-tokens", "24").stdout

    assert answer(7) == answer(7)
    assert answer(7) != answer(8)


def test_run_takes_what_is_piped_in(nibble, model_folder):
    arguments = ("--temperature", "0", "--max-tokens", "8")
    piped = nibble("run", model_folder, *arguments, stdin="hello\n")
    assert piped.returncode == OK
    assert piped.stdout == nibble("run", model_folder, "hello", *arguments).stdout
    both = nibble("run", model_folder, "hello", *arguments, stdin="world\n")
    assert both.stdout == nibble("run", model_folder, "hello\n\nworld", *arguments).stdout
    nothing = nibble("run", model_folder)
    assert nothing.returncode == USAGE and "prompt" in nothing.stderr


def test_run_without_a_template_needs_raw(nibble, model_folder, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(model_folder, folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["chat_template"]
    path.write_text(json.dumps(settings))
    chat = nibble("run", folder, "hello")
    assert chat.returncode == MODEL and "--raw" in chat.stderr
    assert nibble("run", folder, "hello", "--raw", "--max-tokens", "4").returncode == OK


def test_a_prompt_beyond_the_context_names_both_numbers(nibble, model_folder):
    result = nibble("run", model_folder, "x" * 600)
    assert result.returncode == DOES_NOT_FIT and "512" in result.stderr and re.search(r"\b6\d\d\b", result.stderr)


def test_stats_go_to_stderr(nibble, model_folder):
    result = nibble("run", model_folder, "hello", "--stats", "--max-tokens", "8", "--temperature", "0")
    assert result.returncode == OK
    assert re.search(r"\d+ tokens after \d+, the first in \d+ ms, [\d.]+ tokens/s", result.stderr)


def test_random_weights_need_only_the_config_and_tokenizer(nibble, model_folder, tmp_path):
    folder = tmp_path / "shapes"
    shutil.copytree(model_folder, folder)
    (folder / "model.safetensors").unlink()
    assert nibble("run", folder, "hello").returncode == MODEL
    assert nibble("run", folder, "hello", "--random-weights", "--max-tokens", "4").returncode == OK


class Terminal:
    """A child on a pseudo-terminal, read until something is there."""

    def __init__(self, arguments):
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(arguments[0], arguments, served.clean_environment() | {"TERM": "xterm"})
        self.seen = ""

    def until(self, pattern: str, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            if time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"the child ended; no {pattern!r} in {self.seen!r}") from None
        seen, self.seen = self.seen, ""
        return seen

    def say(self, text: str) -> None:
        os.write(self._master, text.encode())

    def status(self, seconds: float = 60) -> int:
        end = time.monotonic() + seconds
        try:
            while True:
                if select.select([self._master], [], [], 0.2)[0]:
                    self.seen += os.read(self._master, 65536).decode(errors="replace")
                elif time.monotonic() > end:
                    os.kill(self.pid, signal.SIGKILL)
                    raise AssertionError(f"the child goes on; last seen: {self.seen!r}")
        except OSError:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self._master)
        return os.waitstatus_to_exitcode(status)


def test_a_chat_in_the_terminal(binary, model_folder):
    terminal = Terminal([str(binary), "run", str(model_folder), "--temperature", "0", "--max-tokens", "12"])
    terminal.until(r"> $")
    terminal.say("/help\r")
    assert "/reset" in terminal.until(r"Ctrl-C[^>]*> $")
    terminal.say("hello\r")
    terminal.until(r"\n.*> $")
    terminal.say("/system be brief\r")
    terminal.until(r"new beginning[^>]*> $")
    terminal.say("/fly\r")
    terminal.until(r"no command[^>]*> $")
    terminal.say("half a line")
    terminal.until(r"half a line")
    os.kill(terminal.pid, signal.SIGINT)
    terminal.until(r"> $")
    terminal.say("\x04")
    assert terminal.status() == OK


def test_ctrl_c_stops_an_answer_and_not_the_chat(binary, tmp_path):
    # long enough that it is still being answered when the signal comes
    folder = tiny_model.write(tmp_path / "slow", max_position_embeddings=65536, num_hidden_layers=8)
    terminal = Terminal([str(binary), "run", str(folder), "--temperature", "1", "--seed", "3", "--max-model-len", "60000"])
    terminal.until(r"> $")
    terminal.say("hello\r")
    terminal.until(r"hello\r\n[^>]{20}")
    os.kill(terminal.pid, signal.SIGINT)
    terminal.until(r"(\(stopped\)[^>]*)?> $")
    terminal.say("/quit\r")
    assert terminal.status() == OK


# -------------------------------------------------------------------------------------------------------------- serve


def test_serve_says_the_plan_the_cost_and_when_it_is_ready(serve, model_folder):
    server = serve(model_folder)
    for pattern in (r"listening on http://127\.0\.0\.1:\d+", r"weights +\d", r"keys and values +\d", r"together +\d",
                    r"one token reads [\d.]+ MB", r"ceiling is [\d.]+ tokens/s", r"READY in [\d.]+ s", r"curl http://127"):  # fmt: skip
        deadline = time.monotonic() + 5
        while not re.search(pattern, server.log()):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{server.log()}"
            time.sleep(0.02)
    status, _, models = server.request("GET", "/v1/models")
    assert status == 200 and models["data"][0]["id"] == "tiny-llama"
    status, _, reply = server.request(
        "POST", "/v1/chat/completions",
        {"model": "tiny-llama", "max_tokens": 4, "temperature": 0, "messages": [{"role": "user", "content": "hello"}]},
    )  # fmt: skip
    assert status == 200 and reply["usage"]["completion_tokens"] >= 1
    metrics = server.request("GET", "/metrics")[2].decode()
    assert re.search(r"^nibble_ceiling_tokens_per_second(\{.*\})? [\d.e+]+$", metrics, re.MULTILINE)
    assert re.search(r"^nibble_bytes_per_token(\{.*\})? [\d.e+]+$", metrics, re.MULTILINE)
    assert server.stop() == OK
    assert server.process.stdout.read() == b""


def test_run_and_serve_give_the_same_answer(serve, nibble, model_folder):
    server = serve(model_folder)
    for question in ("hello", "What is the capital of France?", "äöü 你好"):
        _, _, reply = server.request(
            "POST", "/v1/chat/completions",
            {"model": "tiny-llama", "max_tokens": 24, "temperature": 0, "messages": [{"role": "user", "content": question}]},
        )  # fmt: skip
        run = nibble("run", model_folder, question, "--temperature", "0", "--max-tokens", "24")
        assert run.stdout == reply["choices"][0]["message"]["content"] + "\n"


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_serve_finishes_what_runs_and_exits_0(serve, model_folder, with_signal):
    server = serve(model_folder)
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = json.dumps({"model": "tiny-llama", "prompt": "hello", "max_tokens": 400, "stream": True, "ignore_eos": True})
    connection.sendall(
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    received = connection.recv(4096)
    server.process.send_signal(with_signal)
    while piece := connection.recv(65536):
        received += piece
    assert b"data: [DONE]" in received
    assert server.process.wait(timeout=60) == OK
    assert "drained" in server.log()


def test_a_second_signal_cuts(serve, tmp_path):
    folder = tiny_model.write(tmp_path / "slow", max_position_embeddings=65536, num_hidden_layers=8)
    server = serve(folder, "--max-model-len", "60000")
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = json.dumps({"model": "slow", "prompt": "hello", "max_tokens": 50000, "stream": True, "ignore_eos": True})
    connection.sendall(
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    connection.recv(4096)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None  # still answering
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == 143
    assert time.monotonic() - began < 5
    connection.close()


def test_an_address_in_use_exits_6(serve, nibble, model_folder):
    server = serve(model_folder)
    result = nibble("serve", model_folder, "--port", server.port)
    assert result.returncode == ADDRESS and str(server.port) in result.stderr


def test_a_public_address_wants_a_key(nibble, serve, model_folder):
    result = nibble("serve", model_folder, "--host", "0.0.0.0", "--port", "0")
    assert result.returncode == USAGE and "--api-key" in result.stderr


def test_keys_from_a_file_are_asked_for(serve, nibble, model_folder, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# ours\nfirst\n\nsecond\r\n")
    server = serve(model_folder, "--api-key-file", keys)
    assert server.request("GET", "/v1/models")[0] == 401
    for key in ("first", "second"):
        assert server.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})[0] == 200
    assert server.request("GET", "/v1/models", headers={"Authorization": "Bearer # ours"})[0] == 401
    assert server.request("GET", "/health")[0] == 200
    keys.write_text("# none\n")
    assert nibble("serve", model_folder, "--api-key-file", keys).returncode == USAGE


def test_a_unix_socket_comes_and_goes(serve, model_folder, tmp_path):
    path = tmp_path / "nibble.sock"
    server = serve(model_folder, "--uds", path, ready=False)
    deadline = time.monotonic() + 60
    while "READY" not in server.log():
        assert time.monotonic() < deadline and server.process.poll() is None, server.log()
        time.sleep(0.02)
    assert stat.S_ISSOCK(path.stat().st_mode)
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert client.recv(4096).startswith(b"HTTP/1.1 200")
    client.close()
    assert server.stop() == OK
    assert not path.exists()


def test_served_names_and_aliases(serve, model_folder):
    server = serve(model_folder, "--served-model-name", "one", "--served-model-name", "two")
    for name, expected in (("one", 200), ("two", 200), ("tiny-llama", 404)):
        status, _, _ = server.request("POST", "/v1/completions", {"model": name, "prompt": "x", "max_tokens": 1})
        assert status == expected


def test_the_log_can_be_json_lines(serve, model_folder):
    server = serve(model_folder, "--log-jsonl")
    server.request("POST", "/v1/completions", {"model": "tiny-llama", "prompt": "private words", "max_tokens": 2})
    assert server.stop() == OK
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert any("READY" in line["message"] for line in lines)
    assert "private words" not in server.log()


def test_a_server_whose_model_is_damaged_exits_3(nibble, model_folder, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(model_folder, folder)
    damage(folder, "truncated weights")
    result = nibble("serve", folder, "--port", "0")
    assert result.returncode == MODEL and "model.safetensors" in result.stderr
