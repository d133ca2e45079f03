"""The description beside a run: found, believed only for the content it was written for."""

import datetime
import hashlib
import json
import time
from pathlib import Path

import pytest

from rankrl.errors import DataError
from rankrl.provenance import provenance_path, read_provenance, write_provenance
from rankrl.runs import write_run


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "bm25.trec"
    write_run(path, {"q": {"d": 1.0}}, tag="t")
    return path


def test_what_is_written_comes_back_with_versions_and_the_hash_of_the_run(run_file):
    write_provenance(run_file, {"retriever": {"engine": "x"}, "k": 10})
    assert provenance_path(run_file).name == "bm25.trec.json"
    found = read_provenance(run_file)
    assert found["k"] == 10 and found["retriever"] == {"engine": "x"}
    assert found["run_sha256"] == hashlib.sha256(run_file.read_bytes()).hexdigest()
    assert found["made_by"]["versions"]["numpy"]


def test_a_run_without_a_description_has_none(run_file):
    assert read_provenance(run_file) is None


def test_a_description_of_another_content_is_not_believed(run_file):
    write_provenance(run_file, {})
    write_run(run_file, {"q": {"d": 2.0}}, tag="t")
    with pytest.raises(DataError, match="another version"):
        read_provenance(run_file)


def test_how_and_when_it_was_made_is_told(run_file, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/opt/bin/rankrl", "retrieve", "bm25", "--k", "5"])
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        write_provenance(run_file, {"folder": Path("runs")})
    finally:
        monkeypatch.undo()
        time.tzset()
    found = read_provenance(run_file)
    assert found["made_by"]["command"] == ["rankrl", "retrieve", "bm25", "--k", "5"]
    made = datetime.datetime.fromisoformat(found["made_by"]["time"])
    assert abs(datetime.datetime.now(datetime.UTC) - made) < datetime.timedelta(minutes=1)
    assert found["folder"] == "runs"  # a type that JSON does not have


@pytest.mark.parametrize("text", ['{"q": {"d": 1.0}}', '{"qid": "q", "docid": "d"}\n{"qid": "q", "docid": "e"}\n'])
def test_bug_a_run_in_json_beside_a_run_was_taken_for_its_description_and_replaced(tmp_path, text):
    write_run(tmp_path / "bm25", {"q": {"d": 1.0}}, tag="t")
    (tmp_path / "bm25.json").write_text(text)
    with pytest.raises(DataError, match=r"bm25\.json describes no run and was left as it is"):
        write_provenance(tmp_path / "bm25", {})
    assert (tmp_path / "bm25.json").read_text() == text


def test_json_of_another_kind_beside_a_run_is_not_its_description(run_file):
    provenance_path(run_file).write_text('{"q": {"d": 1.0}}')
    assert read_provenance(run_file) is None


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_broken_description_is_refused_with_its_path(run_file, text):
    provenance_path(run_file).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"bm25\.trec\.json"):
        read_provenance(run_file)


def test_the_hash_is_of_the_content_whatever_the_packing(tmp_path):
    run = {"q": {"d": 1.0}}
    write_run(tmp_path / "a.trec", run, tag="t")
    import gzip

    (tmp_path / "b.trec.gz").write_bytes(gzip.compress((tmp_path / "a.trec").read_bytes()))
    for name in ("a.trec", "b.trec.gz"):
        write_provenance(tmp_path / name, {})
    hashes = {json.loads(provenance_path(tmp_path / n).read_text())["run_sha256"] for n in ("a.trec", "b.trec.gz")}
    assert len(hashes) == 1
