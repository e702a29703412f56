"""Conventions that readers of the code can rely on."""

import importlib
import inspect
import pkgutil

import ser_batch


def modules():
    return [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(ser_batch.__path__, "ser_batch.")
        if info.name != "ser_batch.__main__"
    ]


def test_no_public_function_shares_its_name_with_a_module():
    found = modules()
    names = {module.__name__.rpartition(".")[2] for module in found}
    for module in found:
        for name, value in inspect.getmembers(module, inspect.isfunction):
            if value.__module__ == module.__name__ and not name.startswith("_"):
                assert name not in names, f"{module.__name__}.{name}"


def test_every_public_function_class_and_module_has_a_docstring():
    for module in modules():
        assert module.__doc__, module.__name__
        for name, value in inspect.getmembers(
            module, lambda v: inspect.isfunction(v) or inspect.isclass(v)
        ):
            if value.__module__ == module.__name__ and not name.startswith("_"):
                assert value.__doc__, f"{module.__name__}.{name}"


def test_every_name_of_the_api_exists():
    for name in ser_batch.__all__:
        assert hasattr(ser_batch, name), name
