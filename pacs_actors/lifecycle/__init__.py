"""Storage that lasts: where copies of objects live besides the local archive, and what moves them."""
