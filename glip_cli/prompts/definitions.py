"""Definitions of labels ("knowledge"), which a model without fusion reads beside each name.

microsoft/GLIP (generalized_vl_rcnn.py:321-465) encodes each class as a text of its own, "name: definition", and takes
one vector of it, that of [CLS], for the class. One checkpoint was trained so (`use_cls` in weights.toml); every other
was trained on the words of names, so there the tokens of the name are taken, which have read the definition in BERT.
Without fusion a score depends on those vectors alone, so texts of one label each say all of it.

    x.json    {"label": "definition"}
    x.jsonl   {"label": "...", "definition": "..."} per line
    x.toml    label = "definition"

For a definition there may stand an object with the fields of microsoft's files: def_wiki, gpt3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from glip_cli.errors import PromptError, UsageError
from glip_cli.prompts.chunking import LIMIT, Chunk, tokenize
from glip_cli.prompts.prompt import clean_name
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import read_content, read_table
from glip_cli.types import Prompt
from glip_cli.utils.json import parsed_object
from glip_cli.utils.text_format import quoted

_GPT3 = 3  # GLIPKNOW.GPT3_NUM of the published command
_FIRST = ((0,),)  # [CLS]


def read_knowledge(path: Path) -> dict[str, str]:
    """Label -> definition. Raises UsageError for a file that has none."""
    lined = path.suffix.lower() == ".jsonl"
    rows = dict(_rows(path)) if lined else read_table(path, "--knowledge", "labels and definitions")
    if not rows:
        raise UsageError(f"--knowledge {path}: defines no label; write {{'cat': 'a small furry animal'}} as JSON")
    return {_key(label): _definition(value, f"--knowledge {path}: {quoted(label)}") for label, value in rows.items()}


def knowledge_chunks(
    prompt: Prompt, knowledge: Mapping[str, str], tokenizer: Tokenizer, limit: int = LIMIT, *, use_cls: bool = False
) -> tuple[Chunk, ...]:
    """Each label as a text of its own, "name: definition"; without a definition the name alone.

    Args:
        knowledge: of `read_knowledge`; a label finds its definition whatever its case.
        limit: tokens that the model reads; the end of a longer definition is cut off, which a note says.
        use_cls: the label's token is [CLS], else those of its name.

    Raises PromptError for a caption, and for a name that the model cannot read; UsageError where it reads names only.
    """
    if not tokenizer.reads_definitions:
        raise UsageError("--knowledge: this model knows words, not what is said of them; leave it out")
    if prompt.is_caption:
        raise PromptError("--knowledge does not go with a caption; name the labels with --texts")
    chunks = tuple(_chunk(prompt, i, knowledge, tokenizer, limit, use_cls) for i in range(len(prompt.labels)))
    unknown = [label for label in prompt.labels if _key(label) not in knowledge]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        note = f"--knowledge says nothing of {quoted(unknown[0])}{more}: the name alone is read"
        tokens = chunks[0].tokens
        chunks = (replace(chunks[0], tokens=replace(tokens, notes=(note, *tokens.notes))), *chunks[1:])
    return chunks


def _chunk(
    prompt: Prompt, number: int, knowledge: Mapping[str, str], tokenizer: Tokenizer, limit: int, use_cls: bool
) -> Chunk:
    label, words, (begin, end) = prompt.labels[number], prompt.words[number], prompt.spans[number][0]
    name, definition = prompt.text[begin:end], knowledge.get(_key(label))
    text = f"{name}: {definition}" if definition else name
    one_label = Prompt(text, (label,), (((0, len(name)),),), words=(words,))
    tokens = tokenize(one_label, tokenizer, limit)
    return Chunk(one_label, (number,), replace(tokens, label_tokens=_FIRST) if use_cls else tokens)


def _key(label: str) -> str:
    """The key of a label in the table of definitions."""
    return " ".join(clean_name(label).lower().split())


def _rows(path: Path) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(read_content(path, "--knowledge").splitlines(), 1):
        if not line.strip():
            continue
        row = parsed_object(line)
        if row is None or not isinstance(row.get("label"), str):
            raise UsageError(f'--knowledge {path}, line {number}: write {{"label": "cat", "definition": "..."}}')
        yield row["label"], row.get("definition")


def _definition(value: object, where: str) -> str:
    """A text on one line; microsoft's fields are joined as there."""
    if isinstance(value, dict):
        generated = value.get("gpt3")
        parts = [value.get("def_wiki"), *(generated[:_GPT3] if isinstance(generated, list) else ())]
        value = " ".join(part for part in parts if isinstance(part, str))
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where} has no definition; write a text, or leave it out")
    return " ".join(value.split())
