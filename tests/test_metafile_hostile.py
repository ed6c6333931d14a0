"""Metafiles that are broken on purpose or by chance end in a metafile or in one line of text."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from synap_core.errors import InputError
from tests.support.metafile_texts import load, refusal

BASES = (
    """\
# A model for an image classifier
delegate: {"*": cpu num_threads=2, 4: npu, '@conv_1': gpu, 'c2...': default, INPUTS: npu}
data_layout: NHWC
input_format: RGB a=${FILE:k}
inputs:
  - name: &in "input:0"
    shape: [1, 224, 224, 3]
    means: [123.68, 116.779, 103.939]
    scale: 5.8e1
    preprocess: {type: nv12, size: [1080, 1920], crop: true}
  - {name: second, shape: &dims [1, 0x10, 0o17], means: 1, custom: *in}
outputs:
  - name: scores
    dequantize: true
    shape: *dims
    format: >-
      confidence_array
      class_index_base=${ENV:BASE}
quantization:
  data_type: {INPUTS: uint8, '*': int16, "conv3...": float16}
  scheme: default
  dataset: [samples/*.jpg, random]
  options:
    a: [1, 2.5, .nan, null, ~, "x\\u00e9\\ud83d\\ude00"]
    ? b
    : |
      text
""",
    """\
security:
  secure: true
  file: security.yaml
quantization: {data_type: int8, mode: full, algorithm: kl_divergence, scheme: perchannel_symmetric_affine, dataset: x}
inputs: [~]
optimize: false
""",
    '{"delegate": "cpu", "inputs": [{"means": 127.5, "scale": 127.5, "security": "any"}, null], "custom": [[[]]]}',
    "%YAML 1.2\n---\noutputs: [!!map {name: !!str 5}, {'name': \"x\\x41\\\n  y\"}]\n...\n",
)

TOKENS = (
    b"&a ", b"*a", b"*in", b"!!int ", b"!!float ", b"!!map ", b"!x", b"!<", b"? ", b": ", b"- ", b"[", b"]",
    b"{", b"}", b",", b"|\n", b">2-\n", b"'", b'"', b"#", b"%", b"@", b"`", b"---\n", b"...\n", b"\t", b"\r",
    b"\n", b"\x00", b"\xff", b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"${ENV:BASE}", b"${ENV:SELF}",
    b"${FILE:k}", b"${FILE:self}", b"${FILE:.}", b"null", b"true", b"yes", b"-1", b"0", b"1e400", b".inf",
    b"-.nan", b"9" * 30, b"0x", b"<<: ", b"\\x", b"\\uD800", b"\\UFFFFFFFF", b"file: ", b"name: ", b"scale: ",
    b"secure: ", b"type: ", b"  ", b"%YAML 1.1\n", b"%TAG ! x\n",
)  # fmt: skip


def flip(data: bytearray, generator: random.Random) -> None:
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)


def insert(data: bytearray, generator: random.Random) -> None:
    at = generator.randrange(len(data) + 1)
    data[at:at] = generator.choice(TOKENS)


def overwrite(data: bytearray, generator: random.Random) -> None:
    at = generator.randrange(len(data))
    data[at : at + generator.randrange(1, 12)] = generator.choice(TOKENS)


def remove(data: bytearray, generator: random.Random) -> None:
    at = generator.randrange(len(data))
    del data[at : at + generator.randrange(1, 30)]


def repeat(data: bytearray, generator: random.Random) -> None:
    at = generator.randrange(len(data))
    piece = bytes(data[at : at + generator.randrange(1, 40)])
    to = generator.randrange(len(data))
    data[to:to] = piece * generator.randrange(1, 4)


def truncate(data: bytearray, generator: random.Random) -> None:
    del data[generator.randrange(1, len(data) + 1) :]


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, insert, overwrite, remove, repeat, truncate)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the base metafiles refer to."""
    keys = ("encryption_key", "signature_key", "model_certificate", "vendor_certificate")
    (tmp_path / "security.yaml").write_text("".join(f"{key}: k\n" for key in keys))
    (tmp_path / "k").write_text("x")
    (tmp_path / "self").write_text("${FILE:self}${FILE:k}")
    monkeypatch.setenv("BASE", "1")
    monkeypatch.setenv("SELF", "${ENV:SELF}")
    return tmp_path


def outcome(folder: Path, content: bytes) -> str:
    """Load a metafile; anything but a result or an orderly refusal fails the test."""
    lines: tuple[str, ...]
    try:
        lines, result = load(folder, content).warnings, "loaded"
    except InputError as error:
        lines, result = (str(error),), "refused"
    assert all(line.startswith(str(folder)) and line.isprintable() for line in lines), content
    assert all(len(line) < 1200 for line in lines), content
    return result


@pytest.mark.parametrize("base", range(len(BASES)), ids=["everything", "secure", "json", "directives"])
def test_mutated_metafiles_are_loaded_or_refused(folder: Path, base: int) -> None:
    generator = random.Random(base)
    outcomes = set()
    for _ in range(1000):
        data = bytearray(BASES[base].encode())
        for _ in range(generator.randrange(1, 4)):
            if data:
                generator.choice(MUTATIONS)(data, generator)
        outcomes.add(outcome(folder, bytes(data)))
    assert outcomes == {"loaded", "refused"}


def test_base_metafiles_reach_the_models(folder: Path) -> None:
    everything = load(folder, BASES[0])
    assert everything.quantization is not None
    assert everything.quantization.options["b"] == "text\n"
    secure = load(folder, BASES[1])
    assert secure.security is not None
    assert secure.security.encryption_key == folder / "k"
    assert secure.optimize is False
    assert load(folder, BASES[2]).inputs[0].means == 127.5
    assert [entry.name for entry in load(folder, BASES[3]).outputs] == ["5", "xAy"]


def test_random_bytes_are_loaded_or_refused(folder: Path) -> None:
    generator = random.Random(11)
    alphabets = (bytes(range(256)), b"ab:-?[]{},&*!|>'\"%@# \n\t~0.1", b"{}[]\"',:\\/ux0")
    outcomes = [
        outcome(folder, bytes(generator.choices(alphabets[i % 3], k=generator.randrange(1, 80)))) for i in range(3000)
    ]
    assert outcomes.count("refused") > 2000


def test_random_sequences_of_tokens_are_loaded_or_refused(folder: Path) -> None:
    generator = random.Random(12)
    outcomes = [outcome(folder, b"".join(generator.choices(TOKENS, k=generator.randrange(1, 15)))) for _ in range(3000)]
    assert outcomes.count("refused") > 2000


def test_metafile_with_very_many_problems_is_refused_in_one_line(folder: Path) -> None:
    message = refusal(folder, "inputs: [" + "{a: 1}," * 5_000 + "]")
    assert message.startswith("m.yaml:1:11: Invalid field(s): unknown key 'a' in inputs[0]")
    assert message.endswith(" (and 4999 more)")


def test_metafile_with_very_many_warnings_is_loaded(folder: Path) -> None:
    metafile = load(folder, "inputs:\n" + "- security: secure\n" * 10_000)
    assert len(metafile.warnings) == 10_000
    assert metafile.warnings[-1].startswith(f"{folder}/m.yaml:10001:3: ")


def test_repeated_file_variables_share_one_limit(folder: Path) -> None:
    text = "inputs: [{format: &f '" + "${FILE:k}" * 600 + "'}, {format: *f}, {format: *f}]"
    assert "more than 1000 variables are replaced" in refusal(folder, text)
