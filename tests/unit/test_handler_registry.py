import sys

import pytest

from scheduler.errors import ConfigurationError
from scheduler.handlers import handler
from scheduler.sandbox.handlers import HandlerRegistry

ONE = "from scheduler.handlers import handler\n@handler('one')\nasync def one(ctx, params):\n    return 1\n"


def written(folder, name, text):
    (folder / f"{name}.py").write_text(text)
    return name


def test_a_module_by_name_and_by_path(tmp_path):
    registry = HandlerRegistry(tmp_path)

    registry.load([written(tmp_path, "by_name_1", ONE)])
    (tmp_path / "sub").mkdir()
    registry.load([f"sub/{written(tmp_path / 'sub', 'by_path_1', ONE.replace('one', 'two'))}.py"])

    assert registry.names == ("one", "two")
    assert registry.find("one").is_async
    assert registry.find("three") is None


def test_one_module_loaded_twice_is_no_duplicate(tmp_path):
    registry = HandlerRegistry(tmp_path)

    registry.load([written(tmp_path, "twice_1", ONE), "twice_1"])

    assert registry.names == ("one",)


def test_a_duplicate_names_both_places(tmp_path):
    registry = HandlerRegistry(tmp_path)
    modules = [written(tmp_path, "first_1", ONE), written(tmp_path, "second_1", "\n" + ONE)]

    with pytest.raises(ConfigurationError, match=r"second_1\.py:3: handler one .* at .*first_1\.py:2"):
        registry.load(modules)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("broken_1", "x = 1\nx = (\n", r"broken_1\.py:2: .*SyntaxError"),
        ("raising_1", "\n\n1 / 0\n", r"raising_1\.py:3: .*ZeroDivisionError"),
        ("leaving_1", "import sys\nsys.exit(3)\n", r"leaving_1\.py:2: .*SystemExit"),
        ("empty_1", "x = 1\n", "empty_1: there is no function decorated"),
        ("badly_named_1", ONE.replace("'one'", "'No Good'"), r"badly_named_1\.py:2: .*name of a handler"),
        ("bad_form_1", ONE.replace("(ctx, params)", "(ctx)"), r"bad_form_1\.py:2: .*\(ctx, params\)"),
        ("needs_1", "import no_such_module_here\n", r"needs_1\.py:1: .*no_such_module_here"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_place(tmp_path, name, text, error):
    with pytest.raises(ConfigurationError, match=error):
        HandlerRegistry(tmp_path).load([written(tmp_path, name, text)])


@pytest.mark.parametrize("name", ["same_name_1", "json"])
def test_another_module_of_the_same_name_does_not_stand_in_for_it(tmp_path, name):
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
        written(folder, name, ONE)
    if name not in sys.modules:
        HandlerRegistry(folders[0]).load([name])

    with pytest.raises(ConfigurationError, match=rf"new/{name}\.py: cannot load handlers: a module {name} is loaded"):
        HandlerRegistry(folders[1]).load([name])
    registry = HandlerRegistry(folders[1])
    registry.load([f"{name}.py"])
    assert registry.names == ("one",)


@pytest.mark.parametrize("module", ["no_such_module_1", "no_such_file.py"])
def test_a_missing_module_is_named(tmp_path, module):
    with pytest.raises(ConfigurationError, match=module):
        HandlerRegistry(tmp_path).load([module])


def test_generators_and_classes_are_no_handlers():
    with pytest.raises(TypeError, match="function"):
        handler("x")(type("C", (), {}))
    with pytest.raises(TypeError):

        @handler("x")
        def generates(ctx, params):
            yield 1
