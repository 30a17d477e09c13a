"""Kinesis to Parquet: the landing function, and the way back from the dead-letter queue."""
