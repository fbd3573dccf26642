"""Tiny pipelines of every family, built in code with their tokenizers, encoders and VAE: no test needs a download."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

# 16 x 16 pixels; a VAE halves the sides once.
SIDE = 16
WORDS = ["red", "green", "blue", "square", "ring", "top", "left"]
PROMPTS = [f"{colour} {shape}" for colour in WORDS[:3] for shape in WORDS[3:5]]
FAMILIES = ["sd15", "sd21", "sdxl", "sd3", "sd35", "flux", "dit", "pixels"]


def make_pipeline(family: str, seed: int = 0) -> Any:
    """A pipeline of diffusers with random weights, wide enough that images and prompts differ."""
    torch.manual_seed(seed)
    pipe = _MAKERS[family]()
    for part in ("unet", "transformer"):
        model = getattr(pipe, part, None)
        if model is not None:
            with torch.no_grad():
                for parameter in model.parameters():  # some start at 0, and would pass no gradient on
                    parameter.add_(0.05 * torch.randn_like(parameter))
    return pipe


def save_pipeline(family: str, path: Path, **changes: Any) -> Path:
    """The folder of `make_pipeline`; of a class-conditional one with the prompts of its classes."""
    make_pipeline(family, **changes).save_pretrained(path)
    if family in ("dit", "pixels"):
        index = json.loads((path / "model_index.json").read_text())
        index["id2label"] = {str(i): prompt for i, prompt in enumerate(PROMPTS)}
        (path / "model_index.json").write_text(json.dumps(index))
    return path


def clip_tokenizer() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=24)


def t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    letters = [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=[*special, *letters], extra_ids=0, model_max_length=24)


def clip(*, width: int = 16, projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(clip_tokenizer()),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        projection_dim=width,
        bos_token_id=clip_tokenizer().bos_token_id,
        eos_token_id=clip_tokenizer().eos_token_id,
        pad_token_id=clip_tokenizer().pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def save_clip(path: Path, seed: int = 0) -> Path:
    """The folder of a CLIP with both encoders and random weights, that looks at 16 x 16 pixels."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPVisionConfig

    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=8,
        projection_dim=16,
    )
    config = CLIPConfig(
        text_config=clip().config.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=16,
        logit_scale_init_value=2.6592,
    )
    CLIPModel(config).save_pretrained(path)
    clip_tokenizer().save_pretrained(path)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(path)
    return path


def t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=len(t5_tokenizer()), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return T5EncoderModel(config).eval()


def vae(channels: int = 4, **settings: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=[8, 16],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=SIDE,
        **settings,
    ).eval()


def unet(**settings: Any) -> Any:
    from diffusers import UNet2DConditionModel

    values = {
        "sample_size": SIDE // 2,
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
    }
    return UNet2DConditionModel(**(values | settings))


def _sd(prediction: str = "epsilon") -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear", prediction_type=prediction, steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=clip(),
        text_encoder_2=clip(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 16,
        ),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    )


def _sd3(**settings: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=SIDE // 2,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=SIDE // 2,
        **settings,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=clip(projected=True),
        text_encoder_2=clip(projected=True),
        text_encoder_3=t5(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=t5_tokenizer(),
    )


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae(scaling_factor=0.36, shift_factor=0.11),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer,
    )


def _dit() -> Any:
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=SIDE // 2,
        patch_size=2,
        num_embeds_ada_norm=len(PROMPTS),
        norm_num_groups=4,
    )
    return DiTPipeline(transformer=transformer, vae=vae(), scheduler=DDIMScheduler())


def _pixels() -> Any:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    model = UNet2DModel(
        sample_size=SIDE,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        num_class_embeds=len(PROMPTS),
    )
    return DDPMPipeline(unet=model, scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"))


_MAKERS = {
    "sd15": _sd,
    "sd21": lambda: _sd("v_prediction"),
    "sdxl": _sdxl,
    "sd3": _sd3,
    "sd35": lambda: _sd3(qk_norm="rms_norm", dual_attention_layers=(0,)),
    "flux": _flux,
    "dit": _dit,
    "pixels": _pixels,
}


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """A PNG of random colour fields, width x height."""
    from PIL import Image

    random = np.random.default_rng(seed)
    fields = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(fields).resize(size, Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def image_rows(folder: Path, count: int, sizes: Sequence[tuple[int, int]] = ((SIDE, SIDE),)) -> list[dict[str, Any]]:
    """Thumbs on pictures that are written into a folder; row i is desirable if i is even."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        (folder / f"{i}.png").write_bytes(picture(i, sizes[i % len(sizes)]))
        prompt = PROMPTS[(i // 2) % len(PROMPTS)]
        rows.append({"prompt": prompt, "image": f"{i}.png", "label": i % 2 == 0})
    return rows


def image_pairs(folder: Path, count: int) -> list[dict[str, Any]]:
    rows = image_rows(folder, 2 * count)
    return [
        {"prompt": good["prompt"], "chosen_image": good["image"], "rejected_image": bad["image"]}
        for good, bad in zip(rows[0::2], rows[1::2], strict=True)
    ]
