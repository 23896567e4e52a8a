"""What a model will cost, before it is built: parameters, bytes, multiply-adds. Estimates, each with its error."""

from __future__ import annotations

from edgetransfer.spec.backbone import BackboneSpec
from edgetransfer.spec.recipe import Recipe

_BYTES_PER_PARAMETER = {
    # Bytes of the whole .tflite over the Keras model's parameters, batch norm included: the larger of MobileNetV2
    # 1.0 and MobileNetV3 small 1.0 without head, as keras 3.15 exports and ai-edge-quantizer 0.10 quantizes them
    # (3.93, 2.00, 1.14, 1.27, 0.725, 0.86), rounded up. Folding the batch norm saves some; scales, zero points and
    # biases cost some. The second word says whether activations are integers of a fixed range.
    ("float32", False): 4.0,
    ("float16", False): 2.1,
    ("int8", False): 1.15,
    ("int8", True): 1.3,
    ("int4", False): 0.73,
    ("int4", True): 0.87,
}
_PER_TENSOR_SAVES = 0.2  # bytes a parameter: 0.18 to 0.22 there, one scale and zero point for a whole tensor
_INT16_COSTS = 0.05  # biases of 64 bits: 0.03 to 0.05 there


def model_bytes(parameters: int, recipe: Recipe) -> int:
    """Return about how large the model file of that many parameters will be; overrides are not looked at.

    On the high side: by up to 13 % for the models it was fitted to, by more for very large ones.
    """
    size = _BYTES_PER_PARAMETER[recipe.weights, recipe.is_static]
    if recipe.granularity == "per_tensor":
        size -= _PER_TENSOR_SAVES if recipe.is_static else 0
    if recipe.activations == "int16":
        size += _INT16_COSTS
    return round(parameters * size)


def default_alpha(backbone: BackboneSpec) -> float:
    """Return the width multiplier that `backbone.parameters` and `backbone.macs` speak of."""
    return 1.0 if not backbone.alphas or 1.0 in backbone.alphas else backbone.alphas[0]


def parameters(backbone: BackboneSpec, alpha: float) -> int:
    """Return about how many parameters `backbone` has at width `alpha`, never far too few.

    They grow with alpha squared, but stem and last layer of MobileNets do not shrink along below 1.0: alpha to the
    power of 1.5 is 6 to 14 % above keras.applications' MobileNetV2 at 0.75, 0.5 and 0.35, 5 to 8 % above MobileNetV3.
    """
    ratio = alpha / default_alpha(backbone)
    return round(backbone.parameters * (ratio**2 if ratio > 1 else ratio**1.5))


def macs(backbone: BackboneSpec, alpha: float, input_px: int) -> int:
    """Return about how many multiply-adds one image of `input_px` x `input_px` takes: they grow with the area."""
    ratio = alpha / default_alpha(backbone)
    return round(backbone.macs * (ratio**2 if ratio > 1 else ratio**1.5) * (input_px / backbone.input_px) ** 2)
