"""The emulator's Kinesis: iterators, and records kept in a log of their own."""
