"""Tests of xdplb.explain."""
