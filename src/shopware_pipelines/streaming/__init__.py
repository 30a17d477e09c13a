"""What both streams share: API -> poller -> Kinesis -> landing -> Parquet, with a name for every record.

Read it in this order: `feed` (what differs between the two), `identity` (a record's name), `layout` (where things
lie), `poller` (its steps), `landing` (its steps), `partitions` and `compaction`, `ledger` and `counters` (what a
producer says it has polled, for the proof in `trust`).
"""
