"""A network computed layer by layer."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.transfer.keras_graph import KerasGraph  # noqa: E402
from edgetransfer.transfer.layerwise import LayerwiseRun, images_within  # noqa: E402


@pytest.fixture
def batches(pictures):
    pixels = (pictures / 127.5 - 1).astype("float32")
    return [pixels[:1], pixels[1:]]


def every_place(shape, images):
    return np.tile(np.arange(int(np.prod(shape[1:-1], dtype=int))), (images, 1))


def test_layer_by_layer_a_network_gives_what_it_gives_at_once(small_keras, batches):
    graph, images = KerasGraph.of(small_keras), sum(map(len, batches))
    run = LayerwiseRun(graph, batches)
    for node in graph.nodes:
        run.compute(node)
    given = run.at(graph.nodes[-1].gives[0], every_place((None, 24), images))
    np.testing.assert_allclose(given, small_keras(np.concatenate(batches)), rtol=1e-5, atol=1e-5)
    assert len(run._values) == 1  # what nothing takes any more is not kept


def test_what_a_window_sees_times_the_kernel_is_the_map(small_keras, batches):
    graph, images = KerasGraph.of(small_keras), sum(map(len, batches))
    run = LayerwiseRun(graph, batches)
    seen = set()
    for node in graph.nodes:
        if node.kind == "Conv2D":
            shape = graph.shapes[node.gives[0]]
            windows = run.windows_at(node, every_place(shape, images))
            kernel = np.asarray(node.op.kernel, np.float64).reshape(-1, shape[-1])
            bias = 0.0 if node.op.bias is None else np.asarray(node.op.bias)
        run.compute(node)
        if node.kind == "Conv2D":
            given = run.at(node.gives[0], every_place(shape, images))
            np.testing.assert_allclose(windows @ kernel + bias, given, rtol=1e-4, atol=1e-5)
            seen.add(node.op.kernel_size)
    assert seen == {(3, 3), (1, 1)}


def test_weights_that_change_before_a_layers_turn_count(small_keras, batches):
    model = keras.models.clone_model(small_keras)
    graph = KerasGraph.of(model)
    run = LayerwiseRun(graph, batches)
    for node in graph.nodes:
        if node.name == "last":
            node.op.kernel.assign(np.zeros(node.op.kernel.shape))
            node.op.bias.assign(np.full(node.op.bias.shape, 2.0))
        run.compute(node)
    assert (run.at(graph.nodes[-1].gives[0], every_place((None, 24), 2)) == 2).all()


def test_memory_says_how_many_images_there_may_be(small_keras):
    graph = KerasGraph.of(small_keras)
    largest = max(int(np.prod(shape[1:])) for shape in graph.shapes.values())
    assert images_within(graph, 40 * largest, 1) == 10
    assert images_within(graph, 4, 7) == 7
