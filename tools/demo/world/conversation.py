"""Conversations and their text in the wire format of the chat template (tests/data/templates/nemotron_like.jinja).

A `Sample` is one problem: messages that end with the assistant's answer, the tools that are declared, whether the assistant
thinks, and the key of the problem, by which training and held-out problems are kept apart. `render` writes what the
template writes, some hundred times as fast.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

HELD_OUT_PART = 24  # one problem of so many is never trained on


@dataclass
class Sample:
    task: str
    key: str
    messages: list[dict[str, Any]]
    thinking: bool
    tools: list[dict[str, Any]] = field(default_factory=list)
    match: str = "exact"
    accept: str = ""  # what an answer must contain, where match is not exact


def is_held_out(key: str) -> bool:
    return zlib.crc32(key.encode()) % HELD_OUT_PART == 0


def asked(task: str, key: str, question: str, answer: str, reasoning: str = "", **more) -> Sample:
    """One question and its answer; with reasoning the assistant thinks."""
    reply = {"role": "assistant", "content": answer}
    if reasoning:
        reply["reasoning_content"] = reasoning + "\n"
    return Sample(task, f"{task} {key}", [{"role": "user", "content": question}, reply], bool(reasoning), **more)


def as_text(value) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def tools_text(tools: list[dict[str, Any]]) -> str:
    parts = ["# Tools\n\nThese functions are there:\n\n<tools>"]
    for tool in tools:
        f = tool["function"]
        parts.append(f"\n<function>\n<name>{f['name']}</name>\n<description>{f['description']}</description>\n<parameters>")
        for name, fields in f["parameters"]["properties"].items():
            parts.append(f"\n<parameter>\n<name>{name}</name>\n<type>{fields['type']}</type>")
            if "description" in fields:
                parts.append(f"\n<description>{fields['description']}</description>")
            if "enum" in fields:
                parts.append(f"\n<enum>{as_text(fields['enum'])}</enum>")
            parts.append("\n</parameter>")
        parts.append(f"\n<required>{as_text(f['parameters']['required'])}</required>\n</parameters>\n</function>")
    parts.append("\n</tools>\n\nAnswer with <tool_call> blocks.")
    return "".join(parts)


def system_text(system: str, tools: list[dict[str, Any]]) -> str:
    return system + ("\n\n" if system and tools else "") + (tools_text(tools) if tools else "")


def call_text(calls: list[dict[str, Any]]) -> str:
    parts = []
    for call in calls:
        parts.append(f"<tool_call>\n<function={call['name']}>\n")
        parts += [f"<parameter={name}>\n{as_text(value)}\n</parameter>\n" for name, value in call["arguments"].items()]
        parts.append("</function>\n</tool_call>\n")
    return "".join(parts)


def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]] = (), thinking: bool | None = None) -> str:
    """The text of a conversation; with `thinking` given, up to the point where the assistant goes on."""
    has_system = bool(messages) and messages[0]["role"] == "system"
    system, turns = (messages[0]["content"], messages[1:]) if has_system else ("", messages)
    last_user = max((i for i, m in enumerate(turns) if m["role"] == "user"), default=-1)
    parts = [f"<|im_start|>system\n{system_text(system, tools)}<|im_end|>\n"]
    for i, m in enumerate(turns):
        if m["role"] == "assistant":
            content = m.get("content") or ""
            if (m.get("reasoning_content") or "").strip() and i > last_user:
                text = f"<think>\n{m['reasoning_content']}</think>{content}"
            else:
                text = f"<think></think>{content}"
            parts.append(f"<|im_start|>assistant\n{text.strip()}")
            if m.get("tool_calls"):
                parts.append("\n" + call_text(m["tool_calls"]))
            parts.append("<|im_end|>\n")
        elif m["role"] == "tool":
            if i == 0 or turns[i - 1]["role"] != "tool":
                parts.append("<|im_start|>user\n")
            parts.append(f"<tool_response>\n{m['content']}\n</tool_response>\n")
            if i + 1 == len(turns) or turns[i + 1]["role"] != "tool":
                parts.append("<|im_end|>\n")
        else:
            parts.append(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n")
    if thinking is not None:
        parts.append("<|im_start|>assistant\n<think>" + ("\n" if thinking else "</think>"))
    return "".join(parts)
