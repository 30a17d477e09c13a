"""Questions to the lake, asked through Athena."""
