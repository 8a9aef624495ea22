"""The freeze plan: an ordered list of rules over layer paths, and what it decides. Imports no torch.

A rule is ``freeze PATTERN`` or ``train PATTERN``. A pattern is a path as the layer tree shows it, with
``*`` and ``?`` as in a shell (``*`` crosses dots), and covers everything below what it matches. The last rule that
covers a name decides; what no rule covers trains. ``head`` stands for the new classifier's layers.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import InputError

HEAD = "head"


@dataclass(frozen=True, slots=True)
class Rule:
    """``verb`` is "freeze" or "train"; ``pattern`` is matched against paths of modules and parameters."""

    verb: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.verb} {self.pattern}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a module or parameter trains, and the rule that decided (None: no rule covers it)."""

    trains: bool
    rule: Rule | None


def parse_rules(rules: Iterable[str]) -> list[Rule]:
    """Parse rules like ``"freeze layer1"``. Raises ValueError with a sentence for the user."""
    parsed = []
    for text in rules:
        verb, _, pattern = text.strip().partition(" ")
        if verb not in ("freeze", "train") or not pattern.strip() or " " in pattern.strip():
            raise ValueError(f'rule "{text}" can\'t be read: write "freeze PATTERN" or "train PATTERN"')
        parsed.append(Rule(verb, pattern.strip()))
    return parsed


def decide(
    rules: Sequence[str], modules: Iterable[str], parameters: Iterable[str], head: Sequence[str]
) -> dict[str, Decision]:
    """What the rules decide for each module path ("" is the model itself) and each parameter name.

    ``head`` lists the paths that the word ``head`` stands for. Raises InputError for a rule that matches
    nothing, with the nearest names, and where no parameter is left to train.
    """
    parameters = list(parameters)
    names = list(dict.fromkeys(["", *modules, *parameters]))
    decisions = dict.fromkeys(names, Decision(True, None))
    for rule in parse_rules(rules):
        covered = _covered(rule.pattern, names, head)
        if not covered:
            raise InputError(f'the rule "{rule}" matches no layer; {nearest(rule.pattern, [HEAD, *names])}')
        decisions.update(dict.fromkeys(covered, Decision(rule.verb == "train", rule)))
    if not any(decisions[name].trains for name in parameters):
        raise InputError(
            'the freeze plan leaves nothing to train; end freeze.rules with "train head" '
            f"(the head is {', '.join(head)}) or another layer; {nearest('', names)}"
        )
    return decisions


def decide_model(rules: Sequence[str], model: Mapping[str, Any]) -> dict[str, Decision]:
    """``decide`` for all that the layer tree ``model`` (the content of model.json) holds."""
    layers = model["layers"]
    parameters = [f"{layer['path']}.{name}".removeprefix(".") for layer in layers for name in layer["parameters"]]
    return decide(rules, [layer["path"] for layer in layers], parameters, model["head"])


def ancestors(name: str) -> list[str]:
    """The paths above ``name``, outermost first: ``a.b.c`` → ``["a", "a.b"]``."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def nearest(pattern: str, names: Iterable[str]) -> str:
    """A clause that names the layers most like ``pattern``."""
    known = list(dict.fromkeys(name for name in names if name))
    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
    if not near:
        near = [name for name in known if "." not in name][:6]
    return f"nearest layers: {', '.join(near)}"


def _covered(pattern: str, names: Sequence[str], head: Sequence[str]) -> list[str]:
    if pattern == HEAD:
        hit = set(head)
    else:
        matches = re.compile(fnmatch.translate(pattern)).fullmatch
        hit = {name for name in names if matches(name)}
    return [name for name in names if "" in hit or name in hit or any(above in hit for above in ancestors(name))]
