"""Freeze rules: they decide which parameters are trainable and which modules run in training mode.

A rule is ``freeze PATTERN`` or ``train PATTERN``. A pattern is a path as the layer tree shows it, with
``*`` and ``?`` as in a shell (``*`` crosses dots). It covers everything below what it matches. The last rule that
covers a name decides. A name that no rule covers is trainable. ``head`` stands for the new classifier's layers,
``norms`` for all normalization layers. Imports no torch.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.config.layer_tree import Layer, LayerTree
from engine.errors import InputError

HEAD, NORMS = "head", "norms"
KEYWORDS = (HEAD, NORMS)
"""Patterns that stand for layers of a kind, whatever the network calls them."""
_NORM_TYPE = re.compile(
    r"(Sync|Frozen|Split)?(Batch|Layer|Group|Instance|RMS|Rms|Simple|Evo|FilterResponse|GlobalResponse)Norm(?!Mlp)\w*"
)

State = Literal["trainable", "frozen", "mixed", "none"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A freeze rule: ``verb`` is "freeze" or "train"; ``pattern`` matches paths of modules and parameters."""

    verb: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.verb} {self.pattern}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a module or parameter is trainable, and the rule that decided (None: no rule covers it)."""

    trainable: bool
    rule: Rule | None


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """The facts that decide a module's mode: path, names of its own parameters, batch statistics."""

    path: str
    parameters: Sequence[str]
    batch_statistics: bool


def parse_rules(rules: Iterable[str]) -> list[Rule]:
    """Parse rules like ``"freeze layer1"``. Raises ValueError with a sentence for the user."""
    parsed = []
    for text in rules:
        verb, _, pattern = text.strip().partition(" ")
        if verb not in ("freeze", "train") or not pattern.strip() or " " in pattern.strip():
            raise ValueError(f'rule "{text}" can\'t be read: write "freeze PATTERN" or "train PATTERN"')
        parsed.append(Rule(verb, pattern.strip()))
    return parsed


class RuleMatcher:
    """Matches freeze rules against the modules ("" is the model itself) and parameters of one network.

    What a pattern covers is cached, because an editor decides again on every key press.
    """

    def __init__(self, types: Mapping[str, str], parameters: Iterable[str], head: Sequence[str]) -> None:
        """``types``: the type's name of each module, by path. ``head``: the paths that the word ``head`` stands for."""
        self._parameters = list(parameters)
        self._names = list(dict.fromkeys(["", *types, *self._parameters]))
        self._head = head
        self._keywords = {HEAD: head, NORMS: [path for path, name in types.items() if is_norm(name)]}
        self._covered: dict[str, list[str]] = {}

    @classmethod
    def of(cls, tree: LayerTree) -> RuleMatcher:
        """A matcher for all modules and parameters of a layer tree."""
        return cls({layer.path: layer.type for layer in tree.layers}, tree.parameter_sizes, tree.head)

    def covered(self, rule: Rule) -> list[str]:
        """The names that a rule covers. Raises InputError with the nearest names for a rule that matches none."""
        if rule.pattern not in self._covered:
            covered = _covered(rule.pattern, self._names, self._keywords)
            if not covered and rule.pattern == NORMS:
                raise InputError(
                    f'the rule "{rule}" matches no layer: the network has no normalization layers; drop it'
                )
            if not covered:
                near = nearest(rule.pattern, [*KEYWORDS, *self._names])
                raise InputError(f'the rule "{rule}" matches no layer; {near}')
            self._covered[rule.pattern] = covered
        return self._covered[rule.pattern]

    def match(self, rules: Iterable[str]) -> dict[str, Decision]:
        """The decision for every name, also where nothing is left to train. Raises InputError as ``covered``."""
        decisions = dict.fromkeys(self._names, Decision(True, None))
        for rule in parse_rules(rules):
            decisions.update(dict.fromkeys(self.covered(rule), Decision(rule.verb == "train", rule)))
        return decisions

    def decide(self, rules: Iterable[str]) -> dict[str, Decision]:
        """``match`` for a plan to train with. Raises InputError, too, where no parameter is left to train."""
        decisions = self.match(rules)
        if not any(decisions[name].trainable for name in self._parameters):
            raise InputError(
                'the freeze plan leaves nothing to train; end freeze.rules with "train head" '
                f"(the head is {', '.join(self._head)}) or another layer; {nearest('', self._names)}"
            )
        return decisions


