"""The settings that come with something registered, read as layers."""

from trainers.config.files import Kind, packaged_source, read_packaged, read_recipe
from trainers.config.layers import Layer, Schema, read_layer


def packaged_layer(kind: Kind, name: str, schema: Schema) -> Layer:
    return read_layer(read_packaged(kind, name), f"in {packaged_source(kind, name)}", schema)


def recipe_layer(kind: Kind, name: str, module: str, schema: Schema) -> Layer:
    source = f"in {packaged_source(kind, name)} of {module.partition('.')[0]}"
    return read_layer(read_recipe(kind, name, module), source, schema)
