from __future__ import annotations

import pytest

from edgetransfer.runtime import cores


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        ("model name\t: x\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags\t\t: fpu avx2 avx_vnni\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd\n", False),
    ],
)
def test_vnni_is_found_by_its_flags_and_nowhere_else(monkeypatch, cpuinfo, found):
    monkeypatch.setattr(cores, "_text", lambda path: cpuinfo)
    assert cores.has_vnni() is found


def test_a_system_that_does_not_tell_is_taken_to_have_none(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(cores, "_text", missing)
    assert cores.has_vnni() is False
