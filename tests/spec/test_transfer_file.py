from __future__ import annotations

import pytest

from edgetransfer.cli.head_options import HeadSays
from edgetransfer.errors import DataError
from edgetransfer.spec.transfer_file import FIELDS, read_transfer_file

WHOLE = """
[source]
backbone = "efficientnet_lite0"
weights = "weights/lite0.pth"

[data]
path = "photos"
seed = 3

[training]
dropout = [0.2, 0.4]
balance = true
epochs = 9

[recipe]
name = "mine.toml"

[device]
name = "raspberry_pi_4"

[output]
bundle = "waste.bundle"

[[heads]]
name = "lid"
data = "lids.csv"
"""

TRANSFER = """
[transfer]
epochs = 6
unfreeze = [0.35, 1]
learning_rate = 1e-3
optimizer = "sgd"
batch_norm = "train"
quantization_aware = true
unlabelled = "more"
run = "runs/waste_1"
replay = { data = "old", share = 0.2 }

[transfer.teacher]
bundle = "large.bundle"

[transfer.fuse]
tuned = ["a.keras", "b.keras"]
alphas = [0.5]
"""


def written(tmp_path, text):
    path = tmp_path / "transfer.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_values_of_options_with_paths_beside_it(tmp_path):
    values = read_transfer_file(written(tmp_path, WHOLE))
    assert values == {
        "backbone": "efficientnet_lite0",
        "weights": str(tmp_path / "weights/lite0.pth"),
        "data": str(tmp_path / "photos"),
        "seed": 3,
        "dropouts": [0.2, 0.4],
        "balance": True,
        "epochs": 9,
        "recipe": str(tmp_path / "mine.toml"),
        "device": "raspberry_pi_4",
        "output": str(tmp_path / "waste.bundle"),
        "heads": [f"lid={tmp_path / 'lids.csv'}"],
    }


def test_a_model_of_ones_own_is_found_beside_the_file_too(tmp_path):
    values = read_transfer_file(written(tmp_path, '[source]\nbackbone = "keras:my.keras"\n'))
    assert values == {"backbone": f"keras:{tmp_path / 'my.keras'}"}


def test_every_problem_is_named_at_once_with_what_was_meant(tmp_path):
    source = '[sorce]\nbackbone = "x"\n'
    training = "[training]\nepocs = 3\ndropout = 0.2\nbalance = 1\nepochs = true\n"
    text = source + training + '[[heads]]\nname = "a"\n'
    with pytest.raises(DataError) as caught:
        read_transfer_file(written(tmp_path, text))
    assert list(caught.value.problems) == [
        "[sorce]: unknown section; did you mean 'source'?",
        "training.epocs: unknown field; did you mean 'epochs'?",
        "training.dropout: expected a list, got 0.2",
        "training.balance: expected true or false, got 1",
        "training.epochs: expected a whole number, got True",
        "heads[0]: expected name and data, both text, and at most order and unit, got name",
    ]


def test_orders_and_units_are_those_of_the_options_whatever_characters_labels_have(tmp_path):
    text = (
        '[data]\npath = "x"\norder = ["a=1", "b, or c"]\n[[heads]]\nname = "lid"\ndata = "l.csv"\nunit = "kg"\n'
        '[[heads]]\nname = "cap"\ndata = "c"\norder = ["low", "high"]\n'
    )
    values = read_transfer_file(written(tmp_path, text))
    assert values["orders"] == ['"a=1","b, or c"', 'cap="low","high"']
    assert values["units"] == ["lid=kg"]
    says = HeadSays(tuple(values["orders"]), tuple(values["units"]), "mean", None)
    found = says.wishes([("first", tmp_path), ("lid", tmp_path), ("cap", tmp_path)])
    assert [(one.order, one.unit) for one in found] == [(("a=1", "b, or c"), ""), ((), "kg"), (("low", "high"), "")]


def test_orders_that_are_no_lists_of_labels_are_named(tmp_path):
    text = '[data]\norder = "low,high"\n[[heads]]\nname = "lid"\ndata = "l"\norder = [1]\n'
    with pytest.raises(DataError) as caught:
        read_transfer_file(written(tmp_path, text))
    assert list(caught.value.problems) == [
        "data.order: expected a list, got 'low,high'",
        "heads[0]: order: expected text, got 1",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"= 3", "expected TOML"),
        (b"\xff", "expected TOML"),
        (b"source = 3", "expected a section"),
        (b"heads = 1", "tables"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, content, problem):
    path = tmp_path / "transfer.toml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_transfer_file(path)


def test_a_missing_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(DataError, match=r"none\.toml: cannot be read"):
        read_transfer_file(tmp_path / "none.toml")


def test_what_a_backbone_is_taught_stands_in_tables_of_its_own(tmp_path):
    values = read_transfer_file(written(tmp_path, TRANSFER))
    assert values == {
        "tune_epochs": 6,
        "unfreeze": "0.35,1",
        "learning_rate": 1e-3,
        "tune_optimizer": "sgd",
        "batch_norm": "train",
        "quantization_aware": True,
        "unlabelled": str(tmp_path / "more"),
        "run_folder": str(tmp_path / "runs/waste_1"),
        "replay": str(tmp_path / "old"),
        "replay_share": 0.2,
        "teacher": str(tmp_path / "large.bundle"),
        "tuned": [str(tmp_path / "a.keras"), str(tmp_path / "b.keras")],
        "alphas": "0.5",
    }


def test_a_teacher_is_a_name_or_a_file_or_a_bundle_but_not_two_of_them(tmp_path):
    def teacher(text):
        return read_transfer_file(written(tmp_path, f"[transfer.teacher]\n{text}"))["teacher"]

    assert teacher('name = "mobilenet_v2"') == "mobilenet_v2"
    assert teacher('name = "keras:large.keras"') == f"keras:{tmp_path / 'large.keras'}"
    with pytest.raises(DataError, match=r"transfer\.teacher\.bundle: says what another field"):
        teacher('name = "mobilenet_v2"\nbundle = "large.bundle"')


def test_faults_inside_of_tables_are_named_with_what_was_meant(tmp_path):
    text = '[transfer]\nepocs = 3\nunfreeze = "1"\nrepley = {}\nteacher = 3\nreplay = { data = "x", shore = 0.3 }\n'
    with pytest.raises(DataError) as caught:
        read_transfer_file(written(tmp_path, text))
    assert list(caught.value.problems) == [
        "transfer.epocs: unknown field; did you mean 'epochs'?",
        "transfer.unfreeze: expected a list, got '1'",
        "transfer.repley: unknown field; did you mean 'replay'?",
        "transfer.teacher: expected a table such as { name = ... }",
        "transfer.replay.shore: unknown field; did you mean 'share'?",
    ]


def test_every_field_speaks_of_an_option_of_a_command():
    from edgetransfer.cli.build import build
    from edgetransfer.cli.heads import train
    from edgetransfer.cli.transfer_adapt import adapt
    from edgetransfer.cli.transfer_learn import distill
    from edgetransfer.cli.transfer_tune import finetune, fuse

    commands = (build, train, finetune, distill, fuse, adapt)
    options = {parameter.name for command in commands for parameter in command.params}
    named = {name for fields in FIELDS.values() for name, _ in fields.values()}
    assert named <= options
