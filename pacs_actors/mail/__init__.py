"""Mailboxes, and the type of the handle with which an actor says that it is ready."""

from __future__ import annotations

from typing import Any, TypeAlias

import trio

Ready: TypeAlias = trio.TaskStatus[Any]
"""``task_status`` of an actor's ``run``: it calls ``started()`` once it serves."""
