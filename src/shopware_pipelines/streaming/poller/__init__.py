"""API to Kinesis: records fetched, named, spooled, judged, sent. Read `poller` first, then `polling` and `sender`."""
