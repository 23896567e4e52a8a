"""The command transfer adapt on the command line."""

from __future__ import annotations

import pytest

pytest.importorskip("keras", reason="building needs the extra 'train'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--how", "corral"), "did you mean 'coral'"),
        (("--how", "none", "--labels", "x.csv"), "leave --labels out"),
        (("--backbone", "yamnet"), "looks at audio"),
    ],
)
def test_what_cannot_be_adapted_is_one_line_before_any_work(arguments, told, call, photos, tmp_path):
    result = call("transfer", "adapt", photos, "--target", photos, *arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_target_is_asked_for(call, photos):
    result = call("transfer", "adapt", photos)
    assert result.exit_code == 2
    assert "--target" in result.stderr
