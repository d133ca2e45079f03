"""How long parsers take: an ordinary answer, and the worst of 60 kinds of 100 kB; `python benchmarks/parsers.py [-o TABLE.md]`.

Ordinary answers are the real ones of tests/data/rankvicuna_logs. Each number is CPU time, the best of five tries, so
that a busy machine counts less. 50 ms for 100 kB is what no parser may take.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

LIMIT_MS = 50.0


def best_ms(call: Callable[[], object], tries: int = 5) -> float:
    """CPU milliseconds of the quickest try."""
    seconds = []
    for _ in range(tries):
        start = time.thread_time()
        call()
        seconds.append(time.thread_time() - start)
    return min(seconds) * 1e3


def main() -> int:
    import fuzzing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", help="also write the table there")
    output = parser.parse_args().output
    ordinary, attacks = fuzzing.corpus()[len(fuzzing.SEEDS) :], fuzzing.attacks()
    lines = ["| parser | an answer, µs | worst of 100 kB, ms | of what |", "|---|---:|---:|---|"]
    too_slow = 0
    for name, reranker in fuzzing.variants().items():
        parse = reranker.parse  # type: ignore[attr-defined]
        usual = best_ms(lambda parse=parse: [parse(text, 20) for text in ordinary]) / len(ordinary)
        worst = max((best_ms(lambda parse=parse, text=text: parse(text, 20)), kind) for kind, text in attacks.items())
        too_slow += worst[0] > LIMIT_MS
        kind = worst[1].replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {name} | {usual * 1e3:.1f} | {worst[0]:.1f} | {kind} |")
        print(lines[-1], flush=True)
    print(f"{too_slow} take more than {LIMIT_MS:.0f} ms for 100 kB")
    if output:
        Path(output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(too_slow > 0)


if __name__ == "__main__":
    sys.exit(main())
