"""Where landed records lie and how they are read: layout, partitions, view, compaction."""
