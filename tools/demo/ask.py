#!/usr/bin/env python3
"""The demo: starts `nibble serve MODEL` on a free port, asks one streamed question over HTTP, prints the answer with its
speed and share of the ceiling, and stops the server.

    ask.py NIBBLE MODEL [QUESTION]

Needs nothing beside Python's standard library. Exits 0 when the answer came and the server drained.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
import time

QUESTION = "Explain in three sentences why the sky is blue."
START_LIMIT_S, ANSWER_LIMIT_S, STOP_LIMIT_S = 300, 300, 40


class Failed(Exception):
    pass


def started(log_path: str, process: subprocess.Popen) -> int:
    """The port, once the server says that it listens."""
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        with open(log_path, encoding="utf-8", errors="replace") as log:
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read()):
                return int(found[1])
        if process.poll() is not None:
            raise Failed(f"the server ended with status {process.returncode}")
        time.sleep(0.02)
    raise Failed(f"the server did not listen within {START_LIMIT_S} s")


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def wait_until_ready(port: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        try:
            if get(port, "/health")[0] == 200:
                return
        except OSError:
            pass  # the loading server has ended: said below
        if process.poll() is not None:
            raise Failed(f"the server ended with status {process.returncode}")
        time.sleep(0.02)
    raise Failed(f"the server was not ready within {START_LIMIT_S} s")


def ask(port: int, question: str, can_chat: bool) -> dict:
    """Streams one answer to stdout. Returns usage, timings and the time to the first piece."""
    body = {"model": json.loads(get(port, "/v1/models")[1])["data"][0]["id"], "stream": True, "max_tokens": 160}
    body |= {"temperature": 0, "stream_options": {"include_usage": True}}
    body |= {"messages": [{"role": "user", "content": question}]} if can_chat else {"prompt": question}
    path = "/v1/chat/completions" if can_chat else "/v1/completions"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_LIMIT_S)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    asked = time.monotonic()
    reply = connection.getresponse()
    if reply.status != 200:
        raise Failed(f"POST {path}: status {reply.status}: {reply.read().decode(errors='replace')}")
    seen: dict = {"text": "", "first_s": None, "done": False}
    for line in reply:
        if not line.startswith(b"data:"):
            continue
        payload = line[5:].strip()
        if payload == b"[DONE]":
            seen["done"] = True
            break
        chunk = json.loads(payload)
        if "error" in chunk:
            raise Failed(f"the stream ended with {chunk['error']}")
        for choice in chunk.get("choices", []):
            piece = (choice.get("delta") or {}).get("content") if can_chat else choice.get("text")
            if piece:
                if seen["first_s"] is None:
                    seen["first_s"] = time.monotonic() - asked
                seen["text"] += piece
                print(piece, end="", flush=True)
            if choice.get("finish_reason") == "length":
                print(f" … (cut at {body['max_tokens']} tokens)", end="", flush=True)
        for key in ("usage", "timings"):
            if chunk.get(key):
                seen[key] = chunk[key]
    print()
    connection.close()
    if not seen["done"] or not seen["text"].strip():
        raise Failed("the stream ended without an answer")
    return seen


def metric(text: str, name: str) -> float | None:
    found = re.search(rf"^{name}(?:\{{[^}}]*\}})? ([-+0-9.eE]+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def report(port: int, seen: dict) -> None:
    metrics = get(port, "/metrics")[1].decode()
    tokens = seen.get("usage", {}).get("completion_tokens", 0)
    speed = seen.get("timings", {}).get("predicted_per_second")
    ceiling = metric(metrics, "nibble_ceiling_tokens_per_second")
    line = f"{tokens} tokens, the first after {1000 * (seen['first_s'] or 0):.0f} ms"
    if speed:
        line += f", {speed:.1f} tokens/s"
        if ceiling:
            bandwidth = metric(metrics, "nibble_read_bandwidth_bytes_per_second")
            cost = metric(metrics, "nibble_bytes_per_token")
            line += (
                f": {100 * speed / ceiling:.0f} % of the ceiling of {ceiling:.1f}"
                f" ({bandwidth / 1e9:.1f} GB/s measured ÷ {cost / 1e6:.1f} MB a token)"
            )
    print(f"\n{line}")


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__.split("\n\n")[1].strip(), file=sys.stderr)
        return 2
    nibble, model, question = sys.argv[1], sys.argv[2], " ".join(sys.argv[3:]) or QUESTION
    with tempfile.NamedTemporaryFile(prefix="nibble-demo-", suffix=".log") as log:
        process = subprocess.Popen([nibble, "serve", model, "--port", "0"], stdin=subprocess.DEVNULL, stderr=log)
        try:
            port = started(log.name, process)
            wait_until_ready(port, process)
            with open(log.name, encoding="utf-8", errors="replace") as text:
                print(re.sub(r"^", "    ", text.read().rstrip(), flags=re.MULTILINE))
            # A model without a chat template completes text.
            probe = json.dumps({"messages": [{"role": "user", "content": "x"}]})
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/apply-template", probe, {"Content-Type": "application/json"})
            can_chat = connection.getresponse().status == 200
            connection.close()
            print(f"\n> {question}\n")
            report(port, ask(port, question, can_chat))
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=STOP_LIMIT_S)
            if status != 0:
                raise Failed(f"the server ended with status {status} after SIGTERM")
            print("The server has drained and ended.")
            return 0
        except (Failed, OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as failure:
            print(f"\ndemo: {failure}", file=sys.stderr)
            with open(log.name, encoding="utf-8", errors="replace") as text:
                print(re.sub(r"^", "    ", text.read().rstrip(), flags=re.MULTILINE), file=sys.stderr)
            return 1
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
