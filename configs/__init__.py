"""The YAML files that come with adaptkit; `trainers.config` reads them."""
