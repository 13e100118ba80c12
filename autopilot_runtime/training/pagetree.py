"""Where each candidate came from, as a tree: the kept ones are its trunk, what came of nothing its twigs."""

from __future__ import annotations

from autopilot_runtime.training.pagetable import chip, text
from autopilot_runtime.training.plot import clipped
from autopilot_runtime.training.plotaxis import figure
from autopilot_runtime.training.story import Attempt, Story

_TWIGS = 60
_DEEP = 20  # branches of branches; what is deeper is listed below each other
_MARKS = {"discard": "·", "rollback": "▾", "stop": "■"}


def tree_html(story: Story) -> str:
    """The tree."""
    return _Tree(story).html()


class _Tree:
    def __init__(self, story: Story) -> None:
        self.story = story
        self.tried: dict[str, list[Attempt]] = {}
        for one in story.attempts:
            self.tried.setdefault(one.base, []).append(one)
        self.drawn = {story.root}
        self.trunk = self._trunk()

    def _trunk(self) -> set[str]:
        """The commits on the way to the best one."""
        base = {one.row.commit: one.base for one in reversed(self.story.kept)}
        at = self.story.best.row.commit if self.story.best is not None else ""
        found: set[str] = set()
        while at in base and at not in found:
            found.add(at)
            at = base[at]
        return found

    def html(self) -> str:
        story = self.story
        start = "" if story.start is None else f' <span class="soft">{figure(story.start)}</span>'
        root = f'<li class="trunk root">the first state{start}{self.twigs(story.root)}</li>'
        return f'<ul class="tree">{root}{self.line(story.root, 0)}</ul>'

    def line(self, base: str, depth: int) -> str:
        """What was kept of a state's candidates, and of theirs: one goes on in this line, the others branch off."""
        out: list[str] = []
        while kept := [one for one in self.tried.get(base, ()) if one.kept and one.row.commit not in self.drawn]:
            self.drawn.update(one.row.commit for one in kept)
            ahead = next((one for one in kept if one.row.commit in self.trunk), kept[-1])
            for one in kept:
                if one is ahead:
                    continue
                below = self.line(one.row.commit, depth + 1) if depth < _DEEP else self.rest(one)
                out.append(self.node(one, f"<ul>{below}</ul>" if below else ""))
            out.append(self.node(ahead))
            base = ahead.row.commit
        return "".join(out)

    def rest(self, above: Attempt) -> str:
        """Everything that was kept below a candidate, in one list."""
        todo, found = [above.row.commit], list[Attempt]()
        while todo:
            kept = [one for one in self.tried.get(todo.pop(), ()) if one.kept and one.row.commit not in self.drawn]
            self.drawn.update(one.row.commit for one in kept)
            found += kept
            todo += [one.row.commit for one in kept]
        return "".join(self.node(one) for one in sorted(found, key=lambda one: one.n))

    def node(self, one: Attempt, below: str = "") -> str:
        """One that was kept, with what was tried from there."""
        kind = ' class="trunk"' if one.row.commit in self.trunk else ""
        why = f" {text(clipped(one.why, 90))}" if one.why else ""
        badge = f" {chip('best', 'accept')}" if one is self.story.best else ""
        value = f'<span class="soft">{figure(one.value)}</span>'
        link = f'<a href="#c{one.n}">{one.n}</a>'
        return f"<li{kind}>{link} {value}{why}{badge}{self.twigs(one.row.commit)}{below}</li>"

    def twigs(self, base: str) -> str:
        """Those that were tried from here and not kept."""
        tried = [one for one in self.tried.get(base, ()) if not one.kept]
        if not tried:
            return ""
        links = " ".join(map(_twig, tried[:_TWIGS]))
        more = f" … and {len(tried) - _TWIGS} more" if len(tried) > _TWIGS else ""
        return f'<div class="twigs">tried and not kept: {links}{more}</div>'


def _twig(one: Attempt) -> str:
    title = text(clipped(one.why or one.row.reason, 120))
    return f'<a href="#c{one.n}" title="{title}">{one.n}{_mark(one)}</a>'


def _mark(one: Attempt) -> str:
    return "✕" if one.crashed else "○" if one.noisy else _MARKS.get(one.row.verdict, "")
