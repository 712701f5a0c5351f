# What lm-evaluation-harness sends to /v1/completions, and (where it is installed) the harness itself.
import json

import httpx
import pytest
from stub_server import StubServer


@pytest.fixture(scope="module")
def server():
    with StubServer() as one:
        yield one


def post(server, body):
    answer = httpx.post(server.url + "/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def score(choice, context):
    """As the harness reads it: the last token is the one that was made, and is not wanted."""
    part = choice["logprobs"]
    values = part["token_logprobs"][context:-1]
    greedy = all(token == max(top, key=top.get)
                 for token, top in zip(part["tokens"][context:-1], part["top_logprobs"][context:-1]))
    return sum(values), greedy


def test_likelihoods_of_a_batch_of_ids(server):
    prompts = [list(b"The answer is 4"), list(b"Blue"), list("caf\u00e9 \u4e2d".encode())]
    answer = post(server, {"prompt": prompts, "model": "stub", "max_tokens": 1, "logprobs": 1, "seed": 1234,
                           "echo": True, "temperature": 0})
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    for prompt, choice in zip(prompts, answer["choices"]):
        part = choice["logprobs"]
        # Also when the token made is the end token.
        assert len(part["tokens"]) == len(part["token_logprobs"]) == len(part["top_logprobs"]) == len(prompt) + 1
        total, greedy = score(choice, 1)
        assert total < 0 and isinstance(greedy, bool)
        alone = post(server, {"prompt": [prompt], "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True,
                              "temperature": 0})
        assert score(alone["choices"][0], 1) == (total, greedy)


def test_the_likeliest_continuation_counts_as_greedy(server):
    prompt = list(b"go on")
    ids = post(server, {"prompt": prompt, "max_tokens": 6, "temperature": 0, "return_token_ids": True,
                        "ignore_eos": True})["choices"][0]["token_ids"]
    body = {"max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0, "ignore_eos": True}
    choice = post(server, {**body, "prompt": [prompt + ids]})["choices"][0]
    assert score(choice, len(prompt))[1] is True
    worse = [*ids[:-1], (ids[-1] + 5) % 256]
    assert score(post(server, {**body, "prompt": [prompt + worse]})["choices"][0], len(prompt))[1] is False


def test_generation_until_a_stop(server):
    answer = post(server, {"prompt": ["<<say:one\n\ntwo>>", "<<say:three\n\nfour>>"], "model": "stub", "max_tokens": 256,
                           "temperature": 0, "stop": ["\n\n", "<|im_end|>"], "seed": 1234})
    assert [choice["text"] for choice in answer["choices"]] == ["one", "three"]


def test_the_harness_itself(server, tmp_path):
    pytest.importorskip("lm_eval")
    pytest.importorskip("transformers")
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    (tmp_path / "tokenizer.json").write_text(server.command("tokenizer"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "model_max_length": 4096}))
    lm = LocalCompletionsAPI(model="stub", base_url=server.url + "/v1/completions", tokenizer=str(tmp_path),
                             tokenizer_backend="huggingface", batch_size=3, max_length=2048, num_concurrent=1)

    def instances(kind, arguments):
        return [Instance(request_type=kind, doc={}, arguments=one, idx=i) for i, one in enumerate(arguments)]

    pairs = [("Question: 2+2?\nAnswer:", " 4"), ("The sky is", " blue and wide"), ("caf\u00e9", " cr\u00e8me \u4e2d")]
    results = lm.loglikelihood(instances("loglikelihood", pairs))
    for (context, continuation), (value, greedy) in zip(pairs, results):
        whole = post(server, {"prompt": context + continuation, "max_tokens": 1, "logprobs": 1, "echo": True,
                              "temperature": 0})["choices"][0]
        ids = httpx.post(server.url + "/tokenize", json={"prompt": context}).json()["count"]
        assert (value, greedy) == pytest.approx(score(whole, ids))
    rolling = lm.loglikelihood_rolling(instances("loglikelihood_rolling", [("A short text to be scored.",)]))
    assert rolling[0] < 0
    generated = lm.generate_until(instances("generate_until", [
        ("<<say:one\n\ntwo>>", {"until": ["\n\n"], "max_gen_toks": 64, "temperature": 0})]))
    assert generated == ["one"]
