"""What Athena does, in DuckDB, inside the emulator."""
