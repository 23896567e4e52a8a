"""The part of the test suite that runs on boards: what needs neither Keras nor this machine's speed."""

from __future__ import annotations

FILES = (
    "tests/runtime",
    "tests/spec",
    "tests/test_errors.py",
    "tests/test_evaluate.py",
    "tests/test_profile.py",
    "tests/test_registry.py",
    "tests/test_verify.py",
)

# Left out everywhere: name and reason.
LEFT_OUT = {
    "test_any_value_in_any_field_is_either_read_or_refused": "device files are read by Python alone; takes 13 s here",
}
# Left out where the engine is tflite-runtime.
LEFT_OUT_OLD_ENGINE = {
    "test_a_refused_model_comes_with_the_engines_own_words": "holds the words of LiteRT; these are other words",
}
