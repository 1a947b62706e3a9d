"""`python -m benchmarks batch`: measure, print a table, and write the numbers with --out FILE."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import batch


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("batch", help="glip batch against a plain loop over Detector")
    one.add_argument("--model", default="glip-mini")
    one.add_argument("--images", type=int, default=60)
    one.add_argument("--size", type=int, nargs=2, default=(1280, 960), metavar=("WIDTH", "HEIGHT"))
    one.add_argument("--workers", type=int, nargs="+", default=(1, 2))
    one.add_argument("--batch-size", type=int, default=1)
    one.add_argument("--repeats", type=int, default=5)
    one.add_argument("--out", type=Path, help="write the numbers as JSON")
    args = parser.parse_args()
    result = batch.measure(
        args.model, args.images, tuple(args.size), tuple(args.workers), args.batch_size, args.repeats
    )
    print(batch.table(result))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
