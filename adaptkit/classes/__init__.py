"""Class names and templates, and the class weights that they give."""
