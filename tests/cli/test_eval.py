"""`nibble eval`: its figures against NumPy on the log-probabilities that it stores, its gates, and what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_model

OK, USAGE, GATE = 0, 2, 7
TEXT = "It was the best of times, it was the worst of times. Ünïcödé <|im_end|> too. " * 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, and one like it with other weights."""
    place = tmp_path_factory.mktemp("eval")
    one, other = tiny_model.write(place / "one"), tiny_model.write(place / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    rng = np.random.default_rng(1)
    begin = 8 + int.from_bytes(weights[:8], "little")
    bits = np.frombuffer(weights, np.uint16, offset=begin).copy()
    values = (bits.astype(np.uint32) << 16).view(np.float32)
    changed = (values * (1 + 0.1 * rng.standard_normal(values.shape))).astype(np.float32).view(np.uint32) >> 16
    weights[begin:] = changed.astype(np.uint16).tobytes()
    (other / "model.safetensors").write_bytes(weights)
    (place / "text").write_text(TEXT)
    return one, other, place / "text"


def evaluated(nibble, *arguments) -> dict:
    result = nibble("eval", *arguments, "--json")
    assert result.returncode == OK, result.stderr
    return json.loads(result.stdout)


def stored(path) -> tuple[np.ndarray, np.ndarray]:
    """([rows, V] log-probabilities by token, those of the text's own tokens) of a reference of the whole vocabulary."""
    data = path.read_bytes()
    assert data[:8] == b"nibbleKL"
    version, top = np.frombuffer(data, np.uint32, 2, 8)
    vocab, rows, _ = np.frombuffer(data, np.uint64, 3, 16)
    assert version == 1 and top == vocab
    table = np.frombuffer(data, np.uint8, offset=40).reshape(int(rows), -1)
    own = table[:, :4].copy().view(np.float32)[:, 0]
    tokens = table[:, 4 : 4 + 4 * top].copy().view(np.int32)
    logprobs = np.empty((rows, vocab))
    np.put_along_axis(logprobs, tokens.astype(np.int64), table[:, 4 + 4 * top :].copy().view(np.float32), 1)
    return logprobs, own


def test_perplexity_and_divergence_are_the_sums_written_out(nibble, folders, tmp_path):
    one, other, text = folders
    flags = ["--text", text, "--window", "64", "--reference-top", "259"]
    tables = {}
    for folder in (one, other):
        found = evaluated(nibble, folder, *flags, "--save-reference", tmp_path / folder.name)["text"]
        logprobs, own = tables[folder] = stored(tmp_path / folder.name)
        assert np.abs(np.exp(logprobs).sum(1) - 1).max() < 1e-4
        assert found["tokens"] == len(TEXT.encode()) and found["predicted"] == len(own)
        assert found["perplexity"] == pytest.approx(np.exp(-own.mean(dtype=np.float64)), rel=1e-5)
    p, q = tables[one][0], tables[other][0]
    kl = (np.exp(p) * (p - q)).sum(1)
    assert kl.mean() > 1e-3
    same = (p.argmax(1) == q.argmax(1)).mean()
    against = evaluated(nibble, other, *flags, "--against", one)["text"]
    reference = evaluated(nibble, other, *flags, "--reference", tmp_path / one.name)["text"]
    for found in (against, reference):
        assert found["kl"]["mean"] == pytest.approx(kl.mean(), rel=1e-3)
        assert found["kl"]["max"] == pytest.approx(kl.max(), rel=1e-3)
        assert found["same_best"] == pytest.approx(same)
        assert found["reference_perplexity"] == pytest.approx(np.exp(-tables[one][1].mean(dtype=np.float64)), rel=1e-5)
    assert evaluated(nibble, one, *flags, "--against", one)["text"]["kl"]["max"] == 0


def test_of_few_stored_tokens_the_divergence_is_less(nibble, folders, tmp_path):
    one, other, text = folders
    flags = ["--text", text, "--window", "100"]
    whole = evaluated(nibble, other, *flags, "--against", one)["text"]["kl"]["mean"]
    before = 0
    for top in (1, 16, 128):
        evaluated(nibble, one, *flags, "--save-reference", tmp_path / "r", "--reference-top", top)
        part = evaluated(nibble, other, *flags, "--reference", tmp_path / "r")["text"]["kl"]["mean"]
        assert before < part < whole
        before = part


def test_a_window_is_read_in_steps_and_they_change_nothing(nibble, folders, tmp_path):
    one, _, text = folders
    tables = []
    for tokens in ("200", "300"):  # one step, and two
        flags = ["--text", text, "--window", "300", "--tokens", tokens, "--reference-top", "259"]
        evaluated(nibble, one, *flags, "--save-reference", tmp_path / tokens)
        tables.append(stored(tmp_path / tokens)[0])
    assert len(tables[1]) == 299 and (tables[0] == tables[1][:199]).all()


def test_tasks_are_counted_and_gates_decide_the_exit_code(nibble, folders, tmp_path):
    one, _, text = folders
    said = nibble("run", one, "hello", "--temperature", "0", "--max-tokens", "6").stdout.strip()
    tasks = tmp_path / "tasks.jsonl"
    lines = [
        {"prompt": "hello", "answer": said, "task": "say"},
        {"messages": [{"role": "user", "content": "hello"}], "answer": ["no", said], "task": "say"},
        {"prompt": "hello", "answer": "no such thing", "task": "other"},
        {"prompt": "hello", "answer": said[:1], "match": "starts", "task": "other"},
    ]
    tasks.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    flags = ["--tasks", tasks, "--max-tokens", "6"]
    found = evaluated(nibble, one, *flags)["tasks"]
    assert (found["right"], found["count"], found["accuracy"]) == (3, 4, 0.75)
    assert found["by_task"] == {"say": 1.0, "other": 0.5}
    assert nibble("eval", one, *flags, "--min-accuracy", "0.75").returncode == OK
    missed = nibble("eval", one, *flags, "--min-accuracy", "0.8")
    assert missed.returncode == GATE and "--min-accuracy 0.8: found 0.75" in missed.stderr
    assert "3 of 4" in missed.stdout
    missed = nibble("eval", one, "--text", text, "--window", "99", "--max-ppl", "1.5", "--max-kl", "1", "--against", one)
    assert missed.returncode == GATE and "--max-ppl 1.5" in missed.stderr and "--max-kl" not in missed.stderr


CALL = "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>"
THOUGHT = 'It is one.</think>{"b": [true], "a": 1.0}'


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    """A model that says CALL after '>', where its template leaves it without thinking, and THOUGHT after a newline."""
    folder = tiny_model.write(tmp_path_factory.mktemp("speaker") / "speaker", vocab_size=261)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())
    for token, content in ((259, CALL), (260, THOUGHT)):
        added = vocabulary["added_tokens"][0] | {"id": token, "content": content, "special": False}
        vocabulary["added_tokens"].append(added)
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    weights = tiny_model.tensors(tiny_model.config(vocab_size=261))
    for name, values in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            values[:] = 0
    ids = vocabulary["model"]["vocab"]
    following = {ids[">"]: 259, 259: 2, ids["Ċ"]: 260, 260: 2}
    table, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    for token, after in following.items():
        table[token] = np.sign(table[token])
    head[:] = 0
    for after in set(following.values()):
        head[after] = sum(table[token] for token, its in following.items() if its == after)
    tiny_model.write_safetensors(folder / "model.safetensors", weights)
    return folder


