"""Budgets and rate limits over HTTP: who may, what is refused, what the audit keeps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.alone import Alone
