"""CLIP's two towers as functions over tokens: the only folder that knows open_clip's insides."""
