"""A Llama model read from GGUF, against what transformers makes of the same file."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from flockoff.training.gguf_file import convert

pytestmark = pytest.mark.slow

WIDTH, HEADS, KV_HEADS, INNER, LAYERS = 64, 4, 2, 96, 2


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in every kind of number that the local competition's model has."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "Ġ", "Ċ", "Ġt", "he", "Ġthe"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["Ġ t", "h e", "Ġt he"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages }}")
    generator = np.random.default_rng(0)
    keys = WIDTH // HEADS * KV_HEADS
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (keys, WIDTH), "attn_v": (keys, WIDTH)}
    shapes |= {"attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)}
    shapes |= {"ffn_down": (WIDTH, INNER)}
    tensors = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        tensors |= {f"blk.{layer}.{name}": shape for name, shape in shapes.items()}
        tensors |= {f"blk.{layer}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    for name, shape in tensors.items():
        values = generator.standard_normal(shape, np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0 if name == "token_embd" else gguf.GGMLQuantizationType.Q4_1
        writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_file_converted_is_what_transformers_reads_from_it(file: Path, tmp_path: Path) -> None:
    convert(file, tmp_path)
    source = {"gguf_file": file.name, "local_files_only": True}
    theirs = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **source)
    ours = AutoModelForCausalLM.from_pretrained(str(tmp_path), local_files_only=True)
    weights, expected = ours.state_dict(), theirs.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], values) for name, values in expected.items())
    ids = torch.arange(24)[None]
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)  # so rotation and norms are configured alike
    text = "<|im_start|>the other\n the end<|im_end|>"
    words = [AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)]
    words.append(AutoTokenizer.from_pretrained(str(file.parent), **source))
    assert words[0](text).input_ids == words[1](text).input_ids
    assert [one.eos_token for one in words] == ["<|im_end|>"] * 2
    assert load_file(tmp_path / "model.safetensors").keys() == expected.keys() - {"lm_head.weight"}
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda whole: b"GGML" + whole[4:], "not a GGUF file"),
        (lambda whole: whole[:200], "ends before its header"),
        (lambda whole: whole.replace(b"llama", b"gemma"), "not a Llama model"),
    ],
)
def test_gguf_file_that_is_none_or_anothers_is_refused(
    file: Path, tmp_path: Path, damage: object, complaint: str
) -> None:
    assert callable(damage)
    (tmp_path / "bad.gguf").write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=complaint):
        convert(tmp_path / "bad.gguf", tmp_path)
