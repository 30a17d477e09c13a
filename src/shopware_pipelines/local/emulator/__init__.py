"""The emulator process (MiniStack, pinned), and what we change in it."""
