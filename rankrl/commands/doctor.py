"""Say what works on this machine and what does not: libraries, extras, Java, GPUs; exit code 1 when a needed part fails."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--extra", action="append", default=[], metavar="NAME", help="an extra that has to work too; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")


def run(args: argparse.Namespace) -> int:
    import json

    from rankrl.doctor import examine, rendered

    report = examine(args.extra)
    print(json.dumps(report.as_dict(), indent=2) if args.json else rendered(report))
    return 0 if report.working else 1
