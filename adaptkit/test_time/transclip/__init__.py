"""TransCLIP: all images of a test are classified together, by Gaussians of the classes and by their neighbours."""

from adaptkit.test_time.transclip.affinity import Affinity, nearest, nearest_of_all
from adaptkit.test_time.transclip.method import TransCLIP, TransCLIPConfig
from adaptkit.test_time.transclip.solver import Choice, Transduction

__all__ = ["Affinity", "Choice", "TransCLIP", "TransCLIPConfig", "Transduction", "nearest", "nearest_of_all"]
