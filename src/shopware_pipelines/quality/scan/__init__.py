"""The scanner in C, and the memory it reads from."""
