"""What is shipped: three packages and nothing else, one version, every public name resolvable."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import rankrl

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_has_three_packages_and_its_own_metadata(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names}
    assert tops == {"rankrl", "rewards", "retrieval", f"rankrl-{rankrl.__version__}.dist-info"}


def test_the_wheel_carries_types_data_and_attribution(wheel_names):
    for name in ("rankrl/py.typed", "rewards/py.typed", "retrieval/py.typed", "retrieval/data/ATTRIBUTION.md"):
        assert name in wheel_names
    assert any(name.startswith("retrieval/data/scifact/corpus.jsonl") for name in wheel_names)
    assert not any(name.endswith((".pyc", ".ipynb")) or name.startswith(("tests/", "scripts/")) for name in wheel_names)


def test_public_names_resolve_and_are_all_there_is():
    for name in rankrl.__all__:
        assert getattr(rankrl, name) is not None
    assert dir(rankrl) == sorted(rankrl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rankrl.nonsense


def test_the_changelog_knows_this_version():
    assert f"## {rankrl.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
