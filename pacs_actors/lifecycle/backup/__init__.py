"""Backups: chains of full, incremental and differential copies of index and objects, somewhere else, and the way back."""
