"""Checking small batches in memory, one after the other, in a warm process."""
