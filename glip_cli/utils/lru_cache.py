"""A store of the values that were used last, which threads may share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Slot(Generic[Value]):
    """The place of one value, which a thread fills while others wait for it."""

    value: Value

    def __init__(self) -> None:
        self.lock, self.is_filled = threading.Lock(), False


class LastUsed(Generic[Key, Value]):
    """Makes each value once, and keeps the last ones. A copy of it, in another process too, begins empty."""

    def __init__(self) -> None:
        self._slots: OrderedDict[Key, _Slot[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value], room: int) -> Value:
        """The value of `key`, made if it is not there; afterwards at most `room` values are kept.

        While one is made, only those that want the same one wait.
        """
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > room:
                self._slots.popitem(last=False)
        with slot.lock:
            if not slot.is_filled:
                try:
                    slot.value = make()
                except BaseException:
                    self._forget(key, slot)
                    raise
                slot.is_filled = True
            return slot.value

    def _forget(self, key: Key, slot: _Slot[Value]) -> None:
        with self._lock:
            if self._slots.get(key) is slot:
                del self._slots[key]

    def __len__(self) -> int:
        return len(self._slots)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), ()
