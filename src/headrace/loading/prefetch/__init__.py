"""Makes batches ahead of time, in threads; each part of the work has a file.

`threads` runs the jobs, `steps` lists them, `slots` holds what is read for a window, `queue` holds
the batches that wait, `memory` keeps their arrays, and `finalizer` ends the threads.
"""

from headrace.loading.prefetch.finalizer import stop_with
from headrace.loading.prefetch.threads import Prefetch, makes_batches_of

__all__ = ["Prefetch", "makes_batches_of", "stop_with"]
