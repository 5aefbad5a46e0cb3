"""DAS: a wrapper that skips blocks of the towers."""
