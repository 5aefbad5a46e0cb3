"""DAS: blocks of the towers are skipped."""
