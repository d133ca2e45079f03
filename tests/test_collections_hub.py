"""Collections from the Hugging Face hub, asked of a server on this machine that answers as the hub does for data sets."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from rankrl.errors import DataError
from retrieval.collections import load_collection

# --- the hub: its answers for data sets, out of folders ------------------------------------------------------------------


class Hub:
    """`org/name` -> revision -> folder; a revision is a branch or tag, and its commit is the SHA-1 of its name and files."""

    def __init__(self, repositories: Mapping[str, Mapping[str, Path]]) -> None:
        self.repositories = repositories
        self.asked: list[str] = []
        """"METHOD path" of each request."""

    def commit(self, name: str, revision: str) -> str:
        folder = self.repositories[name][revision]
        files = [
            (str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        return hashlib.sha1(repr((revision, files)).encode()).hexdigest()

    def folder(self, name: str, revision: str) -> tuple[Path, str] | None:
        """(folder, commit) of a branch, tag or commit."""
        for known, folder in self.repositories[name].items():
            if revision in (known, commit := self.commit(name, known)):
                return folder, commit
        return None


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """The address under which the hub answers while the block runs."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.hub.asked.append(f"{self.command} {unquote(url.path)}")
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        api = parts[0] == "api"
        parts = parts[1:] if api else parts
        name = "/".join(parts[1:3])
        if parts[0] != "datasets" or name not in self.hub.repositories:
            self._refuse(401, "RepoNotFound")
            return
        what, revision, *inside = parts[3:] or ["revision", "main"]
        found = self.hub.folder(name, revision)
        if found is None:
            self._refuse(404, "RevisionNotFound")
            return
        folder, commit = found
        path = folder.joinpath(*inside)
        if what == "resolve" and not path.is_file():
            self._refuse(404, "EntryNotFound")
        elif what == "resolve":
            content = path.read_bytes()
            self._answer(content, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})
        elif what == "tree":
            recursive = parse_qs(url.query).get("recursive", ["false"])[0].lower() in ("true", "1")
            if not path.is_dir():
                self._refuse(404, "EntryNotFound")
                return
            entries = sorted(path.rglob("*") if recursive else path.iterdir())
            self._say([_entry(entry, folder) for entry in entries])
        elif what == "paths-info":
            wanted = parse_qs(self._body().decode())["paths"]
            there = [folder / one for one in wanted if (folder / one).exists()]
            self._say([_entry(entry, folder) for entry in there])
        else:
            self._say(
                {"id": name, "sha": commit, "siblings": [], "private": False, "tags": [], "downloads": 0, "likes": 0}
            )

    do_HEAD = do_POST = do_GET

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _say(self, value: object) -> None:
        self._answer(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, code: int, reason: str) -> None:
        self._body()
        self._answer(b"", {"X-Error-Code": reason, "X-Error-Message": reason}, code)

    def _answer(self, content: bytes, headers: Mapping[str, str], code: int = 200) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read `Hub.asked`."""


def _entry(path: Path, folder: Path) -> dict[str, object]:
    name = str(path.relative_to(folder))
    oid = hashlib.sha1(name.encode()).hexdigest()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": oid, "size": 0}
    return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}


# --- three repositories as they are there: MTEB's and BeIR's layout of BEIR, and BRIGHT ----------------------------------

CORPUS = [{"_id": "007", "title": "Faust", "text": "A tragedy."}, {"_id": "q2", "title": "", "text": "two"}]
QUERIES = [{"_id": "q2", "text": "two"}, {"_id": "q1", "text": "one"}]


def rows(found: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in found)


def card(configs: dict[str, dict[str, str]]) -> str:
    """A README as the hub's data sets have it: table -> split -> files."""
    lines = ["---", "license: mit", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", "# A data set", ""])


def mteb(folder: Path, grade: int) -> Path:
    """One repository whose judgements are the table `default`, in a folder of another name."""
    (folder / "judged").mkdir(parents=True)
    (folder / "README.md").write_text(
        card(
            {
                "default": {"train": "judged/a.jsonl", "test": "judged/b.jsonl"},
                "corpus": {"corpus": "corpus.jsonl"},
                "queries": {"queries": "queries.jsonl"},
            }
        )
    )
    (folder / "corpus.jsonl").write_text(rows(CORPUS))
    (folder / "queries.jsonl").write_text(rows(QUERIES))
    (folder / "judged" / "a.jsonl").write_text(rows([{"query-id": "q2", "corpus-id": "007", "score": 1}]))
    (folder / "judged" / "b.jsonl").write_text(rows([{"query-id": "q1", "corpus-id": "007", "score": grade}]))
    return folder


def beir(folder: Path) -> tuple[Path, Path, Path]:
    """Documents and queries in one repository, judgements as bare TSV in another, without a README, in two versions."""
    import datasets

    for config, table in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / "set" / config).mkdir(parents=True)
        datasets.Dataset.from_list(table).to_parquet(folder / "set" / config / f"{config}-00000-of-00001.parquet")
    (folder / "set" / "README.md").write_text(
        card({config: {config: f"{config}/{config}-*"} for config in ("corpus", "queries")})
    )
    for name, grade in (("set-qrels", 2), ("later-qrels", 5)):
        (folder / name).mkdir()
        for split, qid in (("train", "q2"), ("test", "q1")):
            (folder / name / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qid}\t007\t{grade}\n")
    return folder / "set", folder / "set-qrels", folder / "later-qrels"


