"""Random conversations as chat templates get them: roles, tools, calls, results, reasoning, content parts."""

import json

TEXTS = ["hi", "", "  padded  ", "two\nlines\n", "Ünïcode 日本語 🎉", "a <tag> & \"quotes\" 'single'", "<think>\nhm\n</think>\n\nanswer", "<think>only",
         "x</think>y", "<tool_response>\nok\n</tool_response>", "/no_think please", "{% raw %}", "{{ not }}", "\t", "ends with space ", "a" * 300]
NAMES = ["get_weather", "f", "search-web", "calc.add", "ünï"]


def value(rng, depth=3):
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return rng.choice([0, 1, -5, 2**40])
    if kind == 2:
        return rng.choice([1.0, 0.1, -2.5e-9, 1e21])
    if kind == 3:
        return rng.choice([True, False])
    if kind == 4:
        return None
    if kind == 5:
        return rng.choice(TEXTS)
    if kind == 6:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(["x", "B", "a key", "é", "n"]): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def schema(rng, depth=2):
    kind = rng.choice(["string", "integer", "number", "boolean", "object", "array"] if depth else ["string", "integer"])
    out = {"type": kind if rng.random() < 0.9 else [kind, "null"]}
    if rng.random() < 0.7:
        out["description"] = rng.choice(TEXTS)
    if kind == "string" and rng.random() < 0.4:
        out["enum"] = ["a", "b", "ü"]
    if kind == "object":
        out["properties"] = {name: schema(rng, depth - 1) for name in rng.sample(["one", "Two", "three"], rng.randrange(1, 3))}
        if rng.random() < 0.5:
            out["required"] = ["one"]
    if kind == "array" and rng.random() < 0.8:
        out["items"] = schema(rng, depth - 1)
    for key in rng.sample(["default", "nullable", "minimum", "format"], rng.randrange(2)):
        out[key] = {"default": value(rng, 1), "nullable": True, "minimum": 1, "format": "date"}[key]
    return out


def tool(rng):
    parameters = {"type": "object", "properties": {n: schema(rng) for n in rng.sample(["city", "days", "unit", "opts"], rng.randrange(4))}}
    if rng.random() < 0.6:
        parameters["required"] = list(parameters["properties"])[:1]
    if rng.random() < 0.2:
        parameters["additionalProperties"] = False
    function = {"name": rng.choice(NAMES), "description": rng.choice(TEXTS), "parameters": parameters}
    if rng.random() < 0.1:
        del function["parameters"]
    if rng.random() < 0.2:
        function["strict"] = True
    return {"type": "function", "function": function}


def content(rng, tame):
    if tame or rng.random() < 0.85:
        return rng.choice(TEXTS)
    parts = [{"type": "text", "text": rng.choice(TEXTS)} for _ in range(rng.randrange(3))]
    if rng.random() < 0.2:
        parts.append({"type": "image"})
    return parts


def context(rng):
    """Two in three are tame: roles in turn and contents of text, which every template renders."""
    tame, with_calls = rng.random() < 0.66, rng.random() < 0.6
    messages = []
    if rng.random() < (0.4 if tame else 0.6):
        messages.append({"role": "system" if tame else rng.choice(["system", "system", "developer"]), "content": content(rng, tame)})
    for _ in range(rng.randrange(1, 5)):
        messages.append({"role": "user", "content": content(rng, tame)})
        for _ in range(1 if tame else rng.randrange(3)):
            answer = {"role": "assistant", "content": rng.choice(TEXTS) if tame else rng.choice([content(rng, tame), "", None])}
            if rng.random() < 0.4:
                answer["reasoning_content"] = rng.choice(TEXTS)
            if with_calls and rng.random() < 0.5:
                calls = [{"id": f"call{i:05d}"[:9], "type": "function",
                          "function": {"name": rng.choice(NAMES), "arguments": {k: value(rng) for k in rng.sample(["city", "days", "opts", "z"], rng.randrange(4))}}}
                         for i in range(rng.randrange(1, 3))]
                answer["tool_calls"] = calls
                messages.append(answer)
                for call in calls:
                    messages.append({"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": rng.choice([json.dumps({"t": 3}), content(rng, tame)])})
            else:
                messages.append(answer)
    if tame and rng.random() < 0.5:
        messages.append({"role": "user", "content": rng.choice(TEXTS)})
    if not tame and rng.random() < 0.15:
        rng.shuffle(messages)
    if not tame and rng.random() < 0.05:
        messages = []
    out = {"messages": messages, "tools": [tool(rng) for _ in range(rng.randrange(1, 4))] if rng.random() < 0.5 else None,
           "add_generation_prompt": rng.random() < 0.7, "bos_token": "<s>", "eos_token": "</s>", "documents": None}
    for key, choices in {"enable_thinking": [True, False], "truncate_history_thinking": [True, False], "preserve_thinking": [True, False], "low_effort": [True],
                         "medium_effort": [True], "reasoning_effort": ["low", "high"], "add_vision_id": [True], "date_string": ["1 Jan 2026"], "tools_in_user_message": [True, False]}.items():
        if rng.random() < 0.25:
            out[key] = rng.choice(choices)
    return out
