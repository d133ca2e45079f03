"""The side-by-side measurement runs, its sides agree, and a run that is read topic by topic takes less memory than one held."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "evaluation.py"


@pytest.mark.slow
@pytest.mark.skipif(not BENCHMARK.is_file(), reason="the benchmarks are not in this distribution")
def test_evaluating_a_large_run_takes_less_memory_than_pytrec_eval_and_gives_its_numbers():
    """Time is left to the benchmark itself: on a busy machine only the memory can be held to a bound."""
    arguments = ["--topics", "1000", "--documents", "1000", "--rounds", "1", "--skip", "ranx", "ir-measures"]
    done = subprocess.run([sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, check=True)
    peaks = {
        line.split()[0]: int(found[1])
        for line in done.stdout.splitlines()
        if (found := re.search(r"(\d+) MB", line[28:]))
    }
    assert peaks["rankrl"] < 0.7 * peaks["pytrec_eval-terrier"], done.stdout
    assert "2 measures, equal" in done.stdout
    assert done.stdout.count("bootstrap, 10,000 x 1,000") == 2
