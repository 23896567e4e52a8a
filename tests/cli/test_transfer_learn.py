"""The commands transfer distill and clean, and the options of finetune that came with them, on the command line."""

import pytest

pytest.importorskip("keras", reason="building needs the extra 'train'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("distill", "--teacher", "mobilenet_v2", "--teacher-head", "colour"), "for a --teacher that is a bundle"),
        (("finetune", "--replay-compare"), "--replay-compare is for --replay"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(arguments, told, call, photos, tmp_path):
    result = call("transfer", *arguments, photos, "--output", tmp_path / "out.keras")
    assert result.exit_code == 2
    assert told in result.stderr


def test_options_of_a_backbone_are_refused_for_a_teacher_that_is_a_bundle(call, photos, bundle, tmp_path):
    result = call(
        *("transfer", "distill", photos, "--output", tmp_path / "out.keras"),
        *("--teacher", bundle, "--teacher-alpha", "0.5"),
    )
    assert result.exit_code == 2
    assert "are for backbones only" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--teacher", "mobilenet_v9"), "no backbone named 'mobilenet_v9'"),
        (("--teacher", "yamnet"), "looks at audio"),
        (("--teacher", "mobilenet_v2", "--label-weight", "1"), "nothing would be learned from the teacher"),
        (("--teacher", "mobilenet_v2", "--quantization-aware", "--recipe", "float16"), "imitates static_int8"),
    ],
)
def test_a_distillation_that_cannot_be_is_one_line_before_any_work(arguments, told, call, photos, tmp_path):
    result = call("transfer", "distill", photos, "--output", tmp_path / "out.keras", *arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.keras").exists()


def test_clean_does_not_write_over_a_table(call, photos, tmp_path):
    (tmp_path / "issues.csv").write_text("mine")
    result = call("transfer", "clean", photos, "--output", tmp_path / "issues.csv")
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert (tmp_path / "issues.csv").read_text() == "mine"
