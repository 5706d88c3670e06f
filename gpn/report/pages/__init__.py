"""Report pages: HTML that needs nothing else."""
