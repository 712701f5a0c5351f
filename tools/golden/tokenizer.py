"""A byte-level BPE tokenizer of 320 entries, trained on the text below, with the special tokens of a chat model.

Ids 1, 2, 10 and 11 mean what they mean in the Nemotron 3 checkpoints: <s>, </s>, <|im_start|>, <|im_end|>.
"""

from __future__ import annotations

import json
from pathlib import Path

VOCAB_SIZE = 320

SPECIAL = [
    "<unk>", "<s>", "</s>", "<pad>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
    "<reserved_8>", "<reserved_9>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<reserved_14>", "<reserved_15>",
]  # fmt: skip

SENTENCES = [
    "The memory of a machine is read from one end to the other, and what is not read is not known.",
    "A small model with sixteen layers can say very little, but it can say it in the same way every time.",
    "She counted the pages twice: first by the numbers in the corner, then by the weight of the stack.",
    "When the river rises, the road to the mill is closed and the letters wait for a week.",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 40))",
    "Numbers such as 7, 128, 4096 and 3.14159 are cut into pieces in ways that nobody expects.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Ça alors !",
    "Whether the answer is right depends on the question, on the light, and on who is asking.",
    "In the beginning there was a table, and the table had two columns; nobody knew what the second was for.",
    "He wrote: \"Dear friend, the experiment failed again, and I have never been so pleased.\"",
    "Light falls on the wall; the shadow of the window moves by the width of a hand in an hour.",
    "To begin again is not the same as to continue, although the first step is often the same.",
]

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think></think>' }}{%- endif %}"
    "{%- endif %}"
)


def write(folder: Path):
    """Writes tokenizer.json and tokenizer_config.json; returns the tokenizers.Tokenizer."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE and tokenizer.token_to_id("<|im_end|>") == 11
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    config = {
        "add_bos_token": False,
        "bos_token": "<s>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 512,
        "pad_token": "<pad>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    return tokenizer
