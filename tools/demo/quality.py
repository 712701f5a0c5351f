#!/usr/bin/env python3
"""What quantising costs the demo model: accuracy, equal answers, perplexity and accepted drafts of one or more folders.

    quality.py --nibble NIBBLE --tasks FILE REFERENCE [FOLDER]...

--tasks is the heldout.jsonl of tokenizer.py. REFERENCE is the BF16 folder, whose greedy answers the others' are compared
with. `nibble eval` gives accuracy and accepted drafts; perplexity is that of the held-out conversations, one at a time, as
`nibble serve` scores them: of every token but the first, and of the last answer alone. Prints a Markdown table.

Needs nothing beside Python's standard library.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import ask  # noqa: E402
import world  # noqa: E402

HELD_OUT_SEED, HELD_OUT_EACH = 7, 45  # as in tokenizer.py


def evaluated(nibble: Path, folder: Path, *flags) -> dict:
    done = subprocess.run([nibble, "eval", folder, *flags, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"nibble eval {folder}: {done.stderr}")
    return json.loads(done.stdout)


def scores(nibble: Path, folder: Path, samples: list[world.Sample]) -> tuple[float, float, int]:
    """Perplexity of all tokens, of the last answers, and how many tokens were scored."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen([nibble, "serve", folder, "--port", "0"], stdout=log, stderr=subprocess.STDOUT)
        try:
            port = ask.started(log.name, process)
            ask.wait_until_ready(port, process)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            everything, answers = [], []
            for sample in samples:
                text, before = world.text_of(sample), len(world.prompt_of(sample).encode())
                body = {"prompt": text, "max_tokens": 0, "echo": True, "logprobs": 0}
                connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
                reply = connection.getresponse()
                found = json.loads(reply.read())
                if reply.status != 200:
                    raise SystemExit(f"nibble serve {folder}: {found}")
                at = 0
                logprobs = found["choices"][0]["logprobs"]
                for token, value in zip(logprobs["tokens"], logprobs["token_logprobs"], strict=True):
                    if value is not None:
                        everything.append(value)
                        if at >= before:
                            answers.append(value)
                    at += len(token.encode())
                if at != len(text.encode()):
                    raise SystemExit(f"expected the {len(text.encode())} bytes of the conversation; found {at} scored")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    return math.exp(-sum(everything) / len(everything)), math.exp(-sum(answers) / len(answers)), len(everything)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nibble", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True, help="heldout.jsonl")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="the first is what the others are compared with")
    arguments = parser.parse_args()

    samples = world.held_out(HELD_OUT_SEED, HELD_OUT_EACH)
    names = [json.loads(line)["task"] for line in arguments.tasks.read_text(encoding="utf-8").splitlines()]
    if names != [s.task for s in samples]:
        parser.error(f"{arguments.tasks} was made by another generator")
    rows: dict[str, list[str]] = {}
    said = []
    for folder in arguments.folders:
        tasks = evaluated(arguments.nibble, folder, "--tasks", arguments.tasks)["tasks"]
        said.append([(a.get("content"), a.get("calls")) for a in tasks["answers"]])
        right = [a["right"] for a in tasks["answers"]]
        equal = [one == other for one, other in zip(said[0], said[-1], strict=True)]
        for name in sorted(set(names)):
            of_task = [r for r, n in zip(right, names, strict=True) if n == name]
            rows.setdefault(name, []).append(f"{sum(of_task)} of {len(of_task)}")
        told = [e for e, n in zip(equal, names, strict=True) if n == "stories"]
        draft = evaluated(arguments.nibble, folder, "--tasks", arguments.tasks, "--draft")["draft"]
        everything, answers, count = scores(arguments.nibble, folder, samples)
        for name, value in (
            ("all, right", f"{sum(right) / len(right):.2%}"),
            ("the same answer", f"{sum(equal) / len(equal):.2%}"),
            ("the same answer, without stories", f"{(sum(equal) - sum(told)) / (len(equal) - len(told)):.2%}"),
            (f"perplexity, {count:,} tokens", f"{everything:.4f}"),
            ("perplexity of the answers", f"{answers:.4f}"),
            ("drafts accepted", f"{draft['acceptance']:.2%}"),
        ):
            rows.setdefault(name, []).append(value)
    print("| | " + " | ".join(folder.name for folder in arguments.folders) + " |")
    print("|---" * (1 + len(arguments.folders)) + "|")
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(values) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
