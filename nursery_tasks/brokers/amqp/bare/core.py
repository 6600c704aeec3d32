"""What the parts of the broker without a store share, and what it says of what it cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Final

from ....model.delivery import Hint
from ..permits import Permit
from ..sending import Letter
from .ledger import Ledger
from .marks import Marks
from .parcels import Parcel, box_of
from .places import BareAddress
from .roster import Roster
from .transport import BareTransport, now
from .words import Bye, Cancels, Ended, Hello, Holds, Word, to_all, to_one

STEP: Final = "give it a store: App(..., store='redis://...') or store='sqlite:///...'"


@dataclass(eq=False, slots=True)
class Holding:
    """A job that is held here, and its message.

    Attributes:
        crashes: How many crashes its marks say, beside those in the parcel.
        suspect: Whether its start is to be written down.
        marked: Whether it was.
    """

    permit: Permit
    parcel: Parcel
    crashes: int
    suspect: bool = False
    marked: bool = False


class BareCore:
    """The ledger, the server, and the words of other processes."""

    name: str

    def __init__(self, address: BareAddress) -> None:
        self._ledger = Ledger(clock=now, name=address.name)
        self._marks = Marks()
        self._roster = Roster()
        self._lock = Lock()
        self._held: dict[bytes, Holding] = {}  # token -> what is held here
        self._generation = 0  # of the line on which the messages in it came
        self._unmark: list[str] = []  # jobs that were lost while their starts were written down
        self._works = False  # whether this process may hold jobs
        self._transport = BareTransport(
            address,
            self._on_arrival,
            self._on_back,
            on_word=self._on_word,
            on_open=self._on_open,
            on_lost=self.drop_lost,
            boxes=self._owners_here,
            on_gone=self._on_owner_gone,
        )
        self._transport.join()

    @property
    def _places(self) -> BareAddress:
        return self._transport.places

    def _is_ours(self, permit: Permit) -> bool:
        return box_of(permit) == self._transport.box

    def _to_box(self, permit: Permit, parcel: Parcel, ended: Ended) -> list[Letter]:
        """Return the message that brings an outcome to whoever may wait for it, elsewhere."""
        box = box_of(permit)
        return [] if box is None or box == self._transport.box else [to_one(ended, box)]

    # --- what this process may hold ---------------------------------------------------------------

    def drop_lost(self) -> None:
        """Let go of what came over a connection that has broken: the server delivers it again. From any thread."""
        line = self._transport.receiver.line
        if line.generation == self._generation and line.current is not None:
            return
        with self._lock:
            self._generation = line.generation
            lost = {
                token: holding
                for token, holding in self._held.items()
                if line.current is None or holding.permit.generation != line.generation
            }
            for token, holding in lost.items():
                del self._held[token]
                if holding.marked:
                    self._unmark.append(holding.parcel.id)
        if lost:
            ids = self._ledger.lose(lost)
            self._ledger.tell(Hint("cancel", tuple(ids)))  # so that the worker asks, and hears that they are lost

    def _owners_here(self) -> list[str]:
        """Return the boxes of those in other processes who await what is held here."""
        with self._lock:
            held = list(self._held.values())
        boxes = {box_of(each.permit) for each in held if each.parcel.owned}
        return [box for box in boxes if box is not None and box != self._transport.box]

    def _on_owner_gone(self, box: str) -> None:
        raise NotImplementedError

    # --- words ------------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Tell everybody, once, that this process may hold jobs from now on, and hear which of them are cancelled."""
        if not self._works:
            self._works = True
            self._roster.greeted()
            self._transport.publish([to_all(Hello(self._transport.box, works=True), self._places.control)])
            self._roster.settle()

    def _on_open(self) -> None:
        self._roster.greeted()
        self._transport.post([to_all(Hello(self._transport.box, self._works, answer=True), self._places.control)])

    def _on_word(self, word: Word) -> None:
        """Hear what a process says, in the portal's thread."""
        box = self._transport.box
        if isinstance(word, Ended):
            self._ledger.end_away(word.id, word.state, word.outcome)
        elif word.box == box:
            if isinstance(word, Hello):
                self._roster.echoed()
        elif isinstance(word, Holds):
            self._roster.answer(word.box, word.number, word.ids)
        elif isinstance(word, Cancels):
            self._on_cancels(word)
        elif isinstance(word, Bye):
            self._roster.remove(word.box)
        else:
            if word.works:
                self._roster.add(word.box)
                if ours := self._marks.ours():
                    self._transport.post([to_one(Cancels(box, 0, ours), word.box)])
            if word.answer and self._works:
                self._transport.post([to_one(Hello(box, works=True), word.box)])

    def _on_cancels(self, word: Cancels) -> None:
        raise NotImplementedError

    # --- hints ------------------------------------------------------------------------------------

    def _on_arrival(self, queue: str) -> None:
        self._ledger.tell(Hint("work", (queue,)))

    def _on_back(self) -> None:
        self._ledger.tell(Hint("work"))
