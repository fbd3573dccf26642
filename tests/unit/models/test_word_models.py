"""Models whose prompts are words of a list, as the trainer reads them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from prospect.config import DataSettings
from prospect.data.image_dataset import ImageEncoder, encode_images
from prospect.demo.image_base import IMAGE_BASE
from prospect.errors import DataError, ModelError
from prospect.feedback.images.writing import write_image
from prospect.feedback.records import Unpaired
from prospect.model_source import find_model
from prospect.models.diffusion.pipelines import read_pipeline
from prospect.models.diffusion.word_pipeline import WordPipeline


def test_a_folder_of_words_is_a_pipeline_of_pixels():
    pipeline = read_pipeline(find_model(IMAGE_BASE))
    assert (pipeline.target, pipeline.channels, pipeline.resolution, pipeline.step) == ("v_prediction", 3, 8, 2)
    assert pipeline.vae is None


def test_training_and_drawing_encode_a_prompt_alike():
    pipeline = read_pipeline(find_model(IMAGE_BASE))
    drawn = WordPipeline.from_pretrained(IMAGE_BASE).encode_prompts(["blue ring top left"])
    assert (pipeline.family.encode(pipeline.index, "blue ring top left")["text"] == drawn[0]).all()


@pytest.mark.parametrize("prompt", ["purple ring top left", "red red red red red"])
def test_a_row_with_a_prompt_that_the_model_does_not_know_is_refused_by_its_place(prompt, tmp_path):
    pipeline = read_pipeline(find_model(IMAGE_BASE))
    encoder = ImageEncoder(8, pipeline.step, lambda asked: pipeline.family.knows(pipeline.index, asked))

    def encode(asked):
        image = write_image(np.zeros((8, 8, 3), np.uint8), tmp_path)
        row = Unpaired(prompt=asked, completion=image, desirable=True, id="a", where="thumbs.jsonl:7")
        return encode_images([row], "unpaired", encoder, DataSettings(train=""), "thumbs.jsonl")

    assert len(encode("red ring").examples) == 1
    with pytest.raises(DataError, match=rf"thumbs.jsonl:7: the prompt is '{prompt}'.*words"):
        encode(prompt)


def test_a_folder_that_lists_no_words_is_refused(tmp_path):
    shutil.copytree(IMAGE_BASE, tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    del index["words"]
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"model_index\.json has no words"):
        read_pipeline(find_model(tmp_path / "model"))
