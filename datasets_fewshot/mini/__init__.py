"""The embedded data sets: images, split files and licences; `recipe` documents how they were made."""
