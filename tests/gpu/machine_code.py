#!/usr/bin/env python3
"""What ptxas makes of the warpgroup kernels, where no GPU can show it: no register that a wgmma instruction reads its
left factor from belongs to something else in between.

    tests/gpu/machine_code.py [SOURCE.cu]        default: src/ops/kernels/attention_hopper.cu; CUDA_HOME's tools, or toolkit.sh's

Compiles for sm_90a, disassembles, and follows the instructions of every innermost loop with HGMMA. ptxas 13.0 has given the registers of a factor that such a loop keeps to another
value within the loop; attention was wrong from the second tile on, in the same way every time. Two things fail:

- a factor in registers that nothing in the loop has written before, and something in the loop writes;
- one that is written before the instructions that read it have been waited for.
"""
import os, re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
source = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/ops/kernels/attention_hopper.cu"
CUDA_HOME = os.environ.get("CUDA_HOME") or subprocess.check_output([ROOT / "tests/gpu/toolkit.sh"], text=True).strip()
WRITES_NOTHING = ("ST", "RED", "LDGSTS", "BAR", "BRA", "MEMBAR", "FENCE", "WARPGROUP", "DEPBAR")


def functions(text):
    """(name, instructions, the index of each label)."""
    for part in re.split(r"^\.text\.", text, flags=re.M)[1:]:
        name, rest = part.split(":", 1)
        code, labels = [], {}
        for line in rest.splitlines():
            line = line.strip()
            if line.startswith("//-----"):
                break
            if label := re.match(r"(\.L_x_\d+):", line):
                labels[label[1]] = len(code)
            elif re.match(r"/\*[0-9a-f]{4,}\*/", line):
                code.append(line.split("*/", 1)[1].strip())
        yield name, code, labels


def loops(code, labels):
    """The innermost ones that multiply."""
    found = []
    for end, line in enumerate(code):
        target = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", line)
        start = labels.get(target[1], end + 1) if target else end + 1
        if start <= end and any("HGMMA" in line for line in code[start:end]):
            found.append((start, end))
    return [a for a in found if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in found)]


def written(line):
    """The register that an instruction sets (of several the first: what is looked for is moves and arithmetic)."""
    m = re.match(r"(?:@!?U?P\w+ )?([A-Z0-9_.]+) (?:P\d, |PT, )*R(\d+)", line)
    return int(m[2]) if m and not m[1].startswith(WRITES_NOTHING) else None


def factor(line):
    """Registers of the left factor, where it is not in shared memory."""
    m = re.search(r"HGMMA\S* R\d+, R(\d+), gdesc", line)
    return set(range(int(m[1]), int(m[1]) + 4)) if m else set()


def faults(body):
    own, flight, kept = set(), set(), {}
    for line in body:
        if "HGMMA" in line:
            for register in factor(line):
                flight.add(register)
                if register not in own:
                    kept.setdefault(register, line)
        elif "WARPGROUP.DEPBAR" in line:
            flight.clear()
        elif (register := written(line)) is not None:
            if register in flight:
                yield f"R{register} is written while it is read: {line}"
            if register in kept:
                yield f"R{register} is kept for `{kept[register]}` and written: {line}"
            own.add(register)


def main():
    with tempfile.TemporaryDirectory() as folder:
        cubin = f"{folder}/kernels.cubin"
        nvcc = [CUDA_HOME + "/bin/nvcc", "-O3", "-std=c++17", "-gencode=arch=compute_90a,code=sm_90a",
                "-I", ROOT / "src/ops/kernels", "-cubin", "-o", cubin, source]
        subprocess.run(nvcc, check=True)
        text = subprocess.check_output([CUDA_HOME + "/bin/nvdisasm", "-c", cubin], text=True)
    failed, products = False, 0
    for name, code, labels in functions(text):
        bodies = [code[start:end + 1] for start, end in loops(code, labels)]
        products += sum("HGMMA" in line for body in bodies for line in body)
        for body in bodies:
            found = list(faults(body))
            failed |= bool(found)
            for fault in found[:4]:
                print(f"{name}: {fault}")
    if not products:
        sys.exit("no loop with HGMMA: is this the disassembler's output?")
    print(f"{products} warpgroup instructions in loops: " + ("see above" if failed else "every factor is its own"))
    sys.exit(failed)


main()
