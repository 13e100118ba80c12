"""Who calls whom, as far as names, imports and classes tell."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from autopilot_runtime.search.graph import Trace, trace_callees, trace_callers, trace_graph
from autopilot_runtime.search.index import Index
from autopilot_runtime.search.treeparse import is_installed

CODE = {
    "src/app/__init__.py": "from .core import run as run_app, Engine\n",
    "src/app/core.py": """
        import json
        from app import util
        from app.util import clean as scrub, Store

        class Engine:
            store: Store
            def __init__(self, path: str):
                self.log = util.Log(path)
            def start(self):
                self.warm_up()
                self.log.write("x")
                self.store.save(1)
                data = json.loads("1")
                return scrub(data)
            def warm_up(self):
                print(len([1]))

        class Turbo(Engine):
            def start(self):
                super().start()
                self.boost()
            def boost(self):
                self.warm_up()

        def run(thing, log: util.Log):
            engine = Engine("p")
            engine.start()
            log.write("y")
            thing.save(2)
            thing.append(3)
            helper = lambda: scrub(1)
            def inner():
                scrub(2)
            return inner
        """,
    "src/app/util.py": """
        def clean(x):
            return clean(x[1:]) if x else x

        class Log:
            def write(self, text): ...
            def append(self, text): ...

        class Store:
            def save(self, row): ...

        class Other:
            def save(self, row): ...
        """,
    "src/other/json.py": "def loads(x): ...\n",
    "src/other/__init__.py": "",
    "main.py": """
        from app import run_app
        import app.util

        def clean(): ...

        def main():
            run_app(None, None)
            clean()
            app.util.clean("q")
            unknown()
        main()
        """,
}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    for name, text in CODE.items():
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    made = Index(tmp_path / "work", folder=tmp_path / "cache")
    made.refresh()
    return made


def callers(index: Index, symbol: str) -> list[str]:
    with index.open() as connection:
        return said(trace_callers(connection, symbol))


def callees(index: Index, symbol: str) -> list[str]:
    with index.open() as connection:
        return said(trace_callees(connection, symbol))


def said(trace: Trace) -> list[str]:
    mark = {True: "", False: "?"}
    return [
        f"{e.caller.path.rpartition('/')[2]}:{e.line} {e.caller.name}>{e.callee.name}{mark[e.sure]}"
        for e in trace.edges
    ]


def test_a_method_is_called_through_self_super_variables_and_annotations(index: Index) -> None:
    assert callers(index, "Engine.start") == ["core.py:20 Turbo.start>Engine.start", "core.py:27 run>Engine.start"]
    assert callers(index, "warm_up") == [
        "core.py:10 Engine.start>Engine.warm_up",
        "core.py:23 Turbo.boost>Engine.warm_up",
    ]
    assert callers(index, "Log.write") == ["core.py:11 Engine.start>Log.write", "core.py:28 run>Log.write"]


def test_two_functions_of_one_name_are_told_apart(index: Index) -> None:
    assert callers(index, "main.clean") == ["main.py:8 main>clean"]
    assert callers(index, "src/app/util.py:clean") == callers(index, "app.util.clean") == [
        "main.py:9 main>clean",
        "core.py:14 Engine.start>clean",
        "core.py:31 run>clean",
        "core.py:33 run>clean",
        "util.py:2 clean>clean",
    ]  # fmt: skip


def test_a_name_passed_on_by_a_package_and_renamed_is_followed(index: Index) -> None:
    assert callers(index, "core.run") == ["main.py:7 main>run"]


def test_what_cannot_be_known_is_marked_as_a_guess(index: Index) -> None:
    assert callers(index, "Store.save") == ["core.py:12 Engine.start>Store.save", "core.py:29 run>Store.save?"]
    assert callers(index, "Other.save") == ["core.py:29 run>Other.save?"]
    assert callers(index, "Log.append") == []  # any list has one, too


def test_the_standard_library_is_not_taken_for_ours(index: Index) -> None:
    assert callers(index, "other.json.loads") == []


def test_making_an_object_calls_its_class(index: Index) -> None:
    expected = ["core.py:26 run>Engine"]
    assert callers(index, "Engine") == expected
    assert callers(index, "Engine.__init__") == expected


def test_module_level_calls_count(index: Index) -> None:
    assert callers(index, "main.main") == ["main.py:11 main>main"]


def test_callees_are_listed_with_what_is_outside(index: Index) -> None:
    with index.open() as connection:
        trace = trace_callees(connection, "Engine.start")
    assert [e.callee.name for e in trace.edges] == ["Engine.warm_up", "Log.write", "Store.save", "clean"]
    assert trace.outside == ("json.loads",)
    assert "core.py:23 Turbo.boost>Engine.warm_up" in callees(index, "Turbo")


def test_the_graph_goes_both_ways_as_deep_as_asked(index: Index) -> None:
    with index.open() as connection:
        near = said(trace_graph(connection, "Engine.start", depth=1))
        far = said(trace_graph(connection, "Engine.start", depth=2))
    assert near[:2] == ["core.py:20 Turbo.start>Engine.start", "core.py:27 run>Engine.start"]
    assert "main.py:7 main>run" in set(far) - set(near)
    assert "util.py:2 clean>clean" in set(far) - set(near)


def test_output_is_bounded_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    body = "\n".join(f"def f{n}():\n    hub()\n    f{(n + 1) % 400}()" for n in range(400))
    (tmp_path / "work" / "m.py").write_text(f"def hub(): ...\n{body}\n")
    index = Index(tmp_path / "work", folder=tmp_path / "cache")
    index.refresh()
    with index.open() as connection:
        traces = [trace_callers(connection, "hub", limit=50), trace_graph(connection, "f7", depth=300, limit=50)]
    for trace in traces:
        assert trace.more
        assert len(trace.edges) <= 50


def test_what_is_not_there_is_not_there(index: Index) -> None:
    with index.open() as connection:
        assert trace_callers(connection, "no_such_thing").symbols == ()
        assert trace_graph(connection, "").symbols == ()


def test_a_name_that_is_defined_everywhere_still_means_the_one_at_hand(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for number in range(6):
        classes = "".join(f"class C{n}:\n    def __init__(self): ...\n" for n in range(120))
        (tmp_path / "work" / f"m{number}.py").write_text(f"{classes}def make():\n    return C119()\n")
    index = Index(tmp_path / "work", folder=tmp_path / "cache")
    index.refresh()
    assert callers(index, "m5.C119.__init__") == ["m5.py:242 make>C119"]
    assert callees(index, "m5.make") == ["m5.py:242 make>C119"]


def test_a_module_and_a_class_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "clock.py").write_text("class clock:\n    def tick(self): ...\ndef tick(): ...\n")
    (tmp_path / "work" / "main.py").write_text("import clock\n\ndef go():\n    clock.tick()\n")
    index = Index(tmp_path / "work", folder=tmp_path / "cache")
    index.refresh()
    with index.open() as connection:
        (edge,) = trace_callees(connection, "main.go").edges
    assert (edge.callee.name, edge.sure) == ("tick", True)


def test_a_class_of_another_language_is_not_meant(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "main.py").write_text("def go():\n    thing = Thing()\n    thing.run()\n")
    (tmp_path / "work" / "thing.js").write_text("class Thing { run() {} }\n")
    index = Index(tmp_path / "work", folder=tmp_path / "cache")
    index.refresh()
    assert callees(index, "go") == []


def test_a_trace_asks_the_index_little_however_often_a_name_is_called(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    calls = "".join(f"def user{n}(thing):\n    thing.read()\n    json.read()\n" for n in range(300))
    classes = "".join(f"class C{n}:\n    def read(self): ...\n" for n in range(20))
    (tmp_path / "work" / "m.py").write_text(f"import json\n{classes}{calls}")
    index = Index(tmp_path / "work", folder=tmp_path / "cache")
    index.refresh()
    asked: list[str] = []
    with index.open() as connection:
        connection.set_trace_callback(asked.append)
        trace_graph(connection, "C7.read", depth=2)
        connection.set_trace_callback(None)
    assert len(asked) < 30


OTHERS = {
    "js": (
        "class A { go() { this.stop(); helper(1) } stop() {} }\n"
        "const helper = x => x\nfunction top() { new A().go() }",
        "helper", ["A.go"],
    ),
    "ts": (
        "interface I {}\nclass A implements I { go(): void { helper<string>(1) } }\n"
        "function helper<T>(x: T) { return x }",
        "helper", ["A.go"],
    ),
    "tsx": ("const View = () => { return <b>{helper()}</b> }\nfunction helper() {}", "helper", ["View"]),
    "go": ("package m\ntype S struct{}\nfunc (s *S) Go() { helper() }\nfunc helper() {}", "helper", ["S.Go"]),
    "rs": (
        "struct S;\nimpl S { fn go(&self) { helper(); self.stop() } fn stop(&self) {} }\nfn helper() {}",
        "helper", ["S.go"],
    ),
    "java": ("class A { void go() { stop(); this.stop(); } void stop() {} }", "stop", ["A.go"]),
    "c": ("static int helper(int x) { return x; }\nint *go(void) { return helper(1); }", "helper", ["go"]),
    "cpp": (
        "namespace n { class A { void go() { helper(); } }; }\nvoid helper() {}\nvoid n::A::far() { helper(); }",
        "helper", ["n.A.far", "n.A.go"],
    ),
    "rb": ("class A\n  def go\n    helper(1)\n  end\nend\ndef helper(x)\nend", "helper", ["A.go"]),
}  # fmt: skip


@pytest.mark.parametrize("ending", OTHERS)
def test_other_languages_are_parsed_where_their_grammar_is_installed(tmp_path: Path, ending: str) -> None:
    text, symbol, expected = OTHERS[ending]
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / f"m.{ending}").write_text(text)
    index = Index(tmp_path / "work", folder=tmp_path / "cache")
    index.refresh()
    assert index.search(symbol)
    if is_installed(ending):
        with index.open() as connection:
            assert sorted({edge.caller.name for edge in trace_callers(connection, symbol).edges}) == expected
