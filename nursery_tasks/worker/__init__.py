"""The worker: the nursery levels between a broker and the handlers, one module each."""

from .options import WorkerOptions as WorkerOptions
from .settler import Unstored as Unstored
from .worker import Worker as Worker
from .worker import open_worker as open_worker
