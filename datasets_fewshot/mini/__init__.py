"""The embedded data sets: images, split files, licences; `recipe` says how they were made."""
