"""Edits a freeze plan with undo: each edit results in a short list of rules. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.config.freeze_rules import HEAD, NORMS, Decision, Rule, RuleMatcher, State, parse_rules, subtree_states
from engine.config.layer_tree import LayerTree
from engine.config.optimizers import OPTIMIZERS
from engine.errors import InputError
from engine.runs.events import ParameterCounts
from tltui.freeze_plan.layer_index import LayerIndex
from tltui.freeze_plan.rule_writer import extend_rules, write_rules

_FLOAT = 4  # bytes: parameters, gradients and optimizer state are fp32 in every precision


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory under a freeze plan, without activations."""

    weights: int
    gradients: int
    optimizer_state: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.gradients + self.optimizer_state


class PlanEditor:
    """A freeze plan over one network, with its history.

    An edit changes the plan, changes nothing where the plan has it already, or raises InputError. A selection of
    layers that the history has is written in the same rules again.
    """

    def __init__(self, tree: LayerTree, rules: Sequence[str]) -> None:
        self.tree = tree
        self.network = LayerIndex(tree)
        self._matcher = RuleMatcher.of(tree)
        self._states: dict[str, State] = {}
        self._wordings: dict[int, list[str]] = {}
        self._history: list[list[str]] = []
        self._at = -1
        self._trained = 0
        self.set_rules(rules)

    @property
    def rules(self) -> list[str]:
        """The plan's rules, as in run.toml."""
        return list(self._history[self._at])

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit."""
        return self._at < len(self._history) - 1

    @property
    def decisions(self) -> dict[str, Decision]:
        """The engine's decision for every layer and parameter."""
        return self._matcher.decide(self.rules)

    @property
    def counts(self) -> ParameterCounts:
        """Numbers of parameters under this plan."""
        total, trainable = self.network.values(self.network.all_leaves), self.network.values(self._trained)
        return ParameterCounts(total=total, trainable=trainable, frozen=total - trainable)

    def state(self, path: str) -> State:
        """Whether all, none or some of a layer is trainable; "none" where it has no parameters."""
        return self._states[path]

    def why(self, path: str) -> str:
        """The rules that decide about a layer and what it holds, in their order."""
        undecided = self.network.below(path)
        if not undecided:
            return "nothing to train"
        deciding: list[str] = []
        for rule in reversed(parse_rules(self.rules)):
            covered = self._covered(rule)
            if covered & undecided:
                deciding.insert(0, str(rule))
            undecided &= ~covered
        return ", ".join([*(["no rule: trainable"] if undecided else []), *deciding])

    def changed_since(self, rules: Sequence[str]) -> set[str]:
        """The layers that ``rules`` decide differently, with all layers that hold them."""
        changed = self._trained ^ self._trains(rules)
        return {path for path in self.network.rows if self.network.below(path) & changed}

    def memory(self, optimizer: str, precision: str, momentum: float = 0.9) -> Memory:
        """Memory of weights, gradients and optimizer state under this plan."""
        counts = self.counts
        moments = OPTIMIZERS[optimizer].state_tensors(momentum)
        # Autocast keeps a half-precision copy of each weight that needs a gradient until the step is done.
        copies = counts.trainable * 2 if precision in ("bf16", "fp16") else 0
        return Memory(
            weights=(counts.total + self.network.buffer_values) * _FLOAT + copies,
            gradients=counts.trainable * _FLOAT,
            optimizer_state=counts.trainable * _FLOAT * moments,
        )

    def toggle(self, path: str) -> None:
        """Freeze a layer if all of it is trainable, else train all of it."""
        inside = self.network.below(path)
        if not inside:
            raise InputError(f"{path or self.network.name} has no parameters to freeze or train")
        trains = self._trained & inside == inside
        self._choose(self._trained & ~inside if trains else self._trained | inside)

    def up_to_here(self, path: str) -> None:
        """Freeze everything that runs before ``path``; the layers from there on keep their state."""
        self._choose(self._trained & ~self.network.before(path))

    def head_only(self) -> None:
        """Train the head only."""
        self._choose(self.network.head_leaves)

    def all(self) -> None:
        """Train everything."""
        self._choose(self.network.all_leaves)

    def norms(self) -> None:
        """Train the normalization layers and the head. Raises InputError for a network without any."""
        self.set_rules(["freeze *", f"train {NORMS}", f"train {HEAD}"])

    def biases(self) -> None:
        """Train all biases and the head (BitFit, Ben-Zaken et al. 2021, 2106.10199)."""
        self.set_rules(["freeze *", "train *.bias", f"train {HEAD}"])

    def last_stages(self, count: int) -> None:
        """Train the last ``count`` stages of the backbone and the head."""
        stages = self.network.stages
        if not 1 <= count <= len(stages):
            raise InputError(f"{self.network.name} has {len(stages)} stages; {count} can't be chosen")
        paths = [path for stage in stages[-count:] for path in stage]
        self._choose(self.network.together([*paths, *self.network.head]))

    def set_rules(self, rules: Sequence[str]) -> None:
        """Replace the plan by ``rules``. Raises InputError."""
        try:
            parse_rules(rules)
        except ValueError as error:
            raise InputError(str(error)) from None
        self._matcher.decide(rules)
        if not self._history or list(rules) != self.rules:
            self._record(list(rules), self._trains(rules))

    def undo(self) -> None:
        """Restore the plan before the last edit."""
        if not self.can_undo:
            raise InputError("there is nothing to undo")
        self._go(self._at - 1)

    def redo(self) -> None:
        """Restore the plan that was undone last."""
        if not self.can_redo:
            raise InputError("there is nothing to redo")
        self._go(self._at + 1)

    def _choose(self, wanted: int) -> None:
        if wanted == self._trained:
            return
        if not wanted & self.network.parameter_leaves:
            raise InputError("this would freeze every layer; train another one first")
        self._record(self._wordings.get(wanted) or self._write(wanted), wanted)

    def _write(self, wanted: int) -> list[str]:
        """New rules, or the present ones extended where their patterns (``*.bn1``) are shorter."""
        anew = write_rules(self.network, wanted)
        changed = extend_rules(self.network, self.rules, self._trained, wanted, self._trains)
        return changed if 0 < len(changed) < len(anew) - 1 else anew

    def _record(self, rules: list[str], trained: int) -> None:
        self._wordings[trained] = rules
        self._history[self._at + 1 :] = [rules]
        self._go(self._at + 1)

    def _go(self, at: int) -> None:
        self._at = at
        self._trained = self._trains(self._history[at])
        self._states = subtree_states(self.tree, self.decisions)

    def _trains(self, rules: Iterable[str]) -> int:
        """The trainable leaves under other rules, which may leave nothing to train."""
        return self.network.among(name for name, by in self._matcher.match(rules).items() if by.trainable)

    def _covered(self, rule: Rule) -> int:
        """The leaves that a rule matches."""
        return self.network.among(self._matcher.covered(rule))
