"""The customer interactions pipeline: what the streams share is in `streaming`; alerts are its own."""
