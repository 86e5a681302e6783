"""Tests: same names as the code; `rig` holds what they stand on."""
