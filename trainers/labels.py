"""The sign in the names of wrapped methods. It stands below all folders, so that records are read without torch."""

WRAP_SIGN = "+"  # Stands between the names of a method and its wrappers, as in "coop+das".
