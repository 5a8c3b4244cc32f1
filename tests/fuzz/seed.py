#!/usr/bin/env python3
"""Fills the corpus with real files of the test data, from which fuzzing starts quicker."""

import hashlib
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data"
LARGEST = 1 << 20


def keep(target, content):
    if len(content) <= LARGEST:
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(content).hexdigest()).write_bytes(content)


def header_of(path):
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return file.read(length)


for target, pattern in [
    ("tokenizer_json", "tokenizer.json"),
    ("sentencepiece", "tokenizer.model"),
    ("vocab_txt", "vocab.txt"),
    ("tiktoken", "*.tiktoken"),
    ("tiktoken", "tiktoken.model"),
    ("headers", "*.gguf"),
    ("gguf_source", "*.gguf"),
]:
    for path in DATA.rglob(pattern):
        keep(target, path.read_bytes())
for config in DATA.rglob("config.json"):
    text = config.read_bytes()
    for weights in config.parent.glob("*.safetensors"):
        keep("model", struct.pack("<H", len(text)) + text + header_of(weights))
