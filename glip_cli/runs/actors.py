"""Groups of images done by Ray actors that live as long as the run: whatever dies, each image gets its record.

    waiting -> given to a worker -> done             and handed out in order
                 worker dies: waiting again; dies again: its images one by one; one that kills alone is an error
                 images are missing there: waiting again, for a worker on another node

One thread does all of it, between waits of `POLL` seconds at most.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

from glip_cli.errors import GlipError
from glip_cli.outputs.records import AnyRecord
from glip_cli.runs.items import Item
from glip_cli.runs.prefetch import in_order
from glip_cli.utils.text_format import counted, one_line, shorten

POLL = 0.2
AHEAD = 4  # groups for each worker that may be done before the one that is next
DEATHS = 2  # of workers at a group before its images are done one by one, and at one of those before it is an error
STRIKES = 3  # groups in a row whose images another node could read: then this one gets no more
BAD_STARTS = 3  # in a row
SAY_SECONDS = 10.0  # without a worker before it is said what they wait for
AGAIN_SECONDS = 60.0


@dataclass
class ImageGroup:
    """Images that are done together.

    Attributes:
        records: one for each image, or fewer where a worker had to stop; None until done.
        deaths: workers that died at it.
        refused: nodes that could not read all of its images, though others may.
        host: the machine that did it.
    """

    items: list[Item]
    records: list[AnyRecord] | None = None
    error: str = ""
    deaths: int = 0
    refused: list[str] = field(default_factory=list)
    host: str = ""


class Started(NamedTuple):
    """The node of an actor, and the error that stops it, or ""."""

    node: str
    host: str
    error: str


class Done(NamedTuple):
    """The result of a group: records, the error that ended it early, or "", and notes."""

    records: list[AnyRecord]
    error: str = ""
    notes: Sequence[str] = ()


@dataclass
class Actor:
    """An actor, and what it is at.

    Attributes:
        handle: Ray's; of `start`, which loads the model and gives `Started`, `do`, which takes a list of `Item` and
            gives `Done`, and `stop`, which ends the group that it is at.
        answer: Ray's reference to what comes of the last call of the first two.
        node: where it runs; "" until it has loaded its model.
    """

    handle: Any
    answer: Any
    node: str = ""
    host: str = ""
    group: ImageGroup | None = None


@dataclass
class ActorPool:
    """
    Attributes:
        hire: makes an actor, of which it gives the handle.
        doubt: whether another node may have an image that one has not.
        died: the record of an image that kills its worker, on a host.
        room: what a worker needs, and what the cluster has of it.
        say: for remarks.
        host: the machine that made the last record that was handed out.
    """

    ray: ModuleType
    hire: Callable[[], Any]
    size: int
    doubt: Callable[[Item], bool]
    died: Callable[[Item, str], AnyRecord]
    room: Callable[[], str]
    stop: threading.Event
    say: Callable[[str], None]
    open: list[ImageGroup] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    strikes: Counter[str] = field(default_factory=Counter)
    said: set[str] = field(default_factory=set)
    bad_starts: int = 0
    problem: str = ""  # what the last worker said that could not start
    host: str = ""

    def run(self, groups: Iterator[list[Item]]) -> Iterator[AnyRecord]:
        """The records, in order. Raises GlipError where no worker can go on."""
        with closing(in_order(ImageGroup, groups, 1, self.size, self.stop)) as made:
            self._fill(made)
            for _ in range(min(self.size, len(self.open))):
                self._hire()
            due = time.monotonic() + SAY_SECONDS
            while self._fill(made):
                self._give()
                self._wait()
                if time.monotonic() > due:
                    due = time.monotonic() + AGAIN_SECONDS if self._say_who_waits() else math.inf
                while self.open and self.open[0].records is not None:
                    group = self.open.pop(0)
                    self.host = group.host
                    yield from group.records or ()
                    if group.error:
                        raise GlipError(group.error)
                if self.stop.is_set():
                    yield from self._last()
                    return

    def _say_who_waits(self) -> bool:
        """Print how many workers have started, if some have not; True while none has."""
        started = sum(bool(actor.node) for actor in self.actors)
        if started < len(self.actors):
            self.say(f"{started} of {counted(len(self.actors), 'worker')} started: {self.room()}")
        return started == 0

    def _fill(self, made: Iterator[ImageGroup]) -> bool:
        """Take groups as far ahead as is allowed. Is there anything left to do?"""
        while len(self.open) < AHEAD * self.size and (group := next(made, None)):
            self.open.append(group)
        return bool(self.open)

    def _hire(self) -> None:
        handle = self.hire()
        self.actors.append(Actor(handle, handle.start.remote()))

    def _give(self) -> None:
        for actor in self.actors:
            if actor.node and actor.group is None and (group := self._next_for(actor.node)):
                actor.group = group
                actor.answer = actor.handle.do.remote(group.items)

    def _next_for(self, node: str) -> ImageGroup | None:
        given = {id(actor.group) for actor in self.actors}
        waiting = (group for group in self.open if group.records is None and id(group) not in given)
        return next((group for group in waiting if not (node in group.refused and self._elsewhere(group))), None)

    def _elsewhere(self, group: ImageGroup) -> bool:
        """Whether a node is left that has not tried it; that of a worker that starts is not known yet."""
        return any(actor.node not in group.refused for actor in self.actors)

    def _wait(self) -> None:
        busy = {actor.answer: actor for actor in self.actors if actor.group or not actor.node}
        if not busy:
            raise GlipError(self.problem or "no worker is left")
        ready, _ = self.ray.wait(list(busy), timeout=POLL)
        for answer in ready:
            actor = busy[answer]
            if actor not in self.actors:  # dismissed a moment ago, with the others of its node
                continue
            try:
                self._answered(actor, self.ray.get(answer))
            except self.ray.exceptions.RayTaskError:
                raise
            except self.ray.exceptions.RayError as error:
                self._died(actor, error)

    def _answered(self, actor: Actor, answer: Started | Done) -> None:
        if isinstance(answer, Started):
            if answer.error:
                self._dismiss(actor, answer.error)
            else:
                actor.node, actor.host, self.bad_starts = answer.node, answer.host, 0
        elif group := actor.group:
            for note in dict.fromkeys(answer.notes):
                if note not in self.said:
                    self.say(note)
            self.said.update(answer.notes)
            actor.group, group.error, group.host = None, answer.error, actor.host
            self._take(group, answer.records, actor.node)

    def _take(self, group: ImageGroup, records: list[AnyRecord], node: str) -> None:
        """A result counts unless another node may have what this one has not."""
        pairs = zip(records, group.items, strict=False)
        if any("host" in record and self.doubt(item) for record, item in pairs):
            group.refused.append(node)
            if self._elsewhere(group) and not self.stop.is_set():
                group.error = ""
                return
        elif len(records) == len(group.items):
            self.strikes[node] = 0
            self.strikes.update(group.refused)
            for actor in [actor for actor in self.actors if self.strikes[actor.node] >= STRIKES]:
                self._dismiss(actor, f"{actor.host} does not see images that other nodes see")
        group.records = records

    def _dismiss(self, actor: Actor, problem: str) -> None:
        """It gets no work any more; what it had is waiting again."""
        self.problem = problem
        self.say(f"a worker fewer: {problem}")
        self._lose(actor)

    def _lose(self, actor: Actor) -> None:
        self.actors.remove(actor)
        self.ray.kill(actor.handle)

    def _died(self, actor: Actor, error: Exception) -> None:
        self._lose(actor)
        if self.stop.is_set():
            return
        if not actor.node:
            self.bad_starts += 1
            *_, reason = str(error).strip().splitlines() or ["no reason given"]  # after a traceback
            self.problem = (
                f"workers die while they load the model ({shorten(one_line(reason), 200)}); each machine needs this "
                "version of glip-cli and memory for the model; their logs are in Ray's folder, /tmp/ray"
            )
        elif group := actor.group:
            group.deaths += 1
            if group.deaths == DEATHS:
                self._split(group, actor.host)
        if self.bad_starts < BAD_STARTS:
            self._hire()

    def _split(self, group: ImageGroup, host: str) -> None:
        """Find the image at which workers die: each is done for itself, and one that kills again is an error."""
        index = self.open.index(group)
        if len(group.items) > 1:
            more = counted(len(group.items) - 1, "more image")
            self.say(f"{DEATHS} workers died at {group.items[0].source.name} and {more}; they are done one by one")
            self.open[index : index + 1] = [ImageGroup([item]) for item in group.items]
        else:
            group.records, group.host = [self.died(group.items[0], host)], host

    def _last(self) -> Iterator[AnyRecord]:
        """When the run stops: of the group that is next, what its worker has done by then."""
        for actor in [actor for actor in self.actors if self.open and actor.group is self.open[0]]:
            actor.handle.stop.remote()
            while actor in self.actors and actor.group:
                self._wait()
            self.host = actor.host
            yield from self.open[0].records or ()
