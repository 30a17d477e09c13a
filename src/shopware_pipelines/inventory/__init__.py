"""The inventory pipeline: hourly JSONL files in, one Delta history table out, every line with its fate.

Read it in this order: `layout` (where things lie), `state` (what is remembered), `trigger` (a file arrives),
`validate` and `transform` (the two jobs and their steps), `table` (the Delta table), `run` (all steps, no
AWS).
"""
