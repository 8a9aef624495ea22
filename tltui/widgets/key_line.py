"""The last line of a screen: the most important keys, as many as fit."""

from __future__ import annotations

from textual.binding import ActiveBinding
from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.widget import Widget

# Actions in order of importance, with short labels. The help and the palette list all actions.
WORDS: dict[str, str] = {
    "workbench.run": "run",
    "layers.toggle": "freeze",
    "layers.figure": "column",
    "layers.up_to_here": "up to here",
    "layers.head_only": "head only",
    "layers.all": "all",
    "layers.undo": "undo",
    "layers.find": "find",
    "layers.next": "next",
    "layers.end_search": "end search",
    "home.open": "open",
    "home.expand": "folds",
    "home.resume": "resume",
    "home.new": "new",
    "home.mark": "mark",
    "home.compare": "compare",
    "home.copy": "new from this",
    "home.demo": "demo",
    "home.pause": "pause",
    "home.stop": "stop",
    "home.delete": "delete",
    "workbench.pause": "pause",
    "workbench.stop": "stop",
    "workbench.checkpoint": "checkpoint",
    "workbench.copy": "new from this",
    "form.reset": "reset",
    "form.leave": "leave field",
    "evaluate.split": "split",
    "evaluate.view": "view",
    "evaluate.mistakes": "errors",
    "evaluate.number": "number",
    "curves.smooth": "smooth",
    "curves.log": "log",
    "curves.zoom": "zoom",
    "workbench.rates": "LR finder",
    "workbench.probe": "probe",
    "workbench.save": "save",
    "workbench.load": "load",
    "workbench.leave": "runs",
    "sweep.open": "open",
    "sweep.take": "new from best",
    "sweep.stop": "stop",
    "sweep.go_on": "resume",
    "sweep.leave": "back",
    "folds.open": "open",
    "folds.stop": "stop",
    "folds.resume": "resume",
    "folds.leave": "back",
    "compare.open": "open",
    "compare.leave": "runs",
    "compare.other": "score / loss",
    "compare.right": "more columns",
    "manual.follow": "follow",
    "manual.next_link": "next link",
    "manual.search": "search",
    "manual.list": "pages",
    "manual.page": "page",
    "manual.back": "back",
    "app.manual": "manual",
    "app.quit": "quit",
}
_ALWAYS = {"app.palette": "commands", "app.help": "keys"}


class KeyLine(Widget):
    """Follows the focus; a click on a key presses it."""

    DEFAULT_CSS = """
    KeyLine {
        height: 1;
        padding: 0 1;
        background: $footer-background;
        color: $text-muted;
        link-style: none;
        link-color: $text-muted;
        link-background: $footer-background;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown = Content("")

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, _screen: Screen[object]) -> None:
        if self._keys() != self._shown:
            self.refresh()

    def render(self) -> Content:
        self._shown = self._keys()
        return self._shown

    def _keys(self) -> Content:
        within_reach: dict[str, ActiveBinding] = {}
        for active in self.screen.active_bindings.values():
            if active.enabled and active.binding.id:
                within_reach.setdefault(active.binding.id, active)
        last = [self._part(within_reach[id], word) for id, word in _ALWAYS.items() if id in within_reach]
        room = self.content_size.width - sum(len(part) + 2 for part in last)
        parts = []
        for id, word in WORDS.items():
            if id in within_reach:
                part = self._part(within_reach[id], word)
                if len(part) + 2 > room:
                    break
                room -= len(part) + 2
                parts.append(part)
        return Content("  ").join([*parts, *last])

    def _part(self, active: ActiveBinding, word: str) -> Content:
        key = self.app.get_key_display(active.binding)
        part = Content.assemble((key, "bold $footer-key-foreground"), f" {word}")
        click = Style.from_meta({"@click": f"app.simulate_key('{active.binding.key}')"})
        return part.stylize(click)
