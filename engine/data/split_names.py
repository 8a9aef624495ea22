"""Recognizes the names of splits, as folders and tables spell them. Imports neither torch nor Pillow."""

from __future__ import annotations

import re

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
_NAME = re.compile(
    rf"(?P<prefix>.+_)?(?P<word>{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    r"(?:_?(?:set|data|dataset|images|imgs|split|folder))?"
)


def split_named(name: str) -> str:
    """The split that ``name`` means, in any case and with the usual affixes: "Training_Set" → "train".

    Returns "" for other names, also for those of several splits such as "training_testing".
    """
    found = _NAME.fullmatch(_normalized(name))
    if not found:
        return ""
    split = _WORDS[found["word"]]
    others = {_WORDS.get(word, split) for word in (found["prefix"] or "").split("_")}
    return split if others == {split} else ""


def is_plain(name: str) -> bool:
    """Whether a split's name has no prefix: "train_data" is plain, "seg_train" is not."""
    found = _NAME.fullmatch(_normalized(name))
    return bool(found) and not found["prefix"]


def words_for(split: str) -> list[str]:
    """The words that mean ``split``, the usual one first."""
    return [word for word, means in _WORDS.items() if means == split]


def _normalized(name: str) -> str:
    return re.sub(r"[\s.\-]+", "_", name.strip().lower())