def bright(folder: Path) -> Path:
    import datasets

    tables = {
        "documents": [{"id": "g1", "content": "gold"}, {"id": "e1", "content": "excluded"}],
        "examples": [
            {"id": "0", "query": "why?", "excluded_ids": ["e1"], "gold_ids": ["g1"], "gold_ids_long": ["N/A"]}
        ],
    }
    for config, table in tables.items():
        (folder / config).mkdir(parents=True)
        for task in ("biology", "pony"):
            datasets.Dataset.from_list(table).to_parquet(folder / config / f"{task}-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        card({config: {task: f"{config}/{task}-*" for task in ("biology", "pony")} for config in tables})
    )
    return folder


ASK = """
import json, sys
from rankrl.errors import RankRLError
from rankrl.errors import DataError
from retrieval.collections import load_collection
def everything(name):
    try:
        c = load_collection(name)
        return {
            "splits": c.splits, "corpus": [[d.docid, d.title, d.text] for d in c.documents()],
            "queries": [[q.qid, q.text] for q in c.queries()], "qrels": {s: c.qrels(s) for s in c.source.splits},
            "exclusions": {q: sorted(d) for q, d in c.exclusions().items()}, "facts": c.facts("test"),
        }
    except RankRLError as error:
        return str(error)
print(json.dumps({name: everything(name) for name in sys.argv[1:]}))
"""


def asked(home: Path, address: str, *names: str, offline: str = "0") -> dict[str, dict[str, object]]:
    """What each name gives, or the sentence with which it is refused; in a process that takes the server for the hub."""
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory) -> dict[str, dict[str, Path]]:
    made = tmp_path_factory.mktemp("hub")
    documents, judgements, later = beir(made / "beir")
    return {
        "mteb/tiny": {"main": mteb(made / "main", 1), "v1": mteb(made / "v1", 3)},
        "BeIR/tiny": {"main": documents, "v1": documents},
        "BeIR/tiny-qrels": {"main": judgements, "v1": later},
        "xlang-ai/BRIGHT": {"main": bright(made / "bright")},
    }


@pytest.fixture(scope="module")
def hub(repositories) -> Hub:
    return Hub(repositories)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def found(hub, home):
    names = ["hf:mteb/tiny", "hf:mteb/tiny@v1", f"hf:mteb/tiny@{hub.commit('mteb/tiny', 'v1')}", "hf:BeIR/tiny"]
    names += ["hf:BeIR/tiny@v1", f"hf:BeIR/tiny@{hub.commit('BeIR/tiny', 'v1')}"]
    wrong = ["hf:mteb/tiny@v2", "hf:mteb/tyni", "bright:biologie", "hf:xlang-ai/BRIGHT"]
    with serving(hub) as address:
        return asked(home, address, *names, "bright:biology", *wrong)


def test_a_data_set_of_the_hub_has_the_tables_that_its_readme_names(found, hub):
    one = found["hf:mteb/tiny"]
    assert one["splits"] == ["train", "test", "test-unseen", "test-shared"]
    assert one["corpus"] == [["007", "Faust", "A tragedy."], ["q2", "", "two"]]
    assert one["queries"] == [["q2", "two"], ["q1", "one"]]
    assert one["qrels"] == {"train": {"q2": {"007": 1}}, "test": {"q1": {"007": 1}}}
    assert one["exclusions"] == {"q2": ["q2"]}
    assert one["facts"]["commit"] == hub.commit("mteb/tiny", "main")
    assert one["facts"]["source"] == "datasets: mteb/tiny"


def test_a_revision_is_read_and_recorded_by_its_commit(found, hub):
    commit = hub.commit("mteb/tiny", "v1")
    for name in ("hf:mteb/tiny@v1", f"hf:mteb/tiny@{commit}"):
        assert found[name]["qrels"]["test"] == {"q1": {"007": 3}}
        assert found[name]["facts"]["commit"] == commit != hub.commit("mteb/tiny", "main")


