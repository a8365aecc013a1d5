"""How Hypothesis runs here: the same examples every time, and no clock; `nox -s fuzz` draws others."""

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("fresh", deadline=None, max_examples=40, print_blob=True)
settings.load_profile("same")
