"""What the programs in tools/ are made of: a module a subject."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
