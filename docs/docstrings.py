"""How mkdocstrings reads this project's docstrings: a griffe extension, named in mkdocs.yml."""

import re
from typing import Any

from griffe import Class, Extension, Function, Module, Object, Parameters

LABELLED = re.compile(r"^(Returns|Raises|Cost|Source): ", re.MULTILINE)


class OneLineSections(Extension):
    """Sections of a line or two, `Cost: O(T) time`, become paragraphs that open with their name."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = LABELLED.sub(r"\n**\1:** ", obj.docstring.value)


class SharedSignature(Extension):
    """A function of `Potentials` that is called with their terms is shown as it is called."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        if pkg.name == "semicrf_spec":
            call = pkg["operators.calls.OverTerms.__call__"]
            terms = Parameters(*(term for term in call.parameters if term.name not in ("self", "options")))
            for function in functions(pkg):
                if any(str(decorator.value) == "over_terms" for decorator in function.decorators):
                    function.parameters = terms


def functions(module: Module | Class) -> list[Function]:
    """Every function defined in a module or in the modules below it."""
    here = [member for member in module.members.values() if not member.is_alias]
    below = [found for member in here if member.is_module for found in functions(member)]
    return [*(member for member in here if member.is_function), *below]
