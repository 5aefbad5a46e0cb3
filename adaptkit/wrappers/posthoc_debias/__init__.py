"""Post-hoc debiasing: a wrapper that takes out of any classifier's answers what it says without an image."""
