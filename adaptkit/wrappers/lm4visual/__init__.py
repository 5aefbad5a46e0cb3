"""LM4Visual: a wrapper that sends image tokens through a frozen block of a language tower."""
