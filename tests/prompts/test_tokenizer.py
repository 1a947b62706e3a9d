"""Word pieces and their characters; the two file kinds agree; bad folders give one clear line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from glip_cli.checkpoints.registry import BERT
from glip_cli.errors import PromptError, WeightsError
from glip_cli.prompts.tokenizer import Tokenizer
from tests.shared import shared

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "tooth", "##brush", "cafe", ".", "[", "]", "sep", "ᄒ", "##ᅡ", "##ᆫ"]
TEXTS = [
    "",
    "cat. remote",
    "Toothbrush  CAFÉ\tnaïve\nfaçade",
    "猫 and 한국, кошка; ﬁsh Ⅳ 😀 \u200b\x00x",
    "[SEP] [MASK] [unused1] C++ U.S. 50% o'clock half_eaten",
    "x" * 101 + " " + "y" * 99,
    "Über-Straße ÅNGSTRÖM İstanbul Œuvre e\u0301tude; 日本語の三毛猫。\u3000虎",
    "a\x00b\ufffdc\u200dd\xade\x1bf\rg\x7fh\x85i\u2028j",
]


@pytest.fixture
def small(tmp_path: Path) -> Tokenizer:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return Tokenizer.from_dir(tmp_path)


def test_a_text_is_framed_and_each_piece_knows_its_characters(small: Tokenizer) -> None:
    encoded = small.encode("Toothbrush, CAFÉ")
    assert encoded.tokens == ("[CLS]", "tooth", "##brush", "[UNK]", "cafe", "[SEP]")
    assert encoded.ids == (2, 5, 6, 1, 7, 3)
    assert encoded.offsets == (None, (0, 5), (5, 10), (10, 11), (12, 16), None)
    assert (len(encoded), small.unknown_id, small.vocabulary_size) == (6, 1, len(PIECES))


def test_char_to_token_is_none_on_blanks_and_outside(small: Tokenizer) -> None:
    encoded = small.encode(" cat 😀.")
    assert [encoded.char_to_token(i) for i in (-1, 0, 1, 3, 4, 5, 6, 7)] == [None, None, 1, 1, None, 2, 3, None]


def test_char_to_token_takes_the_first_of_several_pieces_of_one_character(small: Tokenizer) -> None:
    encoded = small.encode("한")
    assert encoded.offsets[1:-1] == ((0, 1),) * 3
    assert encoded.char_to_token(0) == 1


def test_typed_text_is_never_a_control_token(small: Tokenizer) -> None:
    assert small.encode("[SEP]").tokens == ("[CLS]", "[", "sep", "]", "[SEP]")


def test_half_characters_are_refused(small: Tokenizer) -> None:
    with pytest.raises(PromptError, match="not readable as text"):
        small.encode("\ud800")


def test_settings_saved_with_a_tokenizer_do_not_cut_or_pad(small: Tokenizer, tmp_path: Path) -> None:
    small._backend.enable_truncation(3)
    small._backend.enable_padding(length=9)
    small._backend.save(str(tmp_path / "tokenizer.json"))
    assert len(Tokenizer.from_dir(tmp_path).encode("cat cat cat cat")) == 6


def test_both_files_give_the_same(small: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    small._backend.save(str(tmp_path / "json" / "tokenizer.json"))
    other = Tokenizer.from_dir(tmp_path / "json")
    assert [other.encode(text) for text in TEXTS] == [small.encode(text) for text in TEXTS]


def test_the_vocabulary_in_the_package_is_the_published_one() -> None:
    digest = hashlib.sha256((BERT / "vocab.txt").read_bytes()).hexdigest()
    assert digest == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def test_it_reads_as_the_tokenizer_of_transformers() -> None:
    from transformers import BertTokenizer

    ours, theirs = Tokenizer.from_dir(BERT), BertTokenizer.from_pretrained(BERT)
    for text in TEXTS:
        assert list(ours.encode(text).ids) == theirs(text, split_special_tokens=True)["input_ids"], text


def test_both_files_of_bert_give_the_same() -> None:
    ours, theirs = Tokenizer.from_dir(BERT), Tokenizer.from_dir(shared("bert-base-uncased"))
    assert ours.vocabulary_size == theirs.vocabulary_size == 30522
    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("other.txt", "", "no tokenizer in .*give a folder that holds"),
        ("vocab.txt", "cat\ndog\n", r"vocab.txt has no \[UNK\], \[CLS\], \[SEP\]"),
        ("vocab.txt", b"\xff\xfe", "cannot read the tokenizer"),
        ("tokenizer.json", "{", "cannot read the tokenizer"),
        ("tokenizer.json", "no unknown", r"tokenizer.json has no \[UNK\]"),
        ("tokenizer.json", "no frame", r"does not put \[CLS\] and \[SEP\] around"),
    ],
)
def test_a_bad_folder_is_one_clear_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    vocabulary = {} if content == "no unknown" else {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}
    if isinstance(content, str) and content.startswith("no "):
        model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": vocabulary}
        content = json.dumps({"version": "1.0", "model": {**model, "max_input_chars_per_word": 100}})
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(WeightsError, match=message) as caught:
        Tokenizer.from_dir(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no tokenizer in"):
        Tokenizer.from_dir(tmp_path / "nowhere")


def test_neither_torch_nor_transformers_is_imported() -> None:
    code = (
        "import sys, glip_cli.prompts.prompt, glip_cli.prompts.tokenizer; "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
