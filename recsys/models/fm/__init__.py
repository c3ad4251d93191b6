"""Factorization machines: one design, several solvers, one export."""
