"""Chooses the state dict of a weights file that belongs to a network, and strips the prefix of its names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.errors import InputError
from engine.files.text_lists import listed
from engine.models.weight_files import StateDict

_EMA = re.compile(r"(^|[._])ema([._]|$)")  # weights averaged over training, which generalize better
_LISTED = 8


@dataclass(frozen=True)
class Candidate:
    """A state dict in a file: its ``place`` there, the ``prefix`` of its names, and how many names the network has."""

    place: str
    prefix: str
    fitting: int
    label: str

    @property
    def is_ema(self) -> bool:
        """Whether it holds an exponential moving average of weights."""
        return bool(_EMA.search(f"{self.place}.{self.prefix}"))


@dataclass(frozen=True)
class Choice:
    """The chosen state dict under the network's names; ``label`` names it where the file has several."""

    state: StateDict
    label: str
    prefix: str


def choose_state_dict(found: Mapping[str, StateDict], own: StateDict, wanted: str, source: str, model: str) -> Choice:
    """The state dict of the file ``source`` that fits the tensors ``own`` of the network ``model``.

    ``wanted``: the name of one of several; "" chooses the only one that fits, or the moving average (EMA) if there is
    one. Raises InputError where none fits, and where the choice is not clear.
    """
    candidates = _candidates(found, own)
    if wanted:
        chosen = [candidate for candidate in candidates if wanted in _names(candidate)]
        if not chosen:
            raise InputError(f'{source}: holds no weights "{wanted}" that fit; it holds {_listed(candidates, found)}')
        candidates = chosen
    if not candidates:
        raise nothing_fits(source, max(found.values(), key=len), model, own)
    averaged = [candidate for candidate in candidates if candidate.is_ema]
    if len(averaged) == 1:
        candidates = averaged
    if len(candidates) > 1:
        raise InputError(
            f"{source}: holds several sets of weights, {_listed(candidates, found)}; choose one with "
            f'model.weights = "{source}#{candidates[-1].label}"'
        )
    (chosen,) = candidates
    others = [c.prefix for c in _candidates(found, own) if c.place == chosen.place and c.prefix != chosen.prefix]
    label = chosen.label if len(found) > 1 or others or chosen.is_ema else ""
    return Choice(_stripped(found[chosen.place], chosen.prefix, others), label, chosen.prefix)


def nothing_fits(source: str, state: StateDict, model: str, own: StateDict) -> InputError:
    """The error for weights of another network."""
    return InputError(
        f'{source}: none of its {len(state)} tensors fits {model} (it has "{next(iter(state))}", '
        f'the model "{next(iter(own))}"); choose the model that these weights belong to'
    )


def _candidates(found: Mapping[str, StateDict], own: StateDict) -> list[Candidate]:
    """State dicts of which at least half as many tensors fit as of the best one."""
    counted = [(place, prefix, count) for place in found for prefix, count in _prefixes(found[place], own).items()]
    best = max((count for _, _, count in counted), default=0)
    kept = [(place, prefix, count) for place, prefix, count in counted if 2 * count > best]
    places = Counter(place for place, _, _ in kept)
    return [
        Candidate(place, prefix, count, f"{place}.{prefix}".strip(".") if places[place] > 1 else place)
        for place, prefix, count in kept
    ]


def _prefixes(state: StateDict, own: StateDict) -> Counter[str]:
    """How many tensors fit the network by name after a prefix is stripped, by prefix."""
    counts: Counter[str] = Counter()
    for key, tensor in state.items():
        for prefix, name in _splits(key):
            if name in own and own[name].ndim == tensor.ndim:
                counts[prefix] += 1
    return counts


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")"""
    yield "", key
    for dot in re.finditer(r"\.", key):
        yield key[: dot.end()], key[dot.end() :]


def _stripped(state: StateDict, prefix: str, others: Sequence[str]) -> StateDict:
    """The tensors without their common prefix, and those outside it, such as a new head; not those of ``others``."""
    own = {
        key for key in state if max((p for p in (prefix, *others) if key.startswith(p)), key=len, default="") == prefix
    }
    stripped = {key.removeprefix(prefix): state[key] for key in state if key in own and key.startswith(prefix)}
    outside = [key for key in state if not any(key.startswith(p) for p in (prefix, *others))]
    return {key: state[key] for key in outside} | stripped


def _names(candidate: Candidate) -> set[str]:
    """The names by which a user can choose a state dict."""
    return {
        name.strip(".")
        for name in (candidate.label, candidate.place, candidate.place.rpartition(".")[2], candidate.prefix)
        if name
    }


def _listed(candidates: Sequence[Candidate], found: Mapping[str, StateDict]) -> str:
    labels = [f'"{c.label}" ({c.fitting} tensors fit)' for c in candidates] or [f'"{place}"' for place in found]
    return listed(labels, _LISTED)
