"""How long the light entry points take, as whole processes: `python benchmarks/startup.py [runs]`.

Each row is the median wall time of a fresh interpreter, with the bare interpreter's beside it, and the modules loaded.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ENTRIES = {
    "python (nothing)": ["-c", "pass"],
    "import rankrl": ["-c", "import rankrl"],
    "import rankrl, rewards, retrieval": ["-c", "import rankrl, rewards, retrieval"],
    "rankrl --help": ["-m", "rankrl", "--help"],
    "rankrl evaluate --help": ["-m", "rankrl", "evaluate", "--help"],
    "rankrl list rewards": ["-m", "rankrl", "list", "rewards"],
}


def wall_s(arguments: list[str]) -> float:
    """Seconds of one fresh process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(f"{'entry':<34} {'median s':>9} {'min':>7} {'max':>7}   ({runs} runs, {sys.version.split()[0]})")
    for name, arguments in ENTRIES.items():
        wall_s(arguments)  # compiles and caches what is compiled once
        seconds = [wall_s(arguments) for _ in range(runs)]
        print(f"{name:<34} {statistics.median(seconds):>9.3f} {min(seconds):>7.3f} {max(seconds):>7.3f}")


if __name__ == "__main__":
    main()
