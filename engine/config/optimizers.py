"""The optimizers that optimizer.name takes: adding one is adding an entry here. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OptimizerEntry:
    """``torch_class``: as ``"module:Class"``. ``settings``: further keys of [optimizer] that the class takes.

    ``moments``: tensors of a parameter's size that it keeps for each parameter, without momentum. ``has_fused``: the
    class has a fused kernel, which can also skip a step.
    """

    torch_class: str
    moments: int
    settings: tuple[str, ...] = ()
    has_fused: bool = True

    def state_tensors(self, momentum: float) -> int:
        """Tensors of a parameter's size that it keeps for each parameter."""
        return self.moments + ("momentum" in self.settings and momentum > 0)


OPTIMIZERS = {
    "adamw": OptimizerEntry("torch.optim:AdamW", 2),
    "adam": OptimizerEntry("torch.optim:Adam", 2),
    "sgd": OptimizerEntry("torch.optim:SGD", 0, ("momentum",)),
    "rmsprop": OptimizerEntry("torch.optim:RMSprop", 1, ("momentum",), has_fused=False),
}
