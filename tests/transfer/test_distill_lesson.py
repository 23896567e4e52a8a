"""What a student is taught: labels where there are some, and what the teacher says of the very same view."""

import numpy as np
import pytest

from edgetransfer.errors import RecipeError
from edgetransfer.spec.dense import Dense
from edgetransfer.transfer.distill_lesson import DistillLesson, DistillOptions
from edgetransfer.transfer.teacher import TeacherOutputs

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

LABELS = np.array([0, 2, 1, 0])
TOTAL = 6  # two images have no label


@pytest.fixture
def backbone():
    keras.utils.set_random_seed(1)
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 3, activation="relu", name="stem")(pixels)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))


def teacher(view):
    rng = np.random.default_rng([7, view])
    return TeacherOutputs(
        rng.normal(size=(TOTAL, 3)).astype(np.float32), rng.normal(3, 2, size=(TOTAL, 4)).astype(np.float32)
    )


def lesson(backbone, options, teacher=teacher, **given):
    head = (Dense(np.zeros((5, 3), np.float32), np.zeros(3, np.float32)),)
    features = np.random.default_rng(2).normal(size=(TOTAL, 5)).astype(np.float32)
    return DistillLesson(backbone, head, LABELS, teacher, options, features=features, label_smoothing=0.1, **given)


def loss_of(made, wanted, outputs):
    losses = made.loss if isinstance(made.loss, list) else [made.loss]
    wanted, outputs = ([one] if not isinstance(one, list) else one for one in (wanted, outputs))
    return sum(float(loss(w, o)) for loss, w, o in zip(losses, wanted, outputs, strict=True))


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_the_loss_is_that_of_hinton_and_counts_no_label_where_there_is_none(backbone):
    options = DistillOptions(temperature=3.0, label_weight=0.25)
    made = lesson(backbone, options)
    rows, logits = np.arange(TOTAL), np.random.default_rng(3).normal(size=(TOTAL, 3)).astype(np.float32)
    smoothed = 0.9 * np.eye(3)[LABELS] + 0.1 / 3
    hard = -(smoothed * np.log(softmax(logits[:4]))).sum(axis=1).sum() / TOTAL
    theirs, ours = softmax(teacher(2).logits / 3.0), softmax(logits / 3.0)
    soft = 9.0 * (theirs * np.log(theirs / ours)).sum(axis=1).mean()
    assert loss_of(made, made.targets(rows, 2), logits) == pytest.approx(0.25 * hard + 0.75 * soft, rel=1e-5)


def test_a_teacher_is_asked_about_each_view_once(backbone):
    asked = []

    def counted(view):
        asked.append(view)
        return teacher(view)

    made = lesson(backbone, DistillOptions(), counted)
    for view in (1, 2, 1, 2):
        wanted = made.targets(np.array([4, 1]), view)
        np.testing.assert_array_equal(wanted[:, 4:], teacher(view).logits[[4, 1]])
    assert asked == [0, 1, 2]


def test_features_are_matched_through_a_projection_that_starts_as_least_squares(backbone):
    rng = np.random.default_rng(2)
    features = rng.normal(size=(40, 5)).astype(np.float32)
    theirs = features @ rng.normal(size=(5, 4)).astype(np.float32) + 3  # a student's features could say as much
    made = DistillLesson(
        backbone,
        (Dense(np.zeros((5, 3), np.float32), np.zeros(3, np.float32)),),
        LABELS,
        lambda view: TeacherOutputs(np.zeros((40, 3), np.float32), theirs),
        DistillOptions(label_weight=0.0, feature_weight=2.0),
        features=features,
        label_smoothing=0.1,
    )
    wanted = made.targets(np.arange(40), 0)
    assert (wanted[1] ** 2).mean() == pytest.approx(1.0, rel=1e-5)  # in units of the teacher's variance
    projection = made.model.get_layer("projection")
    projected = features @ np.asarray(projection.kernel) + np.asarray(projection.bias)
    distance = ((projected - wanted[1]) ** 2).mean()
    assert distance < 1e-3
    logits, off = np.zeros((40, 3), np.float32), wanted[1] + 1
    more = loss_of(made, wanted, [logits, off]) - loss_of(made, wanted, [logits, wanted[1]])
    assert more == pytest.approx(2.0, rel=1e-4)


def test_a_step_moves_the_student_towards_what_the_teacher_says(backbone):
    made = lesson(backbone, DistillOptions(temperature=1.0, label_weight=0.0))
    pixels = np.random.default_rng(5).normal(size=(TOTAL, 8, 8, 3)).astype(np.float32)
    made.model.compile(optimizer=keras.optimizers.Adam(0.02), loss=made.loss)
    wanted = made.targets(np.arange(TOTAL), 1)
    losses = [float(np.ravel(made.model.train_on_batch(pixels, wanted))[0]) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_features_of_a_teacher_that_gives_none_are_refused(backbone):
    def answers_only(view):
        return TeacherOutputs(teacher(view).logits, None)

    with pytest.raises(RecipeError, match="ends in answers"):
        lesson(backbone, DistillOptions(feature_weight=1.0), answers_only)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"temperature": 0.0}, "temperature: expected a number above 0, got 0"),
        ({"label_weight": 1.5}, "label weight: expected 0 to 1, got 1.5"),
        ({"feature_weight": -1.0}, "feature weight: expected 0 or more, got -1"),
        ({"label_weight": 1.0}, "nothing would be learned"),
    ],
)
def test_options_that_cannot_be_are_refused(given, told):
    with pytest.raises(RecipeError, match=told):
        DistillOptions(**given)
