"""The journal: append-only segments in which every call is written before its client learns that it ended.

    journal_dir/slot-0/0-4f2a9c11d0e3/          one folder per writing process; `lock` is flock'ed while it lives
        0000000001.seg                          sealed: complete, synced, never written again
        0000000002.open                         being written
        0000000001.quarantine                   bytes behind the first bad line of segment 1, kept for inspection

A line is `{"k":"call",…,"crc":"xxxxxxxx"}`: the members of a `CallRecord` without its nulls and, last, the CRC-32 of
everything before it; a member `charge`, which is no column, is for budgets. An `intent` line is written at admission,
a `call` line at the end. A new segment repeats the intents that are still open, so that the last segment of a dead
process tells which calls it left unfinished.

One `write(2)` a line: a killed process loses nothing it has written. A thread syncs the file to disk every
`sync_interval_s` (`sync = "interval"`), or the caller waits for its group's sync (`sync = "commit"`). A sync that
fails seals the segment; it is never tried again on the same file, whose pages the kernel may have dropped.
"""

from ultimate_lib.journal.reader import (
    Lines,
    Segment,
    WriterFolder,
    read_segment,
    segments,
    writer_folders,
)
from ultimate_lib.journal.replay import cut_rows, open_intents, quarantine, seal_dead
from ultimate_lib.journal.writer import JournalWriter

__all__ = [
    "JournalWriter",
    "Lines",
    "Segment",
    "WriterFolder",
    "cut_rows",
    "open_intents",
    "quarantine",
    "read_segment",
    "seal_dead",
    "segments",
    "writer_folders",
]
