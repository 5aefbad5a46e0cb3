"""Experiments on DAS: controls, distillation, latency and reports."""
