import io

import numpy as np
import pytest
from PIL import Image

from adaptkit import create_method, wrapper_config
from adaptkit.contract.answers import Answering
from tests.conftest import CLASSES

pytest.importorskip("fastapi")


@pytest.mark.parametrize("name", ["tda", "transclip"])
def test_what_answers_an_image_by_others_is_not_served(name, tiny_clip):
    from trainers.serving.app import Classifier

    with pytest.raises(ValueError, match="a server would mix those of all clients"):
        Classifier(create_method(name, tiny_clip, CLASSES))


def test_what_looks_at_one_image_in_views_is_served(tiny_clip):
    from trainers.serving.app import Classifier

    wrap = [("tpt", wrapper_config("tpt")(n_views=4, augmix=False))]
    method = create_method("coop", tiny_clip, CLASSES, wrap=wrap)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    upload = io.BytesIO()
    picture.save(upload, "PNG")
    answered = Classifier(method).classify(upload.getvalue(), 10**6, (), Answering(5))
    assert answered == method.eval().predict(picture)[0]
