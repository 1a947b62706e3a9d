"""`python -m benchmarks start`, or another of the commands below: measure, print a table, numbers with --out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import batch, gpu, labels, load, parts, serve, speed, start, training


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = network(commands.add_parser("speed", help="against the textbook form and a peer"))
    one.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    one.add_argument("--peers", nargs="*", default=["textbook"], choices=["textbook", "grounding-dino"])
    one.add_argument("--compile", action="store_true", help="also ours with torch.compile")
    one.add_argument("--mmdetection", metavar="PYTHON", help="an interpreter that has it, to be measured too")
    one.set_defaults(
        run=lambda a: speed.measure(
            a.model, tuple(a.size), a.dtypes, a.device, a.peers, a.repeats, a.compile, a.mmdetection
        ),
        table=speed.table,
    )
    one = network(commands.add_parser("labels", help="how the time grows with the names"))
    one.add_argument("--dtype", default="float32")
    one.add_argument("--everything", action="store_true", help="also all 1203 names of LVIS")
    one.set_defaults(
        run=lambda a: labels.measure(a.model, tuple(a.size), a.dtype, a.device, a.repeats, a.everything),
        table=labels.table,
    )
    one = network(commands.add_parser("parts", help="where the time goes"))
    one.add_argument("--dtype", default="float32")
    one.set_defaults(
        run=lambda a: parts.measure(a.model, tuple(a.size), a.dtype, a.device, a.repeats), table=parts.table
    )
    one = network(commands.add_parser("load", help="Detector.load of a converted checkpoint"))
    one.set_defaults(run=lambda a: load.measure(a.model, a.device, a.repeats), table=load.table)
    one = commands.add_parser("start", help="cold glip detect and glip --help against import torch")
    one.add_argument("--repeats", type=int, default=5)
    one.set_defaults(run=lambda a: start.measure(a.repeats), table=start.table)
    one = commands.add_parser("batch", help="glip batch against a plain loop over Detector")
    one.add_argument("--model", default="glip-mini")
    one.add_argument("--images", type=int, default=60)
    one.add_argument("--size", type=int, nargs=2, default=(1280, 960), metavar=("WIDTH", "HEIGHT"))
    one.add_argument("--workers", type=int, nargs="+", default=(1, 2))
    one.add_argument("--batch-size", type=int, default=1)
    one.add_argument("--repeats", type=int, default=5)
    one.set_defaults(
        run=lambda a: batch.measure(a.model, a.images, tuple(a.size), tuple(a.workers), a.batch_size, a.repeats),
        table=batch.table,
    )
    one = commands.add_parser("serve", help="glip serve with 1, 8 and 64 clients against a plain loop and glip batch")
    one.add_argument("--model", default="glip-mini", choices=["glip-mini", "glip-nano", "glip-t", "glip-t-a"])
    one.add_argument("--images", type=int, default=64)
    one.add_argument("--size", type=int, nargs=2, default=(1280, 960), metavar=("WIDTH", "HEIGHT"))
    one.add_argument("--repeats", type=int, default=5)
    one.add_argument("--requests", type=int, default=0, metavar="N", help="also the server's memory over N requests")
    one.set_defaults(
        run=lambda a: serve.measure(a.model, a.images, tuple(a.size), a.repeats, a.requests), table=serve.table
    )
    one = network(commands.add_parser("training", help="a step of training against the forward pass of inference"))
    one.add_argument("--batch-size", type=int, default=2)
    one.add_argument(
        "--steps", type=int, default=4, help="of each of two epochs that say how long loading is waited for"
    )
    one.set_defaults(
        size=(480, 800),
        run=lambda a: training.measure(a.model, tuple(a.size), a.batch_size, a.device, a.repeats, a.steps),
        table=training.table,
    )
    one = commands.add_parser("gpu", help="answers, speed and training on a GPU, in at most 8 minutes")
    one.add_argument("--device", default="cuda")
    one.add_argument("--tiny", action="store_true", help="the same in small, to try the script itself")
    one.set_defaults(run=lambda a: gpu.measure((gpu.Plan.tiny if a.tiny else gpu.Plan)(a.device)), table=gpu.table)
    for name in commands.choices:
        commands.choices[name].add_argument("--out", type=Path, help="write the numbers as JSON")
    args = parser.parse_args()
    result = args.run(args)
    print(args.table(result))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if result.get("failed"):
        raise SystemExit(1)


def network(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument(
        "--model", default="glip-t", choices=["glip-t", "glip-t-a", "glip-l", "glip-mini", "glip-nano"]
    )
    command.add_argument("--size", type=int, nargs=2, default=(800, 1333), metavar=("SHORT", "LONG"))
    command.add_argument("--device", default="cpu")
    command.add_argument("--repeats", type=int, default=5)
    return command


if __name__ == "__main__":
    main()
