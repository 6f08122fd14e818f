"""TRIPOD+AI and CLAIM 2024, filled from a study's files: `page` (start here), `checklist`, `answers`."""
