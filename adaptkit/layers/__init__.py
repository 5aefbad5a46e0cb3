"""Learnt pieces that methods hold and never inherit."""
