"""What the compiler made of the CUDA kernels, read from the library: no GPU is needed.

Spilled registers and arrays that are indexed at run time both lie in a thread's local memory, which
is off the chip: they show as a stack in the resource report, and as LDL and STL in the disassembly.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from programs import ROOT

import mpelu
from mpelu import _library

# Of a multiprocessor's 65,536 registers: with these it holds 1024 threads of most elementwise
# kernels, 512 to 896 of batch norm's, 768 of most others by rows or columns, and 512 of the
# backward's by columns: enough to hide the latency of memory.
MOST_REGISTERS = {
    "elementwise_kernel of ByElement of Forward of ActivationView": 64,
    "elementwise_kernel of ByElement of Forward of BatchNormView": 72,
    "elementwise_kernel of EluBackward": 64,
    "elementwise_kernel of ByElement of InputGradient of InputGradientView": 96,
    "columnwise_kernel of one channel of Forward of ActivationView": 64,
    "columnwise_kernel of one channel of Forward of BatchNormView": 80,
    "columnwise_kernel of one channel of InputGradient of InputGradientView": 128,
    "columnwise_kernel of Forward of ActivationView": 80,
    "columnwise_kernel of Forward of BatchNormView": 80,
    "columnwise_kernel of InputGradient of InputGradientView": 128,
    "backward_rows_kernel of ActivationView": 80,
    "backward_rows_kernel of BatchNormView": 80,
    "backward_columns_kernel of ActivationView": 128,
    "backward_columns_kernel of BatchNormView": 128,
    "backward_finish_kernel": 64,
    "statistics_rows_kernel": 64,
    "statistics_columns_kernel": 80,
    "statistics_finish_kernel": 64,
    "running_statistics_kernel": 64,
}
# Tensors that a kernel reads and writes element by element.
READS_AND_WRITES = {
    "elementwise_kernel of ByElement of Forward of ActivationView": (1, 1),
    "elementwise_kernel of ByElement of Forward of BatchNormView": (1, 1),
    "elementwise_kernel of EluBackward": (2, 1),
    "elementwise_kernel of ByElement of InputGradient of InputGradientView": (2, 1),
    "columnwise_kernel of one channel of Forward of ActivationView": (1, 1),
    "columnwise_kernel of one channel of Forward of BatchNormView": (1, 1),
    "columnwise_kernel of one channel of InputGradient of InputGradientView": (2, 1),
    "columnwise_kernel of Forward of ActivationView": (1, 1),
    "columnwise_kernel of Forward of BatchNormView": (1, 1),
    "columnwise_kernel of InputGradient of InputGradientView": (2, 1),
    "statistics_rows_kernel": (1, 0),
    "statistics_columns_kernel": (1, 0),
    "backward_rows_kernel of ActivationView": (2, 1),
    "backward_rows_kernel of BatchNormView": (2, 0),
    "backward_columns_kernel of ActivationView": (2, 1),
    "backward_columns_kernel of BatchNormView": (2, 0),
}

# Those by elements or by columns of batch norm, of whose neighbours each may be of another channel,
# with more numbers than registers would have room for: an access has at most four (kFew).
FEW_ELEMENTS_PER_ACCESS = {
    "elementwise_kernel of ByElement of Forward of BatchNormView",
    "elementwise_kernel of ByElement of InputGradient of InputGradientView",
    "columnwise_kernel of Forward of BatchNormView",
    "columnwise_kernel of InputGradient of InputGradientView",
    "backward_columns_kernel of BatchNormView",
    "statistics_columns_kernel",
}

FUNCTION = re.compile(r"\s*Function *: *(\S+)|\s*Function (\S+):")
USAGE = re.compile(r"\s*REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")
ATOMICS = r"ATOM|RED(?!UX)"
# "/*0010*/  @!P0 LDG.E.128.CONSTANT R4, [R2.64] ;"
INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)")


class Kernel(NamedTuple):
    name: str
    types: str
    """The types of its elements, mangled."""
    elements_per_access: int
    accesses: int | None
    """That a thread has in flight for each tensor, where the kernel comes with several numbers."""


class Usage(NamedTuple):
    registers: int
    stack: int
    local: int


def tool_candidates(name: str) -> Iterator[str | None]:
    """Of a toolkit, or of pip: NVIDIA's package, or Triton's copy."""
    yield shutil.which(name)
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    for compiler in (os.environ.get("CUDACXX"), shutil.which("nvcc")):
        homes.append(str(Path(compiler).resolve().parent.parent) if compiler else None)
    for home in filter(None, homes):
        yield shutil.which(name, path=Path(home) / "bin")
    packages = Path(torch.__file__).parent.parent
    for folder in (*packages.glob("nvidia/cu*/bin"), packages / "triton/backends/nvidia/bin"):
        yield shutil.which(name, path=folder)


def find_tool(name: str) -> str:
    found = next(filter(None, tool_candidates(name)), None)
    if found is None:
        pytest.skip(f"no {name}")
    return found


@pytest.fixture(scope="module")
def cuobjdump() -> str:
    if not mpelu.build_info()["cuda"]:
        pytest.skip("mpelu was built without CUDA")
    return find_tool("cuobjdump")


def dump(cuobjdump: str, *options: str, file: str = _library._LIBRARY) -> list[str]:
    command = [cuobjdump, *options, file]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def parse_symbol(symbol: str) -> Kernel:
    """_ZN5mpelu4cuda18elementwise_kernelIfNS0_11EluBackwardIfEELi4ELi2EEEv...
    -> elementwise_kernel of EluBackward, f..., 4, 2

    The numbers mean nothing for the kernels that take their elements one by one.
    """
    match = re.match(r"_ZN5mpelu4cuda\d+(\w+?_kernel)I(\w+?)((?:Li\d+E)*)EEv", symbol)
    assert match, f"{symbol} is no kernel of mpelu's"
    name, types = match[1], match[2]
    elements, *rest = [int(number) for number in re.findall(r"\d+", match[3])] or [1]
    parts = re.findall(
        r"\d(ByElement|Forward|EluBackward|InputGradient|[A-Z][A-Za-z]+View)I", types
    )
    if name == "columnwise_kernel" and rest[0] == 1:
        parts.insert(0, "one channel")
    return Kernel(" of ".join([name, *parts]), types, elements, rest[-1] if rest else None)


@pytest.fixture(scope="module")
def usages(cuobjdump: str) -> dict[str, dict[Kernel, Usage]]:
    """architecture -> kernel -> usage"""
    result: dict[str, dict[Kernel, Usage]] = defaultdict(dict)
    for line in dump(cuobjdump, "--dump-resource-usage"):
        if match := re.match(r"arch = (sm_\w+)", line):
            architecture = match[1]
        elif match := FUNCTION.match(line):
            current = parse_symbol(match[1] or match[2])
        elif match := USAGE.match(line):
            result[architecture][current] = Usage(*map(int, match.groups()))
    return result


@pytest.fixture(scope="module")
def instructions(
    cuobjdump: str, usages: dict[str, dict[Kernel, Usage]]
) -> dict[Kernel, Counter[str]]:
    """kernel -> how often each opcode occurs, for the newest architecture alone."""
    newest = max(usages, key=lambda name: int(re.sub(r"\D", "", name)))
    result: dict[Kernel, Counter[str]] = defaultdict(Counter)
    for line in dump(cuobjdump, "--dump-sass", "--gpu-architecture", newest):
        if match := FUNCTION.match(line):
            current = parse_symbol(match[1] or match[2])
        elif match := INSTRUCTION.match(line):
            result[current][match[1]] += 1
    return result


def count(opcodes: Counter[str], pattern: str) -> int:
    return sum(number for opcode, number in opcodes.items() if re.match(pattern, opcode))


def wanted_capabilities() -> set[str]:
    """Those of TORCH_CUDA_ARCH_LIST, which is to be for the tests what it was for the build."""
    if asked := os.environ.get("TORCH_CUDA_ARCH_LIST"):
        return set(re.findall(r"[^ ,;]+", asked))
    if tuple(map(int, torch.version.cuda.split("."))) < (12, 8):
        return {"7.5", "8.0", "8.6", "9.0+PTX"}
    return {"7.5", "8.0", "8.6", "9.0", "10.0", "12.0+PTX"}


def architectures(capabilities: Iterable[str]) -> set[str]:
    return {"sm_" + re.sub(r"\.|\+PTX", "", capability) for capability in capabilities}


def test_the_library_is_for_the_architectures_that_were_asked_for(
    cuobjdump: str, usages: dict[str, dict[Kernel, Usage]]
) -> None:
    """Or for all of today's cards, and in PTX for those to come."""
    wanted = wanted_capabilities()
    assert set(mpelu.build_info()["cuda_architectures"].split()) == wanted
    assert set(usages) == architectures(wanted)
    in_ptx = set(re.findall(r"sm_\w+(?=\.ptx)", "\n".join(dump(cuobjdump, "--list-ptx"))))
    assert in_ptx == architectures(name for name in wanted if name.endswith("+PTX"))


