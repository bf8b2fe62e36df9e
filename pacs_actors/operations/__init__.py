"""The operations wing: logs now; metrics, alerts and notifications build on it."""