def test_judgements_in_a_repository_of_their_own_keep_ids_that_look_like_numbers(found, hub):
    one = found["hf:BeIR/tiny"]
    assert one["qrels"] == {"train": {"q2": {"007": 2}}, "test": {"q1": {"007": 2}}}
    assert one["corpus"] == [["007", "Faust", "A tragedy."], ["q2", "", "two"]]
    assert one["facts"]["judged_outside"] == 0
    assert one["facts"]["commit"] == hub.commit("BeIR/tiny", "main")
    assert one["facts"]["judgements_from"]["commit"] == hub.commit("BeIR/tiny-qrels", "main")


def test_a_branch_is_that_of_the_judgements_too_and_a_commit_is_not(found, hub):
    commit = hub.commit("BeIR/tiny", "v1")
    for name, branch, grade in (("hf:BeIR/tiny@v1", "v1", 5), (f"hf:BeIR/tiny@{commit}", "main", 2)):
        assert found[name]["qrels"]["test"] == {"q1": {"007": grade}}
        assert found[name]["facts"]["commit"] == commit
        assert found[name]["facts"]["judgements_from"]["commit"] == hub.commit("BeIR/tiny-qrels", branch)


def test_of_bright_only_the_task_that_is_asked_for_is_fetched(found, hub):
    one = found["bright:biology"]
    assert one["corpus"] == [["g1", "", "gold"], ["e1", "", "excluded"]]
    assert (one["qrels"], one["exclusions"]) == ({"test": {"0": {"g1": 1}}}, {"0": ["e1"]})
    assert one["facts"]["commit"] == hub.commit("xlang-ai/BRIGHT", "main")
    fetched = {line.rpartition("/")[2] for line in hub.asked if "BRIGHT/resolve" in line}
    assert "biology-00000-of-00001.parquet" in fetched and "pony-00000-of-00001.parquet" not in fetched


def test_what_the_hub_does_not_have_is_one_sentence(found):
    assert found["hf:mteb/tiny@v2"] == "the data set mteb/tiny has no revision 'v2' on the hub"
    assert found["hf:mteb/tyni"].startswith("there is no data set mteb/tyni on the hub, or it is not for everybody")
    assert found["bright:biologie"].startswith("no task of BRIGHT 'biologie', did you mean 'biology'")
    assert found["hf:xlang-ai/BRIGHT"].startswith("there is no data set xlang-ai/BRIGHT-qrels on the hub")


def test_without_the_hub_no_other_revision_is_taken_for_the_one_that_is_asked_for(found, home):
    """`datasets` alone would give what it loaded last, whatever the revision."""
    names = ("hf:mteb/tiny", "hf:mteb/tiny@v1")
    for said in asked(home, "http://127.0.0.1:9", *names, offline="1").values():
        assert said.startswith("the hub does not answer for the data set mteb/tiny: ") and "hf download" in said
        assert "\n" not in said


def test_a_downloaded_copy_is_the_same_collection(found, repositories, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shutil.copytree(repositories["mteb/tiny"]["v1"], tmp_path / "mteb")
    shutil.copytree(repositories["BeIR/tiny"]["main"], tmp_path / "beir")
    shutil.copytree(repositories["BeIR/tiny-qrels"]["main"], tmp_path / "beir-qrels")
    for folder, name in (("mteb", "hf:mteb/tiny@v1"), ("beir", "hf:BeIR/tiny")):
        copy = load_collection(f"hf:{tmp_path / folder}")
        assert list(copy.splits) == found[name]["splits"]
        assert [[d.docid, d.title, d.text] for d in copy.documents()] == found[name]["corpus"]
        assert [[query.qid, query.text] for query in copy.queries()] == found[name]["queries"]
        assert {split: copy.qrels(split) for split in copy.source.splits} == found[name]["qrels"]
        facts = copy.facts("test")
        sums = {**facts["sha256"], **facts.get("judgements_from", {}).get("sha256", {})}
        content = {path.name: path.read_bytes() for path in tmp_path.glob(f"{folder}*/**/*") if path.is_file()}
        assert {Path(name).name: digest for name, digest in sums.items()} == {
            Path(name).name: hashlib.sha256(content[Path(name).name]).hexdigest() for name in sums
        }
        assert len(sums) == 3
    shutil.rmtree(tmp_path / "beir-qrels")
    with pytest.raises(
        DataError, match=r"beir has no judgements: neither a table qrels nor default, nor a folder .*beir-qrels"
    ):
        _ = load_collection(f"hf:{tmp_path / 'beir'}").splits
