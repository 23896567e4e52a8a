from __future__ import annotations

from pathlib import Path

import click
import pytest

from edgetransfer.cli.head_options import HeadSays
from edgetransfer.errors import UnknownNameError

HEADS = [("pear", Path("pears")), ("mass", Path("grams.csv"))]


def said(*orders, units=()):
    return HeadSays(orders, tuple(units), "mean", None)


def test_an_order_or_unit_is_of_the_head_that_is_named_else_of_the_first():
    first, second = said("green, ripe,rotten", units=["mass=kg m"]).wishes(HEADS)
    assert (first.order, first.unit) == (("green", "ripe", "rotten"), "")
    assert (second.order, second.unit) == ((), "kg m")
    assert said("mass=a,b").wishes(HEADS)[1].order == ("a", "b")


def test_labels_with_commas_or_equal_signs_are_quoted():
    assert said('low,"middle, or so",high').wishes(HEADS)[0].order == ("low", "middle, or so", "high")
    assert said('"x=1","x=2"').wishes(HEADS)[0].order == ("x=1", "x=2")
    assert said("pear=x=1,x=2").wishes(HEADS)[0].order == ("x=1", "x=2")


def test_a_head_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'mass'"):
        said(units=["mas=kg"]).wishes(HEADS)


@pytest.mark.parametrize("orders", [("a,b", "b,a"), ("pear=a,b", "a,b"), ("pear=",), ("a,,b",), ('a,"b',)])
def test_what_is_said_twice_or_is_no_order_is_refused(orders):
    with pytest.raises(click.UsageError, match="--order"):
        said(*orders).wishes(HEADS)


def test_only_what_needs_heads_outside_of_the_graph_makes_a_bundle_split():
    assert said("a,b").makes_split
    assert said(units=["kg"]).makes_split
    assert HeadSays((), (), "auto", None).makes_split
    assert not HeadSays((), (), "mean", False).makes_split


@pytest.mark.parametrize("column", ["value", "labels"])
def test_a_table_of_values_or_several_labels_makes_a_split_bundle_by_itself(call, tmp_path, column):
    (tmp_path / "table.csv").write_text(f"path,{column}\nnothing.png,1\n")
    refused = call("build", tmp_path / "table.csv", "--scores-in-graph", "--output", tmp_path / "x.bundle")
    assert refused.exit_code == 2
    assert "--scores-in-graph: is for bundles with their head inside the graph, and this one is split" in refused.stderr


def test_a_learning_curve_is_refused_for_a_head_inside_the_graph(call, tmp_path):
    refused = call("build", tmp_path, "--learning-curve", "--output", tmp_path / "x.bundle")
    assert refused.exit_code == 2
    assert "--learning-curve: is for heads outside of the graph; add --split" in refused.stderr


def test_commands_that_cannot_use_several_labels_say_which_can(call, photos, tmp_path):
    rows = [f"{path},red|warm" for path in sorted(photos.glob("red/*.png"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,labels", *rows]) + "\n")
    for command in (["train", tmp_path / "table.csv", "--run", tmp_path / "x.run"],):
        refused = call(*command)
        assert refused.exit_code == 1
        assert "has the column 'labels', expected label" in refused.stderr
        assert "edgetransfer build --split" in refused.stderr


def test_heads_of_every_kind_are_listed_by_what_they_answer(call, tiny_bundle, tmp_path):
    import numpy as np

    from edgetransfer.spec.dense import Dense
    from edgetransfer.spec.task import Task

    layer = Dense(np.ones((tiny_bundle.POOLED, 1), np.float32), np.zeros(1, np.float32))
    task = Task("regression", ("mass",), unit="kg", scale=2.0, half_width=1.0)
    bundle = tiny_bundle.make_split_bundle(tmp_path / "x.bundle", name="mass", task=task, layers=(layer,), memory=None)
    assert call("heads", "list", bundle.path).stdout.split() == ["mass", "regression", "a", "value", "mass", "in", "kg"]
    assert "head mass   regression, mass in kg" in call("inspect", bundle.path).stdout
