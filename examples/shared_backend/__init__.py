"""One worker pool for many programs: see README.md."""
