"""Tells whether an older runtime takes a `.tflite`: each of its ops carries a version, which newer converters raise.

A runtime refuses a whole model for one op that is newer than its own, and says so on the device only.
"""

from __future__ import annotations

from collections.abc import Mapping

from ai_edge_litert import schema_py_generated as schema

from edgetransfer.errors import UnknownNameError
from edgetransfer.quantize.flatbuffer import Graph

_OP_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}

# The greatest version of each op. Source: the op codes that the wheel itself takes, each version tried in it
# (`tools/emulate tflite-runtime` tries them all again); they are those of AddBuiltin in
# https://github.com/tensorflow/tensorflow/blob/v2.14.0/tensorflow/lite/core/kernels/register.cc
# Every op is there from version 1 on but BROADCAST_TO, which begins with 2.
_NEWEST: Mapping[tuple[str, str], Mapping[int, str]] = {
    ("tflite-runtime", "2.14"): {
        10: "FULLY_CONNECTED",
        8: "STRIDED_SLICE",
        7: "CONV_2D DEPTHWISE_CONV_2D MUL",
        6: "GATHER SLICE TRANSPOSE",
        5: "ABS ADD CAST DEQUANTIZE SUB",
        4: (
            "BATCH_MATMUL BATCH_TO_SPACE_ND CONCATENATION EQUAL FILL GATHER_ND LSTM MAXIMUM MINIMUM PACK PAD PADV2 "
            "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SELECT SPACE_TO_BATCH_ND SPLIT SVDF TRANSPOSE_CONV "
            "UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK"
        ),
        3: (
            "ARG_MAX ARG_MIN AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN BROADCAST_TO "
            "EMBEDDING_LOOKUP FLOOR_DIV GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN MIRROR_PAD NOT_EQUAL QUANTIZE "
            "REDUCE_MAX REDUCE_MIN RELU RELU6 REVERSE_V2 RNN SOFTMAX SPARSE_TO_DENSE TANH TILE TOPK_V2 "
            "UNIDIRECTIONAL_SEQUENCE_RNN"
        ),
        2: (
            "DEPTH_TO_SPACE DIV EXP FAKE_QUANT FLOOR_MOD GELU GREATER L2_NORMALIZATION LEAKY_RELU LESS_EQUAL "
            "LOG_SOFTMAX RANGE REDUCE_PROD RSQRT SELECT_V2 SIGN SPACE_TO_DEPTH SPLIT_V SQUARED_DIFFERENCE SQUEEZE SUM "
            "WHERE"
        ),
        1: (
            "ADD_N ASSIGN_VARIABLE ATAN2 BITCAST BITWISE_XOR BROADCAST_ARGS BUCKETIZE CALL_ONCE CEIL COMPLEX_ABS "
            "CONV_3D CONV_3D_TRANSPOSE COS CUMSUM DENSIFY DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP_SPARSE "
            "EXPAND_DIMS FLOOR HARD_SWISH HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_LOOKUP HASHTABLE_SIZE "
            "IF IMAG L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LSH_PROJECTION "
            "MATRIX_DIAG MATRIX_SET_DIAG MULTINOMIAL NEG NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 ONE_HOT POW "
            "PRELU RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK READ_VARIABLE REAL REDUCE_ALL REDUCE_ANY RELU_0_TO_1 "
            "RELU_N1_TO_1 RESHAPE REVERSE_SEQUENCE RFFT2D RIGHT_SHIFT ROUND SCATTER_ND SEGMENT_SUM SHAPE SIN "
            "SKIP_GRAM SQRT SQUARE UNIQUE UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD "
            "UNSORTED_SEGMENT_SUM VAR_HANDLE WHILE ZEROS_LIKE"
        ),
    },
}
# Some kernels learned new dtypes later without a new version of the op. What QUANTIZE turns into what, tried in the
# wheel; the source is Prepare in
# https://github.com/tensorflow/tensorflow/blob/v2.14.0/tensorflow/lite/kernels/quantize.cc
_QUANTIZES: Mapping[tuple[str, str], Mapping[str, tuple[str, ...]]] = {
    ("tflite-runtime", "2.14"): {
        "float32": ("uint8", "int8", "int16"),
        "uint8": ("uint8", "int8"),
        "int8": ("uint8", "int8"),
        "int16": ("int8", "int16", "int32"),
        "int32": ("int8", "int16"),
    },
}


def too_new(model: bytes, package: str = "tflite-runtime", version: str = "2.14") -> tuple[str, ...]:
    """Return the ops of a `.tflite` that are newer than those of a runtime, as "NAME version 12 (has 10)".

    Among them is QUANTIZE between dtypes that it cannot do yet: "QUANTIZE of uint8 to int16 (has uint8, int8)".
    None means that the runtime finds a kernel for every op. Custom and flex ops are not looked at: no plain runtime
    has them, and export refuses them.

    Raises:
        UnknownNameError: nothing is known of this package in this version.
        ExportError: the model has more than one subgraph, input or output.
    """
    newest = newest_versions(package, version)
    graph = Graph.read(model)
    found = set()
    for code in graph.model.operatorCodes:
        name = _OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if name != "CUSTOM" and code.version > newest.get(name, 0):
            found.add(f"{name} version {code.version} (has {newest.get(name, 'none')})")
    for op in graph.ops():
        if op.name == "QUANTIZE":
            source, target = graph.dtype(op.inputs[0]), graph.dtype(op.outputs[0])
            known = _QUANTIZES[package, version].get(source, ())
            if target not in known:
                found.add(f"QUANTIZE of {source} to {target} (has {', '.join(known) or 'none'})")
    return tuple(sorted(found))


def newest_versions(package: str = "tflite-runtime", version: str = "2.14") -> dict[str, int]:
    """Return the greatest version of every op that a runtime has.

    Raises:
        UnknownNameError: nothing is known of this package in this version.
    """
    if (package, version) not in _NEWEST:
        raise UnknownNameError("runtime", f"{package} {version}", (" ".join(known) for known in _NEWEST))
    return {name: number for number, names in _NEWEST[package, version].items() for name in names.split()}
