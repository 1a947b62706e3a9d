"""Imports and devices: the answers of the probe as findings."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from glip_cli.doctor import probe
from glip_cli.doctor.checks import Check
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import byte_size, counted

PATIENCE = 60.0  # seconds for all imports
BEGUN: JsonObject = {}
LITTLE_MEMORY = 3e9  # bytes; GLIP-T takes about 2.5 GB on a CPU
FASTER = 1.3  # from here on a half precision is worth its rounding
REINSTALL = "pip install --force-reinstall --no-cache-dir"

Answers = Mapping[str, JsonObject]


def run_probe(patience: float = PATIENCE) -> dict[str, JsonObject]:
    """The output of each step of `probe`; {"error": ...} for the step at which its process died or timed out."""
    # -P: the probe's own folder, and the one that we are in, are no places to import from
    command = [sys.executable, "-P", str(Path(probe.__file__).resolve())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        output, _ = process.communicate(timeout=patience)
        code = process.returncode
        end = f"ends Python with exit code {code}" if code else None
        if code < 0:
            end = f"ends Python with signal {-code} ({signal.Signals(-code).name})"
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        end = f"is not finished after {patience:.0f} seconds"
    except BaseException:
        process.kill()
        process.wait()
        raise
    return _answers(output, end)


def _answers(output: bytes, end: str | None) -> dict[str, JsonObject]:
    answers: dict[str, JsonObject] = {}
    last = "torch"
    for line in output.splitlines():
        try:
            facts = json.loads(line)
            last = facts.pop("step")
        except (ValueError, KeyError, TypeError, AttributeError):  # something that a package wrote itself
            continue
        answers[last] = facts
    if end is not None:
        answers[last] = {"error": end}
    return answers


def check_imports(answers: Answers) -> Iterator[Check]:
    """Whether the packages that are installed work."""
    yield _torch(answers.get("torch", BEGUN))
    yield _torchvision(answers)
    roots = {answers[name]["error"]: name for name in ("torchvision", "torch") if "error" in answers.get(name, BEGUN)}
    yield from (_package(name, answers.get(name), roots) for name in probe.PACKAGES)


def _torch(answer: JsonObject) -> Check:
    if "version" not in answer:
        error = answer.get("error", "does not import")
        return Check("torch", "broken", f"cannot be used: {error}", f"{REINSTALL} torch torchvision")
    build = f"CUDA {answer['cuda']}" if answer["cuda"] else f"ROCm {answer['hip']}" if answer["hip"] else "for the CPU"
    value = f"{answer['version']}, built {build if build.startswith('for') else 'with ' + build}"
    if answer["numpy"]:
        problem = f"does not work with the numpy that is installed: {answer['numpy']}"
        return Check("torch", value, problem, "pip install -U torch torchvision numpy")
    return Check("torch", value)


def _torchvision(answers: Answers) -> Check:
    answer = answers.get("torchvision")
    if answer is None:
        return Check("torchvision", "not tried, for torch does not work")
    remedy = f"{REINSTALL} torch torchvision (both in one command, so that they are of one kind)"
    if "version" not in answer:
        return Check(
            "torchvision", "broken", f"does not work with this torch: {answer.get('error', 'it ends')}", remedy
        )
    on_cuda = answers.get("nms", BEGUN).get("error")
    if on_cuda:
        return Check("torchvision", answer["version"], f"does not work on the GPU: {on_cuda}", remedy)
    return Check("torchvision", f"{answer['version']}, its operators work")


def _package(name: str, answer: JsonObject | None, roots: Mapping[str, str]) -> Check:
    """`roots` are the errors of torch and torchvision, which others pass on."""
    if answer is None:
        return Check(name, "not tried")
    if answer.get("error") in roots:
        return Check(name, f"fails as {roots[answer['error']]} does")
    if "error" in answer:
        return Check(name, "broken", f"cannot be imported: {answer['error']}", f"{REINSTALL} {name}")
    return Check(name, "works")


def check_devices(answers: Answers) -> Iterator[Check]:
    """The devices, and the speed of each dtype."""
    yield _processor(answers.get("torch", BEGUN))
    yield _memory()
    yield from (_device(name, answer) for name, answer in answers.items() if name.startswith(("cpu", "cuda", "mps")))
    if (idle := _idle_gpu(answers)) is not None:
        yield idle


def _processor(torch: JsonObject) -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get("threads")
    name = _fields("/proc/cpuinfo").get("model name") or platform.processor() or platform.machine() or "unknown"
    value = f"{name}, {counted(cores, 'core')}"
    value += f", of which torch uses {threads}" if threads else ""
    if threads and threads > cores:
        problem = f"torch starts {threads} threads on {cores} cores, which slows it down"
        return Check("processor", value, problem, f"set OMP_NUM_THREADS={cores}")
    return Check("processor", value)


def _memory() -> Check:
    """The machine's memory; a container may be allowed less."""
    kilobytes = _fields("/proc/meminfo")
    try:
        total, free = (int(kilobytes[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        return Check("memory", "unknown")
    limit = _container_limit()
    if limit is not None and limit < total:
        total, free = limit, min(free, limit)
    value = f"{byte_size(free)} free of {byte_size(total)}"
    if free < LITTLE_MEMORY:
        return Check("memory", value, "is little for GLIP-T", "close other programs, or use a smaller --size")
    return Check("memory", value)


def _container_limit() -> int | None:
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # another system, or "max"
        return None


def _fields(path: str) -> dict[str, str]:
    """The `name : value` lines of a file of /proc, the first of each name; nothing elsewhere."""
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in reversed(lines))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _device(name: str, answer: JsonObject) -> Check:
    if "speed" not in answer:
        remedy = "use --device cpu, or install a torch that is built for this device (pytorch.org)"
        return Check(name, "unusable", f"cannot compute: {answer.get('error', 'it ends')}", remedy)
    about = (
        f"{answer['name']}, {byte_size(answer['free'])} free of {byte_size(answer['memory'])}; "
        if "name" in answer
        else ""
    )
    return Check(name, about + _dtypes(answer["speed"]))


def _dtypes(speeds: Mapping[str, float]) -> str:
    """ "float32; bfloat16 2.1 times as fast: --dtype bfloat16" """
    base = speeds["float32"]
    parts = ["float32 (--dtype auto)"]
    for dtype, speed in speeds.items():
        if dtype != "float32":
            ratio = f"{speed / base:.2g} times as fast"
            parts.append(f"{dtype} {ratio}" if speed >= FASTER * base else f"{dtype} works, but does not pay ({ratio})")
    return "; ".join(parts)


def _idle_gpu(answers: Answers) -> Check | None:
    """A GPU that the driver sees and torch does not."""
    torch = answers.get("torch", BEGUN)
    if "version" not in torch or any(name.startswith("cuda") for name in answers) or not (gpus := _gpus()):
        return None
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        remedy = "unset CUDA_VISIBLE_DEVICES, which hides it"
    elif not torch["cuda"]:
        remedy = "install torch and torchvision built with CUDA (pytorch.org): this torch is for the CPU"
    else:
        remedy = f"update NVIDIA's driver: this torch wants one for CUDA {torch['cuda']}"
    return Check("cuda", ", ".join(gpus), "is there, but torch does not see it", remedy)


def _gpus() -> list[str]:
    """As NVIDIA's own tool names them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return []
    return [" driver ".join(part.strip() for part in line.split(",")) for line in answer.stdout.splitlines() if line]