def test_tasks_hold_tools_calls_json_and_thinking(nibble, source, speaker, tmp_path):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": parameters}}]
    user = {"role": "user", "content": "weather?"}
    call = {"name": "weather", "arguments": {"city": "Oslo"}}
    earlier = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    history = [user, {"role": "assistant", "content": "", "tool_calls": [earlier]}, {"role": "tool", "content": "rain"}, user]
    lines = [
        ({"messages": [user], "tools": tools, "thinking": False, "calls": [call]}, True),
        ({"messages": history, "tools": tools, "thinking": False, "calls": [call]}, True),
        ({"messages": [user], "tools": tools, "thinking": False, "calls": [call | {"arguments": {"city": "Bergen"}}]}, False),
        ({"messages": [user], "tools": tools, "thinking": False, "calls": []}, False),
        ({"prompt": "weather?", "thinking": False, "answer": CALL}, True),  # without tools it is text
        ({"prompt": "one?", "thinking": True, "match": "json", "answer": {"a": 1, "b": [True]}}, True),
        ({"prompt": "one?", "thinking": True, "match": "json", "answer": {"a": 1, "b": [False]}}, False),
        ({"prompt": "one?", "thinking": True, "match": "starts", "answer": "{", "max_tokens": 1}, True),
    ]
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("".join(json.dumps(line) + "\n" for line, _ in lines))
    flags = ["--tasks", tasks, "--chat-template", source / "tests/data/templates/nemotron_like.jinja", "--activation", "f32"]
    answers = evaluated(nibble, speaker, *flags)["tasks"]["answers"]
    assert [answer["right"] for answer in answers] == [right for _, right in lines], answers
    assert answers[0]["calls"] == [call]
    tasks.write_text(json.dumps({"messages": [user], "tools": [{"type": "function"}], "calls": []}))
    result = nibble("eval", speaker, *flags)
    assert result.returncode != OK and "tasks.jsonl:1: tools[0].function" in result.stderr


