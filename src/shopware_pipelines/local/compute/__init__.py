"""What Lambda's event sources and ECS do: the runner, a process beside the emulator."""
