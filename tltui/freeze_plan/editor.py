"""Editing a freeze plan: each wish of the user becomes a short list of rules, and can be taken back. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.config.freeze_rules import Decision, Rule, RuleMatcher, State, parse_rules, subtree_states
from engine.config.layer_tree import LayerTree
from engine.config.optimizers import OPTIMIZERS
from engine.errors import InputError
from engine.runs.events import ParameterCounts
from tltui.freeze_plan.layer_index import LayerIndex
from tltui.freeze_plan.rule_writer import extend_rules, write_rules

_FLOAT = 4  # bytes: parameters, gradients and the optimizer's moments are single precision whatever the arithmetic


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a plan needs, without activations."""

    weights: int
    gradients: int
    optimizer_state: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer_state


class PlanEditor:
    """A freeze plan over one network, with its history.

    Edits either change the plan or raise InputError with a sentence for the user. An edit that asks for what already
    holds changes nothing. A choice of layers that was in force before is written in the same words again.
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
        """The plan, as it stands in run.toml."""
        return list(self._history[self._at])

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether an edit that was taken back can be made again."""
        return self._at < len(self._history) - 1

    @property
    def decisions(self) -> dict[str, Decision]:
        """What the engine will decide for every layer and parameter."""
        return self._matcher.decide(self.rules)

    @property
    def counts(self) -> ParameterCounts:
        """Numbers of parameters under this plan."""
        total, trainable = self.network.values(self.network.all_leaves), self.network.values(self._trained)
        return ParameterCounts(total=total, trainable=trainable, frozen=total - trainable)

    def state(self, path: str) -> State:
        """Whether what ``path`` holds trains: all of it, none, some; "none" where there is nothing to train."""
        return self._states[path]

    def why(self, path: str) -> str:
        """The rule that decided about ``path``; where rules differ on what it holds, each of them in their order."""
        undecided = self.network.below(path)
        if not undecided:
            return "nothing to train"
        deciding: list[str] = []
        for rule in reversed(parse_rules(self.rules)):
            covered = self._covered(rule)
            if covered & undecided:
                deciding.insert(0, str(rule))
            undecided &= ~covered
        return ", ".join([*(["no rule: trains"] if undecided else []), *deciding])

    def changed_since(self, rules: Sequence[str]) -> set[str]:
        """The rows whose training differs from what other rules decide, with all rows above them."""
        changed = self._trained ^ self._trains(rules)
        return {path for path in self.network.rows if self.network.below(path) & changed}

    def memory(self, optimizer: str, precision: str, momentum: float = 0.9) -> Memory:
        """What weights, gradients and optimizer state take under this plan."""
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
        """Freeze what ``path`` holds if all of it trains, else train all of it."""
        inside = self.network.below(path)
        if not inside:
            raise InputError(f"{path or self.network.name} has nothing to train or freeze")
        trains = self._trained & inside == inside
        self._choose(self._trained & ~inside if trains else self._trained | inside)

    def up_to_here(self, path: str) -> None:
        """Freeze everything that runs before ``path``; what runs from there on stays as it is."""
        self._choose(self._trained & ~self.network.before(path))

    def head_only(self) -> None:
        """Train the new classifier and nothing else."""
        self._choose(self.network.head_leaves)

    def all(self) -> None:
        """Train everything."""
        self._choose(self.network.all_leaves)

    def last_stages(self, count: int) -> None:
        """Train the last ``count`` stages of the backbone and the head."""
        stages = self.network.stages
        if not 1 <= count <= len(stages):
            raise InputError(f"{self.network.name} has {len(stages)} stages; {count} can't be chosen")
        paths = [path for stage in stages[-count:] for path in stage]
        self._choose(self.network.together([*paths, *self.network.head]))

    def set_rules(self, rules: Sequence[str]) -> None:
        """Take over rules as they are written."""
        try:
            parse_rules(rules)
        except ValueError as error:
            raise InputError(str(error)) from None
        self._matcher.decide(rules)
        if not self._history or list(rules) != self.rules:
            self._record(list(rules), self._trains(rules))

    def undo(self) -> None:
        """Go back to the plan before the last edit."""
        if not self.can_undo:
            raise InputError("there is nothing to undo")
        self._go(self._at - 1)

    def redo(self) -> None:
        """Go forward again to the plan that was undone last."""
        if not self.can_redo:
            raise InputError("there is nothing to redo")
        self._go(self._at + 1)

    def _choose(self, wanted: int) -> None:
        if wanted == self._trained:
            return
        if not wanted & self.network.parameter_leaves:
            raise InputError("this would leave nothing to train; choose first what shall train instead")
        self._record(self._wordings.get(wanted) or self._write(wanted), wanted)

    def _write(self, wanted: int) -> list[str]:
        """Anew, or as the present rules with a change where these have patterns (``*.bn1``) that say it shorter."""
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
        """The leaves that a rule covers."""
        return self.network.among(self._matcher.covered(rule))
