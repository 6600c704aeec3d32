"""What this process says to the others of itself, and what becomes of what they say."""

from __future__ import annotations

from ..publishing import OutgoingMessage
from .cancel_log import CancelLog
from .cancelling import Cancelling
from .control_messages import Bye, CancelJobs, ControlMessage, Ended, Hello, Holds, to_all, to_one
from .known_jobs import KnownJobs
from .peers import Peers
from .transport import StorelessTransport


class Conversation:
    """The control messages of this process."""

    def __init__(
        self, transport: StorelessTransport, jobs: KnownJobs, log: CancelLog, peers: Peers, cancelling: Cancelling
    ) -> None:
        self._transport, self._jobs = transport, jobs
        self._log, self._peers, self._cancelling = log, peers, cancelling
        self._works = False  # whether this process may hold jobs

    def begin_work(self) -> None:
        """Tell everybody, once, that this process may hold jobs from now on, and hear which of them are cancelled."""
        if not self._works:
            self._works = True  # first: whoever counts us gets an answer
            try:
                self._transport.begin_work()
                self._peers.greeted()
                self._transport.publish([self._hello()])
            except BaseException:  # the next claim tries again
                self._works = False
                raise
            self._peers.wait_greeted()

    def on_open(self) -> None:
        """Greet the others: the reply queue was opened. In the portal's thread, as what follows."""
        self._peers.greeted()
        self._transport.post([self._hello()])

    def on_message(self, message: ControlMessage) -> None:
        """Hear what a process says."""
        own = self._transport.reply_queue
        if isinstance(message, Ended):
            self._jobs.end_away(message.id, message.state, message.outcome)
        elif message.reply_queue == own:
            if isinstance(message, Hello):
                self._peers.echoed()
        elif isinstance(message, Holds):
            self._jobs.watch(message.ids)
            self._peers.answer(message.reply_queue, message.number, message.ids)
        elif isinstance(message, CancelJobs):
            self._cancelling.on_cancels(message, answers=self._works)
        elif isinstance(message, Bye):
            self._peers.left(message.reply_queue)
        elif message.works and (ours := self._log.ours()):
            self._transport.post([to_one(CancelJobs(own, 0, ours), message.reply_queue)])

    def _hello(self) -> OutgoingMessage:
        return to_all(Hello(self._transport.reply_queue, self._works), self._transport.layout.control)