def is_norm(type_name: str) -> bool:
    """Whether a module's type is a normalization layer of torch, torchvision or timm, also one with an activation."""
    return _NORM_TYPE.fullmatch(type_name) is not None


def decide(rules: Iterable[str], tree: LayerTree) -> dict[str, Decision]:
    """The decision for each module and parameter of a layer tree. Raises InputError as ``RuleMatcher.decide``."""
    return RuleMatcher.of(tree).decide(rules)


def training_modes(
    modules: Sequence[ModuleFacts], decisions: Mapping[str, Decision], norm_stats: str
) -> dict[str, bool]:
    """Whether each module runs in training mode, by path; ``modules`` lists parents before their children.

    - A module runs in training mode if a parameter in it or below it is trainable.
    - A module without parameters (dropout, an activation) follows its parent.
    - Batch statistics are updated if their layer is trainable, never with ``norm_stats`` = "frozen". In a layer without
      parameters of its own the rules decide.
    """
    trainable_below: dict[str, bool] = {}
    for module in modules:
        if module.parameters:
            trainable = any(decisions[name].trainable for name in module.parameters)
            for path in dict.fromkeys(["", *ancestors(module.path), module.path]):
                trainable_below[path] = trainable_below.get(path, False) or trainable
    modes: dict[str, bool] = {}
    for module in modules:
        parent = modes[module.path.rpartition(".")[0]] if module.path else True
        modes[module.path] = trainable_below.get(module.path, parent)
    for module in modules:
        if module.batch_statistics:
            follows = modes[module.path] if module.parameters else decisions[module.path].trainable
            modes[module.path] = follows and norm_stats == "follow"
    return modes


def module_facts(tree: LayerTree) -> list[ModuleFacts]:
    """The modules of a layer tree, for ``training_modes``."""
    return [ModuleFacts(layer.path, list(layer.parameter_sizes), layer.batch_statistics) for layer in tree.layers]


def freeze_targets(layer: Layer) -> list[str]:
    """The names in a layer that can be frozen: its own parameters, or the layer itself for batch statistics alone."""
    return list(layer.parameter_sizes) or ([layer.path] if layer.batch_statistics else [])


def subtree_states(tree: LayerTree, decisions: Mapping[str, Decision]) -> dict[str, State]:
    """The state of each module and parameter: "trainable", "frozen", or "mixed" for some of each.

    "none": it has nothing that can be frozen.
    """
    found: dict[str, set[bool]] = {layer.path: set() for layer in tree.layers}
    for layer in tree.layers:
        for target in freeze_targets(layer):
            for path in dict.fromkeys(["", *ancestors(target), target]):
                found.setdefault(path, set()).add(decisions[target].trainable)
    return {path: _state(trainable) for path, trainable in found.items()}


def _state(trainable: set[bool]) -> State:
    if not trainable:
        return "none"
    return "mixed" if len(trainable) == 2 else "trainable" if True in trainable else "frozen"


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


def _covered(pattern: str, names: Sequence[str], keywords: Mapping[str, Sequence[str]]) -> list[str]:
    if pattern in keywords:
        hit = set(keywords[pattern])
    else:
        matches = re.compile(fnmatch.translate(pattern)).fullmatch
        hit = {name for name in names if matches(name)}
    return [name for name in names if "" in hit or name in hit or any(above in hit for above in ancestors(name))]
