"""Draws ``image/unfreezing.svg``: a real run in the app, whose last stages are unfrozen while it trains.

``python -m tests.ui.unfreezing > tests/ui/image/unfreezing.svg`` trains for about two minutes on two CPU cores.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does for the tests beside

from app_runs import until
from textual.pilot import Pilot

from engine.config.toml_io import with_settings
from engine.runs.state import RunState
from tltui.app.app import TltuiApp
from tltui.screens.workbench import Workbench
from tltui.settings.demo import demo_config

SIZE = (112, 32)
EPOCHS = 8
UNFREEZE_AFTER = 3  # epochs of the head alone
PATIENCE = 400.0  # seconds for a step of the story


@dataclass(frozen=True)
class Frame:
    """A screenshot and the seconds it is shown."""

    svg: str
    seconds: float


async def record(folder: Path) -> list[Frame]:
    """Train the head of the demo, unfreeze the last two stages live, and take a frame an epoch."""
    config = with_settings(demo_config({}), {"freeze.rules": ["freeze *", "train head"], "train.epochs": EPOCHS})
    app = TltuiApp(folder / "runs", draft=config, config_dir=folder / "config", theme="tltui-dark")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Workbench) and "blocks" in app.export_screenshot(), PATIENCE)
        frames = [Frame(app.export_screenshot(), 1.5)]
        await pilot.press("r")
        await until(pilot, lambda: _state(app).steps, PATIENCE)
        frames += await _each_epoch(pilot, app, UNFREEZE_AFTER)
        rules_before = _state(app).rules
        await pilot.press("2")
        frames.append(Frame(app.export_screenshot(), 1.5))
        await until(pilot, lambda: _state(app).rules != rules_before, PATIENCE)
        await pilot.pause(0.5)
        frames.append(Frame(app.export_screenshot(), 2.0))
        frames += await _each_epoch(pilot, app, EPOCHS)
        await until(pilot, lambda: _state(app).finished, PATIENCE)
        await pilot.pause(0.5)
        return [*frames, Frame(app.export_screenshot(), 3.0)]


def _state(app: TltuiApp) -> RunState:
    assert isinstance(app.screen, Workbench)
    return app.screen.following.state if app.screen.following else RunState()


async def _each_epoch(pilot: Pilot[int], app: TltuiApp, last: int) -> list[Frame]:
    frames = []
    while (seen := len(_state(app).epochs)) < last:
        await until(pilot, lambda seen=seen: len(_state(app).epochs) > seen, PATIENCE)
        await pilot.pause(0.5)
        frames.append(Frame(app.export_screenshot(), 0.8))
    return frames


_RULE = re.compile(r"\.(?P<name>[\w-]+-r\d+) (?P<rule>\{[^}]*\})")
_ELEMENT = re.compile(r"<rect fill=[^>]*/>|<text class=.*?</text>")
_ID = re.compile(r"terminal-\d+")


def animated(frames: Sequence[Frame]) -> str:
    """One SVG that shows the frames in turn. What several frames share is written once."""
    classes: dict[str, str] = {}
    shown_in: dict[str, set[int]] = defaultdict(set)
    for number, frame in enumerate(frames):
        rules = {_ID.sub("t", found["name"]): found["rule"] for found in _RULE.finditer(frame.svg)}
        matrix = _ID.sub("t", frame.svg[frame.svg.index('<g transform="translate(9, 41)"') :])
        for element in _ELEMENT.findall(matrix):
            named = re.sub(
                r'class="(t-r\d+)"',
                lambda found, rules=rules: f'class="{classes.setdefault(rules[found[1]], f"c{len(classes)}")}"',
                element,
            )
            shown_in[re.sub(r' clip-path="[^"]*"| shape-rendering="\w+"', "", named)].add(number)
    groups: dict[tuple[bool, frozenset[int]], list[str]] = defaultdict(list)
    for element, numbers in shown_in.items():
        groups[element.startswith("<text"), frozenset(numbers)].append(element)
    drawn = [
        _group(elements, numbers, frames)
        for (_, numbers), elements in sorted(groups.items(), key=lambda group: (group[0][0], sorted(group[0][1])))
    ]
    head = _ID.sub("t", frames[0].svg[: frames[0].svg.index("<defs>")])
    head = _RULE.sub("", head).replace(
        "</style>", "".join(f".{name} {rule}" for rule, name in classes.items()) + "</style>"
    )
    window = frames[0].svg[
        frames[0].svg.index("</defs>") + len("</defs>") : frames[0].svg.index('<g transform="translate(9, 41)"')
    ]
    body = f'<g transform="translate(9, 41)"><g class="t-matrix">{"".join(drawn)}</g></g>'
    return re.sub(r"\n\s*", "\n", f"{head}{_ID.sub('t', window)}{body}\n</svg>\n")


def _group(elements: Sequence[str], numbers: frozenset[int], frames: Sequence[Frame]) -> str:
    """Elements that are shown in the same frames."""
    if len(numbers) == len(frames):
        return f"<g>{''.join(elements)}</g>\n"
    total = sum(frame.seconds for frame in frames)
    times, values = ["0"], ["inline" if 0 in numbers else "none"]
    at = 0.0
    for number, frame in enumerate(frames):
        value = "inline" if number in numbers else "none"
        if value != values[-1]:
            times.append(f"{at / total:.4f}")
            values.append(value)
        at += frame.seconds
    animate = (
        f'<animate attributeName="display" calcMode="discrete" dur="{total:g}s" repeatCount="indefinite" '
        f'keyTimes="{";".join(times)}" values="{";".join(values)}"/>'
    )
    still = "inline" if len(frames) - 1 in numbers else "none"  # where nothing is animated, the last frame is shown
    return f'<g display="{still}">{animate}{"".join(elements)}</g>\n'


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.stdout.write(animated(asyncio.run(record(Path(temporary)))))
