"""Checking whole inputs, of any size, in bounded memory."""
