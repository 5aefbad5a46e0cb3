"""The YAML files that come with adaptkit; `trainers.config.load` reads them."""
