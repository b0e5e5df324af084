"""Stage 1 (prompts), stage 2 (encoders), and what they share: sampler, views, schedules, curves."""
