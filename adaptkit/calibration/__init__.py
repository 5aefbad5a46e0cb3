"""Calibration: a temperature, prediction sets and a threshold for unknown classes, from held-out images."""
