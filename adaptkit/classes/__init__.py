"""Class names, templates, and the class weights they give."""