def test_every_architecture_has_every_kernel(usages: dict[str, dict[Kernel, Usage]]) -> None:
    for architecture, kernels in usages.items():
        assert {kernel.name for kernel in kernels} == set(MOST_REGISTERS), architecture
        assert set(kernels) == set(next(iter(usages.values()))), architecture


def test_no_kernel_spills_or_takes_more_registers_than_its_bound(
    usages: dict[str, dict[Kernel, Usage]],
) -> None:
    for architecture, kernels in usages.items():
        for kernel, usage in kernels.items():
            what = f"{kernel} on {architecture}: {usage}"
            assert usage.stack == usage.local == 0, what
            assert 0 < usage.registers <= MOST_REGISTERS[kernel.name], what


def test_no_kernel_uses_local_memory_or_atomics(instructions: dict[Kernel, Counter[str]]) -> None:
    for kernel, opcodes in instructions.items():
        assert count(opcodes, "EXIT") > 0, f"{kernel} was not read"
        assert count(opcodes, f"LDL|STL|{ATOMICS}") == 0, f"{kernel}: {opcodes}"


def element_bits(kernel: Kernel) -> int:
    return {"f": 32, "d": 64}.get(kernel.types[0], 16)


def test_wide_kernels_read_and_write_sixteen_bytes_at_a_time(
    instructions: dict[Kernel, Counter[str]],
) -> None:
    """As many accesses as a thread has in flight: unroll() of csrc/ops/cuda/geometry.h.

    Elementwise and columnwise kernels have another form for small tensors, with one access to a
    thread, but for those by columns of one channel, where small tensors go by elements. Four half
    elements are eight bytes.
    """
    wide = [
        kernel
        for kernel in instructions
        if kernel.name in READS_AND_WRITES and kernel.elements_per_access > 1
    ]
    assert {kernel.name for kernel in wide} == set(READS_AND_WRITES)
    for kernel in wide:
        opcodes = instructions[kernel]
        is_few = kernel.name in FEW_ELEMENTS_PER_ACCESS
        bits = min(128, 4 * element_bits(kernel)) if is_few else 128
        assert kernel.elements_per_access * element_bits(kernel) == bits, kernel
        reads, writes = READS_AND_WRITES[kernel.name]
        has_forms = kernel.accesses is not None
        together = reads if has_forms else 1
        in_flight = 2 if kernel.elements_per_access * together > 4 else 4
        if has_forms:
            forms = {in_flight} if "one channel" in kernel.name else {1, in_flight}
            assert {other.accesses for other in wide if other[:3] == kernel[:3]} == forms, kernel
            in_flight = kernel.accesses
        loads, stores = (count(opcodes, rf"{name}\.E.*\b{bits}\b") for name in ("LDG", "STG"))
        assert loads >= reads * in_flight, f"{kernel}: {opcodes}"
        assert stores >= writes * in_flight, f"{kernel}: {opcodes}"


def test_the_atomic_baseline_compiles_and_uses_atomics(cuobjdump: str, tmp_path: Path) -> None:
    """What the bars of a GPU are measured beside; and that atomics show in a disassembly."""
    cubin = tmp_path / "atomic_baseline.cubin"
    source = ROOT / "benchmarks/atomic_baseline.cu"
    command = [find_tool("nvcc"), "--cubin", "--gpu-architecture", "sm_90", "--output-file"]
    subprocess.run([*command, cubin, source], check=True)
    opcodes = Counter(
        match[1]
        for line in dump(cuobjdump, "--dump-sass", file=str(cubin))
        if (match := INSTRUCTION.match(line))
    )
    assert count(opcodes, ATOMICS) >= 2, opcodes
