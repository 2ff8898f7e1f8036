"""Worker processes: the parent that keeps them, and what runs in each."""
