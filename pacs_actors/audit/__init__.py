"""The audit: who did what to whose data, in a chain that shows every change."""
