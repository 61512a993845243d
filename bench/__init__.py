"""Measurements: each figure is a ratio, or stands beside what it is compared with, taken in one run."""