@pytest.fixture(scope="module")
def drafter(source, tmp_path_factory):
    """A golden checkpoint with a draft block, without template; prompts; and which drafts are right by its golden."""
    golden, folder = source / "tests/golden/lightning-mixed", tmp_path_factory.mktemp("drafter") / "lightning"
    shutil.copytree(golden, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    stored = json.loads((golden / "golden.json").read_text())
    ends = json.loads((golden / "generation_config.json").read_text())["eos_token_id"]
    prompts, expected = [], []
    for prompt, draft in zip(stored["prompts"], stored["draft"], strict=True):
        chosen = [step["token"] for step in prompt["greedy"]]
        end = next((i for i, token in enumerate(chosen) if token in [*ends, 2, 11]), len(chosen) - 1) + 1
        proposals = draft["first"]["top_ids"][len(prompt["tokens"]) - 1 :]
        margins = [best[0] - best[1] for best in draft["first"]["top_logprobs"][len(prompt["tokens"]) - 1 :]]
        assert all(margin > 1e-4 for margin in margins)
        prompts.append({"prompt": prompt["text"], "task": str(len(prompt["tokens"]) % 2)})
        expected.append((sum(proposals[i][0] == chosen[i + 1] for i in range(end - 1)), end - 1))
    file = folder.parent / "prompts.jsonl"
    file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    return folder, file, expected


@pytest.mark.parametrize("flags", [[], ["--max-num-seqs", "1", "--max-num-batched-tokens", "7"], ["--kv-cache-memory", "1MiB"]])
def test_drafts_are_accepted_as_the_golden_says(nibble, drafter, flags):
    folder, prompts, expected = drafter
    found = evaluated(nibble, folder, "--tasks", prompts, "--draft", "--activation", "f32", "--max-tokens", "32", *flags)["draft"]
    assert [(answer["accepted"], answer["proposed"]) for answer in found["answers"]] == expected
    accepted, proposed = (sum(column) for column in zip(*expected, strict=True))
    assert (found["accepted"], found["proposed"]) == (accepted, proposed)
    assert found["acceptance"] == pytest.approx(accepted / proposed)
    assert 0 < found["acceptance"] < 1 and set(found["by_task"]) == {"0", "1"}


def test_acceptance_is_a_gate_and_wants_a_draft_block(nibble, drafter, folders, source, tmp_path):
    folder, prompts, _ = drafter
    flags = ["--tasks", prompts, "--draft", "--max-tokens", "32"]
    assert nibble("eval", folder, *flags, "--min-acceptance", "0.5").returncode == OK
    missed = nibble("eval", folder, *flags, "--min-acceptance", "0.99")
    assert missed.returncode == GATE and "--min-acceptance 0.99" in missed.stderr and "drafts accepted" in missed.stdout
    for model in (folders[0], source / "tests/golden/nano-nvfp4"):
        result = nibble("eval", model, *flags)
        assert result.returncode == 3 and "no draft block" in result.stderr
    for arguments in (["--draft"], ["--tasks", prompts, "--min-acceptance", "0.5"], [*flags, "--min-accuracy", "0.5"]):
        assert nibble("eval", folder, *arguments).returncode == USAGE
    # In 4 bits the block is still one, and its router as it was.
    (tmp_path / "rules").write_text("mtp.* nvfp4\n")
    result = nibble("quantize", folder, tmp_path / "out", "--scheme", tmp_path / "rules", "--modules")
    assert result.returncode == OK and "eh_proj" in result.stdout and ".gate " not in result.stdout, result.stderr
    four_bits = evaluated(nibble, tmp_path / "out", *flags)["draft"]["acceptance"]
    assert four_bits > 0.5


def test_w4a4_needs_input_scales_and_loses_more(nibble, folders, tmp_path):
    one, _, text = folders
    for name, flags in {"plain": [], "calibrated": ["--calibrate", text]}.items():
        result = nibble("quantize", one, tmp_path / name, "--scheme", "all-nvfp4", *flags)
        assert result.returncode == OK, result.stderr
    flags = ["--text", text, "--window", "64", "--against", one]
    a16 = evaluated(nibble, tmp_path / "calibrated", *flags)["text"]["kl"]["mean"]
    a4 = evaluated(nibble, tmp_path / "calibrated", *flags, "--w4a4")["text"]["kl"]["mean"]
    assert a4 > 1.2 * a16
    result = nibble("eval", tmp_path / "plain", *flags, "--w4a4")
    assert result.returncode == USAGE and "no NVFP4 matrix has an input_scale" in result.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", ":1: "),
        ("[]", "expected a JSON object"),
        ('{"answer": "x"}', "prompt, messages"),
        ('{"prompt": "a", "messages": [], "answer": "x"}', "prompt, messages"),
        ('{"prompt": 5, "answer": "x"}', "prompt: expected a string"),
        ('{"messages": [], "answer": "x"}', "messages: expected"),
        ('{"messages": [1], "answer": "x"}', "messages: expected"),
        ('{"prompt": "a"}', "answer: expected"),
        ('{"prompt": "a", "answer": []}', "answer: expected"),
        ('{"prompt": "a", "answer": " "}', "answer: expected"),
        ('{"prompt": "a", "answer": ["x", 1]}', "answer: expected"),
        ('{"prompt": "a", "answer": "x", "match": "near"}', "match: expected"),
        ("", "expected tasks, found none"),
    ],
)
def test_a_wrong_task_is_named_with_its_line(nibble, folders, tmp_path, line, says):
    (tmp_path / "tasks").write_text(line)
    result = nibble("eval", folders[0], "--tasks", tmp_path / "tasks")
    assert result.returncode not in (OK, GATE) and says in result.stderr


def test_what_does_not_go_together_is_refused(nibble, folders, tmp_path):
    one, _, text = folders
    evaluated(nibble, one, "--text", text, "--window", "64", "--save-reference", tmp_path / "r")
    for arguments, says in [
        ([], "--text"),
        (["--text", text, "--max-kl", "1"], "--against"),
        (["--text", text, "--min-accuracy", "0.5"], "--tasks"),
        (["--tasks", text, "--against", one], "--text"),
        (["--text", text, "--against", one, "--reference", tmp_path / "r"], "one of them"),
        (["--text", text, "--window", "65", "--reference", tmp_path / "r"], "another text"),
        (["--text", text, "--window", "100000"], "context is 512"),
    ]:
        result = nibble("eval", one, *arguments)
        assert result.returncode == USAGE and says in result.stderr, (arguments, result.stderr)
    (tmp_path / "cut").write_bytes((tmp_path / "r").read_bytes()[:-1])
    result = nibble("eval", one, "--text", text, "--window", "64", "--reference", tmp_path / "cut")
    assert result.returncode == 3 and "cut short" in result.stderr
    (tmp_path / "short").write_text("a")
    result = nibble("eval", one, "--text", tmp_path / "short")
    assert result.returncode == USAGE and "tokens" in result.stderr
