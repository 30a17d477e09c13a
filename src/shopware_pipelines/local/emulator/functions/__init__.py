"""The emulator's Lambda: how functions are called, how many at once, and events that wait."""
