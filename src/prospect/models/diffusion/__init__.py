"""Models that make images, by diffusers: pipelines, what their encoders say of a row, noise, and the denoiser."""
