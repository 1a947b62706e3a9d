"""`glip doctor`: versions, devices, cache, network and models; each problem with its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from glip_cli.cli import flags
from glip_cli.cli.command import command
from glip_cli.cli.console import print_json, print_line
from glip_cli.utils.text_format import counted

if TYPE_CHECKING:
    from glip_cli.doctor.checks import Check, CheckGroup

EPILOG = "Example: glip doctor --offline"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Verify = Annotated[bool, typer.Option("--verify", help="Hash every file of the cache (slow).")]


@command
def doctor(
    offline: flags.Offline = False,
    verify: Verify = False,
    json_: AsJson = False,
    debug: flags.Debug = False,
) -> None:
    """Check the installation and suggest fixes."""
    from glip_cli.cli.config import OWN, variables
    from glip_cli.doctor import examine

    sections = examine(offline, verify, OWN | variables())
    wrong = [check for section in sections for check in section.findings if check.problem]
    if json_:
        found = {"healthy": not wrong, "sections": [asdict(section) for section in sections]}
        print_json(found)
    else:
        show(sections, wrong)
    if wrong:
        raise typer.Exit(1)


def show(sections: Sequence[CheckGroup], wrong: Sequence[Check]) -> None:
    """A line per finding, those with a problem marked; at the end each problem with its remedy."""
    for section in sections:
        print(section.title)
        longest = max(len(finding.name) for finding in section.findings)
        for finding in section.findings:
            print_line(f"{'!' if finding.problem else ' '} {finding.name:<{longest}}  {finding.value}")
    print(f"\n{counted(len(wrong), 'problem')}{':' if wrong else ': all is well'}")
    for remedy, findings in groupby(wrong, key=lambda finding: finding.remedy):
        for finding in findings:
            print_line(f"! {finding.name} {finding.problem}")
        print(f"    {remedy}")
