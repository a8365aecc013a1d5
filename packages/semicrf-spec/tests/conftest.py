"""How Hypothesis runs here: the same examples every time, and no clock."""

from hypothesis import settings

settings.register_profile("semicrf-spec", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("semicrf-spec")
