"""What can be emulated, as data."""

from __future__ import annotations

from dataclasses import dataclass

# The head of a Raspberry Pi 4's /proc/cpuinfo for each of its cores. XNNPACK and ONNX Runtime choose kernels by it,
# and crash on the host's.
PI_4 = """\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
# A Cortex-A7 of 32 bits, such as the RV1126's.
CORTEX_A7 = """\
processor\t: {core}
model name\t: ARMv7 Processor rev 5 (v7l)
BogoMIPS\t: 38.40
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: 0xc07
CPU revision\t: 5

"""


@dataclass(frozen=True, slots=True)
class Emulation:
    """A processor, by QEMU, and the Debian system on it.

    Attributes:
        qemu: The program, of Debian's package qemu-user-static.
        processor: What it shall be, as its -cpu takes it.
        cpuinfo: /proc/cpuinfo of one core.
        architecture: Debian's name of the architecture.
        packages: Debian's packages; what they depend on comes along.
        links: Libraries that Debian's own installation, which does not run here, would link: link to place.
    """

    qemu: str
    processor: str
    cpuinfo: str
    architecture: str
    packages: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A device to be.

    Attributes:
        name: As the command line has it.
        summary: What it is, for the reader of the log.
        formats: The formats whose engines it has.
        same_versions: Wheels in the version that the environment which runs the tool has.
        wheels: Other wheels.
        alone: Wheels without what they ask for, which comes from Debian.
        tags: Platform tags of its wheels; empty for this machine.
        emulation: None for this machine.
    """

    name: str
    summary: str
    formats: tuple[str, ...]
    same_versions: tuple[str, ...]
    wheels: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    emulation: Emulation | None = None


TARGETS = {
    target.name: target
    for target in (
        Target(
            "aarch64",
            "a Raspberry Pi 4 of 64 bits, with ai-edge-litert and onnxruntime",
            ("litert", "onnx"),
            ("numpy", "ai-edge-litert", "onnxruntime", "pillow", "click", "pytest", "hypothesis"),
            tags=(
                "manylinux_2_28_aarch64",
                "manylinux_2_27_aarch64",
                "manylinux_2_17_aarch64",
                "manylinux2014_aarch64",
            ),
            emulation=Emulation("qemu-aarch64-static", "cortex-a72", PI_4, "arm64", ("python3.11", "libstdc++6")),
        ),
        Target(
            "armv7",
            "a camera with a Cortex-A7 of 32 bits, with tflite-runtime 2.14 and Debian's numpy 1.24 and Pillow",
            ("litert",),
            ("click", "pytest", "flatbuffers"),
            wheels=("hypothesis",),  # the newest that is pure Python: later ones have no wheel for 32 bits
            alone=("tflite-runtime==2.14.0",),
            tags=("manylinux_2_34_armv7l",),
            emulation=Emulation(
                "qemu-arm-static",
                "cortex-a7",
                CORTEX_A7,
                "armhf",
                ("python3.11", "libstdc++6", "python3-numpy", "python3-pil"),
                links=(
                    ("usr/lib/arm-linux-gnueabihf/libblas.so.3", "blas/libblas.so.3"),
                    ("usr/lib/arm-linux-gnueabihf/liblapack.so.3", "lapack/liblapack.so.3"),
                ),
            ),
        ),
        Target(
            "tflite-runtime",
            "this machine, with tflite-runtime 2.14 and numpy 1.26",
            ("litert",),
            ("pillow", "click", "pytest", "hypothesis", "flatbuffers"),
            wheels=("tflite-runtime==2.14.0", "numpy==1.26.4"),
        ),
    )
}


def get_targets(name: str) -> tuple[Target, ...]:
    """Return the target called `name`, or every one for "all"."""
    return tuple(TARGETS.values()) if name == "all" else (TARGETS[name],)
